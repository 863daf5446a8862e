//! Rows of PostgreSQL as values, and values as the server's own text.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat};
use millstream_codec::{Codec, Coercion, encode_value};
use millstream_filter_api::{Failure, Value};
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use tokio_postgres::{Row, Statement};

use super::fault::unreadable;
use super::rows::{distinct, float, hex};
use super::value::Bound;

/// The columns of a statement's result.
#[derive(Default)]
pub(super) struct Columns(Vec<(String, Type)>);

impl Columns {
    /// Looks at the types before anything runs: what cannot be read must have had no effect.
    pub(super) fn of(statement: &Statement) -> Result<Self, Failure> {
        distinct(statement.columns().iter().map(tokio_postgres::Column::name))?;
        let columns = statement.columns().iter().map(|column| (column.name().to_owned(), column.type_().clone()));
        let columns: Vec<_> = columns.collect();
        for (name, of) in &columns {
            if !readable(of) {
                let message =
                    format!("the column `{name}` is of type `{of}`, which has no value here; cast it to text");
                return Err(unreadable(message));
            }
        }
        Ok(Self(columns))
    }

    /// A row as an object, and how large it came.
    pub(super) fn read(&self, row: &Row) -> Result<(Value, usize), Failure> {
        let mut bytes = 0;
        let mut object = std::collections::BTreeMap::new();
        for (n, (name, of)) in self.0.iter().enumerate() {
            let Raw(raw) = row.try_get(n).map_err(|e| unreadable(e.to_string()))?;
            bytes += 16 + raw.map_or(0, <[u8]>::len);
            let value = match raw {
                None => Value::Null,
                Some(raw) => value(of, raw).ok_or_else(|| unreadable(format!("the column `{name}` cannot be read")))?,
            };
            object.insert(name.as_str().into(), value);
        }
        Ok((Value::Object(object), bytes))
    }
}

/// A value as the server sends it.
struct Raw<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn readable(of: &Type) -> bool {
    match of.kind() {
        Kind::Enum(_) => true,
        Kind::Domain(inner) | Kind::Array(inner) => readable(inner),
        _ => {
            let known = [
                Type::BOOL,
                Type::INT2,
                Type::INT4,
                Type::INT8,
                Type::OID,
                Type::FLOAT4,
                Type::FLOAT8,
                Type::NUMERIC,
                Type::TEXT,
                Type::VARCHAR,
                Type::BPCHAR,
                Type::NAME,
                Type::UNKNOWN,
                Type::JSON,
                Type::JSONB,
                Type::UUID,
                Type::TIMESTAMP,
                Type::TIMESTAMPTZ,
                Type::DATE,
                Type::TIME,
                Type::BYTEA,
                Type::VOID,
            ];
            known.contains(of) || of.name() == "citext"
        }
    }
}

