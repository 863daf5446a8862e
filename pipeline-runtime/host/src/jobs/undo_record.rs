//! A record as a stage left it, kept for the case that it has to be undone: one more record of `<pipeline>.jobs.notes`, with
//! a note in its first header, so that it is counted where the others are and lies where the job's notes lie.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::HeadersBuilder;
use millstream_log::{Log, LogRecord, LogResult, Outgoing, TopicPartition};

use millstream_spec::model::{Pipeline, Stage};

use super::note::{Note, What};
use super::plan::JobsPlan;
use crate::idle::in_order;
use crate::ids::{self, ID_HEADER, OutputIds};
use crate::outputs::partition_for;
use crate::restore;
use crate::topics::Partitions;

/// The note. First of the headers.
const NOTE: &str = "millstream.job.passed";
/// The record's own key, as that of the record is the job. Second of the headers; null for none.
const KEY: &str = "millstream.job.key";

/// Offsets that lie farther apart are read one by one.
const GAP: i64 = 2_000;

/// Where the compensation of a stage reads what it undoes.
#[derive(Clone, Debug)]
pub(crate) struct UndoPlan {
    /// The stage that is undone.
    pub stage: String,
    /// `<pipeline>.<stage>.undo`.
    pub topic: Arc<str>,
    /// Partitions it has.
    pub partitions: i32,
}

impl UndoPlan {
    /// Of all stages that have a compensation, in the order in which records pass them.
    pub fn all(pipeline: &Pipeline, topics: &Partitions) -> Vec<Self> {
        let plan = |stage: &Stage| {
            let topic = &stage.undo()?.topic;
            let partitions = topics.of(topic);
            Some(Self { stage: stage.name.clone(), topic: Arc::from(topic.as_str()), partitions })
        };
        in_order(pipeline).into_iter().filter_map(|n| plan(&pipeline.stages[n])).collect()
    }
}

/// What is written for an output of a stage, number `index` of the record `input`. `note`: of that record.
pub(crate) fn keep(
    jobs: &JobsPlan,
    ids: &OutputIds,
    note: &Note<'_>,
    input: &[u8],
    index: usize,
    left: &Outgoing,
) -> Outgoing {
    let root = ids::root(input);
    let note = Note { what: What::Passed, asked: None, ..note.clone() }.write(jobs, root);
    let mut id = Vec::with_capacity(root.len() + 33);
    ids.write(root, input, u32::try_from(index).unwrap_or(u32::MAX), &mut id);
    let mut headers = HeadersBuilder::with_capacity(left.headers.size() + id.len() + 256);
    headers.push(NOTE, note.value.as_deref());
    headers.push(KEY, left.key.as_deref());
    headers.extend_except(&left.headers, ID_HEADER);
    headers.push(ID_HEADER, Some(&id));
    Outgoing { value: left.value.clone(), headers: headers.finish(), timestamp: left.timestamp, ..note }
}

/// The note of a record of the notes, in whichever form it is there.
pub(super) fn note(record: &LogRecord) -> Option<&[u8]> {
    match record.headers.iter().next() {
        Some((NOTE, note)) => note,
        _ => record.value.as_deref(),
    }
}

/// The record that is to be undone, for the stage that does it.
fn release(record: &LogRecord, plan: &UndoPlan) -> Option<Outgoing> {
    let mut all = record.headers.iter();
    let (Some((NOTE, _)), Some((KEY, key))) = (all.next(), all.next()) else { return None };
    let key = key.map(Bytes::copy_from_slice);
    let mut headers = HeadersBuilder::with_capacity(record.headers.size());
    all.for_each(|(name, value)| headers.push(name, value));
    let headers = headers.finish();
    let id = headers.get(ID_HEADER).flatten().unwrap_or_default();
    Some(Outgoing {
        to: TopicPartition::new(Arc::clone(&plan.topic), partition_for(key.as_ref(), id, plan.partitions)),
        key,
        value: record.value.clone(),
        timestamp: record.timestamp,
        tag: 0,
        headers,
    })
}

/// Reads what is to be undone: records of the notes by their offsets, each for the stage whose plan stands beside it. What is
/// no longer there is not in the answer.
pub(super) fn fetch(
    log: &dyn Log,
    notes: &TopicPartition,
    wanted: &HashMap<i64, &UndoPlan>,
) -> LogResult<HashMap<i64, Outgoing>> {
    let mut offsets: Vec<i64> = wanted.keys().copied().collect();
    offsets.sort_unstable();
    let mut found = HashMap::with_capacity(offsets.len());
    for stretch in offsets.chunk_by(|a, b| b - a <= GAP) {
        let (Some(first), Some(last)) = (stretch.first(), stretch.last()) else { continue };
        restore::read(log, notes, *first..*last + 1, |record| {
            if let Some(plan) = wanted.get(&record.offset) {
                found.extend(release(&record, plan).map(|record_to| (record.offset, record_to)));
            }
            Ok(())
        })?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_filter_api::Headers;

    fn list(headers: &Headers) -> Vec<(String, Option<Vec<u8>>)> {
        headers.iter().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect()
    }

    /// A durable form: change it with its version, which is that of the note.
    #[test]
    fn what_is_kept_comes_back_under_an_id_of_its_own() {
        let jobs = JobsPlan::for_tests();
        let ids = OutputIds::new("orders", "reserve", "undo");
        let own: Headers =
            [("a", Some(&b"1"[..])), (ID_HEADER, Some(b"job~x")), (NOTE, Some(b"theirs"))].into_iter().collect();
        for key in [None, Some(Bytes::from_static(b"k"))] {
            let left = Outgoing {
                to: TopicPartition::new("orders.reserve", 3),
                key: key.clone(),
                value: None,
                headers: own.clone(),
                timestamp: 7,
                tag: 9,
            };
            let note_of = Note { root: true, at: 5, ..Note::new("reserve", What::Dropped, 7) };
            let kept = keep(&jobs, &ids, &note_of, b"job", 2, &left);
            assert_eq!((kept.key.as_deref(), &*kept.to.topic), (Some(&b"job"[..]), "orders.jobs.notes"));
            let record = LogRecord { offset: 4, timestamp: 7, key: kept.key, value: kept.value, headers: kept.headers };
            let text = note(&record).unwrap_or_default();
            assert_eq!(text, br#"{"v":1,"at":5,"stage":"reserve","what":"passed","root":true,"time":7}"#);
            let plan = UndoPlan { stage: "reserve".into(), topic: Arc::from("orders.reserve.undo"), partitions: 1 };
            let back = release(&record, &plan).unwrap();
            assert_eq!((&*back.to.topic, back.key, back.value, back.timestamp), ("orders.reserve.undo", key, None, 7));
            let mut id = Vec::new();
            ids.write(b"job", b"job", 2, &mut id);
            let wanted = [("a", b"1".to_vec()), (NOTE, b"theirs".to_vec()), (ID_HEADER, id)];
            assert_eq!(list(&back.headers), wanted.map(|(n, v)| (n.to_owned(), Some(v))));
        }
        let plain = Note::new("reserve", What::Dropped, 7).write(&jobs, b"job");
        let record = LogRecord { offset: 0, timestamp: 0, key: plain.key, value: plain.value, headers: plain.headers };
        assert!(note(&record).is_some_and(|note| note.starts_with(b"{")));
    }
}
