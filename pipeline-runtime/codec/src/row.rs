//! One CSV row as a payload.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use millstream_filter_api::{OwnedValuePath, Value};
use vrl::path::OwnedSegment;
use vrl::value::{KeyString, ObjectMap};

use crate::coercion::Coercion;
use crate::error::{DecodeError, EncodeError};
use crate::render::encode_value;
use crate::typing::{Typed, typed};

/// One row with exactly these columns, as an object.
pub(crate) fn decode(
    raw: &Bytes,
    columns: &[String],
    separator: u8,
    coercion: &Coercion,
) -> Result<Value, DecodeError> {
    let row = read(raw, columns.len(), separator)?;
    let mut object = ObjectMap::new();
    for (name, text) in columns.iter().zip(row.fields()) {
        object.insert(KeyString::from(name.as_str()), value(text, coercion, name));
    }
    Ok(Value::Object(object))
}

fn value(text: &str, coercion: &Coercion, name: &str) -> Value {
    match coercion.column(name).map_or(Typed::Text, |kind| typed(text, kind)) {
        Typed::Null => Value::Null,
        Typed::Boolean(b) => Value::Boolean(b),
        Typed::Integer(i) => Value::Integer(i),
        Typed::Float(f) => Value::from_f64_or_zero(f),
        Typed::Text => Value::Bytes(Bytes::copy_from_slice(text.as_bytes())),
    }
}

/// A row of these columns: missing and null members are empty fields, nested ones are JSON text.
pub(crate) fn encode(value: &Value, columns: &[String], separator: u8) -> Result<Bytes, EncodeError> {
    let object = members(value)?;
    let fields = columns.iter().map(|name| field(object.get(name.as_str()))).collect::<Result<Vec<_>, _>>()?;
    write(fields.iter().map(AsRef::as_ref), raw_ends_line(&[]), separator)
}

/// The original row with the fields of touched columns replaced.
pub(crate) fn splice(
    raw: &Bytes,
    new: &Value,
    touched: &[Arc<[OwnedValuePath]>],
    columns: &[String],
    separator: u8,
) -> Result<Bytes, EncodeError> {
    let object = members(new)?;
    let Ok(row) = read(raw, columns.len(), separator) else { return encode(new, columns, separator) };
    let is_touched = |name: &str| {
        touched.iter().flat_map(|p| p.iter()).any(|p| match p.segments.first() {
            Some(OwnedSegment::Field(field)) => field.as_str() == name,
            _ => true,
        })
    };
    let mut changed = false;
    let mut fields = Vec::with_capacity(columns.len());
    for (name, text) in columns.iter().zip(row.fields()) {
        let member = object.get(name.as_str());
        // Compared as the value would be read again: `1.10` in a touched column that is still 1.1 stays `1.10`.
        let same = !is_touched(name) || same(text, member);
        changed |= !same;
        fields.push(if same { Bytes::copy_from_slice(text.as_bytes()) } else { field(member)? });
    }
    if changed { write(fields.iter().map(AsRef::as_ref), raw_ends_line(raw), separator) } else { Ok(raw.clone()) }
}

fn same(text: &str, member: Option<&Value>) -> bool {
    match member {
        None | Some(Value::Null) => text.is_empty(),
        Some(Value::Integer(i)) => text.trim().parse() == Ok(*i),
        Some(Value::Float(f)) => text.trim().parse::<f64>().is_ok_and(|t| t.to_bits() == f.to_bits()),
        Some(Value::Boolean(b)) => text.trim().parse() == Ok(*b),
        Some(Value::Bytes(bytes)) => bytes == text.as_bytes(),
        Some(Value::String(string)) => string.as_bytes() == text.as_bytes(),
        Some(_) => false,
    }
}

fn members(value: &Value) -> Result<&ObjectMap, EncodeError> {
    value.as_object().ok_or_else(|| {
        EncodeError::new(format!("a CSV row is made of an object, and the payload is of type {}", value.kind_str()))
    })
}

