use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use ciborium::Value as TheirCbor;
use millstream_filter_api::{Kind, Payload, Value};
use proptest::prelude::*;
use rmpv::Value as TheirMsgpack;
use vrl::path::parse_value_path;
use vrl::value;

use super::*;
use crate::{Codec, Coercion};

pub(super) const BOTH: [Packed; 2] = [Packed::Msgpack, Packed::Cbor];

fn time(seconds: i64, nanos: u32) -> Value {
    Value::Timestamp(DateTime::from_timestamp(seconds, nanos).expect("a time"))
}

fn float(float: f64) -> Value {
    Value::from_f64_or_zero(float)
}

fn decode(packed: Packed, raw: &[u8]) -> Value {
    let raw = Bytes::copy_from_slice(raw);
    packed.decode(&raw).unwrap_or_else(|e| panic!("{packed:?} {raw:02x?}: {e}"))
}

fn encode(packed: Packed, value: &Value) -> Bytes {
    packed.encode(value, None).unwrap_or_else(|e| panic!("{packed:?} {value}: {e}"))
}

/// What an expression makes of a payload that touches at most `touched`.
fn changed(packed: Packed, raw: &[u8], touched: &str, change: impl FnOnce(&mut Value)) -> Bytes {
    let codec = Codec::Packed(packed);
    let mut payload = codec.decode(Bytes::copy_from_slice(raw), &Coercion::none()).expect("a payload");
    change(payload.value_mut(&Arc::from([parse_value_path(touched).expect("a path")])).expect("a value"));
    codec.encode(&payload, &codec).expect("it fits").expect("no tombstone")
}

fn set(value: &mut Value, path: &str, to: impl Into<Value>) {
    value.insert(&parse_value_path(path).expect("a path"), to);
}

fn member(value: &Value, path: &str) -> Value {
    value.get(&parse_value_path(path).expect("a path")).expect("a member").clone()
}

fn msgpack_of(theirs: &TheirMsgpack) -> Vec<u8> {
    let mut out = Vec::new();
    rmpv::encode::write_value(&mut out, theirs).expect("memory");
    out
}

fn cbor_of(theirs: &TheirCbor) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(theirs, &mut out).expect("memory");
    out
}

fn order() -> Value {
    value!({ id: "A1", count: 3, big: (i64::MIN), price: (float(2.5)), note: null, paid: true, lines: [{ sku: "cup", n: (-2) }], tags: {} })
}

#[test]
fn what_other_implementations_write_is_read_and_the_other_way_round() {
    let text = |text: &str| TheirMsgpack::from(text);
    let line = TheirMsgpack::Map(vec![(text("sku"), text("cup")), (text("n"), TheirMsgpack::from(-2))]);
    let msgpack = TheirMsgpack::Map(vec![
        (text("lines"), TheirMsgpack::Array(vec![line])),
        (text("id"), text("A1")),
        (text("big"), TheirMsgpack::from(i64::MIN)),
        (text("count"), TheirMsgpack::from(3)),
        (text("note"), TheirMsgpack::Nil),
        (text("paid"), TheirMsgpack::from(true)),
        (text("price"), TheirMsgpack::from(2.5f32)),
        (text("tags"), TheirMsgpack::Map(Vec::new())),
    ]);
    assert_eq!(decode(Packed::Msgpack, &msgpack_of(&msgpack)), order());
    let theirs = rmpv::decode::read_value(&mut &encode(Packed::Msgpack, &order())[..]).expect("MessagePack");
    assert_eq!(decode(Packed::Msgpack, &msgpack_of(&theirs)), order());
    assert_eq!((theirs["count"].as_u64(), theirs["price"].as_f64()), (Some(3), Some(2.5)));

    let text = |text: &str| TheirCbor::from(text);
    let line = TheirCbor::Map(vec![(text("sku"), text("cup")), (text("n"), TheirCbor::from(-2))]);
    let cbor = TheirCbor::Map(vec![
        (text("lines"), TheirCbor::Array(vec![line])),
        (text("id"), text("A1")),
        (text("big"), TheirCbor::from(i64::MIN)),
        (text("count"), TheirCbor::from(3)),
        (text("note"), TheirCbor::Null),
        (text("paid"), TheirCbor::from(true)),
        (text("price"), TheirCbor::from(2.5)),
        (text("tags"), TheirCbor::Map(Vec::new())),
    ]);
    assert_eq!(decode(Packed::Cbor, &cbor_of(&cbor)), order());
    let theirs: TheirCbor = ciborium::from_reader(&encode(Packed::Cbor, &order())[..]).expect("CBOR");
    assert_eq!(decode(Packed::Cbor, &cbor_of(&theirs)), order());
}

