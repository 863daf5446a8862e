//! A record that is set aside lies in `<pipeline>.<stage>.retry` as a *copy*: its own key, payload, headers and time
//! stamp, behind one family of headers that says where it was first read and why it lies here.
//!
//! The family stands in front of the record's own headers, complete and in one order. So it can be taken off again
//! without looking at the rest, and a record that itself has headers of these names comes back as it was.

use std::fmt;

use millstream_engine::CopyKind;
use millstream_filter_api::{Headers, HeadersBuilder};

use crate::dead_letter::cut;

/// The family of headers.
pub const PREFIX: &str = "millstream.retry.";

/// The form of the family; rises when what is there means something else. The value of its first header, `v`. Version 2
/// has the reasons that have to do with holds, and copies of other reasons are still written as version 1: a program that
/// knows no holds reads them, and stops at the first of the others instead of passing it over.
pub const VERSION: u32 = 2;

/// The headers after `v`, in their order.
const FIELDS: [&str; 11] =
    ["reason", "input", "topic", "partition", "offset", "attempts", "first", "due", "code", "message", "filter"];

/// Why a copy lies in `.retry`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It failed, and waits for its next attempt.
    Parked,
    /// Another record of its key is parked before it.
    Behind,
    /// It was a dead letter, and was sent back.
    Redriven,
    /// The same, and it passes though its id has passed meanwhile.
    Forced,
    /// It was a dead letter that held its key, and was sent back: it goes before what waits behind it.
    First,
    /// The same, and it passes though its id has passed meanwhile.
    ForcedFirst,
    /// No record: a dead letter holds its key.
    Hold,
    /// No record: somebody has decided that the hold is over.
    Free,
}

/// What a copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Why it is here.
    pub reason: Reason,
    /// Which of the stage's inputs it was read from, counted from 0. The topic's name decides where the two differ.
    pub input: u16,
    /// The topic it was read from.
    pub topic: String,
    /// The partition there.
    pub partition: i32,
    /// The offset there.
    pub offset: i64,
    /// Attempts made; 0 for one that never ran. Of a hold and of its end: how often its letter had been sent back before.
    pub attempts: u32,
    /// When the first attempt began, ms since 1970; 0 for one that never ran.
    pub first: i64,
    /// No attempt before this, ms since 1970; 0 for at once.
    pub due: i64,
    /// What the last attempt failed with: code, message and filter. Empty for one that never ran.
    pub code: String,
    /// For people.
    pub message: String,
    /// Name of the filter.
    pub filter: String,
}

/// Why a copy cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// A newer Millstream wrote it: nothing is wrong with it, and it must stay until one reads it.
    Newer(u32),
    /// Somebody else wrote it, or changed it.
    Broken(String),
}

impl Reason {
    const ALL: [(Self, &str); 8] = [
        (Self::Parked, "parked"),
        (Self::Behind, "behind"),
        (Self::Redriven, "redriven"),
        (Self::Forced, "forced"),
        (Self::First, "first"),
        (Self::ForcedFirst, "forced_first"),
        (Self::Hold, "hold"),
        (Self::Free, "free"),
    ];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(reason, _)| *reason == self).map_or("", |(_, word)| word)
    }

    /// What the engine is told of a copy for this reason.
    pub fn kind(self) -> CopyKind {
        match self {
            Self::Parked | Self::Behind => CopyKind::Parked,
            Self::Redriven | Self::Forced => CopyKind::SentBack,
            Self::First | Self::ForcedFirst => CopyKind::First,
            Self::Hold => CopyKind::Hold,
            Self::Free => CopyKind::Free,
        }
    }

    /// The version that brought it.
    fn version(self) -> u32 {
        if matches!(self.kind(), CopyKind::Parked | CopyKind::SentBack) { 1 } else { 2 }
    }
}

