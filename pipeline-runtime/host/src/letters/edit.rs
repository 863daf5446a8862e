//! A letter mended: the same headers, another payload or key, and a count of how often.

use bytes::Bytes;
use millstream_expr::{ExprState, Expression, Purpose};
use millstream_filter_api::{Headers, HeadersBuilder, Issue};
use millstream_log::{Outgoing, TopicPartition};

use super::letter::Letter;
use super::place::Place;
use super::select::{ERROR, compile, error_value, record};

/// Says how often a letter was edited.
const EDITED_HEADER: &str = "millstream.dlq.edited";

/// Mends letters by an expression.
pub struct Edit {
    expression: Expression,
    state: ExprState,
}

/// Why a letter stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The expression failed on it, or its result cannot be written.
    Failed(String),
    /// It has no payload: the letter was too large for it.
    Omitted,
}

impl Edit {
    /// Compiles the statements.
    pub fn compile(text: &str, place: &Place) -> Result<Self, Vec<Issue>> {
        Ok(Self { expression: compile(text, place, Purpose::Statement)?, state: ExprState::new() })
    }

    /// The mended letter, or nothing where the expression changed nothing.
    pub fn apply(&mut self, place: &Place, letter: &Letter) -> Result<Option<Outgoing>, EditError> {
        if !letter.error.omitted.is_empty() {
            return Err(EditError::Omitted);
        }
        let decoded = place.decode(letter);
        let mut record = record(letter, decoded.payload);
        self.state.set_extra(ERROR, error_value(&letter.error));
        self.expression.run(&mut self.state, &mut record).map_err(|e| EditError::Failed(e.message))?;
        let value = decoded.form.encode(&record.payload).map_err(EditError::Failed)?;
        if value == letter.record.value && record.key == letter.record.key && record.headers == letter.headers {
            return Ok(None);
        }
        Ok(Some(replaced(letter, record.key, value, &record.headers)))
    }
}

/// The letter with another key, payload and own headers, for the same partition of its topic.
pub fn replaced(letter: &Letter, key: Option<Bytes>, value: Option<Bytes>, own: &Headers) -> Outgoing {
    let before = &letter.record.headers;
    let mut headers = HeadersBuilder::with_capacity(before.size() + own.size() + 64);
    for (name, value) in own.iter() {
        headers.push(name, value);
    }
    let mut of_record = letter.headers.iter().peekable();
    for (name, value) in before.iter() {
        // The letter's own headers are those of the error and, in the same order, the record's.
        if of_record.peek() == Some(&(name, value)) {
            of_record.next();
        } else if name != EDITED_HEADER {
            headers.push(name, value);
        }
    }
    let edited = (letter.error.edited + 1).to_string();
    headers.push(EDITED_HEADER, Some(edited.as_bytes()));
    Outgoing {
        to: TopicPartition::new(letter.topic.clone(), letter.partition),
        key,
        value,
        headers: headers.finish(),
        timestamp: letter.timestamp(),
        tag: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use millstream_log::LogRecord;

    fn letter(value: &'static [u8], headers: &[(&str, &[u8])]) -> Letter {
        let headers = headers.iter().map(|(n, v)| (*n, Some(*v))).collect();
        let value = Some(Bytes::from_static(value));
        Letter::new(Arc::from("t"), 3, LogRecord { offset: 9, timestamp: 5, key: None, value, headers })
    }

    fn edited(letter: &Letter, with: &str) -> Result<Option<Outgoing>, EditError> {
        let place = Place::of_topic("t");
        Edit::compile(with, &place).unwrap().apply(&place, letter)
    }

    #[test]
    fn payload_key_and_headers_change_and_the_error_stays() {
        let at_first = letter(
            b"{\"n\": 1.10, \"m\": 2}",
            &[("a", b"1"), ("millstream.dlq.code", b"x"), ("a", b"2"), ("millstream.dlq.timestamp", b"77")],
        );
        let out = edited(&at_first, ".m = 3\n%key = \"k\"\n%headers.b = %error.code").unwrap().unwrap();
        assert_eq!(out.to, TopicPartition::new("t", 3));
        assert_eq!(out.key.as_deref(), Some(&b"k"[..]));
        assert_eq!(out.value.as_deref(), Some(&b"{\"n\": 1.10, \"m\": 3}"[..]), "what is not touched keeps its text");
        let list: Vec<_> = out.headers.iter().map(|(n, v)| (n, v.unwrap())).collect();
        assert_eq!(
            list,
            [
                ("a", &b"1"[..]),
                ("a", b"2"),
                ("b", b"x"),
                ("millstream.dlq.code", b"x"),
                ("millstream.dlq.timestamp", b"77"),
                ("millstream.dlq.edited", b"1"),
            ]
        );
        assert_eq!(out.timestamp, 77);
        let record = LogRecord { offset: 10, timestamp: 6, key: out.key, value: out.value, headers: out.headers };
        let again = Letter::new(Arc::from("t"), 3, record);
        assert_eq!((again.error.edited, again.error.code.as_str()), (1, "x"));
        let twice = edited(&again, ".m = 4").unwrap().unwrap();
        assert_eq!(twice.headers.get("millstream.dlq.edited"), Some(Some(&b"2"[..])));
        assert_eq!(twice.headers.iter().filter(|(n, _)| *n == "millstream.dlq.edited").count(), 1);
    }

    #[test]
    fn what_changes_nothing_is_no_edit_and_what_fails_says_so() {
        assert_eq!(edited(&letter(b"{\"m\":2}", &[]), ".m = 2"), Ok(None));
        assert!(matches!(edited(&letter(b"{\"m\":2}", &[]), ".m = int!(.x)"), Err(EditError::Failed(_))));
        let cut = letter(b"", &[("millstream.dlq.omitted", b"payload")]);
        assert_eq!(edited(&cut, ".m = 2"), Err(EditError::Omitted));
    }

    #[test]
    fn a_payload_that_was_no_json_is_mended_as_text() {
        let out = edited(&letter(b"{'m': 2}", &[]), ". = replace(string!(.), \"'\", \"\\\"\")").unwrap().unwrap();
        assert_eq!(out.value.as_deref(), Some(&b"{\"m\": 2}"[..]));
    }
}
