//! Numbers, texts and bytes as they are read.

use bytes::Bytes;
use millstream_filter_api::Value;

use super::decode::{Fault, Read, Reader};
use super::schema::Scalar;
use super::wire::{Cursor, zigzag};

impl Reader<'_> {
    #[inline(never)]
    pub fn scalar(&self, of: Scalar, cursor: &mut Cursor<'_>) -> Read<Value> {
        let (raw, from) = (cursor.raw, cursor.at);
        let read = match of {
            Scalar::Double => cursor.array().map(f64::from_le_bytes).map(Number::Float),
            Scalar::Float => cursor.array().map(f32::from_le_bytes).map(|float| Number::Float(float.into())),
            // Longer ones are cut, as others do.
            Scalar::Int32 => cursor.varint().map(|number| Number::Whole((number as i32).into())),
            Scalar::Uint32 => cursor.varint().map(|number| Number::Whole((number as u32).into())),
            Scalar::Sint32 => cursor.varint().map(|number| Number::Whole(zigzag((number as u32).into()))),
            Scalar::Int64 => cursor.varint().map(|number| Number::Whole(number as i64)),
            Scalar::Sint64 => cursor.varint().map(|number| Number::Whole(zigzag(number))),
            Scalar::Uint64 { text } => cursor.varint().map(|number| Number::Wide(number, text)),
            Scalar::Fixed64 { text } => cursor.array().map(|number| Number::Wide(u64::from_le_bytes(number), text)),
            Scalar::Fixed32 => cursor.array().map(|number| Number::Whole(u32::from_le_bytes(number).into())),
            Scalar::Sfixed32 => cursor.array().map(|number| Number::Whole(i32::from_le_bytes(number).into())),
            Scalar::Sfixed64 => cursor.array().map(|number| Number::Whole(i64::from_le_bytes(number))),
            Scalar::Bool => cursor.varint().map(|number| Number::Bool(number != 0)),
            Scalar::String => {
                let bytes = cursor.bytes();
                let bytes = self.got(raw, bytes)?;
                if std::str::from_utf8(&bytes).is_err() {
                    return self.fault(raw, from, "a string is not UTF-8");
                }
                return Ok(Value::Bytes(bytes));
            }
            Scalar::Bytes => {
                let bytes = cursor.bytes();
                return self.got(raw, bytes).map(Value::Bytes);
            }
        };
        match self.got(raw, read)? {
            Number::Float(float) => float_value(float),
            Number::Whole(whole) => Ok(Value::Integer(whole)),
            Number::Bool(yes) => Ok(Value::Boolean(yes)),
            Number::Wide(number, true) => Ok(Value::Bytes(number.to_string().into())),
            Number::Wide(number, false) => match i64::try_from(number) {
                Ok(number) => Ok(Value::Integer(number)),
                Err(_) => unfit(format!(
                    "is {number}, and integers of expressions end at {}; `uint64: text` in the format takes such fields as text",
                    i64::MAX
                )),
            },
        }
    }
}

enum Number {
    Float(f64),
    Whole(i64),
    Wide(u64, bool),
    Bool(bool),
}

#[cold]
fn unfit<T>(what: String) -> Read<T> {
    Err(Fault { what, path: Vec::new(), unfit: true })
}

pub(super) fn float_value(float: f64) -> Read<Value> {
    if float.is_nan() {
        return unfit("is not a number (NaN), which no expression can compute with".to_owned());
    }
    Ok(Value::from_f64_or_zero(float))
}

/// What is read where nothing was written.
pub(super) fn zero(scalar: Scalar) -> Value {
    match scalar {
        Scalar::Double | Scalar::Float => Value::from_f64_or_zero(0.0),
        Scalar::Bool => Value::Boolean(false),
        Scalar::String | Scalar::Bytes => Value::Bytes(Bytes::new()),
        Scalar::Uint64 { text: true } | Scalar::Fixed64 { text: true } => Value::Bytes(Bytes::from_static(b"0")),
        _ => Value::Integer(0),
    }
}
