//! What is on disk: a frame is one transaction, whole or not there.
//!
//! A segment file is a header of [`SEGMENT_HEADER`] bytes and frames one after the other. A frame is
//!
//! ```text
//! 0   magic "MSF" and the version of the frame format (1)
//! 4   u32  length of the head
//! 8   u32  length of the data
//! 12  u64  sequence: counted over all frames of the folder, without a gap inside a segment
//! 20  u64  synced: every frame below this sequence was forced to disk before this one was written
//! 28  u32  CRC-32C of bytes 0..28 and the head
//! 32  head: when it was written, operations, one row per run of records
//!     data: the runs, each a CRC-32C of its records and the records
//! ```
//!
//! Integers are little endian. The checksum of a run is its own, so that a reader of one partition reads and checks
//! nothing but its run. A run is at most about [`RUN_BYTES`] long, or one record.

use millstream_log::Retention;

use crate::bytes_codec::{Put, Take};

/// First bytes of a frame; the last one is the version.
pub(crate) const MAGIC: [u8; 4] = *b"MSF\x01";
/// Bytes before the head.
pub(crate) const FRAME_HEADER: usize = 32;
/// First bytes of a segment file; the last one is the version.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"MILLSEG\x01";
/// Bytes before the first frame: magic, u32 number of the segment, u32 CRC-32C of both.
pub(crate) const SEGMENT_HEADER: usize = 16;
/// A run is closed when it has this many bytes.
pub(crate) const RUN_BYTES: usize = 256 << 10;
/// Longest head that is believed.
const MAX_HEAD: u32 = 256 << 20;

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub head_len: u32,
    pub data_len: u32,
    pub sequence: u64,
    pub synced: u64,
    crc: u32,
}

impl FrameHeader {
    /// Length of the whole frame.
    pub fn frame_len(&self) -> u64 {
        FRAME_HEADER as u64 + u64::from(self.head_len) + u64::from(self.data_len)
    }

    /// Reads the fixed part; `None` if these are no frame's first bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.starts_with(&MAGIC).then(|| Self::parse_any(bytes))?
    }

    /// The same, whatever the version.
    pub fn parse_any(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.get(..FRAME_HEADER)?.strip_prefix(&MAGIC[..3])?;
        let mut take = Take::new(&rest[1..]);
        let header = Self {
            head_len: take.u32()?,
            data_len: take.u32()?,
            sequence: take.u64()?,
            synced: take.u64()?,
            crc: take.u32()?,
        };
        (header.head_len <= MAX_HEAD).then_some(header)
    }

    /// Whether the head belongs to this header and neither was changed. `fixed` is the header's bytes.
    pub fn checks(&self, fixed: &[u8], head: &[u8]) -> bool {
        head.len() == self.head_len as usize && crc32c::crc32c_append(crc32c::crc32c(&fixed[..28]), head) == self.crc
    }
}

/// The variable part of a frame, without the records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Head {
    /// When it was written, ms since 1970.
    pub written: i64,
    /// What changes beside records.
    pub ops: Vec<Op>,
    /// Where the records are.
    pub rows: Vec<Row>,
}

/// A change that is not a record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Op {
    /// Begins a segment: forget all topics, positions and offsets; what follows in this frame is the whole state.
    Reset { next_topic: u32 },
    /// A topic is there.
    Topic { id: u32, name: String, partitions: u32, retention: Retention, max_record_bytes: u64 },
    /// A topic and its positions are gone. Its id is never used again.
    TopicDeleted { id: u32 },
    /// Records below are gone.
    Low { topic: u32, partition: u32, offset: i64 },
    /// The next record gets this offset; only in a frame with `Reset`.
    Next { topic: u32, partition: u32, offset: i64 },
    /// A topic has this many partitions from now on; never fewer. Not in a frame with `Reset`, which says it in `Topic`.
    Partitions { topic: u32, partitions: u32 },
    /// A group's position.
    Position { group: String, topic: u32, partition: u32, offset: i64, metadata: String },
    /// A group's positions are gone, all of them. A program that does not know this says that the folder is of a later
    /// version.
    GroupDeleted { group: String },
}

/// Where one run of records of one partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub topic: u32,
    pub partition: u32,
    /// First offset.
    pub base: i64,
    /// Offset after the last; a moved run may have gaps.
    pub end: i64,
    /// When its records were written first.
    pub written: i64,
    /// The latest time stamp in it.
    pub max_timestamp: i64,
    /// Where it begins in the frame's data.
    pub at: u32,
    /// Its length, checksum included.
    pub len: u32,
    /// Whether it replaces what earlier frames had between `base` and `end`.
    pub moved: bool,
}

const ROW_BYTES: usize = 49;

