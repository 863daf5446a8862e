//! The port's types in messages.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use millstream_log::{
    Assignment, Batch, Budget, Class, Committed, Delivery, End, Event, Isolation, LogError, MemberConfig, NewTopic,
    Outgoing, Position, TopicPartition,
};

use crate::bytes_codec::{Put, Take};
use crate::frame::{put_retention, take_retention};
use crate::record::{self, RecordParts};

/// Something that goes through the socket.
pub(crate) trait Wire: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(take: &mut Take<'_>) -> Option<Self>;
}

impl Wire for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(u8::from(*self));
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        match take.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl Wire for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(*self);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        take.u64()
    }
}

impl Wire for i64 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_i64(*self);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        take.i64()
    }
}

impl Wire for i32 {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_i32(*self);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        take.i32()
    }
}

impl Wire for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_str(self);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        take.str().map(str::to_owned)
    }
}

impl Wire for Duration {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(u64::try_from(self.as_millis()).unwrap_or(u64::MAX));
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        take.u64().map(Duration::from_millis)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        if bool::take(take)? { T::take(take).map(Some) } else { Some(None) }
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        put_all(out, self);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        (0..take.count(1)?).map(|_| T::take(take)).collect()
    }
}

impl<A: Wire, B: Wire> Wire for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some((A::take(take)?, B::take(take)?))
    }
}

/// A list without making a `Vec` of it.
pub(crate) fn put_all<T: Wire>(out: &mut Vec<u8>, all: &[T]) {
    out.put_u32(all.len() as u32);
    for one in all {
        one.put(out);
    }
}

impl Wire for TopicPartition {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_str(&self.topic);
        out.put_i32(self.partition);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { topic: take.str()?.into(), partition: take.i32()? })
    }
}

impl Wire for Committed {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_i64(self.offset);
        out.put_str(&self.metadata);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { offset: take.i64()?, metadata: String::take(take)? })
    }
}

impl Wire for Position {
    fn put(&self, out: &mut Vec<u8>) {
        self.partition.put(out);
        out.put_i64(self.offset);
        out.put_str(&self.metadata);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { partition: Wire::take(take)?, offset: take.i64()?, metadata: Wire::take(take)? })
    }
}

impl Wire for Budget {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u64(self.records as u64);
        out.put_u64(self.bytes as u64);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self { records: take.u64()?.try_into().ok()?, bytes: take.u64()?.try_into().ok()? })
    }
}

impl Wire for End {
    fn put(&self, out: &mut Vec<u8>) {
        let (kind, time) = match self {
            End::Low => (0, 0),
            End::High => (1, 0),
            End::Stable => (2, 0),
            End::AtTime(time) => (3, *time),
        };
        out.put_u8(kind);
        out.put_i64(time);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        let (kind, time) = (take.u8()?, take.i64()?);
        Some(match kind {
            0 => End::Low,
            1 => End::High,
            2 => End::Stable,
            3 => End::AtTime(time),
            _ => return None,
        })
    }
}

impl Wire for Isolation {
    fn put(&self, out: &mut Vec<u8>) {
        (*self == Isolation::Uncommitted).put(out);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(if bool::take(take)? { Isolation::Uncommitted } else { Isolation::Committed })
    }
}

impl Wire for NewTopic {
    fn put(&self, out: &mut Vec<u8>) {
        self.name.put(out);
        self.partitions.put(out);
        put_retention(out, self.retention);
        self.replication.map(i32::from).put(out);
        self.max_record_bytes.map(|n| n as u64).put(out);
        self.settings.put(out);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            name: Wire::take(take)?,
            partitions: Wire::take(take)?,
            retention: take_retention(take)?,
            replication: <Option<i32> as Wire>::take(take)?.map(i16::try_from).transpose().ok()?,
            max_record_bytes: <Option<u64> as Wire>::take(take)?.map(usize::try_from).transpose().ok()?,
            settings: Wire::take(take)?,
        })
    }
}

impl Wire for MemberConfig {
    fn put(&self, out: &mut Vec<u8>) {
        self.group.put(out);
        self.lead.put(out);
        self.side.put(out);
        (self.delivery == Delivery::AtLeastOnce).put(out);
        self.name.put(out);
        self.instance.put(out);
        self.session_timeout.put(out);
        (self.prefetch_bytes as u64).put(out);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            group: Wire::take(take)?,
            lead: Wire::take(take)?,
            side: Wire::take(take)?,
            delivery: if bool::take(take)? { Delivery::AtLeastOnce } else { Delivery::ExactlyOnce },
            name: Wire::take(take)?,
            instance: Wire::take(take)?,
            session_timeout: Wire::take(take)?,
            prefetch_bytes: take.u64()?.try_into().ok()?,
        })
    }
}

impl Wire for Assignment {
    fn put(&self, out: &mut Vec<u8>) {
        self.partition.put(out);
        out.put_u64(self.epoch);
        self.committed.put(out);
        out.put_i64(self.low);
        out.put_i64(self.high);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            partition: Wire::take(take)?,
            epoch: take.u64()?,
            committed: Wire::take(take)?,
            low: take.i64()?,
            high: take.i64()?,
        })
    }
}