fn value(of: &Type, raw: &[u8]) -> Option<Value> {
    let text = || std::str::from_utf8(raw).ok().map(Value::from);
    let long = || raw.try_into().ok().map(i64::from_be_bytes);
    match of.kind() {
        Kind::Enum(_) => return text(),
        Kind::Domain(inner) => return value(inner, raw),
        Kind::Array(inner) => return array(inner, raw),
        _ => {}
    }
    Some(match *of {
        Type::BOOL => Value::Boolean(*raw.first()? != 0),
        Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::OID => Value::Integer(u32::from_be_bytes(raw.try_into().ok()?).into()),
        Type::INT8 => Value::Integer(long()?),
        // By its own digits: as the nearest double of 0.1 it would be 0.10000000149011612.
        Type::FLOAT4 => float(f32::from_be_bytes(raw.try_into().ok()?).to_string().parse().ok()?),
        Type::FLOAT8 => float(f64::from_be_bytes(raw.try_into().ok()?)),
        Type::NUMERIC => Value::from(numeric(raw)?),
        Type::JSON => return json(raw),
        Type::JSONB => return json(raw.get(1..)?),
        Type::UUID => {
            let hex: String = hex(raw).split_off(2);
            let parts = [hex.get(..8)?, hex.get(8..12)?, hex.get(12..16)?, hex.get(16..20)?, hex.get(20..)?];
            Value::from(parts.join("-"))
        }
        Type::TIMESTAMPTZ => Value::from(match instant(long()?) {
            Ok(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            Err(word) => word.to_owned(),
        }),
        Type::TIMESTAMP => Value::from(match instant(long()?) {
            Ok(time) => time.naive_utc().format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
            Err(word) => word.to_owned(),
        }),
        Type::DATE => match i32::from_be_bytes(raw.try_into().ok()?) {
            i32::MAX => Value::from("infinity"),
            i32::MIN => Value::from("-infinity"),
            days => {
                let epoch = NaiveDate::from_ymd_opt(2000, 1, 1)?;
                Value::from(epoch.checked_add_signed(chrono::TimeDelta::days(days.into()))?.to_string())
            }
        },
        Type::TIME => {
            let micros = long()?;
            let (seconds, nanos) = (u32::try_from(micros / 1_000_000).ok()?, (micros % 1_000_000) as u32 * 1000);
            // 24:00:00 is a time there.
            let time = NaiveTime::from_num_seconds_from_midnight_opt(seconds, nanos);
            Value::from(time.map_or_else(|| "24:00:00".to_owned(), |t| t.to_string()))
        }
        Type::BYTEA => Value::from(hex(raw)),
        Type::VOID => Value::Null,
        _ => return text(),
    })
}

/// Microseconds since 2000, or a word for what is no time.
fn instant(micros: i64) -> Result<DateTime<chrono::Utc>, &'static str> {
    const EPOCH: i64 = 946_684_800_000_000;
    match micros {
        i64::MAX => Err("infinity"),
        i64::MIN => Err("-infinity"),
        micros => micros.checked_add(EPOCH).and_then(DateTime::from_timestamp_micros).ok_or("infinity"),
    }
}

fn json(raw: &[u8]) -> Option<Value> {
    let payload = Codec::Json.decode(bytes::Bytes::copy_from_slice(raw), &Coercion::none()).ok()?;
    payload.value().cloned()
}

/// Its digits, all of them.
fn numeric(raw: &[u8]) -> Option<String> {
    let word = |n: usize| raw.get(n * 2..n * 2 + 2).map(|b| i16::from_be_bytes([b[0], b[1]]));
    let (digits, weight, sign, scale) = (word(0)?, word(1)?, word(2)? as u16, word(3)?);
    match sign {
        0xc000 => return Some("NaN".to_owned()),
        0xd000 => return Some("Infinity".to_owned()),
        0xf000 => return Some("-Infinity".to_owned()),
        _ => {}
    }
    let digit = |place: i32| -> Option<i16> {
        let n = i32::from(weight) - place;
        if (0..i32::from(digits)).contains(&n) { word(4 + n as usize) } else { Some(0) }
    };
    let mut out = String::new();
    if sign == 0x4000 {
        out.push('-');
    }
    let whole: Vec<String> =
        (0..=i32::from(weight).max(0)).rev().map(|p| Some(format!("{:04}", digit(p)?))).collect::<Option<_>>()?;
    let whole = whole.concat();
    let trimmed = whole.trim_start_matches('0');
    out.push_str(if trimmed.is_empty() { "0" } else { trimmed });
    if scale > 0 {
        let groups = (i32::from(scale) + 3) / 4;
        let part: Vec<String> = (1..=groups).map(|p| Some(format!("{:04}", digit(-p)?))).collect::<Option<_>>()?;
        out.push('.');
        out.push_str(part.concat().get(..scale as usize)?);
    }
    Some(out)
}

fn array(of: &Type, raw: &[u8]) -> Option<Value> {
    let mut at = 0;
    let mut next = |len: usize| {
        let piece = raw.get(at..at + len)?;
        at += len;
        Some(piece)
    };
    let mut int = || next(4)?.try_into().ok().map(i32::from_be_bytes);
    let (dimensions, _, _) = (int()?, int()?, int()?);
    let mut lengths = Vec::new();
    for _ in 0..dimensions {
        lengths.push(usize::try_from(int()?).ok()?);
        int()?;
    }
    let count = if lengths.is_empty() { 0 } else { lengths.iter().product() };
    let mut all = Vec::new();
    for _ in 0..count {
        let len = i32::from_be_bytes(next(4)?.try_into().ok()?);
        all.push(match usize::try_from(len) {
            Ok(len) => value(of, next(len)?)?,
            Err(_) => Value::Null,
        });
    }
    // From the innermost outwards.
    for length in lengths.iter().skip(1).rev() {
        all = all.chunks((*length).max(1)).map(|chunk| Value::Array(chunk.to_vec())).collect();
    }
    Some(Value::Array(all))
}

