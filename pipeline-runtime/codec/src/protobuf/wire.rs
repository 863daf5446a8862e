//! The bytes of messages: numbers, lengths, and passing over what is not known.

use bytes::Bytes;

/// Groups within groups that are passed over.
const MAX_GROUPS: usize = 127;
/// Of a field.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// How a field's bytes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    Varint = 0,
    Eight = 1,
    Length = 2,
    Start = 3,
    End = 4,
    Four = 5,
}

/// What is wrong, and the byte of the slice.
pub(super) struct Broken {
    pub what: String,
    pub at: usize,
}

pub(super) type Got<T> = Result<T, Broken>;

/// A place in a message's bytes.
pub(super) struct Cursor<'a> {
    pub raw: &'a Bytes,
    pub at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(raw: &'a Bytes) -> Self {
        Self { raw, at: 0 }
    }

    pub fn done(&self) -> bool {
        self.at >= self.raw.len()
    }

    #[cold]
    pub fn broken<T>(&self, what: impl Into<String>) -> Got<T> {
        Err(Broken { what: what.into(), at: self.at })
    }

    pub fn varint(&mut self) -> Got<u64> {
        let mut number: u64 = 0;
        for (n, byte) in self.raw[self.at..].iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if n == 9 && *byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << (7 * n);
            if byte & 0x80 == 0 {
                self.at += n + 1;
                return Ok(number);
            }
        }
        if self.raw.len() - self.at < 10 {
            self.broken("the payload ends in a number")
        } else {
            self.broken("a number has no end")
        }
    }

    /// A field's number, and how it ends.
    pub fn tag(&mut self) -> Got<(u32, Wire)> {
        let from = self.at;
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint,
            1 => Wire::Eight,
            2 => Wire::Length,
            3 => Wire::Start,
            4 => Wire::End,
            5 => Wire::Four,
            other => {
                self.at = from;
                return self.broken(format!("{other} is no type of a field"));
            }
        };
        match tag >> 3 {
            number @ 1..=MAX_NUMBER => Ok((number as u32, wire)),
            other => {
                self.at = from;
                self.broken(format!("{other} is no number of a field"))
            }
        }
    }

    pub fn array<const N: usize>(&mut self) -> Got<[u8; N]> {
        match self.raw.get(self.at..self.at + N).and_then(|bytes| bytes.try_into().ok()) {
            Some(array) => {
                self.at += N;
                Ok(array)
            }
            None => self.broken("the payload ends"),
        }
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Got<Bytes> {
        let from = self.at;
        let length = self.varint()?;
        let left = self.raw.len() - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                let bytes = self.raw.slice(self.at..self.at + length);
                self.at += length;
                Ok(bytes)
            }
            _ => {
                self.at = from;
                self.broken(format!("{length} bytes are announced, and {left} are left"))
            }
        }
    }

    /// The bytes of a group whose start was read, without its end.
    pub fn group(&mut self, number: u32) -> Got<Bytes> {
        let from = self.at;
        let end = self.skip_group(number)?;
        Ok(self.raw.slice(from..end))
    }

    /// Passes over a field whose tag was read.
    pub fn skip(&mut self, number: u32, wire: Wire) -> Got<()> {
        match wire {
            Wire::Varint => drop(self.varint()?),
            Wire::Eight => drop(self.array::<8>()?),
            Wire::Four => drop(self.array::<4>()?),
            Wire::Length => drop(self.bytes()?),
            Wire::Start => drop(self.skip_group(number)?),
            Wire::End => return self.broken("a group ends that did not begin"),
        }
        Ok(())
    }

    /// Where its content ends.
    fn skip_group(&mut self, number: u32) -> Got<usize> {
        let mut open = vec![number];
        loop {
            if self.done() {
                return self.broken("the payload ends in a group");
            }
            let end = self.at;
            match self.tag()? {
                (number, Wire::Start) if open.len() < MAX_GROUPS => open.push(number),
                (_, Wire::Start) => return self.broken(format!("nested more than {MAX_GROUPS} deep")),
                (number, Wire::End) => {
                    if open.pop() != Some(number) {
                        return self.broken("a group ends that did not begin");
                    }
                    if open.is_empty() {
                        return Ok(end);
                    }
                }
                (number, wire) => self.skip(number, wire)?,
            }
        }
    }
}

pub(super) fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub(super) fn put_varint(out: &mut Vec<u8>, mut rest: u64) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

pub(super) fn put_tag(out: &mut Vec<u8>, number: u32, wire: Wire) {
    put_varint(out, u64::from(number) << 3 | wire as u64);
}

/// Puts the length of all behind `from` before it.
pub(super) fn put_length(out: &mut Vec<u8>, from: usize) {
    let mut length = Vec::with_capacity(10);
    put_varint(&mut length, (out.len() - from) as u64);
    out.splice(from..from, length);
}