impl Note {
    /// The headers of a copy: the family, then those of the record.
    pub fn headers(&self, own: &Headers) -> Headers {
        let mut out = HeadersBuilder::with_capacity(own.size() + self.message.len() + 512);
        let mut name = String::with_capacity(32);
        let mut push = |suffix: &str, value: &str| {
            name.clear();
            name.push_str(PREFIX);
            name.push_str(suffix);
            out.push(&name, Some(value.as_bytes()));
        };
        push("v", &self.reason.version().to_string());
        for field in FIELDS {
            match field {
                "reason" => push(field, self.reason.word()),
                "input" => push(field, &self.input.to_string()),
                "topic" => push(field, &self.topic),
                "partition" => push(field, &self.partition.to_string()),
                "offset" => push(field, &self.offset.to_string()),
                "attempts" => push(field, &self.attempts.to_string()),
                "first" => push(field, &self.first.to_string()),
                "due" => push(field, &self.due.to_string()),
                "code" => push(field, &self.code),
                "message" => push(field, cut(&self.message)),
                _ => push(field, &self.filter),
            }
        }
        for (name, value) in own.iter() {
            out.push(name, value);
        }
        out.finish()
    }

    /// What a copy says of itself, and the headers the record had.
    pub fn read(headers: &Headers) -> Result<(Self, Headers), Unreadable> {
        let mut pairs = Pairs { rest: headers.iter(), bytes: 0 };
        let version: u32 = pairs.number("v")?;
        if version > VERSION {
            return Err(Unreadable::Newer(version));
        }
        let reason = pairs.text("reason")?;
        let known = Reason::ALL.iter().find(|(_, word)| *word == reason);
        let reason =
            known.map(|(reason, _)| *reason).ok_or_else(|| Unreadable::Broken(format!("`{reason}` is no reason")))?;
        if reason.version() > version {
            return Err(Unreadable::Broken(format!("version {version} has no reason `{}`", reason.word())));
        }
        let note = Self {
            reason,
            input: pairs.number("input")?,
            topic: pairs.text("topic")?.to_owned(),
            partition: pairs.number("partition")?,
            offset: pairs.number("offset")?,
            attempts: pairs.number("attempts")?,
            first: pairs.number("first")?,
            due: pairs.number("due")?,
            code: pairs.text("code")?.to_owned(),
            message: pairs.text("message")?.to_owned(),
            filter: pairs.text("filter")?.to_owned(),
        };
        if note.partition < 0 || note.offset < 0 {
            return Err(Unreadable::Broken("its origin is no place in a topic".to_owned()));
        }
        let own = Headers::from_packed(headers.packed().slice(pairs.bytes..)).unwrap_or_default();
        Ok((note, own))
    }
}

/// Takes the family off, header by header.
struct Pairs<'a, I: Iterator<Item = (&'a str, Option<&'a [u8]>)>> {
    rest: I,
    /// Bytes that the headers taken so far have in the packed form.
    bytes: usize,
}

impl<'a, I: Iterator<Item = (&'a str, Option<&'a [u8]>)>> Pairs<'a, I> {
    fn text(&mut self, field: &str) -> Result<&'a str, Unreadable> {
        let (name, value) = self.rest.next().ok_or_else(|| missing(field))?;
        if name.strip_prefix(PREFIX) != Some(field) {
            return Err(missing(field));
        }
        let value = value.unwrap_or_default();
        self.bytes += LENGTHS + name.len() + value.len();
        std::str::from_utf8(value).map_err(|_| Unreadable::Broken(format!("the header `{PREFIX}{field}` is not text")))
    }

    fn number<T: std::str::FromStr>(&mut self, field: &str) -> Result<T, Unreadable> {
        let text = self.text(field)?;
        text.parse().map_err(|_| {
            let text: String = text.chars().take(40).collect();
            Unreadable::Broken(format!("`{text}` in the header `{PREFIX}{field}` is no number that can stand there"))
        })
    }
}

/// What the packed form of a header has beside its name and value: their lengths.
const LENGTHS: usize = 8;

