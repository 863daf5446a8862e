//! What must be in each topic when all input is worked off.

use std::collections::BTreeMap;

use serde_json::Value;

/// By topic; a topic that must be empty is there with nothing in it.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Of output topics.
    pub outputs: BTreeMap<String, Vec<ExpectedOutput>>,
    /// Of dead-letter topics.
    pub letters: BTreeMap<String, Vec<ExpectedLetter>>,
    /// (group, topic it reads): positions that must stand at the end.
    pub readers: Vec<(String, String)>,
    /// Inputs that end without a trace: dropped on purpose, or repeats. For people.
    pub traceless: usize,
}

/// A record that must be in an output topic once.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedOutput {
    /// Id at the source.
    pub root: String,
    /// Its key.
    pub key: Option<String>,
    /// Inherited from the input, in milliseconds.
    pub millis: Option<i64>,
    /// Its payload.
    pub value: Value,
    /// The input's headers, in order.
    pub headers: Vec<(String, Option<String>)>,
}

/// A record that must be in a dead-letter topic once.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedLetter {
    /// Pipeline, stage and the stage's input topic, as the headers say.
    pub pipeline: String,
    /// See `pipeline`.
    pub stage: String,
    /// See `pipeline`.
    pub from: String,
    /// Place of the record in `from`, where the model can know it; else the letter must name a record of the same root.
    pub place: Option<(i32, i64)>,
    /// Class: data, permanent, exhausted or bug.
    pub class: String,
    /// The record as the stage read it. For `root`, an id that the source's rule gave counts whole.
    pub record: ExpectedOutput,
}
