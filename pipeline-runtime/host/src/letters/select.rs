//! Which letters are meant: an expression, a key, codes, times, places.

use millstream_expr::{ExprFailure, ExprState, Expression, Options, Purpose};
use millstream_filter_api::{Issue, Kind, Meta, Node, NodeKind, Payload, Record, ScalarStyle, Span, Value};
use vrl::value::kind::{Collection, Field};
use vrl::value::{KeyString, ObjectMap};

use super::letter::{ErrorFields, Letter};
use super::place::Place;

/// Chooses letters. All that is given must hold.
#[derive(Default)]
pub struct Select {
    /// A condition over the letter.
    pub condition: Option<Condition>,
    /// The record's key.
    pub key: Option<Vec<u8>>,
    /// One of these codes; none means any.
    pub codes: Vec<String>,
    /// Became a letter at that time (ms since 1970) or later.
    pub since: Option<i64>,
    /// Became a letter before that time.
    pub until: Option<i64>,
    /// One of these places (partition, offset); none means any.
    pub places: Vec<(i32, i64)>,
}

/// A compiled condition with its working memory.
pub struct Condition {
    expression: Expression,
    state: ExprState,
}

/// An expression that failed on a letter.
pub type Fault = ExprFailure;

impl Condition {
    /// Compiles the text of a condition for the letters of a place.
    pub fn compile(text: &str, place: &Place) -> Result<Self, Vec<Issue>> {
        Ok(Self { expression: compile(text, place, Purpose::Condition)?, state: ExprState::new() })
    }
}

impl Select {
    /// Adds a condition.
    pub fn with_condition(mut self, text: &str, place: &Place) -> Result<Self, Vec<Issue>> {
        self.condition = Some(Condition::compile(text, place)?);
        Ok(self)
    }

    /// Whether a letter is meant. The condition comes last: all else costs nothing.
    ///
    /// # Errors
    /// The condition failed on this letter.
    pub fn matches(&mut self, place: &Place, letter: &Letter) -> Result<bool, Fault> {
        let at = letter.error.at;
        let plain = (self.codes.is_empty() || self.codes.contains(&letter.error.code))
            && (self.places.is_empty() || self.places.contains(&(letter.partition, letter.record.offset)))
            && self.since.is_none_or(|since| at >= since)
            && self.until.is_none_or(|until| at < until)
            && self.key.as_ref().is_none_or(|key| letter.record.key.as_deref() == Some(key));
        match &mut self.condition {
            Some(condition) if plain => {
                let record = record(letter, place.decode(letter).payload);
                condition.state.set_extra(ERROR, error_value(&letter.error));
                condition.expression.test(&mut condition.state, &record)
            }
            _ => Ok(plain),
        }
    }
}

/// The name of the error's fields in expressions: `%error.code`.
pub(super) const ERROR: &str = "error";

/// Compiles an expression over letters: with the types of the stage's input, and if it does not fit these, for payloads
/// of which nothing is known. A letter is often one because it does not fit its types.
pub(super) fn compile(text: &str, place: &Place, purpose: Purpose) -> Result<Expression, Vec<Issue>> {
    let node = Node {
        kind: NodeKind::Text(text.to_owned(), ScalarStyle::Plain),
        span: Span { line: 1, col: 1, len: text.chars().count() as u32 },
    };
    let options = || Options { extra: vec![(ERROR, error_kind())], ..Options::new(purpose) };
    Expression::compile_with(&node, &place.types(), options())
        .or_else(|issues| Expression::compile_with(&node, &Kind::any(), options()).map_err(|_| issues))
}

/// The record as the stage read it.
pub(super) fn record(letter: &Letter, payload: Payload) -> Record {
    let e = &letter.error;
    Record {
        key: letter.record.key.clone(),
        payload,
        headers: letter.headers.clone(),
        timestamp: letter.timestamp(),
        meta: Meta {
            id: letter.id.clone().unwrap_or_default(),
            topic: if e.topic.is_empty() { letter.topic.clone() } else { e.topic.as_str().into() },
            partition: e.partition.unwrap_or(letter.partition),
            offset: e.offset.unwrap_or(letter.record.offset),
            attempt: u32::try_from(e.attempts).unwrap_or(1),
        },
    }
}