fn missing(field: &str) -> Unreadable {
    Unreadable::Broken(format!("the header `{PREFIX}{field}` is not where it must be"))
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer(version) => write!(
                f,
                "a copy has version {version}, and this program reads up to {VERSION}; run the version that wrote it"
            ),
            Self::Broken(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn note() -> Note {
        Note {
            reason: Reason::Parked,
            input: 1,
            topic: "orders.raw".into(),
            partition: 3,
            offset: 41,
            attempts: 4,
            first: 1_700_000_000_000,
            due: 1_700_000_005_000,
            code: "http_status".into(),
            message: "POST http://stock/reserve: 503".into(),
            filter: "http".into(),
        }
    }

    fn own() -> Headers {
        // One of our own names too: somebody copied records from one topic to another.
        [("b", Some(&b"1"[..])), ("millstream.retry.v", Some(b"9")), ("b", None), ("", Some(&[0xff]))]
            .into_iter()
            .collect()
    }

    /// Version 1, header by header. It is in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let headers = note().headers(&own());
        let list: Vec<(&str, &[u8])> = headers.iter().take(12).map(|(n, v)| (n, v.unwrap())).collect();
        let wanted: [(&str, &[u8]); 12] = [
            ("millstream.retry.v", b"1"),
            ("millstream.retry.reason", b"parked"),
            ("millstream.retry.input", b"1"),
            ("millstream.retry.topic", b"orders.raw"),
            ("millstream.retry.partition", b"3"),
            ("millstream.retry.offset", b"41"),
            ("millstream.retry.attempts", b"4"),
            ("millstream.retry.first", b"1700000000000"),
            ("millstream.retry.due", b"1700000005000"),
            ("millstream.retry.code", b"http_status"),
            ("millstream.retry.message", b"POST http://stock/reserve: 503"),
            ("millstream.retry.filter", b"http"),
        ];
        assert_eq!(list, wanted);
        assert!(headers.iter().skip(12).eq(own().iter()), "then the record's own, as they were");
        assert_eq!(Note::read(&headers), Ok((note(), own())));
        for (reason, word) in Reason::ALL {
            assert_eq!(reason.word(), word);
            let note = Note { reason, ..note() };
            let version = note.headers(&Headers::new()).get_str("millstream.retry.v").map(str::to_owned);
            assert_eq!(
                version.as_deref(),
                Some(if word.contains("first") || word == "hold" || word == "free" { "2" } else { "1" })
            );
            assert_eq!(Note::read(&note.headers(&Headers::new())), Ok((note, Headers::new())));
        }
    }

    #[test]
    fn a_newer_version_is_named() {
        let headers: Headers = [("millstream.retry.v", Some(&b"3"[..])), ("x", None)].into_iter().collect();
        assert_eq!(Note::read(&headers), Err(Unreadable::Newer(3)));
    }

    #[test]
    fn a_broken_family_says_where() {
        let with = |field: &str, value: Option<&[u8]>| -> Headers {
            let name = format!("{PREFIX}{field}");
            note().headers(&Headers::new()).iter().map(|(n, v)| if n == name { (n, value) } else { (n, v) }).collect()
        };
        for (headers, field) in [
            (Headers::new(), "`millstream.retry.v`"),
            (own(), "`millstream.retry.v`"),
            (with("v", Some(b"one")), "`one`"),
            (with("reason", Some(b"because")), "`because`"),
            (with("offset", Some(b"-1")), "origin"),
            (with("offset", Some(b"99999999999999999999")), "`millstream.retry.offset`"),
            (with("input", None), "`millstream.retry.input`"),
            (with("topic", Some(&[0xff])), "`millstream.retry.topic`"),
            (note().headers(&Headers::new()).without("millstream.retry.due"), "`millstream.retry.due`"),
        ] {
            let Err(Unreadable::Broken(why)) = Note::read(&headers) else { panic!("{headers:?} was read") };
            assert!(why.contains(field), "{why}");
        }
    }

    proptest! {
        #[test]
        fn any_headers_are_read_or_refused(pairs in proptest::collection::vec(
            (proptest::sample::select(vec!["v", "reason", "input", "topic", "partition", "offset", "x"]),
             proptest::option::of("[0-9a-z-]{0,6}")), 0..14))
        {
            let pairs: Vec<(String, Option<String>)> =
                pairs.into_iter().map(|(n, v)| (format!("{PREFIX}{n}"), v)).collect();
            let headers: Headers =
                pairs.iter().map(|(n, v)| (n.as_str(), v.as_ref().map(String::as_bytes))).collect();
            let _ = Note::read(&headers);
        }
    }
}
