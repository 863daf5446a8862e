//! The table of `docs/formats.md` that says what passes from one format to another: each of its cells is held here by values made
//! at random, which go into the one format, are read, go into the other, and are read again. What is expected stands in the
//! table alone; a word that is wrong there turns this red (tried: `all` for `rows` and for `json`, `strings` for `utf8`).

use std::collections::BTreeMap;

use chrono::DateTime;
use millstream_codec::{AvroSchema, Codec, Coercion, Packed, encode_value};
use millstream_filter_api::{Payload, Value};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const CASES: u32 = 150;
const DOCS: &str = include_str!("../../../docs/formats.md");

#[test]
fn every_cell_of_the_table_holds() {
    let table = table();
    assert_eq!(table.len(), 7 * 7, "{table:?}");
    for ((from, to), word) in &table {
        let mut runner =
            TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(CASES) });
        let held = runner.run(&values_of(from), |value| {
            let source = codec(from, &value);
            let raw = source.encode(&Payload::from_value(value), &source).expect("a value of this format");
            let read = source.decode(raw.expect("no tombstone"), &Coercion::none()).expect("it was written");
            let value = read.value().expect("it was decoded").clone();
            let target = codec(to, &value);
            let written = target.encode(&read, &source).map_err(|e| e.code);
            let back = written.and_then(|raw| {
                let back = target.decode(raw.expect("no tombstone"), &Coercion::none()).map_err(|e| e.code)?;
                Ok(back.value().cloned())
            });
            prop_assert_eq!(back, expected(word, &value).map(Some));
            Ok(())
        });
        held.unwrap_or_else(|why| panic!("{from} to {to}, which the docs call `{word}`: {why}"));
    }
}

/// What the docs say beside the table.
#[test]
fn what_no_cell_says_is_as_the_text_says() {
    let pass = |from: &Codec, to: &Codec, raw: &[u8]| {
        let read = from.decode(raw.to_vec().into(), &Coercion::none()).map_err(|e| e.code)?;
        let raw = to.encode(&read, from).map_err(|e| e.code)?.expect("no tombstone");
        to.decode(raw, &Coercion::none()).map(|back| back.value().expect("decoded").to_string()).map_err(|e| e.code)
    };
    let (msgpack, cbor) = (Codec::Packed(Packed::Msgpack), Codec::Packed(Packed::Cbor));
    // Numbers of JSON that no value holds are the nearest float elsewhere.
    assert_eq!(pass(&Codec::Json, &msgpack, b"18446744073709551615"), Ok("18446744073709552000".to_owned()));
    assert_eq!(pass(&Codec::Json, &Codec::Json, b"18446744073709551615"), Ok("18446744073709552000".to_owned()));
    // Of a key that is there twice the last counts in JSON, and nothing does elsewhere.
    assert_eq!(pass(&Codec::Json, &cbor, br#"{"a":1,"a":2}"#), Ok(r#"{ "a": 2 }"#.to_owned()));
    assert_eq!(pass(&cbor, &Codec::Json, b"\xa2\x61a\x01\x61a\x02"), Err("invalid_cbor"));
    // Times that CBOR has not.
    assert_eq!(
        pass(&msgpack, &cbor, b"\xc7\x0c\xff\0\0\0\0\0\0\0\x3a\xff\xf2\xf0\x00"),
        Ok("t'9999-12-31T00:00:00Z'".to_owned())
    );
    assert_eq!(pass(&msgpack, &cbor, b"\xc7\x0c\xff\0\0\0\0\0\0\0\x3a\xff\xf4\x41\x80"), Err("encode_failed"));
}

/// What a word of the table promises of a value: how it comes back, or the code of the letter.
fn expected(word: &str, value: &Value) -> Result<Value, &'static str> {
    match word {
        "all" => Ok(value.clone()),
        "json" => carried(value),
        "strings" if value.is_bytes() => Ok(value.clone()),
        "utf8" if is_text(value) => Ok(value.clone()),
        // JSON says of bytes that it cannot carry them, and text that they are none.
        "text" if value.is_bytes() => {
            if is_text(value) {
                Ok(value.clone())
            } else {
                Err("invalid_utf8")
            }
        }
        "rows" => match value {
            Value::Object(members) => {
                // Written in the order of the columns, so that the first fault counts; what is no text is found by the reader.
                let fields = members.iter().map(|(name, value)| Ok((name.clone(), field(value)?)));
                let fields = fields.collect::<Result<BTreeMap<_, _>, &'static str>>()?;
                match fields.values().all(is_text) {
                    true => Ok(Value::Object(fields)),
                    false => Err("invalid_utf8"),
                }
            }
            _ => Err("encode_failed"),
        },
        "utf8" | "strings" | "text" | "none" => Err("encode_failed"),
        other => panic!("the table has the word `{other}`"),
    }
}

/// What JSON carries: times as text, no bytes that are no text, no infinite numbers.
fn carried(value: &Value) -> Result<Value, &'static str> {
    Ok(match value {
        Value::Timestamp(_) => text_of(value),
        Value::Bytes(_) if !is_text(value) => return Err("encode_failed"),
        Value::Float(float) if float.is_infinite() => return Err("number_out_of_range"),
        Value::Array(items) => Value::Array(items.iter().map(carried).collect::<Result<_, _>>()?),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.clone(), carried(value)?)));
            Value::Object(members.collect::<Result<_, &'static str>>()?)
        }
        other => other.clone(),
    })
}

