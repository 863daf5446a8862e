//! What is compared with what: outputs and dead letters of stages, live and beside.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use bytes::Bytes;
use millstream_log::{End, Log, LogRecord, LogResult, TopicPartition};

use super::read::scan;
use crate::changes::StageMark;
use crate::ids::{ID_HEADER, hash128};
use crate::letters::{self, Letter};
use crate::replay::beside::Beside;
use crate::shared::Stop;

/// Headers that Millstream writes begin with this.
const OURS: &str = "millstream.";

/// One output, or the dead letters of one stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `stage`, `stage.output` or `stage.dlq`; several outputs to one topic are one place.
    pub name: String,
    /// The topic beside; `None` where the file has no such output.
    pub new: Option<String>,
    /// The live topic; `None` where what ran last has none.
    pub live: Option<String>,
    /// Of letters: the stage.
    stage: Option<String>,
    /// Both pipelines' names.
    pipelines: (String, String),
}

/// A record as it is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its message id; of a letter, that of the record that failed.
    pub id: Bytes,
    /// The key.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: Option<Bytes>,
    /// Headers without Millstream's own.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// Of a letter: code, class and filter.
    pub error: Option<[String; 3]>,
}

impl Item {
    /// Hash of the id.
    pub(super) fn id_hash(&self) -> u128 {
        hash128(&[&self.id])
    }

    /// Hash of everything else.
    pub(super) fn digest(&self) -> u128 {
        let mut parts = vec![self.key.as_deref(), self.value.as_deref()];
        for (name, value) in &self.headers {
            parts.extend([Some(name.as_bytes()), value.as_deref()]);
        }
        parts.extend(self.error.iter().flatten().map(|text| Some(text.as_bytes())));
        // Nothing and an empty text differ.
        let parts: Vec<&[u8]> = parts
            .into_iter()
            .flat_map(|p| [if p.is_some() { "1" } else { "0" }.as_bytes(), p.unwrap_or_default()])
            .collect();
        hash128(&parts)
    }
}

/// The places, in the order of the file; what only the live pipeline has comes last.
pub fn places(beside: &Beside, live: &[StageMark]) -> Vec<Place> {
    let mut all: Vec<Place> = Vec::new();
    let pipelines = (beside.pipeline.name.clone(), beside.live.clone());
    let stages = &beside.pipeline.stages;
    let live_reads = |topic: &str| live.iter().any(|s| s.reads(topic));
    let live_default = |stage: &str, output: &str| named(&format!("{}.{stage}", beside.live), output);
    let live_counts =
        |stage: &str, output: &str, topic: &str| !live_reads(topic) || topic != live_default(stage, output);
    let mut seen = BTreeSet::new();
    for stage in stages {
        let was = live.iter().find(|s| s.name == stage.name);
        for output in &stage.outputs {
            let name = output.name.as_deref().unwrap_or("");
            let there = was.and_then(|w| w.outputs.iter().find(|o| o.name == name)).map(|o| o.topic.clone());
            seen.insert((stage.name.as_str(), name.to_owned()));
            let last =
                !stages.iter().any(|s| s.inputs.iter().any(|i| i.from_stage.is_some() && i.topic == output.topic));
            if last || output.given || there.as_ref().is_some_and(|topic| live_counts(&stage.name, name, topic)) {
                add(&mut all, named(&stage.name, name), Some(output.topic.clone()), there, None, &pipelines);
            }
        }
        let letters = was.map(|w| format!("{}.dlq", w.group));
        add(&mut all, format!("{}.dlq", stage.name), Some(stage.dlq.clone()), letters, Some(&stage.name), &pipelines);
    }
    for stage in live {
        for output in stage.outputs.iter().filter(|o| !seen.contains(&(stage.name.as_str(), o.name.clone()))) {
            if live_counts(&stage.name, &output.name, &output.topic) {
                add(&mut all, named(&stage.name, &output.name), None, Some(output.topic.clone()), None, &pipelines);
            }
        }
        if !stages.iter().any(|s| s.name == stage.name) {
            let letters = Some(format!("{}.dlq", stage.group));
            add(&mut all, format!("{}.dlq", stage.name), None, letters, Some(&stage.name), &pipelines);
        }
    }
    all
}

/// `stage` or `stage.output`.
fn named(stage: &str, output: &str) -> String {
    if output.is_empty() { stage.to_owned() } else { format!("{stage}.{output}") }
}

/// Two outputs to one topic cannot be told apart, and are one place.
fn add(
    all: &mut Vec<Place>,
    name: String,
    new: Option<String>,
    live: Option<String>,
    stage: Option<&str>,
    pipelines: &(String, String),
) {
    if let Some(known) = all.iter_mut().find(|p| p.new == new && p.live == live) {
        known.name = format!("{}+{name}", known.name);
        return;
    }
    all.push(Place { name, new, live, stage: stage.map(str::to_owned), pipelines: pipelines.clone() });
}

impl Place {
    /// Everything that is in one of its topics now; of letters, those that are open.
    pub(super) fn each(
        &self,
        log: &dyn Log,
        topic: Option<&str>,
        stop: &Stop,
        each: &mut dyn FnMut(&Item, (i32, i64)),
    ) -> LogResult<()> {
        let Some(topic) = topic else { return Ok(()) };
        if let Some(stage) = &self.stage {
            let (new, live) = &self.pipelines;
            let pipeline = if self.new.as_deref() == Some(topic) { new } else { live };
            let place = letters::Place::named(pipeline, stage);
            return letters::read(log, &place, &letters::Reading::default(), stop, &mut |letter| {
                let at = (letter.partition, letter.record.offset);
                if let Some(item) = of_letter(letter) {
                    each(&item, at);
                }
                ControlFlow::Continue(())
            });
        }
        let Some(info) = &log.describe(&[topic])?[0] else { return Ok(()) };
        let all: Vec<TopicPartition> = (0..info.partitions).map(|p| TopicPartition::new(topic, p)).collect();
        let (low, high) = (log.ends(&all, End::Low)?, log.ends(&all, End::High)?);
        let spans: Vec<_> = all.into_iter().zip(low.into_iter().zip(high)).map(|(at, (l, h))| (at, l, h)).collect();
        scan(log, &spans, stop, &mut |partition, record| {
            let at = (partition, record.offset);
            if let Some(item) = of_output(&record) {
                each(&item, at);
            }
        })
    }

    /// A record of one of its topics; `None` where it is not Millstream's.
    pub(super) fn item(&self, topic: &str, partition: i32, record: LogRecord) -> Option<Item> {
        match self.stage {
            Some(_) => of_letter(Letter::new(topic.into(), partition, record)),
            None => of_output(&record),
        }
    }
}

fn of_output(record: &LogRecord) -> Option<Item> {
    let id = Bytes::copy_from_slice(record.headers.get(ID_HEADER)??);
    Some(Item {
        id,
        key: record.key.clone(),
        value: record.value.clone(),
        headers: others(&record.headers),
        error: None,
    })
}

fn of_letter(letter: Letter) -> Option<Item> {
    Some(Item {
        id: letter.id?,
        key: letter.record.key,
        value: letter.record.value,
        headers: others(&letter.headers),
        error: Some([letter.error.code, letter.error.class, letter.error.filter]),
    })
}

fn others(headers: &millstream_filter_api::Headers) -> Vec<(String, Option<Vec<u8>>)> {
    let other = |name: &str| name != ID_HEADER && !name.starts_with(OURS);
    headers.iter().filter(|(n, _)| other(n)).map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect()
}
