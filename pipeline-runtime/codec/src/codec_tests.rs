use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{Kind, OwnedValuePath, Payload, Value};
use proptest::prelude::*;
use vrl::path::parse_value_path;

use super::*;
use crate::encode_value;

fn decode(codec: &Codec, raw: impl Into<Bytes>) -> Result<Payload, DecodeError> {
    codec.decode(raw.into(), &Coercion::none())
}

fn path(text: &str) -> OwnedValuePath {
    parse_value_path(text).unwrap()
}

fn csv() -> Codec {
    Codec::Csv { columns: vec!["sku".into(), "price".into(), "note".into()], separator: b';' }
}

#[test]
fn untouched_payloads_share_their_bytes() {
    let rows = [(Codec::Raw, &b"\xff"[..]), (Codec::Text, b"t"), (Codec::Json, b" {\"a\":1.10} "), (csv(), b"a;1;\n")];
    for (codec, raw) in rows {
        let raw = Bytes::copy_from_slice(raw);
        let payload = decode(&codec, raw.clone()).unwrap();
        let out = codec.encode(&payload, &codec).unwrap().unwrap();
        assert_eq!((out.as_ptr(), out.len()), (raw.as_ptr(), raw.len()), "{codec:?}");
        assert_eq!(codec.encode(&Payload::from_bytes(raw.clone()), &codec).unwrap(), Some(raw));
        assert_eq!(codec.encode(&Payload::null(), &codec).unwrap(), None);
    }
}

#[test]
fn json_that_is_not_exactly_one_value_is_refused() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for raw in [
        "",
        " ",
        "{",
        "1 2",
        "{\"a\":1,}",
        "nul",
        "NaN",
        "'a'",
        "-1e999.",
        "1.e999",
        "01e999",
        "{1e999:1}",
        "[1e999",
        "[1e999 1]",
        "1e9999 \"",
        "\u{feff}1",
        "[1] x",
        deep.as_str(),
    ] {
        let error = decode(&Codec::Json, raw.to_owned()).unwrap_err();
        assert_eq!(error.code, "invalid_json", "{raw}");
    }
    assert_eq!(decode(&Codec::Json, &b"\"\xff\""[..]).unwrap_err().code, "invalid_utf8");
    assert_eq!(decode(&Codec::Text, &b"a\xff"[..]).unwrap_err().message, "the payload is not UTF-8 text at byte 1");
}

