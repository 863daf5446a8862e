//! Bytes to values and back.

use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use millstream_codec::{AvroSchema, Codec, Coercion};
use millstream_filter_api::{OwnedValuePath, Payload, Value, kind_of_json_schema};

use crate::input::{JSON_SCHEMA, json, shared};
use crate::{Step, each};

const AVRO_SCHEMA: &str = r#"{"type": "record", "name": "Line", "namespace": "shop", "fields": [
    {"name": "id", "type": "string"}, {"name": "customer", "type": "string"}, {"name": "quantity", "type": "int"},
    {"name": "unit_price", "type": "double"},
    {"name": "country", "type": {"type": "enum", "name": "Country", "symbols": ["DE", "FR", "GB", "US"]}},
    {"name": "paid", "type": "boolean"}, {"name": "note", "type": ["null", "string"]},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    {"name": "item", "type": {"type": "record", "name": "Item", "fields": [
        {"name": "sku", "type": "string"}, {"name": "tags", "type": {"type": "array", "items": "string"}}]}}]}"#;

/// With the types of the source.
pub fn json_decode(count: usize) -> Step {
    decode(Codec::Json, (0..count).map(json).collect())
}

/// Two members: what is done once per record weighs more.
pub fn json_decode_small(count: usize) -> Step {
    let small = |n: usize| Bytes::from(format!("{{\"id\":\"a{:05}\",\"n\":{}}}", n % 100_000, n % 10));
    decode(Codec::Json, (0..count).map(small).collect())
}

/// One field changed and one added, the rest as it was.
pub fn json_splice(count: usize) -> Step {
    let paths: Arc<[OwnedValuePath]> = ["quantity", "total"].map(OwnedValuePath::single_field).into();
    each(payloads(count), move |payload| {
        let value = payload.value_mut(&paths).expect("it is decoded");
        value.insert(&paths[0], 7);
        value.insert(&paths[1], "12.50");
        black_box(Codec::Json.encode(payload, &Codec::Json).expect("JSON takes all"));
    })
}

/// A value that no text stands behind.
pub fn json_encode(count: usize) -> Step {
    encode(Codec::Json, values(count))
}

/// One row as an object of its columns.
pub fn csv_decode(count: usize) -> Step {
    let columns = ["id", "customer", "quantity", "unit_price", "country", "paid", "note"];
    let codec = Codec::Csv { columns: columns.map(str::to_owned).to_vec(), separator: b',' };
    let row = |n: usize| {
        let row = format!("order-{n:08},customer-{:04},{},{}.25,DE,true,\"a, \"\"b\"\"\"", n % 1_000, n % 10, n % 100);
        Bytes::from(row)
    };
    decode(codec, (0..count).map(row).collect())
}

/// With a schema whose types are most of those that are used.
pub fn avro_decode(count: usize) -> Step {
    let avro = avro();
    let encoded = values(count).map(|value| encoded(&avro, value)).collect();
    decode(avro, encoded)
}

/// The other way.
pub fn avro_encode(count: usize) -> Step {
    encode(avro(), values(count))
}

fn avro() -> Codec {
    Codec::Avro(AvroSchema::parse(AVRO_SCHEMA).expect("a schema"))
}

fn encoded(codec: &Codec, value: Value) -> Bytes {
    codec.encode(&Payload::from_value(value), codec).expect("it fits").expect("it is a value")
}

/// Decoded as the source of these records decodes them.
pub fn coercion() -> Coercion {
    Coercion::new(&kind_of_json_schema(JSON_SCHEMA).expect("a schema"))
}

/// So many of them.
pub fn payloads(count: usize) -> Vec<Payload> {
    let coercion = coercion();
    let decode = |raw| Codec::Json.decode(raw, &coercion).expect("JSON");
    shared((0..count).map(json).collect()).into_iter().map(decode).collect()
}

fn values(count: usize) -> impl Iterator<Item = Value> {
    payloads(count).into_iter().map(|payload| payload.value().expect("it is decoded").clone())
}

fn decode(codec: Codec, input: Vec<Bytes>) -> Step {
    let coercion = coercion();
    each(shared(input), move |raw| {
        black_box(codec.decode(raw.clone(), &coercion).expect("it can be decoded"));
    })
}

fn encode(codec: Codec, values: impl Iterator<Item = Value>) -> Step {
    each(values.map(Payload::from_value).collect(), move |payload| {
        black_box(codec.encode(payload, &codec).expect("it fits"));
    })
}
