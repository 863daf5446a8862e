//! Records as they come from a log: one of the shop's order lines each, equal on every run.

use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{Headers, Meta, Payload, Record};

/// Partitions they come from.
pub const SLOTS: u32 = 4;
/// Texts of one allocation: four of each record.
const BATCH: usize = 2_000;

/// One line as JSON, about 200 bytes, with members of each kind.
pub fn json(number: usize) -> Bytes {
    let customer = number * 7919 % 1_000;
    let (quantity, cents) = (number % 10, number * 31 % 5_000);
    let text = format!(
        "{{\"id\":\"order-{number:08}\",\"customer\":\"customer-{customer:04}\",\"quantity\":{quantity},\
         \"unit_price\":{}.{:02},\"country\":\"{}\",\"paid\":{},\"note\":null,\
         \"at\":\"2026-11-22T08:{:02}:{:02}Z\",\"item\":{{\"sku\":\"A-{:05}\",\"tags\":[\"new\",\"blue\"]}}}}",
        cents / 100,
        cents % 100,
        ["DE", "FR", "GB", "US"][number % 4],
        number.is_multiple_of(3),
        number / 60 % 60,
        number % 60,
        number * 13 % 100_000,
    );
    Bytes::from(text)
}

/// The type of [`json`].
pub const JSON_SCHEMA: &str = r#"{"type": "object",
    "required": ["id", "customer", "quantity", "unit_price", "country", "paid", "note", "at", "item"], "properties": {
    "id": {"type": "string"}, "customer": {"type": "string"}, "quantity": {"type": "integer"},
    "unit_price": {"type": "number"}, "country": {"type": "string"}, "paid": {"type": "boolean"},
    "note": {"type": ["string", "null"]}, "at": {"type": "string"},
    "item": {"type": "object", "required": ["sku", "tags"], "properties": {"sku": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}}}}}}"#;

/// The same in batches of one allocation each, as a log brings them.
pub fn shared(texts: Vec<Bytes>) -> Vec<Bytes> {
    let pack = |texts: &[Bytes]| {
        let mut all: Bytes = texts.concat().into();
        texts.iter().map(|text| all.split_to(text.len())).collect::<Vec<_>>()
    };
    texts.chunks(BATCH).flat_map(pack).collect()
}

/// So many records, not decoded, with `keys` keys in turn.
pub fn records(count: usize, keys: usize) -> Vec<Record> {
    let topic: Arc<str> = Arc::from("shop.in");
    let parts = |number: usize| {
        let id = format!("shop/order-{number:08}");
        let headers: Headers = [
            ("ce_id", Some(id.as_bytes())),
            ("ce_source", Some(b"shop")),
            ("ce_type", Some(b"order.line")),
            ("traceparent", Some(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")),
            ("note", None),
        ]
        .into_iter()
        .collect();
        let key = format!("customer-{:04}", number * 7919 % keys);
        [Bytes::from(key), json(number), headers.packed().clone(), Bytes::from(id)]
    };
    let mut parts = shared((0..count).flat_map(parts).collect()).into_iter();
    let mut next = || parts.next().expect("four of each");
    let record = |number: usize| Record {
        key: Some(next()),
        payload: Payload::from_bytes(next()),
        headers: Headers::from_packed(next()).expect("headers"),
        timestamp: 1_795_000_000_000 + number as i64,
        meta: Meta {
            id: next(),
            topic: Arc::clone(&topic),
            partition: (number % SLOTS as usize) as i32,
            offset: (number / SLOTS as usize) as i64,
            attempt: 1,
        },
    };
    (0..count).map(record).collect()
}