/// Everything goes as text, as it would stand in the statement: the server reads it by the placeholder's type.
impl ToSql for Bound {
    fn to_sql(&self, of: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Bool(yes) => out.put_slice(if *yes { b"true" } else { b"false" }),
            Self::Integer(n) => out.put_slice(n.to_string().as_bytes()),
            Self::Float(n) => out.put_slice(number(*n, of).as_bytes()),
            Self::Exact(text, _) => out.put_slice(text.as_bytes()),
            Self::Text(text) if *of == Type::BYTEA => out.put_slice(hex(text).as_bytes()),
            Self::Text(text) => out.put_slice(text),
            Self::Json(json, value) => match (of.kind(), value) {
                (Kind::Array(inner), Value::Array(items)) => out.put_slice(literal(items, inner).as_bytes()),
                _ => out.put_slice(json.as_bytes()),
            },
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// A float is a whole number where one is wanted and it is one.
fn number(n: f64, of: &Type) -> String {
    let whole = [Type::INT2, Type::INT4, Type::INT8].contains(of) && n.fract() == 0.0;
    if whole { n.to_string() } else { format!("{n:?}") }
}

/// `{1,"a",NULL,{2}}`
fn literal(items: &[Value], of: &Type) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let item = |item: &Value| match item {
        Value::Null => "NULL".to_owned(),
        Value::Boolean(yes) => yes.to_string(),
        Value::Integer(n) => n.to_string(),
        Value::Float(n) => number(n.into_inner(), of),
        Value::Bytes(text) if *of == Type::BYTEA => quoted(&hex(text)),
        Value::Bytes(text) => quoted(&String::from_utf8_lossy(text)),
        Value::String(text) => quoted(&String::from_utf8_lossy(text.as_bytes())),
        Value::Timestamp(time) => quoted(&time.to_rfc3339()),
        Value::Array(inner) if ![Type::JSON, Type::JSONB].contains(of) => literal(inner, of),
        other => quoted(&encode_value(other).map(|j| String::from_utf8_lossy(&j).into_owned()).unwrap_or_default()),
    };
    format!("{{{}}}", items.iter().map(item).collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: &[i16]) -> Vec<u8> {
        all.iter().flat_map(|n| n.to_be_bytes()).collect()
    }

    #[test]
    fn numerics_keep_all_digits() {
        for (raw, text) in [
            (words(&[0, 0, 0, 0]), "0"),
            (words(&[1, 0, 0, 0, 7]), "7"),
            (words(&[2, 0, 0, 2, 1, 1000]), "1.10"),
            (words(&[2, 1, 0x4000, 0, 1, 2345]), "-12345"),
            (words(&[1, 1, 0, 1, 5]), "50000.0"),
            (words(&[1, -1, 0, 4, 12]), "0.0012"),
            (words(&[1, -2, 0, 8, 1]), "0.00000001"),
            (words(&[0, 0, 0xc000u16 as i16, 0]), "NaN"),
        ] {
            assert_eq!(numeric(&raw).as_deref(), Some(text));
        }
        assert_eq!(numeric(&words(&[2, 0, 0, 2, 1])), None, "cut off");
    }

    #[test]
    fn lists_are_literals() {
        let items =
            [Value::Integer(1), Value::Null, Value::from("a\"b\\"), Value::Array(vec![Value::from_f64_or_zero(2.0)])];
        assert_eq!(literal(&items, &Type::TEXT), "{1,NULL,\"a\\\"b\\\\\",{2.0}}");
        assert_eq!(literal(&[Value::from_f64_or_zero(2.0)], &Type::INT4), "{2}");
    }
}
