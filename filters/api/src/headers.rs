//! Record headers, packed: order, repeats, nulls and bytes are kept exactly, and a record that passes untouched
//! shares the bytes of the batch it was read in.

use bytes::{BufMut, Bytes, BytesMut};

/// An ordered list of (name, value) pairs; a value may be null. Names may repeat.
///
/// Held packed (`u32` name length, name, `i32` value length or -1, value; big endian), so that a batch of records
/// needs one allocation for all headers and passing them on copies nothing. Cloning is a reference count.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers {
    packed: Bytes,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { packed: Bytes::new() }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty()
    }

    /// Bytes held, for budgets.
    pub fn size(&self) -> usize {
        self.packed.len()
    }

    /// The pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&[u8]>)> {
        self.iter_bytes().map_while(|(name, value)| Some((std::str::from_utf8(name).ok()?, value)))
    }

    /// The pairs in order, with the bytes of their names, which are UTF-8: to look at them as text takes longer than to find
    /// or copy them.
    pub fn iter_bytes(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut rest: &[u8] = &self.packed;
        std::iter::from_fn(move || {
            let (name, value, after) = split_first(rest)?;
            rest = after;
            Some((name, value))
        })
    }

    /// The last value of `name` (as Kafka's `lastHeader`): `None` when absent, `Some(None)` when null.
    pub fn get(&self, name: &str) -> Option<Option<&[u8]>> {
        self.iter_bytes().filter(|(n, _)| *n == name.as_bytes()).last().map(|(_, v)| v)
    }

    /// The last value of `name` as text, when present, not null and UTF-8.
    pub fn get_str(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.get(name)??).ok()
    }

    /// A copy with every `name` removed and one pair added at the place of the first, or at the end.
    pub fn with(&self, name: &str, value: Option<&[u8]>) -> Self {
        let mut out = HeadersBuilder::with_capacity(self.size() + name.len() + value.map_or(0, <[u8]>::len) + 8);
        let mut done = false;
        for (n, v) in self.iter() {
            if n != name {
                out.push(n, v);
            } else if !done {
                out.push(name, value);
                done = true;
            }
        }
        if !done {
            out.push(name, value);
        }
        out.finish()
    }

    /// A copy without any header of that name; the same bytes when there is none.
    pub fn without(&self, name: &str) -> Self {
        if self.get(name).is_none() {
            return self.clone();
        }
        let mut out = HeadersBuilder::with_capacity(self.size());
        out.extend_except(self, name);
        out.finish()
    }

    /// The packed form. For the log adapters and durable formats.
    pub fn packed(&self) -> &Bytes {
        &self.packed
    }

    /// Takes the packed form back. `None` if it is not one: lengths that overrun, or names that are not UTF-8.
    pub fn from_packed(packed: Bytes) -> Option<Self> {
        let mut rest: &[u8] = &packed;
        while !rest.is_empty() {
            let (name, _, after) = split_first(rest)?;
            std::str::from_utf8(name).ok()?;
            rest = after;
        }
        Some(Self { packed })
    }
}

impl<'a> FromIterator<(&'a str, Option<&'a [u8]>)> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, Option<&'a [u8]>)>>(pairs: I) -> Self {
        let mut out = HeadersBuilder::default();
        for (name, value) in pairs {
            out.push(name, value);
        }
        out.finish()
    }
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |v: &[u8]| String::from_utf8_lossy(v).into_owned();
        f.debug_list().entries(self.iter().map(|(n, v)| (n, v.map(text)))).finish()
    }
}

/// Packs headers into a buffer that many records may share: [`HeadersBuilder::finish`] splits off one list and keeps
/// the rest of the allocation for the next.
#[derive(Default)]
pub struct HeadersBuilder {
    buffer: BytesMut,
}