fn field(value: Option<&Value>) -> Result<Bytes, EncodeError> {
    match value {
        None | Some(Value::Null) => Ok(Bytes::new()),
        Some(Value::Bytes(bytes)) => Ok(bytes.clone()),
        Some(Value::String(text)) => Ok(text.as_bytes().clone()),
        Some(Value::Timestamp(time)) => Ok(vrl::value::value::timestamp_to_string(time).into()),
        Some(Value::Regex(regex)) => Ok(regex.as_str().to_owned().into()),
        Some(other) => encode_value(other),
    }
}

/// The fields of one row.
struct Row {
    text: String,
    /// Where each field ends in it.
    ends: Vec<usize>,
}

impl Row {
    fn fields(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().map(move |end| &self.text[std::mem::replace(&mut from, *end)..*end])
    }
}

thread_local! {
    /// A parser makes its tables when it is made, which takes as long as reading hundreds of rows.
    static PARSER: RefCell<Option<(u8, Reader)>> = const { RefCell::new(None) };
}

/// The only row of a payload, of so many fields.
fn read(raw: &Bytes, columns: usize, separator: u8) -> Result<Row, DecodeError> {
    PARSER.with_borrow_mut(|parser| {
        let parser = match parser {
            Some((of, parser)) if *of == separator => parser,
            other => &mut other.insert((separator, ReaderBuilder::new().delimiter(separator).build())).1,
        };
        parser.reset();
        let mut rest: &[u8] = raw;
        let Some((text, ends)) = next_row(parser, &mut rest) else {
            return Err(DecodeError::csv("the payload is an empty CSV row"));
        };
        let text = in_fields(text, &ends)?;
        if ends.len() != columns {
            return Err(DecodeError::csv(format!(
                "the row has {} fields, and {columns} columns are named",
                ends.len()
            )));
        }
        if next_row(parser, &mut rest).is_some() {
            return Err(DecodeError::csv("the payload holds more than one CSV row"));
        }
        Ok(Row { text, ends })
    })
}

/// The bytes of the next row's fields, one behind the other, and where each ends.
fn next_row(parser: &mut Reader, rest: &mut &[u8]) -> Option<(Vec<u8>, Vec<usize>)> {
    // Fields are never longer than what they are read from.
    let (mut text, mut ends) = (vec![0; rest.len()], vec![0; 16]);
    let (mut written, mut ended) = (0, 0);
    loop {
        let (result, taken, wrote, fields) = parser.read_record(rest, &mut text[written..], &mut ends[ended..]);
        *rest = &rest[taken..];
        written += wrote;
        ended += fields;
        match result {
            // An input that is empty tells the parser that it is over: the next call does.
            ReadRecordResult::InputEmpty => {}
            ReadRecordResult::OutputFull => text.resize(text.len() * 2 + 16, 0),
            ReadRecordResult::OutputEndsFull => ends.resize(ends.len() * 2, 0),
            ReadRecordResult::Record => break,
            ReadRecordResult::End => return None,
        }
    }
    text.truncate(written);
    ends.truncate(ended);
    Some((text, ends))
}

/// As text. Each field must be UTF-8 by itself: a quoted separator could make text of two that are none.
fn in_fields(text: Vec<u8>, ends: &[usize]) -> Result<String, DecodeError> {
    let text = String::from_utf8(text).map_err(|e| DecodeError::utf8("the row", e.utf8_error().valid_up_to()))?;
    match ends.iter().find(|end| !text.is_char_boundary(**end)) {
        Some(end) => Err(DecodeError::utf8("the row", *end)),
        None => Ok(text),
    }
}

fn raw_ends_line(raw: &[u8]) -> &[u8] {
    if raw.ends_with(b"\r\n") {
        b"\r\n"
    } else if raw.ends_with(b"\n") {
        b"\n"
    } else {
        b""
    }
}

fn write<'a>(fields: impl Iterator<Item = &'a [u8]>, line_end: &[u8], separator: u8) -> Result<Bytes, EncodeError> {
    let mut writer = csv::WriterBuilder::new().delimiter(separator).flexible(true).from_writer(Vec::new());
    writer.write_record(fields).map_err(|e| EncodeError::new(format!("the row could not be written: {e}")))?;
    let mut out = writer.into_inner().map_err(|e| EncodeError::new(format!("the row could not be written: {e}")))?;
    if out.last() == Some(&b'\n') {
        out.pop();
    }
    out.extend_from_slice(line_end);
    Ok(out.into())
}
