//! A table read from a file: key -> what stands beside it.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{Kind, Value};
use vrl::value::kind::Field;
use vrl::value::{KeyString, ObjectMap};

/// Largest table file: all of it is held in memory, once per process.
pub(crate) const MAX_BYTES: usize = 256 * 1024 * 1024;

/// A loaded table.
#[derive(Debug)]
pub(crate) struct Table {
    rows: HashMap<Box<str>, Value>,
    /// Type of what a row gives.
    pub(crate) kind: Kind,
}

/// What is wrong with a table file, with the line where it is known.
pub(crate) type Fault = String;

/// One row before it is cut into key and value.
struct Row {
    line: u64,
    key: Box<str>,
    rest: ObjectMap,
}

impl Table {
    /// From a file's bytes; its name says how they are written. `key` is the wanted key column.
    pub(crate) fn load(name: &str, bytes: Vec<u8>, key: &str) -> Result<Self, Fault> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("is larger than {} MiB", MAX_BYTES / 1024 / 1024));
        }
        let extension = name.rsplit_once('.').map_or("", |(_, e)| e).to_ascii_lowercase();
        let rows = match extension.as_str() {
            "csv" => csv_rows(&bytes, key)?,
            "jsonl" | "ndjson" => json_rows(bytes.into(), key)?,
            _ => return Err("must be named `.csv` or `.jsonl`".to_owned()),
        };
        Self::from_rows(rows)
    }

    /// What stands beside a key.
    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        match key {
            Value::Bytes(text) => self.rows.get(std::str::from_utf8(text).ok()?),
            Value::String(text) => self.rows.get::<str>(text),
            other => self.rows.get(scalar(other)?.as_str()),
        }
    }

    fn from_rows(rows: Vec<Row>) -> Result<Self, Fault> {
        let mut columns: BTreeMap<KeyString, (Kind, usize)> = BTreeMap::new();
        for row in &rows {
            for (name, value) in &row.rest {
                let column = columns.entry(name.clone()).or_insert_with(|| (Kind::never(), 0));
                column.0 = column.0.union(Kind::from(value));
                column.1 += 1;
            }
        }
        if columns.is_empty() {
            return Err("has no column beside the key".to_owned());
        }
        for (kind, present) in columns.values_mut() {
            // A mixture of integers and floats is floats, as everywhere in the language.
            if kind.contains_float() {
                kind.remove_integer();
            }
            if *present < rows.len() {
                kind.add_null();
            }
        }
        let float = |name: &str| columns.get(name).is_some_and(|(kind, _)| kind.contains_float());
        let mut found: HashMap<Box<str>, Value> = HashMap::with_capacity(rows.len());
        let mut lines: HashMap<Box<str>, u64> = HashMap::with_capacity(rows.len());
        for mut row in rows {
            for (name, value) in &mut row.rest {
                if let (Value::Integer(i), true) = (&*value, float(name)) {
                    *value = Value::from_f64_or_zero(*i as f64);
                }
            }
            let value = if columns.len() == 1 {
                row.rest.into_values().next().unwrap_or(Value::Null)
            } else {
                for name in columns.keys() {
                    row.rest.entry(name.clone()).or_insert(Value::Null);
                }
                Value::Object(row.rest)
            };
            if let Some(first) = lines.insert(row.key.clone(), row.line) {
                return Err(format!("names key `{}` twice, in lines {first} and {}", row.key, row.line));
            }
            found.insert(row.key, value);
        }
        let mut kinds = columns.into_iter().map(|(name, (kind, _))| (Field::from(name), kind));
        let kind = if kinds.len() == 1 {
            kinds.next().map_or_else(Kind::null, |(_, kind)| kind)
        } else {
            Kind::object(kinds.collect::<BTreeMap<_, _>>())
        };
        Ok(Self { rows: found, kind })
    }
}

fn csv_rows(bytes: &[u8], key: &str) -> Result<Vec<Row>, Fault> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::Reader::from_reader(bytes);
    let header = reader.headers().map_err(|e| format!("is no CSV: {e}"))?.clone();
    let key_at = header.iter().position(|name| name == key).unwrap_or(0);
    let mut raw = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| format!("is no CSV: {e}"))?;
        raw.push((record.position().map_or(0, csv::Position::line), record));
    }
    let types: Vec<Content> =
        (0..header.len()).map(|i| Content::of(raw.iter().filter_map(|(_, r)| r.get(i)))).collect();
    let rows = raw.into_iter().map(|(line, record)| {
        let mut rest = ObjectMap::new();
        for (i, (name, text)) in header.iter().zip(&record).enumerate() {
            if i != key_at {
                rest.insert(KeyString::from(name), types[i].value(text));
            }
        }
        Row { line, key: record.get(key_at).unwrap_or("").into(), rest }
    });
    Ok(rows.collect())
}

/// What all fields of a column are that are not empty.
#[derive(Clone, Copy, PartialEq)]
enum Content {
    Integer,
    Float,
    Boolean,
    Text,
}

impl Content {
    fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Self {
        let mut content = None;
        for text in fields.filter(|t| !t.is_empty()) {
            let this = if serde_json::from_str::<i64>(text).is_ok() {
                Self::Integer
            } else if serde_json::from_str::<f64>(text).is_ok() {
                Self::Float
            } else if matches!(text, "true" | "false") {
                Self::Boolean
            } else {
                return Self::Text;
            };
            content = match (content, this) {
                (None, this) => Some(this),
                (Some(Self::Integer | Self::Float), Self::Integer | Self::Float) if content != Some(this) => {
                    Some(Self::Float)
                }
                (Some(before), this) if before == this => Some(this),
                _ => return Self::Text,
            };
        }
        content.unwrap_or(Self::Text)
    }

    fn value(self, text: &str) -> Value {
        let number = || text.parse::<f64>().map_or(Value::Null, Value::from_f64_or_zero);
        match self {
            _ if text.is_empty() => Value::Null,
            Self::Integer => text.parse().map_or(Value::Null, Value::Integer),
            Self::Float => number(),
            Self::Boolean => Value::Boolean(text == "true"),
            Self::Text => Value::from(text),
        }
    }
}

fn json_rows(bytes: Bytes, key: &str) -> Result<Vec<Row>, Fault> {
    let mut rows = Vec::new();
    for (i, line) in bytes.split(|b| *b == b'\n').enumerate() {
        if line.trim_ascii().is_empty() {
            continue;
        }
        let at = i as u64 + 1;
        // A copy per line, so that a table does not hold on to the whole file through one string.
        let payload = Codec::Json
            .decode(Bytes::copy_from_slice(line), &Coercion::none())
            .map_err(|e| format!("is no JSON lines in line {at}: {e}"))?;
        let Some(Value::Object(object)) = payload.value() else { return Err(format!("holds no object in line {at}")) };
        let mut rest = object.clone();
        let text = rest.remove(key).as_ref().and_then(scalar);
        let text = text.ok_or_else(|| format!("has no key `{key}`, a text or a number, in line {at}"))?;
        rows.push(Row { line: at, key: text.into(), rest });
    }
    Ok(rows)
}

/// The text by which a key is found.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::Bytes(text) => std::str::from_utf8(text).ok().map(str::to_owned),
        Value::String(text) => Some(text.to_string()),
        Value::Integer(i) => Some(i.to_string()),
        // Any number beyond a float is infinite, and no row is of all of them.
        Value::Float(f) if f.is_finite() => Some(f.to_string()),
        Value::Boolean(b) => Some(b.to_string()),
        _ => None,
    }
}