impl Head {
    /// The bytes of a whole frame up to its data.
    pub fn encode(&self, sequence: u64, synced: u64, data_len: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(FRAME_HEADER + 16 + self.ops.len() * 64 + self.rows.len() * ROW_BYTES);
        out.extend_from_slice(&[0; FRAME_HEADER]);
        out.put_i64(self.written);
        out.put_u32(self.ops.len() as u32);
        for op in &self.ops {
            op.encode(&mut out);
        }
        out.put_u32(self.rows.len() as u32);
        for row in &self.rows {
            row.encode(&mut out);
        }
        let head_len = (out.len() - FRAME_HEADER) as u32;
        let mut fixed = Vec::with_capacity(FRAME_HEADER);
        fixed.extend_from_slice(&MAGIC);
        fixed.put_u32(head_len);
        fixed.put_u32(data_len);
        fixed.put_u64(sequence);
        fixed.put_u64(synced);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&fixed), &out[FRAME_HEADER..]);
        fixed.put_u32(crc);
        out[..FRAME_HEADER].copy_from_slice(&fixed);
        out
    }

    /// Reads a head. `None` if it is none, or one of a later version.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut take = Take::new(bytes);
        let written = take.i64()?;
        let ops = (0..take.count(1)?).map(|_| Op::parse(&mut take)).collect::<Option<_>>()?;
        let rows = (0..take.count(ROW_BYTES)?).map(|_| Row::parse(&mut take)).collect::<Option<_>>()?;
        take.is_empty().then_some(Self { written, ops, rows })
    }
}

impl Op {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Op::Reset { next_topic } => {
                out.put_u8(1);
                out.put_u32(*next_topic);
            }
            Op::Topic { id, name, partitions, retention, max_record_bytes } => {
                out.put_u8(2);
                out.put_u32(*id);
                out.put_str(name);
                out.put_u32(*partitions);
                put_retention(out, *retention);
                out.put_u64(*max_record_bytes);
            }
            Op::TopicDeleted { id } => {
                out.put_u8(3);
                out.put_u32(*id);
            }
            Op::Low { topic, partition, offset } => put_offset(out, 4, *topic, *partition, *offset),
            Op::Next { topic, partition, offset } => put_offset(out, 5, *topic, *partition, *offset),
            Op::Partitions { topic, partitions } => {
                out.put_u8(8);
                out.put_u32(*topic);
                out.put_u32(*partitions);
            }
            Op::Position { group, topic, partition, offset, metadata } => {
                put_offset(out, 6, *topic, *partition, *offset);
                out.put_str(group);
                out.put_str(metadata);
            }
            Op::GroupDeleted { group } => {
                out.put_u8(7);
                out.put_str(group);
            }
        }
    }

    fn parse(take: &mut Take<'_>) -> Option<Self> {
        Some(match take.u8()? {
            1 => Op::Reset { next_topic: take.u32()? },
            2 => Op::Topic {
                id: take.u32()?,
                name: take.str()?.to_owned(),
                partitions: take.u32()?,
                retention: take_retention(take)?,
                max_record_bytes: take.u64()?,
            },
            3 => Op::TopicDeleted { id: take.u32()? },
            4 => Op::Low { topic: take.u32()?, partition: take.u32()?, offset: take.i64()? },
            5 => Op::Next { topic: take.u32()?, partition: take.u32()?, offset: take.i64()? },
            6 => Op::Position {
                topic: take.u32()?,
                partition: take.u32()?,
                offset: take.i64()?,
                group: take.str()?.to_owned(),
                metadata: take.str()?.to_owned(),
            },
            7 => Op::GroupDeleted { group: take.str()?.to_owned() },
            8 => Op::Partitions { topic: take.u32()?, partitions: take.u32()? },
            _ => return None,
        })
    }
}

impl Row {
    fn encode(&self, out: &mut Vec<u8>) {
        out.put_u32(self.topic);
        out.put_u32(self.partition);
        out.put_i64(self.base);
        out.put_i64(self.end);
        out.put_i64(self.written);
        out.put_i64(self.max_timestamp);
        out.put_u32(self.at);
        out.put_u32(self.len);
        out.put_u8(u8::from(self.moved));
    }

    fn parse(take: &mut Take<'_>) -> Option<Self> {
        Some(Self {
            topic: take.u32()?,
            partition: take.u32()?,
            base: take.i64()?,
            end: take.i64()?,
            written: take.i64()?,
            max_timestamp: take.i64()?,
            at: take.u32()?,
            len: take.u32()?,
            moved: match take.u8()? {
                0 => false,
                1 => true,
                _ => return None,
            },
        })
    }
}

fn put_offset(out: &mut Vec<u8>, kind: u8, topic: u32, partition: u32, offset: i64) {
    out.put_u8(kind);
    out.put_u32(topic);
    out.put_u32(partition);
    out.put_i64(offset);
}

/// A retention as a kind and milliseconds.
pub(crate) fn put_retention(out: &mut Vec<u8>, retention: Retention) {
    let (kind, ms) = match retention {
        Retention::Kept => (0, 0),
        Retention::Written(age) => (1, u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
        Retention::Compacted => (2, 0),
    };
    out.put_u8(kind);
    out.put_u64(ms);
}

/// The way back.
pub(crate) fn take_retention(take: &mut Take<'_>) -> Option<Retention> {
    let (kind, ms) = (take.u8()?, take.u64()?);
    Some(match kind {
        0 => Retention::Kept,
        1 => Retention::Written(std::time::Duration::from_millis(ms)),
        2 => Retention::Compacted,
        _ => return None,
    })
}

/// The first bytes of a segment file.
pub(crate) fn segment_header(number: u32) -> [u8; SEGMENT_HEADER] {
    let mut out = Vec::with_capacity(SEGMENT_HEADER);
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.put_u32(number);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    let mut header = [0; SEGMENT_HEADER];
    header.copy_from_slice(&out);
    header
}
