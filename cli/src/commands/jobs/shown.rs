//! Jobs as people read them.

use millstream_host::jobs::{ErrorDocument, JobDocument, StageDocument};

use crate::terminal::{Paint, table};

/// Everything of one.
pub fn one(job: &JobDocument, paint: Paint) -> String {
    let mut text = format!("{}  {}\n", paint.bold(&job.job), job.state);
    text.push_str(&format!("accepted {}, changed {}\n", job.accepted, job.changed));
    if let Some(starts) = &job.starts {
        text.push_str(&format!("starts {starts}\n"));
    }
    if job.open > 0 {
        text.push_str(&format!("{} records on their way, {} of them set aside\n", job.open, job.waiting));
    }
    if let Some(progress) = &job.progress {
        text.push_str(&format!("progress {progress} %\n"));
    }
    if let Some(error) = &job.error {
        text.push_str(&format!("{}: {}: {}\n", paint.red("error"), place(error), error.message));
    }
    let head = ["stage", "forwarded", "dropped", "dead letters", "parked", "attempts", "first", "last"];
    let row = |s: &StageDocument| {
        let numbers = [s.forwarded, s.dropped, s.dead_lettered, s.parked, u64::from(s.attempts)].map(|n| n.to_string());
        [vec![s.stage.clone()], numbers.to_vec(), vec![s.first.clone(), s.last.clone()]].concat()
    };
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned).to_vec()).chain(job.stages.iter().map(row)).collect();
    if rows.len() > 1 {
        text.push_str(&table(&rows, 1..6));
    }
    if let Some(result) = &job.result {
        text.push_str(&format!("result: {result}\n"));
    }
    if let Some(reply) = &job.reply {
        let how = reply.refused.as_ref().map_or_else(String::new, |why| format!(", refused: {why}"));
        text.push_str(&format!("reply: to `{}`{how}\n", reply.to));
    }
    if let Some(callback) = &job.callback {
        let how = callback.refused.as_ref().map_or_else(String::new, |why| format!(", refused: {why}"));
        text.push_str(&format!("callback: to `{}`{how}\n", callback.to));
    }
    text
}

/// Several, a line each.
pub fn people(jobs: &[JobDocument]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let head = ["job", "state", "accepted", "changed", "error"].map(str::to_owned).to_vec();
    let row = |j: &JobDocument| {
        let error = j.error.as_ref().map_or(String::new(), place);
        vec![j.job.clone(), j.state.to_owned(), j.accepted.clone(), j.changed.clone(), error]
    };
    let rows: Vec<_> = std::iter::once(head).chain(jobs.iter().map(row)).collect();
    table(&rows, 0..0)
}

/// The code, and where.
fn place(error: &ErrorDocument) -> String {
    if error.stage.is_empty() { error.code.clone() } else { format!("{} in `{}`", error.code, error.stage) }
}