/// A field of a row, read without types.
fn field(value: &Value) -> Result<Value, &'static str> {
    match value {
        Value::Null => Ok(Value::from("")),
        Value::Bytes(_) => Ok(value.clone()),
        Value::Timestamp(_) => Ok(text_of(value)),
        other => encode_value(&carried(other)?).map(Value::Bytes).map_err(|e| e.code),
    }
}

fn text_of(time: &Value) -> Value {
    let json = encode_value(time).expect("a time");
    Value::Bytes(json.slice(1..json.len() - 1))
}

fn is_text(value: &Value) -> bool {
    value.as_bytes().is_some_and(|bytes| std::str::from_utf8(bytes).is_ok())
}

/// The words of the table, by the formats from and to.
fn table() -> BTreeMap<(&'static str, &'static str), &'static str> {
    let cells =
        |line: &'static str| line.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect();
    let begin = "| From \\ to |";
    let mut rows = DOCS.lines().skip_while(|line| !line.starts_with(begin)).take_while(|line| line.starts_with('|'));
    let head: Vec<&str> = rows.next().map(cells).expect("the table");
    let mut table = BTreeMap::new();
    for row in rows.skip(1) {
        let row: Vec<&str> = cells(row);
        table.extend(head.iter().zip(&row).skip(1).map(|(to, word)| ((row[0], *to), *word)));
    }
    table
}

fn codec(format: &str, value: &Value) -> Codec {
    match format {
        "json" => Codec::Json,
        "text" => Codec::Text,
        "raw" => Codec::Raw,
        "csv" => {
            let columns = value.as_object().map(|members| members.keys().map(ToString::to_string).collect());
            Codec::Csv { columns: columns.unwrap_or_else(|| vec!["a".to_owned()]), separator: b',' }
        }
        "avro" => Codec::Avro(AvroSchema::parse(&schema(value, "R")).expect("a schema")),
        packed => Codec::Packed(Packed::named(packed).unwrap_or_else(|| panic!("the table has the format `{packed}`"))),
    }
}

/// A schema that takes this value.
fn schema(value: &Value, name: &str) -> String {
    match value {
        Value::Null => "\"null\"".to_owned(),
        Value::Boolean(_) => "\"boolean\"".to_owned(),
        Value::Integer(_) => "\"long\"".to_owned(),
        Value::Float(_) => "\"double\"".to_owned(),
        Value::Timestamp(_) => r#"{"type":"long","logicalType":"timestamp-nanos"}"#.to_owned(),
        Value::Array(items) => {
            let of = items.first().map_or("\"null\"".to_owned(), |item| schema(item, name));
            format!(r#"{{"type":"array","items":{of}}}"#)
        }
        Value::Object(members) => {
            let fields = members.iter().map(|(field, value)| {
                format!(r#"{{"name":"{field}","type":{}}}"#, schema(value, &format!("{name}_{field}")))
            });
            let fields: Vec<String> = fields.collect();
            format!(r#"{{"type":"record","name":"{name}","fields":[{}]}}"#, fields.join(","))
        }
        other if is_text(other) => "\"string\"".to_owned(),
        _ => "\"bytes\"".to_owned(),
    }
}

/// Values that payloads of this format decode to.
fn values_of(format: &str) -> BoxedStrategy<Value> {
    let number = any::<f64>().prop_filter("no number", |float| !float.is_nan());
    let finite = number.clone().prop_filter("infinite", |float| float.is_finite());
    let float = |float| Value::from_f64_or_zero(float);
    let text = || prop_oneof!["[a-z,;\"\n\r é]{0,8}", "\\PC{0,8}"].prop_map(|text| Value::Bytes(text.into()));
    let bytes = || prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| Value::Bytes(bytes.into()));
    // All that timestamps of Avro have in nanoseconds.
    let time = (-9_000_000_000i64..9_000_000_000, 0u32..1_000_000_000)
        .prop_map(|(seconds, nanos)| Value::Timestamp(DateTime::from_timestamp(seconds, nanos).expect("a time")));
    let plain = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            finite.clone().prop_map(float),
            text(),
        ]
    };
    let rich = || {
        prop_oneof![
            5 => plain(),
            1 => bytes(),
            1 => time.clone(),
            1 => prop_oneof![Just(f64::INFINITY), Just(f64::NEG_INFINITY), number.clone()].prop_map(float),
        ]
    };
    match format {
        "text" => text().boxed(),
        "raw" => prop_oneof![text(), bytes()].boxed(),
        "csv" => prop::collection::btree_map("[a-z]{1,3}", text(), 1..5).prop_map(object).boxed(),
        "json" => nested(plain().boxed()),
        _ => nested(rich().boxed()),
    }
}

/// Arrays have items of one leaf's kind, as Avro wants it.
fn nested(leaf: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    let several = (leaf.clone(), 0usize..4).prop_map(|(item, count)| Value::Array(vec![item; count]));
    let flat = prop_oneof![3 => leaf.clone(), 1 => several];
    let inner = prop::collection::btree_map("[a-z]{1,3}", flat.clone(), 1..4).prop_map(object);
    let member = prop_oneof![3 => flat.clone(), 1 => inner];
    let outer = prop::collection::btree_map("[a-z]{1,3}", member, 1..6).prop_map(object);
    prop_oneof![1 => flat, 2 => outer].boxed()
}

fn object(members: BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().map(|(name, value)| (name.into(), value)).collect())
}