impl Wire for Event {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Event::Assigned(all) => {
                out.put_u8(0);
                all.put(out);
            }
            Event::Revoking(all) => {
                out.put_u8(1);
                all.put(out);
            }
            Event::Lost(all) => {
                out.put_u8(2);
                all.put(out);
            }
            Event::BrokerAway(away, why) => {
                out.put_u8(3);
                away.put(out);
                why.put(out);
            }
        }
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        Some(match take.u8()? {
            0 => Event::Assigned(Wire::take(take)?),
            1 => Event::Revoking(Wire::take(take)?),
            2 => Event::Lost(Wire::take(take)?),
            3 => Event::BrokerAway(Wire::take(take)?, Wire::take(take)?),
            _ => return None,
        })
    }
}

impl Wire for LogError {
    fn put(&self, out: &mut Vec<u8>) {
        out.put_u8(match self.class {
            Class::Retry => 0,
            Class::Abort => 1,
            Class::Fenced => 2,
            Class::Denied => 3,
            Class::Config => 4,
            Class::Fatal => 5,
        });
        out.put_str(self.code);
        out.put_str(&self.message);
    }
    fn take(take: &mut Take<'_>) -> Option<Self> {
        let class = match take.u8()? {
            0 => Class::Retry,
            1 => Class::Abort,
            2 => Class::Fenced,
            3 => Class::Denied,
            4 => Class::Config,
            5 => Class::Fatal,
            _ => return None,
        };
        let code = take.str()?;
        // An owner of a later version may have codes that are not known here.
        let known = crate::errors::CODES.iter().find(|c| **c == code).copied().unwrap_or("log_owner_failed");
        Some(LogError::new(class, known, take.str()?))
    }
}

/// Records of a poll. The records of a batch are slices of the message.
pub(crate) fn put_batches(out: &mut Vec<u8>, batches: &[Batch]) {
    out.put_u32(batches.len() as u32);
    for batch in batches {
        batch.partition.put(out);
        out.put_u64(batch.epoch);
        out.put_i64(batch.next);
        batch.at_end.put(out);
        out.put_u32(batch.records.len() as u32);
        for r in &batch.records {
            out.put_i64(r.offset);
            put_record(out, r.timestamp, r.key.as_ref(), r.value.as_ref(), r.headers.packed());
        }
    }
}

/// The way back; `take` is somewhere in `body`.
pub(crate) fn take_batches(body: &Bytes, take: &mut Take<'_>) -> Option<Vec<Batch>> {
    (0..take.count(1)?)
        .map(|_| {
            let (partition, epoch, next, at_end) = (Wire::take(take)?, take.u64()?, take.i64()?, Wire::take(take)?);
            let count = take.count(32)?;
            let mut records = Vec::with_capacity(count);
            for _ in 0..count {
                let offset = take.i64()?;
                let at = body.len() - take.remaining();
                let (record, after) = record::decode(body, offset, at)?;
                take.skip(after - at)?;
                records.push(record);
            }
            Some(Batch { partition, epoch, records, next, at_end })
        })
        .collect()
}

/// Records to be sent. Each partition is named once.
pub(crate) fn put_outgoing(out: &mut Vec<u8>, records: &[Outgoing]) {
    let mut partitions: Vec<&TopicPartition> = Vec::new();
    let mut numbers: HashMap<&TopicPartition, u32> = HashMap::new();
    for record in records {
        numbers.entry(&record.to).or_insert_with(|| {
            partitions.push(&record.to);
            partitions.len() as u32 - 1
        });
    }
    out.put_u32(partitions.len() as u32);
    for partition in partitions {
        partition.put(out);
    }
    out.put_u32(records.len() as u32);
    for r in records {
        out.put_u32(numbers[&r.to]);
        out.put_u64(r.tag);
        put_record(out, r.timestamp, r.key.as_ref(), r.value.as_ref(), r.headers.packed());
    }
}

/// The way back.
pub(crate) fn take_outgoing(body: &Bytes) -> Option<Vec<Outgoing>> {
    let mut take = Take::new(body);
    let partitions: Vec<TopicPartition> = Wire::take(&mut take)?;
    let count = take.count(36)?;
    let mut records = Vec::with_capacity(count);
    for _ in 0..count {
        let to = partitions.get(take.u32()? as usize)?.clone();
        let tag = take.u64()?;
        let at = body.len() - take.remaining();
        let (record, after) = record::decode(body, 0, at)?;
        take.skip(after - at)?;
        let (key, value, headers, timestamp) = (record.key, record.value, record.headers, record.timestamp);
        records.push(Outgoing { to, key, value, headers, timestamp, tag });
    }
    take.is_empty().then_some(records)
}

fn put_record(out: &mut Vec<u8>, timestamp: i64, key: Option<&Bytes>, value: Option<&Bytes>, headers: &[u8]) {
    let parts = RecordParts { timestamp, key: key.map(|k| &k[..]), value: value.map(|v| &v[..]), headers };
    record::encode(out, 0, &parts);
}