#[test]
fn every_width_of_a_number_is_read() {
    let cases: &[(Packed, &[u8], Value)] = &[
        (Packed::Msgpack, &[0x7f], value!(127)),
        (Packed::Msgpack, &[0xe0], value!(-32)),
        (Packed::Msgpack, &[0xcc, 0xff], value!(255)),
        (Packed::Msgpack, &[0xcd, 1, 0], value!(256)),
        (Packed::Msgpack, &[0xce, 0xff, 0xff, 0xff, 0xff], value!(4_294_967_295_i64)),
        (Packed::Msgpack, &[0xcf, 0, 0, 0, 0, 0, 0, 0, 1], value!(1)),
        (Packed::Msgpack, &[0xd0, 0x80], value!(-128)),
        (Packed::Msgpack, &[0xd1, 0x80, 0], value!(-32_768)),
        (Packed::Msgpack, &[0xd2, 0x80, 0, 0, 0], value!(-2_147_483_648_i64)),
        (Packed::Msgpack, &[0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0], Value::Integer(i64::MIN)),
        (Packed::Msgpack, &[0xca, 0x3f, 0xc0, 0, 0], float(1.5)),
        (Packed::Msgpack, &[0xca, 0xff, 0x80, 0, 0], float(f64::NEG_INFINITY)),
        (Packed::Cbor, &[0x17], value!(23)),
        (Packed::Cbor, &[0x18, 0x18], value!(24)),
        (Packed::Cbor, &[0x1b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Integer(i64::MAX)),
        (Packed::Cbor, &[0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Integer(i64::MIN)),
        (Packed::Cbor, &[0x20], value!(-1)),
        (Packed::Cbor, &[0xf9, 0x3e, 0], float(1.5)),
        (Packed::Cbor, &[0xf9, 0, 1], float(5.960464477539063e-8)),
        (Packed::Cbor, &[0xf9, 0x7c, 0], float(f64::INFINITY)),
        (Packed::Cbor, &[0xfa, 0x3f, 0xc0, 0, 0], float(1.5)),
        (Packed::Cbor, &[0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0], float(1.5)),
        // Bignums that are none, with zeros before them or without any byte.
        (Packed::Cbor, &[0xc2, 0x43, 0, 1, 0], value!(256)),
        (Packed::Cbor, &[0xc2, 0x40], value!(0)),
        (Packed::Cbor, &[0xc3, 0x48, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], Value::Integer(i64::MIN)),
        (Packed::Cbor, &[0xc2, 0x5f, 0x41, 1, 0x41, 0, 0xff], value!(256)),
        (Packed::Cbor, &[0xf7], Value::Null),
        (Packed::Cbor, &[0xd9, 0xd9, 0xf7, 0x01], value!(1)),
    ];
    for (packed, raw, value) in cases {
        assert_eq!(&decode(*packed, raw), value, "{packed:?} {raw:02x?}");
    }
}

#[test]
fn what_has_no_length_is_read() {
    // {"a": [1, "xy", h'0102'], "b": {}}, all of it without lengths.
    let raw = [
        0xbf, 0x61, b'a', 0x9f, 1, 0x7f, 0x61, b'x', 0x61, b'y', 0xff, 0x5f, 0x41, 1, 0x41, 2, 0xff, 0xff, 0x7f, 0x61,
        b'b', 0xff, 0xbf, 0xff, 0xff,
    ];
    assert_eq!(decode(Packed::Cbor, &raw), value!({ a: [1, "xy", "\u{1}\u{2}"], b: {} }));
    // What is changed has one, what is not stays.
    let out = changed(Packed::Cbor, &raw, "b", |value| set(value, "b.c", 1));
    assert_eq!(out[..1], [0xa2]);
    assert_eq!(out[1..19], raw[1..19]);
}

#[test]
fn times_keep_their_nanoseconds() {
    let cases: &[(&[u8], Value)] = &[
        (&[0xd6, 0xff, 0, 0, 0, 1], time(1, 0)),
        (&[0xd7, 0xff, 0, 0, 0, 4, 0, 0, 0, 2], time(2, 1)),
        (
            &[0xc7, 12, 0xff, 0x3b, 0x9a, 0xc9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            time(-1, 999_999_999),
        ),
    ];
    for (raw, value) in cases {
        assert_eq!(&decode(Packed::Msgpack, raw), value, "{raw:02x?}");
        assert_eq!(encode(Packed::Msgpack, value), *raw, "the shortest form");
    }
    let text = |text: &str| cbor_of(&TheirCbor::Tag(0, Box::new(TheirCbor::from(text))));
    let number = |number: f64| cbor_of(&TheirCbor::Tag(1, Box::new(TheirCbor::from(number))));
    let cases = [
        (text("2026-11-22T08:30:00.000000001Z"), time(1_795_336_200, 1)),
        (text("2026-11-22T10:30:00.5000000000+02:00"), time(1_795_336_200, 500_000_000)),
        (cbor_of(&TheirCbor::Tag(1, Box::new(TheirCbor::from(-1)))), time(-1, 0)),
        (number(1_795_336_200.123), time(1_795_336_200, 123_000_000)),
        (number(-0.5), time(-1, 500_000_000)),
        (number(1e-9), time(0, 1)),
        (number(0.0), time(0, 0)),
    ];
    for (raw, value) in cases {
        assert_eq!(decode(Packed::Cbor, &raw), value, "{raw:02x?}");
        assert_eq!(decode(Packed::Cbor, &encode(Packed::Cbor, &value)), value);
    }
    // The zone is not part of the value, and stays where nobody touches it.
    let raw = [&[0x82u8][..], &text("2026-11-22T10:30:00+02:00"), &[1]].concat();
    let out = changed(Packed::Cbor, &raw, "[1]", |value| set(value, "[1]", 2));
    assert_eq!(out[..raw.len() - 1], raw[..raw.len() - 1]);
}

#[test]
fn what_is_not_changed_keeps_its_bytes() {
    // {"z": 1 in eight bytes, "f": 1.5 in four, "b": bytes that look like text, "a": [7 in two bytes, 8], "gone": nil}
    let raw = msgpack_of(&TheirMsgpack::Map(vec![
        ("z".into(), 1.into()),
        ("f".into(), 1.5f32.into()),
        ("b".into(), TheirMsgpack::Binary(b"abc".to_vec())),
        ("a".into(), TheirMsgpack::Array(vec![7.into(), 8.into()])),
        ("gone".into(), TheirMsgpack::Nil),
    ]));
    let wide: Vec<u8> = [&raw[..3], &[0xcf, 0, 0, 0, 0, 0, 0, 0, 1], &raw[4..]].concat();
    let same = changed(Packed::Msgpack, &wide, ".", |value| set(value, "z", 1));
    assert_eq!(same, wide, "touched, and the same value");
    let more = changed(Packed::Msgpack, &wide, ".", |value| {
        set(value, "a[1]", 9);
        let bytes = member(value, "b");
        set(value, "copy", bytes);
        value.remove(&parse_value_path("gone").expect("a path"), false);
    });
    let theirs = rmpv::decode::read_value(&mut &more[..]).expect("MessagePack");
    let wanted = TheirMsgpack::Map(vec![
        ("z".into(), 1.into()),
        ("f".into(), 1.5f32.into()),
        ("b".into(), TheirMsgpack::Binary(b"abc".to_vec())),
        ("a".into(), TheirMsgpack::Array(vec![7.into(), 9.into()])),
        ("copy".into(), TheirMsgpack::Binary(b"abc".to_vec())),
    ]);
    assert_eq!(theirs, wanted);
    assert_eq!(more[..12], wide[..12], "{more:02x?}");
    // A whole payload made anew of parts of the old one.
    let anew = changed(Packed::Msgpack, &wide, ".", |value| {
        let bytes = member(value, "b");
        *value = value!({ of: bytes, text: "abc" });
    });
    assert_eq!(anew, [&[0x82, 0xa2][..], b"of\xc4\x03abc\xa4text\xa3abc"].concat());
    // And across formats.
    let codec = Codec::Packed(Packed::Msgpack);
    let payload = codec.decode(wide.into(), &Coercion::none()).expect("MessagePack");
    let cbor = Codec::Packed(Packed::Cbor).encode(&payload, &codec).expect("it fits").expect("no tombstone");
    let theirs: TheirCbor = ciborium::from_reader(&cbor[..]).expect("CBOR");
    let bytes = theirs.as_map().expect("a map").iter().find(|(key, _)| key.as_text() == Some("b")).expect("b");
    assert_eq!(bytes.1, TheirCbor::Bytes(b"abc".to_vec()));
}

#[test]
fn the_sign_of_a_zero_and_the_word_cbor_stay() {
    let raw = [0xd9, 0xd9, 0xf7, 0x82, 0xf9, 0, 0, 1];
    let minus = changed(Packed::Cbor, &raw, "[0]", |value| set(value, "[0]", float(-0.0)));
    assert_eq!(minus, [0xd9, 0xd9, 0xf7, 0x82, 0xf9, 0x80, 0, 1][..]);
}

#[test]
fn types_of_the_source_hold() {
    let kind = Kind::object(std::collections::BTreeMap::from([("price".into(), Kind::float())]));
    for packed in BOTH {
        let codec = Codec::Packed(packed);
        let raw = encode(packed, &value!({ n: 1, price: 2 }));
        let mut payload = codec.decode(raw.clone(), &Coercion::new(&kind)).expect("a payload");
        assert_eq!(payload.value(), Some(&value!({ n: 1, price: (float(2.0)) })));
        set(payload.value_mut(&Arc::from([parse_value_path("price").expect("a path")])).expect("a value"), "n", 1);
        assert_eq!(codec.encode(&payload, &codec), Ok(Some(raw)), "the integer stays one");
    }
}

#[test]
fn payloads_that_nobody_touched_are_the_same_bytes() {
    for packed in BOTH {
        let (codec, raw) = (Codec::Packed(packed), encode(packed, &order()));
        let payload = codec.decode(raw.clone(), &Coercion::none()).expect("a payload");
        assert_eq!(codec.encode(&payload, &codec).expect("bytes").map(|out| out.as_ptr()), Some(raw.as_ptr()));
        assert_eq!(codec.encode(&Payload::null(), &codec), Ok(None));
        assert_eq!(codec.encode(&Payload::from_bytes(raw.clone()), &codec), Ok(Some(raw)));
    }
}

pub(super) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        (-200i64..300).prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        any::<f64>().prop_filter("no number", |f| !f.is_nan()).prop_map(Value::from_f64_or_zero),
        any::<f32>().prop_filter("no number", |f| !f.is_nan()).prop_map(|f| Value::from_f64_or_zero(f.into())),
        "[a-zé]{0,40}".prop_map(|s| Value::Bytes(s.into())),
        prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::Bytes(bytes.into())),
        (-62_167_219_200i64..253_402_300_800, 0u32..1_000_000_000).prop_map(|(seconds, nanos)| time(seconds, nanos)),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
            prop::collection::btree_map("[a-zü]{0,4}", inner, 0..20)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_passes_there_and_back(value in any_value()) {
        for packed in BOTH {
            let raw = encode(packed, &value);
            prop_assert_eq!(&decode(packed, &raw), &value);
            // A zero of either sign is equal to the other, its bytes are not.
            prop_assert_eq!(encode(packed, &decode(packed, &raw)), raw);
        }
    }

    #[test]
    fn other_implementations_read_what_is_written(value in any_value()) {
        let msgpack = encode(Packed::Msgpack, &value);
        let theirs = rmpv::decode::read_value(&mut &msgpack[..]).expect("MessagePack");
        prop_assert_eq!(msgpack_of(&theirs), msgpack);
        let cbor = encode(Packed::Cbor, &value);
        let theirs: TheirCbor = ciborium::from_reader(&cbor[..]).expect("CBOR");
        prop_assert_eq!(cbor_of(&theirs), cbor);
    }

    #[test]
    fn a_change_is_written_and_nothing_else(old in any_value(), new in any_value()) {
        for packed in BOTH {
            // Every value of one there, and some of the other.
            let (before, after) = (value!({ a: (old.clone()), b: [(old.clone()), 1] }), value!({ a: (new.clone()), b: [(old.clone()), (new.clone())] }));
            let raw = encode(packed, &before);
            let out = changed(packed, &raw, ".", |value| *value = after.clone());
            prop_assert_eq!(decode(packed, &out), after);
            prop_assert_eq!(changed(packed, &raw, ".", |value| *value = before.clone()), raw);
        }
    }

    #[test]
    fn seconds_with_a_fraction_are_what_was_written(millis in -4_000_000_000_000i64..4_000_000_000_000) {
        let raw = cbor_of(&TheirCbor::Tag(1, Box::new(TheirCbor::from(millis as f64 / 1000.0))));
        let wanted: DateTime<Utc> = DateTime::from_timestamp_millis(millis).expect("a time");
        prop_assert_eq!(decode(Packed::Cbor, &raw), Value::Timestamp(wanted));
    }
}
