//! What a statement gives back, as it comes and as it is kept.

use bytes::Bytes;
use millstream_codec::{Codec, Coercion, encode_value};
use millstream_filter_api::{Failure, Value};

use super::fault::unreadable;

/// More than this would fill the record's topic, not a field.
const MOST: (usize, usize) = (10_000, 16 << 20);
/// In front of what is kept beside a call's id.
const VERSION: char = '1';

/// Which rows are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Nothing,
    First,
    All,
}

/// The rows of one answer.
pub(super) struct Rows {
    wanted: Wanted,
    rows: Vec<Value>,
    bytes: usize,
}

impl Rows {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, rows: Vec::new(), bytes: 0 }
    }

    /// Whether the next row is looked at.
    pub(super) fn wants(&self) -> bool {
        match self.wanted {
            Wanted::Nothing => false,
            Wanted::First => self.rows.is_empty(),
            Wanted::All => true,
        }
    }

    /// Takes a row of about so many bytes.
    pub(super) fn push(&mut self, row: Value, bytes: usize) -> Result<(), Failure> {
        self.bytes += bytes;
        if self.rows.len() == MOST.0 || self.bytes > MOST.1 {
            let message = format!("the statement gives more than {} rows or {} MiB", MOST.0, MOST.1 >> 20);
            return Err(unreadable(message));
        }
        self.rows.push(row);
        Ok(())
    }

    /// What goes into the field.
    pub(super) fn value(self) -> Value {
        match self.wanted {
            Wanted::All => Value::Array(self.rows),
            _ => self.rows.into_iter().next().unwrap_or(Value::Null),
        }
    }
}

/// The columns must have names of their own: of two that are equal one would be lost.
pub(super) fn distinct<'n>(names: impl Iterator<Item = &'n str>) -> Result<(), Failure> {
    let mut seen = std::collections::BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let message = format!("two columns of the result are called `{name}`; name one of them anew with `as`");
            return Err(unreadable(message));
        }
    }
    Ok(())
}

/// A result as it is kept beside a call's id.
pub(super) fn kept(value: &Value) -> Result<String, Failure> {
    let json = encode_value(value).map_err(|e| unreadable(e.message))?;
    Ok(format!("{VERSION}{}", String::from_utf8_lossy(&json)))
}

/// A result that was kept; none where nothing was asked for then.
pub(super) fn remembered(kept: Option<&str>) -> Result<Value, Failure> {
    let Some(kept) = kept else { return Ok(Value::Null) };
    let json = kept.strip_prefix(VERSION).and_then(|json| {
        let payload = Codec::Json.decode(Bytes::copy_from_slice(json.as_bytes()), &Coercion::none()).ok()?;
        payload.value().cloned()
    });
    json.ok_or_else(|| unreadable("`millstream_calls` has a result that this version cannot read".to_owned()))
}

/// Bytes as PostgreSQL prints them.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|d| char::from_digit(d.into(), 16).unwrap_or('0'));
    std::iter::once('\\').chain(['x']).chain(bytes.iter().flat_map(digits)).collect()
}

/// A float as JSON has one: what it has not is text.
pub(super) fn float(number: f64) -> Value {
    if number.is_finite() { Value::from_f64_or_zero(number) } else { Value::from(number.to_string()) }
}
