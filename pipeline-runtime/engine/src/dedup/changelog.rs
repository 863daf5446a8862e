//! Marks as they look in `.state`: one packed record per transaction and partition.
//!
//! Version 1: a version byte, then sections: tag byte, length (varint), content. A reader passes over a section it does
//! not know if its tag is 128 or more, and refuses the record otherwise.
//! - section 1, clock: time in ms since 1970 and milliseconds of a bucket, both signed varints
//! - section 2, marks: for each the hash (16 bytes, each half little end first), input (varint), offset and time bucket
//!   (signed varints, less those of the mark before, the first less 0)

use super::table::Mark;
use crate::{EngineError, varint};

const VERSION: u8 = 1;
const CLOCK: u8 = 1;
const MARKS: u8 = 2;
const OPTIONAL: u8 = 128;
const WHAT: &str = "a record of the dedup state";

/// Packs the marks of one transaction.
pub fn encode<'a>(time: i64, width: i64, marks: impl ExactSizeIterator<Item = &'a Mark>) -> Vec<u8> {
    let mut section = Vec::with_capacity(marks.len() * 20 + 16);
    let mut out = Vec::with_capacity(marks.len() * 20 + 32);
    out.push(VERSION);
    varint::put_signed(&mut section, time);
    varint::put_signed(&mut section, width);
    put_section(&mut out, CLOCK, &mut section);
    let (mut offset, mut bucket) = (0i64, 0i64);
    for mark in marks {
        section.extend_from_slice(&mark.id[0].to_le_bytes());
        section.extend_from_slice(&mark.id[1].to_le_bytes());
        varint::put(&mut section, mark.input.into());
        varint::put_signed(&mut section, mark.offset.wrapping_sub(offset));
        varint::put_signed(&mut section, mark.bucket.wrapping_sub(bucket));
        (offset, bucket) = (mark.offset, mark.bucket);
    }
    if !section.is_empty() {
        put_section(&mut out, MARKS, &mut section);
    }
    out
}

fn put_section(out: &mut Vec<u8>, tag: u8, section: &mut Vec<u8>) {
    out.push(tag);
    varint::put(out, section.len() as u64);
    out.append(section);
}

/// One packed record, its frame checked.
#[derive(Debug)]
pub struct Logged<'a> {
    pub time: i64,
    pub width: i64,
    marks: &'a [u8],
}

impl<'a> Logged<'a> {
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EngineError> {
        let Some((&version, mut rest)) = bytes.split_first() else { return Err(corrupt("it is empty")) };
        if version > VERSION {
            return Err(EngineError::NewerVersion { what: WHAT, found: version, known: VERSION });
        }
        if version != VERSION {
            return Err(corrupt("its version is 0"));
        }
        let (mut clock, mut marks) = (None, &[][..]);
        while let Some((&tag, after)) = rest.split_first() {
            rest = after;
            let section = take_section(&mut rest).ok_or_else(|| corrupt("a section is cut off"))?;
            match tag {
                CLOCK => clock = Some(take_clock(section).ok_or_else(|| corrupt("its clock does not decode"))?),
                MARKS => marks = section,
                OPTIONAL.. => {}
                _ => return Err(corrupt("it has a section this version does not know")),
            }
        }
        let (time, width) = clock.ok_or_else(|| corrupt("it has no clock"))?;
        Ok(Self { time, width, marks })
    }

    pub fn marks(&self) -> Marks<'a> {
        Marks { rest: self.marks, offset: 0, bucket: 0 }
    }
}

fn take_section<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(varint::take(rest)?).ok()?;
    let (section, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(section)
}

fn take_clock(mut section: &[u8]) -> Option<(i64, i64)> {
    let time = varint::take_signed(&mut section)?;
    let width = varint::take_signed(&mut section).filter(|width| *width > 0)?;
    section.is_empty().then_some((time, width))
}

