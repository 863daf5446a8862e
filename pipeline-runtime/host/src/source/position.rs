//! How far a source is, as text in the metadata of a committed position.

use millstream_log::{Class, LogError, LogResult};

use crate::changes::moved_to;

/// The durable position of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// Records given so far; the next is number `records + 1` of a file, `records` of a generator.
    pub records: u64,
    /// Bytes of the file read so far; 0 for a generator.
    pub bytes: u64,
    /// It has given all it has.
    pub ended: bool,
    /// The time of a schedule's last tick, ms since 1970: given, or missed and passed over. Of one that gave none yet,
    /// when it began.
    pub tick: Option<i64>,
    /// The time of the last tick that a schedule gave a record of, ms since 1970: later ones may have been passed over.
    pub given: Option<i64>,
    /// What a maker with a client of its own wrote of its place; brokers take some kilobytes.
    pub mark: Option<String>,
}

/// The first word; rises when the form changes.
const VERSION: &str = "1";
/// With the time of a tick behind it.
const WITH_TICK: &str = "2";
/// With a maker's own words behind it.
const WITH_MARK: &str = "3";

impl SourcePosition {
    /// `1 RECORDS BYTES running|ended`, or `2 RECORDS BYTES running|ended TICK GIVEN` of a schedule; GIVEN is `-` for none; or
    /// `3 RECORDS BYTES running|ended MARK`, to the end of the text.
    pub fn encode(&self) -> String {
        let (records, bytes, state) = (self.records, self.bytes, if self.ended { "ended" } else { "running" });
        if let Some(mark) = &self.mark {
            return format!("{WITH_MARK} {records} {bytes} {state} {mark}");
        }
        match self.tick {
            None => format!("{VERSION} {records} {bytes} {state}"),
            Some(tick) => {
                let given = self.given.map_or_else(|| "-".to_owned(), |given| given.to_string());
                format!("{WITH_TICK} {records} {bytes} {state} {tick} {given}")
            }
        }
    }
}

/// Reads what [`SourcePosition::encode`] wrote. Empty is the beginning.
pub fn decode(text: &str) -> LogResult<SourcePosition> {
    let unreadable = || {
        LogError::new(
            Class::Fatal,
            "source_position_unreadable",
            format!("the committed position of the source is {text:?}, which this version cannot read"),
        )
    };
    if let Some(to) = moved_to(text) {
        return Err(LogError::new(
            Class::Config,
            "position_moved",
            format!(
                "the pipeline was changed: source `{to}` goes on where this one stood; run the changed file, or give this \
                 source another name"
            ),
        ));
    }
    let (text, mark) = match text.strip_prefix(WITH_MARK).is_some_and(|rest| rest.starts_with(' ')) {
        true => {
            let at = text.match_indices(' ').nth(3).ok_or_else(unreadable)?.0;
            (&text[..at], Some(text[at + 1..].to_owned()))
        }
        false => (text, None),
    };
    let mut words = text.split(' ');
    let with_tick = match words.next() {
        Some("") => return Ok(SourcePosition::default()),
        Some(VERSION) => false,
        Some(WITH_TICK) => true,
        Some(WITH_MARK) if mark.is_some() => false,
        _ => return Err(unreadable()),
    };
    let mut number = || words.next()?.parse().ok();
    let (records, bytes) = number().zip(number()).ok_or_else(unreadable)?;
    let ended = match words.next() {
        Some("ended") => true,
        Some("running") => false,
        _ => return Err(unreadable()),
    };
    let (mut tick, mut given) = (None, None);
    if with_tick {
        let time = |word: &str| word.parse().map_err(|_| unreadable());
        tick = Some(time(words.next().ok_or_else(unreadable)?)?);
        given = match words.next().ok_or_else(unreadable)? {
            "-" => None,
            word => Some(time(word)?),
        };
    }
    Ok(SourcePosition { records, bytes, ended, tick, given, mark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_anything_else_is_an_error() {
        let position = SourcePosition { records: 7, bytes: 512, ended: true, ..SourcePosition::default() };
        assert_eq!(position.encode(), "1 7 512 ended", "a durable form: change it with its version");
        assert_eq!(decode(&position.encode()).ok(), Some(position));
        let schedule = SourcePosition { records: 7, tick: Some(-200), ..SourcePosition::default() };
        assert_eq!(schedule.encode(), "2 7 0 running -200 -", "a durable form: change it with its version");
        let passed = SourcePosition { given: Some(-300), ..schedule.clone() };
        assert_eq!(passed.encode(), "2 7 0 running -200 -300");
        for schedule in [schedule, passed] {
            assert_eq!(decode(&schedule.encode()).ok(), Some(schedule));
        }
        let marked = SourcePosition { records: 7, mark: Some("17 a  b".into()), ..SourcePosition::default() };
        assert_eq!(marked.encode(), "3 7 0 running 17 a  b", "a durable form: change it with its version");
        assert_eq!(decode(&marked.encode()).ok(), Some(marked));
        let empty = SourcePosition { mark: Some(String::new()), ..SourcePosition::default() };
        assert_eq!(decode(&empty.encode()).ok(), Some(empty));
        for bad in [
            "3 7 512 ended",
            "3 7 512 later x",
            "4 7 512 ended",
            "2 7 512 ended",
            "2 7 512 ended x -",
            "2 7 512 ended 1",
            "2 7 512 ended 1 x",
            "1",
            "1 7",
            "1 7 x ended",
            "1 7 512 later",
        ] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        assert_eq!(decode("m1:web").unwrap_err().code, "position_moved");
    }
}