const TEXTS: [&str; 7] = ["system", "pipeline", "stage", "filter", "code", "class", "message"];
const NUMBERS: [&str; 3] = ["attempts", "redrives", "edited"];

fn error_kind() -> Kind {
    let mut known: std::collections::BTreeMap<Field, Kind> =
        TEXTS.iter().map(|name| (Field::from(*name), Kind::bytes())).collect();
    known.extend(NUMBERS.iter().map(|name| (Field::from(*name), Kind::integer())));
    known.insert(Field::from("at"), Kind::timestamp());
    Kind::object(Collection::from(known))
}

pub(super) fn error_value(e: &ErrorFields) -> Value {
    let texts = [&e.system, &e.pipeline, &e.stage, &e.filter, &e.code, &e.class, &e.message];
    let mut object: ObjectMap =
        TEXTS.iter().zip(texts).map(|(name, text)| (KeyString::from(*name), Value::from(text.as_str()))).collect();
    let numbers = [e.attempts, e.redrives, e.edited];
    object.extend(NUMBERS.iter().zip(numbers).map(|(name, n)| (KeyString::from(*name), Value::Integer(n))));
    let at = chrono::DateTime::from_timestamp_millis(e.at).map_or(Value::Null, Value::Timestamp);
    object.insert(KeyString::from("at"), at);
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use bytes::Bytes;
    use millstream_log::LogRecord;

    fn letter(offset: i64) -> Letter {
        let headers = [
            ("origin", Some(&b"shop"[..])),
            ("millstream.dlq.code", Some(b"timeout")),
            ("millstream.dlq.at", Some(b"1000")),
            ("millstream.dlq.redrives", Some(b"2")),
            ("millstream.dlq.offset", Some(b"41")),
            ("millstream.dlq.topic", Some(b"orders.raw")),
        ];
        let value = Some(Bytes::from_static(b"{\"quantity\": -1, \"sku\": \"A\"}"));
        let headers = headers.into_iter().collect();
        let record = LogRecord { offset, timestamp: 5, key: Some(Bytes::from_static(b"k")), value, headers };
        Letter::new(Arc::from("orders.clean.dlq"), 2, record)
    }

    fn chosen(select: Select) -> bool {
        let mut select = select;
        select.matches(&Place::of_topic("t"), &letter(7)).unwrap()
    }

    fn by(text: &str) -> bool {
        let place = Place::of_topic("t");
        chosen(Select::default().with_condition(text, &place).unwrap())
    }

    #[test]
    fn an_expression_sees_the_record_as_the_stage_did_and_the_error() {
        assert!(by("int!(.quantity) < 0 && %key == \"k\" && %headers.origin == \"shop\""));
        assert!(by("%error.code == \"timeout\" && %error.redrives == 2 && %offset == 41 && %topic == \"orders.raw\""));
        assert!(by("%error.at < t'1970-01-01T00:00:02Z'"));
        assert!(!by(".sku == \"B\""));
        assert!(!by("exists(%headers.\"millstream.dlq.code\")"));
        let issues = Condition::compile("%error.cod == \"x\"", &Place::of_topic("t")).err().unwrap();
        assert!(issues[0].help.as_deref().is_some_and(|h| h.contains("%error.code")), "{issues:?}");
        assert!(Condition::compile(".sku", &Place::of_topic("t")).is_err(), "no condition");
    }

    #[test]
    fn everything_given_must_hold() {
        let fits = || Select {
            key: Some(b"k".to_vec()),
            codes: vec!["invalid_json".into(), "timeout".into()],
            since: Some(1000),
            until: Some(1001),
            places: vec![(2, 7)],
            condition: None,
        };
        assert!(chosen(fits()));
        assert!(!chosen(Select { key: Some(b"x".to_vec()), ..fits() }));
        assert!(!chosen(Select { codes: vec!["other".into()], ..fits() }));
        assert!(!chosen(Select { since: Some(1001), ..fits() }));
        assert!(!chosen(Select { until: Some(1000), ..fits() }));
        assert!(!chosen(Select { places: vec![(2, 8), (1, 7)], ..fits() }));
    }

    #[test]
    fn an_expression_that_fails_says_so() {
        let place = Place::of_topic("t");
        let mut select = Select::default().with_condition("int!(.sku) > 0", &place).unwrap();
        assert!(select.matches(&place, &letter(7)).is_err_and(|e| e.message.contains("int")));
    }
}
