//! Schemas that a registry has: what was read and cannot be decoded yet waits here, partition by partition, while everything else
//! goes on. A registry that is away is so never a fault of a record.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use millstream_codec::{Codec, Ready, Registered};
use millstream_log::{Batch, LogRecord, LogResult};

use super::{Replica, stopped};
use crate::plan::StagePlan;

/// Batches whose first record waits for a schema.
#[derive(Default)]
pub(super) struct Unresolved {
    waiting: BTreeMap<(u32, u16), VecDeque<Batch>>,
    /// Whether a format of the stage needs a registry.
    needed: bool,
    /// Numbers of the outputs' schemas are known.
    numbered: bool,
}

impl Unresolved {
    pub(super) fn new(plan: &StagePlan) -> Self {
        let of_registry = |codec: &Codec| matches!(codec, Codec::Registered(_));
        let needed = plan.inputs.iter().any(|i| of_registry(&i.codec)) || outputs(plan).next().is_some();
        Self { waiting: BTreeMap::new(), needed, numbered: outputs(plan).next().is_none() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn forget(&mut self, slots: &[u32]) {
        self.waiting.retain(|(slot, _), _| !slots.contains(slot));
    }

    /// What is read of one input is not to follow what waits of it.
    pub(super) fn drop_of(&mut self, slot: u32, input: u16) {
        self.waiting.remove(&(slot, input));
    }

    /// Records that wait, and their bytes.
    pub(super) fn held(&self) -> (usize, usize) {
        let all = || self.waiting.values().flatten().flat_map(|batch| &batch.records);
        (all().count(), all().map(LogRecord::size).sum())
    }

    /// Partitions of which nothing more is read for now.
    pub(super) fn full(&self) -> impl Iterator<Item = (u32, u16)> {
        self.waiting.keys().copied()
    }
}

fn outputs(plan: &StagePlan) -> impl Iterator<Item = &Registered> {
    plan.outputs.iter().filter_map(|output| match &output.codec {
        Codec::Registered(avro) if avro.subject().is_some() => Some(avro),
        _ => None,
    })
}

impl Replica {
    /// Asks for the numbers that the stage writes with. Those it was told before may be outdated where there were none.
    pub(super) fn ask_for_numbers(&self) {
        for avro in outputs(&self.cx.plan) {
            if let Some(subject) = avro.subject() {
                avro.registry().find(subject, self.wake());
            }
        }
    }

    fn wake(&self) -> Ready {
        let waker = self.member.waker();
        Arc::new(move || waker())
    }

    /// Whether the numbers that the stage writes with are known; an error says that there are none.
    fn may_write(&mut self) -> LogResult<bool> {
        if self.unresolved.numbered {
            return Ok(true);
        }
        for avro in outputs(&self.cx.plan) {
            match avro.unnumbered() {
                Some(Ok(_)) => return Ok(false),
                Some(Err(why)) => return Err(stopped("schema_not_registered", why.to_string())),
                None => {}
            }
        }
        self.unresolved.numbered = true;
        Ok(true)
    }

    /// The part of a batch that can be decoded now. The rest is kept, and all of the partition that comes after it.
    pub(super) fn resolved(&mut self, slot: u32, input: u16, mut batch: Batch) -> LogResult<Option<Batch>> {
        if !self.unresolved.needed {
            return Ok(Some(batch));
        }
        if let Some(before) = self.unresolved.waiting.get_mut(&(slot, input)) {
            before.push_back(batch);
            return Ok(None);
        }
        let wait_at = if self.may_write()? { batch.records.iter().position(|r| self.lacks(input, r)) } else { Some(0) };
        let Some(at) = wait_at.filter(|_| !batch.records.is_empty()) else { return Ok(Some(batch)) };
        let rest = batch.records.split_off(at);
        let next = rest.first().map_or(batch.next, |record| record.offset);
        let (partition, epoch, at_end) = (batch.partition.clone(), batch.epoch, batch.at_end);
        let rest = Batch { partition, epoch, records: rest, next: batch.next, at_end };
        self.unresolved.waiting.insert((slot, input), VecDeque::from([rest]));
        (batch.next, batch.at_end) = (next, false);
        Ok((at > 0).then_some(batch))
    }

    /// Whether the schema of a record has to be fetched first; it is asked for then.
    pub(super) fn lacks(&self, input: u16, record: &LogRecord) -> bool {
        let Some(raw) = &record.value else { return false };
        let inputs = &self.cx.plan.inputs;
        // A copy may have come from any of them.
        let codecs = match inputs.get(usize::from(input)) {
            Some(one) => std::slice::from_ref(one),
            None => &inputs[..],
        };
        let lacking = codecs.iter().find_map(|i| i.codec.lacks(raw));
        if let Some((avro, id)) = lacking {
            avro.registry().fetch(id, self.wake());
        }
        lacking.is_some()
    }

    /// Whether the schema of a copy has to be fetched first.
    pub(super) fn lacks_any(&self, copies: &[Batch]) -> bool {
        self.unresolved.needed && copies.iter().flat_map(|batch| &batch.records).any(|r| self.lacks(u16::MAX, r))
    }

    /// Takes up what has waited, as far as it can be decoded now.
    pub(super) fn admit_resolved(&mut self) -> LogResult<()> {
        if !self.may_write()? || self.unresolved.waiting.is_empty() {
            return Ok(());
        }
        for place in self.unresolved.waiting.keys().copied().collect::<BTreeSet<_>>() {
            let ready = |first: &Batch| first.records.first().is_none_or(|r| !self.lacks(place.1, r));
            if !self.unresolved.waiting.get(&place).and_then(VecDeque::front).is_some_and(ready) {
                continue;
            }
            let batches = self.unresolved.waiting.remove(&place).unwrap_or_default();
            for batch in batches {
                self.admit(batch)?;
            }
        }
        Ok(())
    }
}