fn corrupt(why: &'static str) -> EngineError {
    EngineError::Corrupt { what: WHAT, why }
}

/// The marks of one packed record.
pub struct Marks<'a> {
    rest: &'a [u8],
    offset: i64,
    bucket: i64,
}

impl Iterator for Marks<'_> {
    type Item = Result<Mark, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mark = self.take();
        if mark.is_none() {
            self.rest = &[];
        }
        Some(mark.ok_or_else(|| corrupt("a mark is cut off")))
    }
}

impl Marks<'_> {
    fn take(&mut self) -> Option<Mark> {
        let (first, after) = self.rest.split_first_chunk()?;
        let (second, after) = after.split_first_chunk()?;
        self.rest = after;
        let input = u16::try_from(varint::take(&mut self.rest)?).ok()?;
        self.offset = self.offset.wrapping_add(varint::take_signed(&mut self.rest)?);
        self.bucket = self.bucket.wrapping_add(varint::take_signed(&mut self.rest)?);
        let id = [u64::from_le_bytes(*first), u64::from_le_bytes(*second)];
        Some(Mark { id, input, offset: self.offset, bucket: self.bucket })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn marks() -> impl Strategy<Value = Vec<Mark>> {
        let mark = (any::<[u64; 2]>(), any::<u16>(), any::<i64>(), any::<i64>());
        prop::collection::vec(mark.prop_map(|(id, input, offset, bucket)| Mark { id, input, offset, bucket }), 0..20)
    }

    proptest! {
        #[test]
        fn comes_back(time: i64, width in 1i64.., marks in marks()) {
            let bytes = encode(time, width, marks.iter());
            let logged = Logged::decode(&bytes).unwrap();
            prop_assert_eq!((logged.time, logged.width), (time, width));
            prop_assert_eq!(logged.marks().collect::<Result<Vec<_>, _>>(), Ok(marks));
        }

        #[test]
        fn never_panics(mut bytes: Vec<u8>, honest: bool, marks in marks(), cut: usize) {
            if honest {
                bytes = encode(0, 1, marks.iter());
                bytes.truncate(cut % (bytes.len() + 1));
            }
            if let Ok(logged) = Logged::decode(&bytes) {
                let _ = logged.marks().collect::<Result<Vec<_>, _>>();
            }
        }
    }

    /// The bytes of version 1. They are in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let marks = [
            Mark { id: [1, u64::MAX], input: 0, offset: 1_000, bucket: 5 },
            Mark { id: [2, 3], input: 1, offset: 999, bucket: 6 },
        ];
        let mut bytes = vec![1, 1, 4, 0x80, 0x7d, 0xd0, 0x0f, 2, 39];
        bytes.extend([1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0xd0, 0x0f, 10]);
        bytes.extend([2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2]);
        assert_eq!(encode(8_000, 1_000, marks.iter()), bytes);
        let logged = Logged::decode(&bytes).unwrap();
        assert_eq!((logged.time, logged.width), (8_000, 1_000));
        assert!(logged.marks().map(Result::unwrap).eq(marks));
    }

    #[test]
    fn later_versions_and_sections() {
        let code = |bytes: &[u8]| Logged::decode(bytes).map(|_| ()).map_err(|e| e.code());
        assert_eq!(code(&[2, 1, 2, 0, 2]), Err("newer_version"));
        assert_eq!(code(&[0]), Err("state_corrupt"));
        assert_eq!(code(&[]), Err("state_corrupt"));
        assert_eq!(code(&[1]), Err("state_corrupt"), "no clock");
        assert_eq!(code(&[1, 1, 2, 0, 2, 9, 0]), Err("state_corrupt"), "a section one must know");
        assert_eq!(code(&[1, 1, 2, 0, 2, 200, 1, 7]), Ok(()), "a section one may pass over");
        assert_eq!(code(&[1, 1, 2, 0, 0]), Err("state_corrupt"), "a bucket of no time");
    }
}
