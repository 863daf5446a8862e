//! How a run goes: the line of progress while it runs, the table when it is over.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use millstream_host::{StageSummary, Summary};

use crate::terminal::{Paint, grouped, table};

/// Rates are over the last piece of this length, so that they can be read.
const WINDOW: Duration = Duration::from_millis(500);

/// Makes the line of progress, and remembers what it takes to tell rates.
#[derive(Default)]
pub struct Rates {
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    at: Option<Instant>,
    read: Vec<u64>,
    line: String,
}

impl Rates {
    /// `orders  clean 120,000 (38,000/s)  split 119,000 (37,500/s)  dead letters 12`
    pub fn line(&self, summary: &Summary, now: Instant) -> String {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = last.at.map(|at| now.saturating_duration_since(at));
        if elapsed.is_some_and(|e| e < WINDOW) {
            return last.line.clone();
        }
        let mut before = std::mem::take(&mut last.read).into_iter();
        let mut line = String::new();
        for pipeline in &summary.pipelines {
            line.push_str(&pipeline.name);
            for stage in &pipeline.stages {
                let more = before.next().map(|b| stage.read.saturating_sub(b));
                last.read.push(stage.read);
                line.push_str(&format!("  {} {}", stage.name, grouped(stage.read)));
                if let (Some(more), Some(elapsed)) = (more, elapsed) {
                    line.push_str(&format!(" ({}/s)", grouped(per_second(more, elapsed.as_secs_f64()))));
                }
            }
            let dead: u64 = pipeline.stages.iter().map(|s| s.dead_lettered).sum();
            if dead > 0 {
                line.push_str(&format!("  dead letters {}", grouped(dead)));
            }
            line.push_str("  ");
        }
        last.at = Some(now);
        last.line = line.trim_end().to_owned();
        last.line.clone()
    }
}

/// The table at the end of a run.
pub fn summary_table(summary: &Summary, paint: Paint) -> String {
    let mut text = String::new();
    for (i, pipeline) in summary.pipelines.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let seconds = pipeline.stages.iter().map(|s| s.seconds).fold(0.0, f64::max);
        text.push_str(&format!("{}  {seconds:.1} s\n", paint.bold(&pipeline.name)));
        let head =
            ["stage", "read", "forwarded", "dropped", "duplicates", "dead letters", "retried", "outputs", "read/s", ""];
        let rows: Vec<Vec<String>> =
            std::iter::once(head.map(str::to_owned).to_vec()).chain(pipeline.stages.iter().map(row)).collect();
        text.push_str(&table(&rows, 1..head.len() - 1));
        if !pipeline.balanced {
            text.push_str(&format!("{}: records read and records ended differ\n", paint.red("not balanced")));
        }
    }
    text
}

fn row(stage: &StageSummary) -> Vec<String> {
    let dropped: u64 = stage.dropped.values().sum();
    let mut notes: Vec<String> =
        stage.dropped.iter().filter(|(_, n)| **n > 0).map(|(why, n)| format!("{why} {}", grouped(*n))).collect();
    notes.extend(
        [("parked", stage.parked), ("held", stage.held)]
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(w, n)| format!("{w} {n}")),
    );
    let numbers =
        [stage.read, stage.forwarded, dropped, stage.duplicates, stage.dead_lettered, stage.retried, stage.outputs];
    let mut row = vec![stage.name.clone()];
    row.extend(numbers.map(grouped));
    row.push(grouped(per_second(stage.read, stage.seconds)));
    row.push(notes.join(", "));
    row
}

fn per_second(count: u64, seconds: f64) -> u64 {
    if seconds > 0.0 { (count as f64 / seconds).round() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_host::PipelineSummary;

    fn summary(read: u64) -> Summary {
        let stage = StageSummary {
            name: "clean".to_owned(),
            read,
            forwarded: read - 3,
            dropped: [("where".to_owned(), 2)].into(),
            duplicates: 0,
            dead_lettered: 1,
            parked: 0,
            held: 0,
            retried: 0,
            outputs: read - 3,
            seconds: 2.0,
        };
        Summary { pipelines: vec![PipelineSummary { name: "orders".to_owned(), stages: vec![stage], balanced: true }] }
    }

    #[test]
    fn the_table() {
        let expected = "\
orders  2.0 s
stage   read  forwarded  dropped  duplicates  dead letters  retried  outputs  read/s
clean  1,000        997        2           0             1        0      997     500  where 2
";
        assert_eq!(summary_table(&summary(1000), Paint::new(false)), expected);
    }

    #[test]
    fn the_line_has_rates_of_the_last_window() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert_eq!(rates.line(&summary(1000), now), "orders  clean 1,000  dead letters 1");
        let soon = now + Duration::from_millis(100);
        assert_eq!(rates.line(&summary(1500), soon), "orders  clean 1,000  dead letters 1");
        let later = now + Duration::from_secs(2);
        assert_eq!(rates.line(&summary(3000), later), "orders  clean 3,000 (1,000/s)  dead letters 1");
    }
}
