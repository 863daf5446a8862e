//! Finished offsets beyond the frontier, as text for the commit's metadata.
//!
//! Format, version 1: the character `1`, then base64url without padding of varints: for each range the distance from
//! the end of the one before (of the first: from the committed offset), then its length. No range is the empty string.
//!
//! Ranges that stand for themselves are bytes ([`range_bytes`]): a byte of version, then the same varints.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::{EngineError, varint};

/// Half-open, rising, not touching each other.
pub type Ranges = Vec<(i64, i64)>;

const VERSION: u8 = b'1';
const BYTES_VERSION: u8 = 1;
const WHAT: &str = "the commit metadata";

/// Ranges beyond `offset` as metadata.
pub fn encode(offset: i64, ranges: &[(i64, i64)]) -> String {
    if ranges.is_empty() {
        return String::new();
    }
    let mut raw = Vec::with_capacity(ranges.len() * 3);
    put(offset, ranges, &mut raw);
    let mut text = String::with_capacity(1 + raw.len().div_ceil(3) * 4);
    text.push(VERSION as char);
    URL_SAFE_NO_PAD.encode_string(&raw, &mut text);
    text
}

/// Bytes the varints of `ranges` take, before base64.
pub fn raw_len(offset: i64, ranges: impl Iterator<Item = (i64, i64)>) -> usize {
    let mut at = offset;
    ranges
        .map(|(start, end)| {
            let len = varint::len(start.wrapping_sub(at) as u64) + varint::len(end.wrapping_sub(start) as u64);
            at = end;
            len
        })
        .sum()
}

/// Bytes before base64 that fit into `max` characters of metadata.
pub fn raw_capacity(max: usize) -> usize {
    max.saturating_sub(1) / 4 * 3
}

/// The finished ranges beyond `offset` that the metadata of a commit says.
pub fn decode(offset: i64, metadata: &str) -> Result<Ranges, EngineError> {
    let corrupt = |why| EngineError::Corrupt { what: WHAT, why };
    let Some((&version, text)) = metadata.as_bytes().split_first() else { return Ok(Vec::new()) };
    if version > VERSION && version.is_ascii_alphanumeric() {
        return Err(EngineError::NewerVersion { what: WHAT, found: version - b'0', known: VERSION - b'0' });
    }
    if version != VERSION {
        return Err(corrupt("it does not start with a version; was it written by another program?"));
    }
    let raw = URL_SAFE_NO_PAD.decode(text).map_err(|_| corrupt("it is not base64url"))?;
    take(offset, &raw).map_err(corrupt)
}

/// Ranges of offsets (half-open, rising, not touching each other, none below 0) as bytes that stand for themselves.
pub fn range_bytes(ranges: &[(i64, i64)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + ranges.len() * 3);
    out.push(BYTES_VERSION);
    // The distance of the first is from before offset 0, because no distance is 0.
    put(-1, ranges, &mut out);
    out
}

/// The other way round; `what` names the place in an error.
pub fn ranges_of_bytes(what: &'static str, bytes: &[u8]) -> Result<Ranges, EngineError> {
    match bytes.split_first() {
        Some((&BYTES_VERSION, rest)) => take(-1, rest).map_err(|why| EngineError::Corrupt { what, why }),
        Some((&found, _)) if found > BYTES_VERSION => {
            Err(EngineError::NewerVersion { what, found, known: BYTES_VERSION })
        }
        _ => Err(EngineError::Corrupt { what, why: "it does not start with a version" }),
    }
}

fn put(offset: i64, ranges: &[(i64, i64)], raw: &mut Vec<u8>) {
    let mut at = offset;
    for (start, end) in ranges {
        varint::put(raw, start.wrapping_sub(at) as u64);
        varint::put(raw, end.wrapping_sub(*start) as u64);
        at = *end;
    }
}

