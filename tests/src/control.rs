//! The crash test's negative controls: one worker that breaks a promise (`tests/broken`) meets one fault at the very
//! moment at which the promise matters, and the checker judges what whole workers make of it.
//!
//! Nothing is left to chance: the worker itself dies or stands still in a commit that is told by what it holds.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checker::model::{self, Names};
use crate::checker::workload::Rows;
use crate::checker::{History, Promise, Violation, check};
use crate::process::{Process, tail, wait_until};
use crate::site::Site;

/// What happens to the worker in the commit that holds [`MARKED`]; or, where it dies inside it, in the first one that
/// holds a dead letter and, mended, its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` inside it: between its steps where they are broken apart, else with all outputs sent.
    DieInCommit,
    /// `kill -9` right after it. [`MARKED`] is then sent once more.
    DieAfterCommit,
    /// The process stands still inside it until another one has worked off everything; then it goes on.
    FreezeProcess,
    /// One of two replicas stands still inside it until the other has committed the same; then it goes on.
    FreezeReplica,
}

impl Fault {
    fn word(self) -> &'static str {
        match self {
            Self::DieInCommit => "die_in_commit",
            Self::DieAfterCommit => "die_after_commit",
            Self::FreezeProcess => "freeze_process",
            Self::FreezeReplica => "freeze_replica",
        }
    }

    fn record(self) -> &'static str {
        match self {
            Self::DieInCommit => "mended",
            Self::DieAfterCommit | Self::FreezeProcess | Self::FreezeReplica => MARKED,
        }
    }
}

/// What came of it.
pub struct Outcome {
    /// What the checker says.
    pub violations: Vec<Violation>,
    /// Records that the first stage dropped as repeats, after the fault.
    pub duplicates: u64,
    /// What the worker said, without which a surprise cannot be understood.
    pub said: String,
}

/// The record in whose commit it happens.
pub const MARKED: &str = "r-300";

const BEFORE: u32 = 200;
const ALL: u32 = 400;
/// For anything that takes seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(180);
const WENT_ON: &str = "went on after the freeze";

/// Plays it. `breaks` is a word of `tests/broken`; `name` is the pipeline's.
///
/// # Panics
/// When the fault does not happen, or whole workers cannot work off what it leaves.
pub fn play(site: &Site, name: &str, breaks: &str, fault: Fault) -> Outcome {
    let names = Names { pipeline: name.to_owned() };
    let file = site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
    // The fault hits an owner that has found positions and dedup state.
    site.produce_rows(&names.source(), &rows(0..BEFORE), 0);
    site.until_idle("first", &file, PATIENCE);
    // Before the worker starts: where it owns the log, its death would cut them off.
    site.produce_rows(&names.source(), &rows(BEFORE..ALL), 1);
    let mut worker = site.run_broken("worker", &file, breaks, fault.word(), fault.record());
    let summary = match fault {
        Fault::DieInCommit => {
            dies(&mut worker);
            site.until_idle("last", &file, PATIENCE)
        }
        Fault::DieAfterCommit => {
            dies(&mut worker);
            let marked = MARKED.trim_start_matches("r-").parse().unwrap_or_default();
            site.produce_rows(&names.source(), &rows(marked..marked + 1), 1);
            site.until_idle("last", &file, PATIENCE)
        }
        Fault::FreezeProcess => {
            assert!(wait_until(PATIENCE, || worker.is_stopped()), "it did not freeze:\n{}", tail(&worker.stderr()));
            let summary = site.until_idle("last", &file, PATIENCE);
            worker.signal("CONT");
            worker.wait_for_stderr(WENT_ON, PATIENCE);
            worker.kill();
            summary
        }
        Fault::FreezeReplica => {
            worker.wait_for_stderr(WENT_ON, PATIENCE);
            worker.kill();
            site.until_idle("last", &file, PATIENCE)
        }
    };
    let duplicates = summary["pipelines"][0]["stages"][0]["duplicates"].as_u64().unwrap_or_default();
    Outcome { violations: judge(site, &names), duplicates, said: worker.stderr() }
}

/// Sequence numbers rise per key and no output is asked for twice: what is red comes of the fault alone. After the first
/// rows, some come with a wrong type and at once again, mended.
fn rows(numbers: std::ops::Range<u32>) -> Rows {
    let row = |i: u32, seq: u32, amount: Value| {
        json!({ "id": format!("r-{i}"), "account": format!("a{}", i % 23), "seq": seq, "amount": amount, "kind": "sale", "ref": i.to_string() })
            .to_string()
    };
    let mut rows = Rows::default();
    for i in numbers {
        if i > BEFORE && i % 20 == 5 {
            rows.keyed.push(row(i, 2 * i, json!("many")));
        }
        rows.keyed.push(row(i, 2 * i + 1, json!(if i.is_multiple_of(10) { -1 } else { 1 })));
    }
    rows
}

fn dies(worker: &mut Process) {
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(libc::SIGKILL), "it ended otherwise:\n{}", tail(&worker.stderr()));
}

fn judge(site: &Site, names: &Names) -> Vec<Violation> {
    let mut history = History::default();
    for topic in names.outputs().into_iter().chain(names.letters()).chain([names.source()]) {
        let records = site.read(&topic);
        history.topics.insert(topic, records);
    }
    let mut expected = model::expect(names, history.of(&names.source()));
    // Positions are asked for in `crash_kafka.rs`.
    expected.readers.clear();
    check(&expected, &history, Promise::ExactlyOnce)
}
