//! One record inside a run: u32 offset minus the run's base, i64 time stamp, i32 lengths of key and value (-1 for
//! null), u32 length of the packed headers, then key, value, headers.

use bytes::Bytes;
use millstream_filter_api::Headers;
use millstream_log::LogRecord;

use crate::bytes_codec::{Put, Take};

/// Bytes before the key.
const FIXED: usize = 24;

/// What a record is made of when it is written.
pub(crate) struct RecordParts<'a> {
    pub timestamp: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [u8],
}

/// Appends a record to a run.
pub(crate) fn encode(out: &mut Vec<u8>, delta: u32, parts: &RecordParts<'_>) {
    let (key, value) = (parts.key.unwrap_or_default(), parts.value.unwrap_or_default());
    out.reserve(FIXED + key.len() + value.len() + parts.headers.len());
    out.put_u32(delta);
    out.put_i64(parts.timestamp);
    out.put_i32(parts.key.map_or(-1, |k| k.len() as i32));
    out.put_i32(parts.value.map_or(-1, |v| v.len() as i32));
    out.put_u32(parts.headers.len() as u32);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    out.extend_from_slice(parts.headers);
}

/// Where the parts of the record at `at` are, without touching them.
struct Layout {
    delta: u32,
    timestamp: i64,
    key: Option<(usize, usize)>,
    value: Option<(usize, usize)>,
    headers: (usize, usize),
    end: usize,
}

fn layout(run: &[u8], at: usize) -> Option<Layout> {
    let mut take = Take::new(run.get(at..)?);
    let (delta, timestamp) = (take.u32()?, take.i64()?);
    let (key, value, headers) = (take.i32()?, take.i32()?, take.u32()?);
    let mut from = at + FIXED;
    let mut part = |len: usize| {
        let range = (from, from.checked_add(len)?);
        from = range.1;
        Some(range)
    };
    let mut nullable = |len: i32| match len {
        -1 => Some(None),
        len => part(usize::try_from(len).ok()?).map(Some),
    };
    let (key, value) = (nullable(key)?, nullable(value)?);
    let headers = part(headers as usize)?;
    (headers.1 <= run.len()).then_some(Layout { delta, timestamp, key, value, headers, end: headers.1 })
}

/// The offset of the record at `at` minus the run's base, and where the next record is. `None`: not a record.
pub(crate) fn peek(run: &[u8], at: usize) -> Option<(u32, usize)> {
    layout(run, at).map(|l| (l.delta, l.end))
}

/// The record at `at`, as slices of the run, and where the next one is. `None`: not a record.
pub(crate) fn decode(run: &Bytes, base: i64, at: usize) -> Option<(LogRecord, usize)> {
    let layout = layout(run, at)?;
    let slice = |(from, to): (usize, usize)| run.slice(from..to);
    let headers = match layout.headers {
        (from, to) if from == to => Headers::new(),
        range => Headers::from_packed(slice(range))?,
    };
    let record = LogRecord {
        offset: base + i64::from(layout.delta),
        timestamp: layout.timestamp,
        key: layout.key.map(slice),
        value: layout.value.map(slice),
        headers,
    };
    Some((record, layout.end))
}