fn take(offset: i64, raw: &[u8]) -> Result<Ranges, &'static str> {
    let mut rest = raw;
    let mut ranges = Ranges::new();
    let mut at = offset;
    while !rest.is_empty() {
        let mut next = || {
            let step = varint::take(&mut rest).and_then(|n| i64::try_from(n).ok()).filter(|n| *n > 0)?;
            at = at.checked_add(step)?;
            Some(at)
        };
        match (next(), next()) {
            (Some(start), Some(end)) => ranges.push((start, end)),
            _ => return Err("a range is cut off, empty or out of bounds"),
        }
    }
    Ok(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ranges() -> impl Strategy<Value = (i64, Ranges)> {
        let step = prop_oneof![1i64..300, 1i64..1 << 40];
        (0i64..1 << 40, prop::collection::vec((step.clone(), step), 0..50)).prop_map(|(offset, steps)| {
            let mut at = offset;
            let ranges = steps.into_iter().map(|(gap, len)| {
                let start = at + gap;
                at = start + len;
                (start, at)
            });
            (offset, ranges.collect())
        })
    }

    proptest! {
        #[test]
        fn comes_back((offset, ranges) in ranges()) {
            let text = encode(offset, &ranges);
            prop_assert!(text.is_ascii());
            let raw = raw_len(offset, ranges.iter().copied());
            prop_assert!(raw <= raw_capacity(text.len() + 4));
            prop_assert_eq!(decode(offset, &text), Ok(ranges));
        }

        #[test]
        fn what_fits_by_the_estimate_fits((offset, ranges) in ranges(), max in 0usize..200) {
            if raw_len(offset, ranges.iter().copied()) <= raw_capacity(max) {
                prop_assert!(encode(offset, &ranges).len() <= max);
            }
        }

        #[test]
        fn bytes_come_back((_, ranges) in ranges(), noise: Vec<u8>) {
            prop_assert_eq!(ranges_of_bytes("it", &range_bytes(&ranges)), Ok(ranges));
            let _ = ranges_of_bytes("it", &noise);
        }

        #[test]
        fn never_panics(offset: i64, text in "1[A-Za-z0-9_-]{0,40}|.{0,10}") {
            let _ = decode(offset, &text);
        }
    }

    /// The bytes of version 1. They are on brokers: this must pass in every later version.
    #[test]
    fn golden() {
        let ranges = vec![(102, 103), (110, 400), (1_000_000, 1_000_001)];
        assert_eq!(encode(100, &ranges), "1AgEHogKwgT0B");
        assert_eq!(decode(100, "1AgEHogKwgT0B"), Ok(ranges));
        assert_eq!(decode(100, ""), Ok(vec![]));
    }

    /// The bytes of version 1 in `<pipeline>.control`: this must pass in every later version.
    #[test]
    fn golden_bytes() {
        let ranges = vec![(0, 3), (10, 400), (1_000_000, 1_000_001)];
        let bytes = [1, 1, 3, 7, 134, 3, 176, 129, 61, 1];
        assert_eq!(range_bytes(&ranges), bytes);
        assert_eq!(ranges_of_bytes("it", &bytes), Ok(ranges));
        assert_eq!(range_bytes(&[]), [1]);
        let code = |bytes: &[u8]| ranges_of_bytes("it", bytes).map_err(|e| e.code());
        assert_eq!(code(&[1]), Ok(vec![]));
        assert_eq!(code(&[2, 1, 3]), Err("newer_version"));
        assert_eq!(code(&[]), Err("state_corrupt"));
        assert_eq!(code(&[0]), Err("state_corrupt"));
        assert_eq!(code(&[1, 1]), Err("state_corrupt"));
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let code = |text| decode(0, text).map_err(|e| e.code());
        assert_eq!(code("2AgE"), Err("newer_version"));
        assert_eq!(
            code("2;p.s.1f.0;1AgE"),
            Err("newer_version"),
            "what a later version of the Kafka adapter puts before it"
        );
        assert_eq!(code("{json}"), Err("state_corrupt"));
        assert_eq!(code("1Ag"), Err("state_corrupt"));
        assert_eq!(code("1AAE"), Err("state_corrupt"));
        assert_eq!(code("1!!"), Err("state_corrupt"));
    }
}
