//! One CSV row as a payload.

use std::sync::Arc;

use bytes::Bytes;
use csv::StringRecord;
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
    for (name, text) in columns.iter().zip(&row) {
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
    for (name, text) in columns.iter().zip(&row) {
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

fn read(raw: &Bytes, columns: usize, separator: u8) -> Result<StringRecord, DecodeError> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .buffer_capacity(raw.len().clamp(64, 64 * 1024))
        .from_reader(raw.as_ref());
    let mut row = StringRecord::new();
    let read = reader.read_record(&mut row).map_err(|e| match e.kind() {
        csv::ErrorKind::Utf8 { err, .. } => DecodeError::utf8("the row", err.valid_up_to()),
        _ => DecodeError::csv(format!("the payload is not a CSV row: {e}")),
    })?;
    if !read {
        return Err(DecodeError::csv("the payload is an empty CSV row"));
    }
    if row.len() != columns {
        return Err(DecodeError::csv(format!("the row has {} fields, and {columns} columns are named", row.len())));
    }
    if reader.read_record(&mut StringRecord::new()).unwrap_or(true) {
        return Err(DecodeError::csv("the payload holds more than one CSV row"));
    }
    Ok(row)
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
