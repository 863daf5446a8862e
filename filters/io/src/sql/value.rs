//! What is bound to a placeholder: a value of an expression in the form that a database takes.

use millstream_codec::{encode_value, exact_number};
use millstream_expr::{ExprState, Expression};
use millstream_filter_api::{Failure, Node, OwnedValuePath, Record, Touched, Value, field_path};

use crate::http::body;

/// An expression for a placeholder.
pub(super) struct Arg {
    pub expression: Expression,
    /// Where it is nothing but a field: the text of a number that no value can hold is there.
    pub field: Option<OwnedValuePath>,
    /// Whether it is the payload itself.
    pub payload: bool,
}

/// What is bound. Times are RFC 3339 texts, objects and lists JSON.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Bound {
    Null,
    Bool(bool),
    Integer(i64),
    Float(f64),
    /// A number with more digits than a float has, and the nearest float.
    Exact(String, f64),
    Text(Vec<u8>),
    Json(String, Value),
}

impl Arg {
    pub(super) fn new(expression: Expression, node: &Node) -> Self {
        let text = node.as_text().map_or("", str::trim);
        Self { expression, field: field_path(node, text).ok(), payload: text == "." }
    }

    /// Its value for a record.
    pub(super) fn bound(&self, state: &mut ExprState, record: &Record) -> Result<Bound, Failure> {
        // The whole payload keeps its text, and so the numbers in it.
        if self.payload
            && *record.payload.touched() == Touched::Nothing
            && let Some(value @ (Value::Object(_) | Value::Array(_))) = record.payload.value()
            && let Some((text, body::JSON)) = body::of_payload(&record.payload)?
        {
            return Ok(Bound::Json(String::from_utf8_lossy(&text).into_owned(), value.clone()));
        }
        let exact = self.field.as_ref().and_then(|path| exact_number(&record.payload, path)).map(str::to_owned);
        let value = self.expression.value(state, record)?;
        Ok(match value {
            Value::Null => Bound::Null,
            Value::Boolean(yes) => Bound::Bool(yes),
            Value::Integer(n) => Bound::Integer(n),
            Value::Float(n) => match exact {
                Some(text) => Bound::Exact(text, n.into_inner()),
                None => Bound::Float(n.into_inner()),
            },
            Value::Timestamp(time) => Bound::Text(time.to_rfc3339().into_bytes()),
            Value::Regex(pattern) => Bound::Text(pattern.as_str().as_bytes().to_vec()),
            Value::Bytes(text) => Bound::Text(text.to_vec()),
            Value::String(text) => Bound::Text(text.as_bytes().to_vec()),
            value @ (Value::Object(_) | Value::Array(_)) => {
                let json = encode_value(&value).map_err(|e| Failure::data(e.code, e.message))?;
                Bound::Json(String::from_utf8_lossy(&json).into_owned(), value)
            }
        })
    }
}