impl HeadersBuilder {
    /// A builder with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(bytes) }
    }

    /// To be called before the first push of a list: makes sure of room for `bytes`; takes a new allocation of at least
    /// `arena` bytes when there is none left.
    pub fn reserve(&mut self, bytes: usize, arena: usize) {
        if self.buffer.capacity() - self.buffer.len() < bytes {
            self.buffer = BytesMut::with_capacity(arena.max(bytes));
        }
    }

    /// Adds one pair at the end. A name or value over 2 GiB cannot come from a log, whose records are smaller.
    pub fn push(&mut self, name: &str, value: Option<&[u8]>) {
        self.buffer.put_u32(name.len() as u32);
        self.buffer.put_slice(name.as_bytes());
        match value {
            Some(v) => {
                self.buffer.put_i32(v.len() as i32);
                self.buffer.put_slice(v);
            }
            None => self.buffer.put_i32(-1),
        }
    }

    /// Adds every pair of `headers` but those of the name `except`.
    pub fn extend_except(&mut self, headers: &Headers, except: &str) {
        let packed: &[u8] = &headers.packed;
        // What lies between two of that name is copied as it is.
        let (mut from, mut rest) = (0, packed);
        while let Some((name, _, after)) = split_first(rest) {
            if name == except.as_bytes() {
                self.buffer.put_slice(&packed[from..packed.len() - rest.len()]);
                from = packed.len() - after.len();
            }
            rest = after;
        }
        self.buffer.put_slice(&packed[from..packed.len() - rest.len()]);
    }

    /// The list packed so far; the builder is empty again.
    pub fn finish(&mut self) -> Headers {
        Headers { packed: self.buffer.split().freeze() }
    }
}

/// Name, value and the rest.
type First<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8]);

fn split_first(bytes: &[u8]) -> Option<First<'_>> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (name, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    match i32::from_be_bytes(*len) {
        -1 => Some((name, None, rest)),
        len => {
            let (value, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            Some((name, Some(value), rest))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_repeats_nulls_and_bytes_are_kept() {
        let pairs: [(&str, Option<&[u8]>); 4] =
            [("b", Some(b"1")), ("a", None), ("b", Some(&[0xff, 0])), ("", Some(b""))];
        let headers: Headers = pairs.into_iter().collect();
        assert!(headers.iter().eq(pairs));
        assert_eq!(headers.get("b"), Some(Some(&[0xff, 0][..])));
        assert_eq!(headers.get("a"), Some(None));
        assert_eq!(headers.get("c"), None);
        assert_eq!(Headers::from_packed(headers.packed().clone()), Some(headers));
    }

    #[test]
    fn with_replaces_at_the_first_place() {
        let headers: Headers = [("a", Some(&b"1"[..])), ("b", None), ("a", Some(b"2"))].into_iter().collect();
        let changed = headers.with("a", Some(b"3"));
        assert!(changed.iter().eq([("a", Some(&b"3"[..])), ("b", None)]));
        assert!(headers.without("a").iter().eq([("b", None)]));
    }

    #[test]
    fn all_but_those_of_a_name() {
        let pairs: [(&str, Option<&[u8]>); 5] =
            [("id", Some(b"1")), ("a", None), ("b", Some(b"2")), ("id", None), ("id", Some(b"3"))];
        let headers: Headers = pairs.into_iter().collect();
        for except in ["id", "a", "b", "none", ""] {
            let mut builder = HeadersBuilder::default();
            builder.push("before", None);
            builder.extend_except(&headers, except);
            let built = builder.finish();
            let want = std::iter::once(("before", None)).chain(pairs.into_iter().filter(|(name, _)| *name != except));
            assert!(built.iter().eq(want), "{except}");
        }
        assert_eq!(Headers::from_packed(Bytes::from_static(b"\0\0\0\x01\xff\xff\xff\xff\xff")), None, "no UTF-8");
    }

    #[test]
    fn a_torn_packed_form_is_refused() {
        let headers: Headers = [("name", Some(&b"value"[..]))].into_iter().collect();
        for cut in 1..headers.size() {
            assert_eq!(Headers::from_packed(headers.packed().slice(..cut)), None, "cut at {cut}");
        }
    }
}
