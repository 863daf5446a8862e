//! What a run did, per stage: the table for people is the command line's, the document is this.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::shared::Totals;

/// The document `run --until-idle -o json` prints last.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// One entry per pipeline.
    pub pipelines: Vec<PipelineSummary>,
}

/// One pipeline.
#[derive(Clone, Debug, Serialize)]
pub struct PipelineSummary {
    /// Its name.
    pub name: String,
    /// In the order of the file.
    pub stages: Vec<StageSummary>,
    /// R4: in every stage, what was read is what ended.
    pub balanced: bool,
}

/// One stage, as far as this process ran it.
#[derive(Clone, Debug, Serialize)]
pub struct StageSummary {
    /// Its name.
    pub name: String,
    /// Records that ended, each once, by its last fate.
    pub read: u64,
    /// Ended with 0..n outputs.
    pub forwarded: u64,
    /// Ended on purpose, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Message id seen in the window.
    pub duplicates: u64,
    /// Ended in the dead-letter topic.
    pub dead_lettered: u64,
    /// Set aside and not ended. Below 0 where this process ended more than it set aside; over all processes it adds up.
    pub parked: i64,
    /// Waiting behind a dead letter that holds their key; below 0 as `parked`.
    pub held: i64,
    /// Attempts after the first.
    pub retried: u64,
    /// What the forwarded became.
    pub outputs: u64,
    /// Since the run began.
    pub seconds: f64,
}

impl StageSummary {
    pub(crate) fn new(name: &str, totals: &Totals, seconds: f64) -> Self {
        Self {
            name: name.to_owned(),
            read: totals.read,
            forwarded: totals.forwarded,
            dropped: totals.dropped.clone(),
            duplicates: totals.duplicates,
            dead_lettered: totals.dead_lettered,
            parked: totals.parked,
            held: totals.held,
            retried: totals.retried,
            outputs: totals.outputs,
            seconds,
        }
    }
}