#[test]
fn json_values_keep_what_they_can() {
    let payload = decode(&Codec::Json, r#"{"i":-9223372036854775808,"f":2.0,"s":"a\u00e9","d":1,"d":2}"#).unwrap();
    let value = payload.value().unwrap();
    assert_eq!(value.get(&path("i")), Some(&Value::Integer(i64::MIN)));
    assert_eq!(value.get(&path("f")), Some(&Value::from_f64_or_zero(2.0)));
    assert_eq!(value.get(&path("s")), Some(&Value::from("aé")));
    assert_eq!(value.get(&path("d")), Some(&Value::Integer(2)));
}

/// Red while the parser's own limit decided: `1e999` was no JSON.
#[test]
fn numbers_of_any_size_keep_their_text_where_they_are_not_touched() {
    let long = "9".repeat(400);
    let raw = format!(
        r#"{{"a": 1e400, "b\"1e400": -2E+9999, "c": 0.1000000000000000000001, "d": {long}, "e": 1e-400, "f": "1e400", "g": [0, -0, 5e999], "h": 1e308}}"#
    );
    let mut payload = decode(&Codec::Json, raw.clone()).unwrap();
    let float = |f: f64| Some(Value::from_f64_or_zero(f));
    for (place, want) in [
        ("a", float(f64::INFINITY)),
        ("\"b\\\"1e400\"", float(f64::NEG_INFINITY)),
        ("c", float(0.1)),
        ("d", float(f64::INFINITY)),
        ("e", float(0.0)),
        ("f", Some(Value::from("1e400"))),
        ("g[0]", Some(Value::Integer(0))),
        ("g[1]", float(-0.0)),
        ("g[2]", float(f64::INFINITY)),
        ("h", float(1e308)),
    ] {
        assert_eq!(payload.value().unwrap().get(&path(place)), want.as_ref(), "{place}");
    }
    assert_eq!(Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap(), raw);
    let mut whole = payload.clone();
    // Another member written, and the whole payload taken as written.
    for (payload, touched) in [(&mut payload, path("h")), (&mut whole, OwnedValuePath::root())] {
        payload.value_mut(&Arc::from([touched])).unwrap().insert(&path("h"), 1);
        let out = Codec::Json.encode(payload, &Codec::Json).unwrap().unwrap();
        assert_eq!(out, raw.replace("1e308", "1"));
    }
    payload.value_mut(&Arc::from([path("new")])).unwrap().insert(&path("new"), Value::from_f64_or_zero(f64::INFINITY));
    assert_eq!(Codec::Json.encode(&payload, &Codec::Json).unwrap_err().code, "number_out_of_range");
    assert_eq!(
        decode(&Codec::Json, "[1e400] x").unwrap_err().message,
        decode(&Codec::Json, "[1e300] x").unwrap_err().message
    );
}

#[test]
fn strings_without_escapes_share_the_payload() {
    let raw = Bytes::from_static(b"{\"a\":\"plain\"}");
    let payload = decode(&Codec::Json, raw.clone()).unwrap();
    let Some(Value::Bytes(text)) = payload.value().unwrap().get(&path("a")) else { panic!("not a string") };
    assert_eq!(text.as_ptr(), raw[6..].as_ptr());
}

#[test]
fn rendered_numbers_stay_numbers_of_their_kind() {
    let text = |v: Value| String::from_utf8(encode_value(&v).unwrap().to_vec()).unwrap();
    for (float, want) in [(2.0, "2.0"), (1.1, "1.1"), (1e300, "1e+300"), (-0.0, "-0.0"), (1e21, "1e+21")] {
        let rendered = text(Value::from_f64_or_zero(float));
        assert_eq!(rendered.parse::<f64>().unwrap().to_bits(), float.to_bits());
        assert_eq!(rendered, want);
    }
    assert_eq!(text(Value::Integer(i64::MAX)), "9223372036854775807");
}

#[test]
fn what_json_cannot_carry_is_named_by_its_path() {
    let mut value = decode(&Codec::Json, r#"{"a":{"b":[1,2]}}"#).unwrap().value().unwrap().clone();
    value.insert(&path("a.b[1]"), Value::Bytes(Bytes::from_static(b"\xff")));
    assert!(encode_value(&value).unwrap_err().message.starts_with("`.a.b[1]` holds bytes that are not UTF-8"));
    value.insert(&path("a.b[1]"), Value::from_f64_or_zero(f64::INFINITY));
    assert!(encode_value(&value).unwrap_err().message.starts_with("`.a.b[1]` is a number beyond 1.8e308"));
    let mut deep = Value::Null;
    for _ in 0..600 {
        deep = Value::Array(vec![deep]);
    }
    assert!(encode_value(&deep).unwrap_err().message.contains("too deep"));
}

#[test]
fn formats_turn_into_each_other_where_they_can() {
    let text = decode(&Codec::Text, "a \"b\"").unwrap();
    assert_eq!(Codec::Json.encode(&text, &Codec::Text).unwrap().unwrap(), r#""a \"b\"""#);
    let number = decode(&Codec::Json, "1").unwrap();
    assert_eq!(Codec::Text.encode(&number, &Codec::Json).unwrap_err().code, "encode_failed");
    let undecoded = Payload::from_bytes(Bytes::from_static(b"{"));
    assert_eq!(Codec::Text.encode(&undecoded, &Codec::Json).unwrap_err().code, "invalid_json");
    let object = decode(&Codec::Json, r#"{"price":1.5,"sku":"a;b","x":1}"#).unwrap();
    assert_eq!(csv().encode(&object, &Codec::Json).unwrap().unwrap(), "\"a;b\";1.5;");
}

#[test]
fn a_csv_row_is_typed_and_keeps_the_text_of_untouched_columns() {
    let kind = Kind::object(std::collections::BTreeMap::from([
        ("price".into(), Kind::float()),
        ("note".into(), Kind::bytes().or_null()),
    ]));
    let mut payload = csv().decode("A;1.10;\r\n".into(), &Coercion::new(&kind)).unwrap();
    let value = payload.value().unwrap();
    assert_eq!(value.get(&path("price")), Some(&Value::from_f64_or_zero(1.1)));
    assert_eq!(value.get(&path("note")), Some(&Value::Null));
    let touched: Arc<[_]> = Arc::from([parse_value_path("note").unwrap(), parse_value_path("price").unwrap()]);
    payload.value_mut(&touched).unwrap().insert(&path("note"), "x;y");
    assert_eq!(csv().encode(&payload, &csv()).unwrap().unwrap(), "A;1.10;\"x;y\"\r\n");
    for raw in ["", "a;b", "a;b;c;d", "a;b;c\nd;e;f"] {
        assert_eq!(decode(&csv(), raw).unwrap_err().code, "invalid_csv", "{raw}");
    }
}

proptest! {
    #[test]
    fn floats_read_back_equal(float in proptest::num::f64::NORMAL | proptest::num::f64::SUBNORMAL | proptest::num::f64::ZERO) {
        let text = encode_value(&Value::from_f64_or_zero(float)).unwrap();
        let Value::Float(back) = crate::json::parse(&text).unwrap() else { panic!("{text:?} is no float") };
        prop_assert_eq!(back.to_bits(), float.to_bits());
    }
}
