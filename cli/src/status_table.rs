//! How pipelines stand, as a table for people.

use millstream_host::replay::in_place::{ReplayState, ReplayStatus};
use millstream_host::{PipelineStatus, SourceStatus, StageStatus};

use crate::terminal::{Paint, grouped, table};

/// One table per pipeline; `now` in milliseconds since 1970.
pub fn status_table(pipelines: &[PipelineStatus], now: i64, paint: Paint) -> String {
    let mut text = String::new();
    for (i, pipeline) in pipelines.iter().enumerate() {
        if i > 0 {
            text.push('\n');
        }
        let running = match pipeline.processes.len() {
            0 => "no process runs it".to_owned(),
            1 => "1 process".to_owned(),
            n => format!("{n} processes"),
        };
        text.push_str(&format!("{}  {running}\n", paint.bold(&pipeline.name)));
        let head = [
            "stage",
            "lag",
            "read/s",
            "forwarded/s",
            "dropped/s",
            "duplicates/s",
            "to dlq/s",
            "in flight",
            "retrying",
            "parked",
            "dead letters",
            "replicas",
            "",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(pipeline.stages.iter().map(|stage| row(stage, pipeline.processes.len(), now)));
        text.push_str(&table(&rows, 1..head.len() - 1));
        let sources: Vec<Vec<String>> = pipeline.sources.iter().filter_map(source_row).collect();
        if !sources.is_empty() {
            let head = ["source", "records", "topic", ""].map(str::to_owned).to_vec();
            text.push_str(&table(&[vec![head], sources].concat(), 1..2));
        }
        for problem in &pipeline.problems {
            text.push_str(&format!("{}: {problem}\n", paint.red("problem")));
        }
    }
    text
}

/// Of one that has a name.
fn source_row(source: &SourceStatus) -> Option<Vec<String>> {
    let records = source.records.map_or("-".to_owned(), grouped);
    let ended = if source.ended == Some(true) { "has given all it has" } else { "" };
    Some(vec![source.name.clone()?, records, source.topic.clone(), ended.to_owned()])
}

fn row(stage: &StageStatus, processes: usize, now: i64) -> Vec<String> {
    let rates = &stage.rates;
    let mut row = vec![stage.name.clone(), stage.lag.map_or("-".to_owned(), |lag| grouped(lag.max(0) as u64))];
    row.extend(
        [rates.read, rates.forwarded, rates.dropped, rates.duplicates, rates.dead_lettered]
            .map(|rate| grouped(rate.round() as u64)),
    );
    row.extend([stage.counts.in_flight, stage.counts.retrying, stage.counts.parked].map(grouped));
    row.push(grouped(stage.dead_letters) + if stage.more_dead_letters { "+" } else { "" });
    let replicas = &stage.replicas;
    let per_process = replicas.ordered.unwrap_or(replicas.file) as usize;
    let processes_that_work = replicas.processes.len() - replicas.standby.len().min(replicas.processes.len());
    let wanted =
        per_process * if replicas.standby.is_empty() { replicas.processes.len() } else { processes_that_work.max(1) };
    row.push(format!("{}/{wanted}", replicas.running));
    row.push(notes(stage, processes, now).join("; "));
    row
}

fn notes(stage: &StageStatus, processes: usize, now: i64) -> Vec<String> {
    let mut notes = Vec::new();
    if stage.paused {
        notes.push("paused".to_owned());
    }
    if let Some(n) = stage.replicas.ordered {
        notes.push(format!("scaled to {n} per process (file: {})", stage.replicas.file));
    }
    if !stage.replicas.standby.is_empty() {
        notes.push(format!(
            "{} stand{} by",
            stage.replicas.standby.len(),
            if stage.replicas.standby.len() == 1 { "s" } else { "" }
        ));
    }
    if !stage.levels.is_empty() {
        let levels = stage.levels.iter().map(|l| format!("{} {}", l.name, grouped(l.lag.max(0).unsigned_abs())));
        notes.push(format!("lag of {}", levels.collect::<Vec<_>>().join(", ")));
    }
    if stage.held_keys > 0 {
        let keys = if stage.held_keys == 1 { "key" } else { "keys" };
        notes.push(format!("{} {keys} held, {} waiting", grouped(stage.held_keys), grouped(stage.counts.held)));
    }
    if let Some(waiting) = &stage.waiting {
        let why = if waiting.settled { "the old ones are worked off" } else { "their writers know of them" };
        notes.push(format!("partitions from {} of {} wait until {why}", waiting.from, waiting.to));
    }
    let here = stage.replicas.processes.len();
    notes.extend(stage.replay.as_ref().and_then(|replay| replay_note(replay, here, now)));
    if processes > 0 && here < processes {
        notes.push(if here == 0 {
            "no process runs it".to_owned()
        } else {
            format!("in {here} of {processes} processes")
        });
    }
    if let Some(trouble) = &stage.trouble {
        let ago = (now - trouble.at).max(0) / 1000;
        let what = if trouble.gave_up { "gave up" } else { "last error" };
        notes.push(format!("{what} {ago} s ago: {}", trouble.message));
    }
    notes
}

/// A replay that is over is of interest for so long.
const RECENT_MS: i64 = 3_600_000;

fn replay_note(replay: &ReplayStatus, processes: usize, now: i64) -> Option<String> {
    let count = |n: i64| grouped(n.max(0).unsigned_abs());
    let far = format!("{} of {} offsets", count(replay.done), count(replay.total));
    if replay.ended.is_some_and(|ended| now - ended > RECENT_MS) {
        return None;
    }
    let how = match replay.state {
        ReplayState::Running if processes == 0 => format!("waits for a process, {far}"),
        ReplayState::Running if replay.pause_live => format!("{far}, live records wait"),
        ReplayState::Running => far,
        ReplayState::Done => "done".to_owned(),
        ReplayState::Cancelled => format!("cancelled, {far}"),
        ReplayState::Failed => format!("failed, {far}: {}", replay.reason.as_deref().unwrap_or("?")),
    };
    Some(format!("replay {} ({} to {}): {how}", replay.id, replay.from, replay.to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_host::{Counts, ProcessStatus, Rates, ReplicasStatus, Trouble, WaitingStatus};

    #[test]
    fn the_table() {
        let process = |id: &str| ProcessStatus { id: id.into(), host: "a".into(), pid: 1, began: 0, at: 0 };
        let stage = |name: &str, lag, ordered| StageStatus {
            name: name.into(),
            paused: false,
            lag,
            levels: Vec::new(),
            counts: Counts { read: 7, in_flight: 64, retrying: 1, parked: 1_017, ..Counts::default() },
            rates: Rates { read: 1_234.4, forwarded: 1_000.0, ..Rates::default() },
            dead_letters: 3,
            more_dead_letters: false,
            replay: None,
            held_keys: 0,
            replicas: ReplicasStatus {
                file: 2,
                ordered,
                running: 3,
                processes: [("p".to_owned(), 2), ("q".to_owned(), 1)].into(),
                standby: Vec::new(),
            },
            waiting: None,
            trouble: None,
        };
        let source = |name: Option<&str>, topic: &str, records, ended| SourceStatus {
            name: name.map(str::to_owned),
            topic: topic.to_owned(),
            records,
            ended,
        };
        let trouble = Trouble { at: 1_000, message: "no broker".into(), gave_up: false };
        let mut second = StageStatus { paused: true, trouble: Some(trouble), ..stage("split", None, None) };
        second.replicas.processes.remove("q");
        second.more_dead_letters = true;
        second.held_keys = 1;
        second.counts.held = 12;
        second.waiting = Some(WaitingStatus { from: 4, to: 6, settled: true });
        let status = PipelineStatus {
            name: "orders".into(),
            processes: vec![process("p"), process("q")],
            sources: vec![
                source(Some("shop"), "orders.in.shop", Some(4_000), Some(true)),
                source(Some("web"), "web", None, None),
                source(None, "orders.in", Some(1), None),
            ],
            stages: vec![stage("clean", Some(1_200), Some(3)), second],
            problems: Vec::new(),
        };
        let expected = "\
orders  2 processes
stage    lag  read/s  forwarded/s  dropped/s  duplicates/s  to dlq/s  in flight  retrying  parked  dead letters  replicas
clean  1,200   1,234        1,000          0             0         0         64         1   1,017             3       3/6  scaled to 3 per process (file: 2)
split      -   1,234        1,000          0             0         0         64         1   1,017            3+       3/2  paused; 1 key held, 12 waiting; partitions from 4 of 6 wait until the old ones are worked off; in 1 of 2 processes; last error 4 s ago: no broker
source  records  topic
shop      4,000  orders.in.shop  has given all it has
web           -  web
";
        assert_eq!(status_table(&[status], 5_000, Paint::new(false)), expected);
    }
}
