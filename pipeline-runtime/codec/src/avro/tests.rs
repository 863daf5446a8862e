use apache_avro::types::Value as Theirs;
use bytes::Bytes;
use millstream_filter_api::Value;
use proptest::prelude::*;
use vrl::value;

use super::*;

fn schema(text: &str) -> AvroSchema {
    AvroSchema::parse(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// What the other implementation writes.
fn theirs(text: &str, value: Theirs) -> Bytes {
    let schema = apache_avro::Schema::parse_str(text).expect("a schema");
    apache_avro::to_avro_datum(&schema, value).expect("a datum").into()
}

const ORDER: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[
    {"name":"id","type":"string"},
    {"name":"quantity","type":"int"},
    {"name":"total","type":{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"at","type":{"type":"long","logicalType":"timestamp-millis"}},
    {"name":"lines","type":{"type":"array","items":{"type":"record","name":"Line","fields":[
        {"name":"sku","type":"string"},{"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","GONE"]},"default":"NEW"}]}}},
    {"name":"tags","type":{"type":"map","values":"long"},"default":{}}]}"#;

/// Sets what lies at a path.
fn set(value: &mut Value, path: &str, to: impl Into<Value>) {
    value.insert(&vrl::path::parse_value_path(path).expect("a path"), to);
}

fn unset(value: &mut Value, path: &str) {
    value.remove(&vrl::path::parse_value_path(path).expect("a path"), false);
}

fn order() -> Value {
    let at = chrono::DateTime::from_timestamp_millis(1_795_000_000_123).expect("a time");
    value!({
        id: "A1",
        quantity: 3,
        total: "12.50",
        note: null,
        at: (Value::Timestamp(at)),
        lines: [{ sku: "cup", state: "GONE" }],
        tags: { a: 1, b: (-2) }
    })
}

#[test]
fn records_pass_there_and_back() {
    let schema = schema(ORDER);
    let bytes = schema.encode(&order()).expect("it fits");
    assert_eq!(schema.decode(&bytes), Ok(order()));
}

#[test]
fn bytes_are_those_of_the_other_implementation() {
    let line = Theirs::Record(vec![
        ("sku".into(), Theirs::String("cup".into())),
        ("state".into(), Theirs::Enum(1, "GONE".into())),
    ]);
    let tags = [("a".to_owned(), Theirs::Long(1))];
    let bytes = theirs(
        ORDER,
        Theirs::Record(vec![
            ("id".into(), Theirs::String("A1".into())),
            ("quantity".into(), Theirs::Int(3)),
            ("total".into(), Theirs::Decimal(apache_avro::Decimal::from([0x04, 0xe2]))),
            ("note".into(), Theirs::Union(0, Box::new(Theirs::Null))),
            ("at".into(), Theirs::TimestampMillis(1_795_000_000_123)),
            ("lines".into(), Theirs::Array(vec![line])),
            ("tags".into(), Theirs::Map(tags.into_iter().collect())),
        ]),
    );
    let mut same = order();
    set(&mut same, "tags", value!({ a: 1 }));
    assert_eq!(schema(ORDER).decode(&bytes), Ok(same.clone()));
    assert_eq!(schema(ORDER).encode(&same), Ok(bytes));
}

#[test]
fn logical_types_keep_everything() {
    let cases: &[(&str, Value)] = &[
        (r#"{"type":"int","logicalType":"date"}"#, value!("1969-12-31")),
        (r#"{"type":"int","logicalType":"date"}"#, value!("2400-02-29")),
        (r#"{"type":"int","logicalType":"time-millis"}"#, value!("23:59:59.999")),
        (r#"{"type":"long","logicalType":"time-micros"}"#, value!("00:00:00.000001")),
        (r#"{"type":"long","logicalType":"local-timestamp-millis"}"#, value!("1969-12-31T23:59:59.999")),
        (r#"{"type":"long","logicalType":"local-timestamp-nanos"}"#, value!("2026-11-22T08:30:00.000000001")),
        (r#"{"type":"string","logicalType":"uuid"}"#, value!("550e8400-e29b-41d4-a716-446655440000")),
        (
            r#"{"type":"fixed","size":16,"name":"U","logicalType":"uuid"}"#,
            value!("550e8400-e29b-41d4-a716-446655440000"),
        ),
        (
            r#"{"type":"fixed","size":12,"name":"D","logicalType":"duration"}"#,
            value!({ months: 1, days: 2, milliseconds: 4294967295_i64 }),
        ),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":30,"scale":4}"#,
            value!("-12345678901234567890123456.7890"),
        ),
        (r#"{"type":"fixed","size":4,"name":"F","logicalType":"decimal","precision":9,"scale":0}"#, value!("-128")),
        ("\"long\"", Value::Integer(i64::MIN)),
        ("\"long\"", Value::Integer(i64::MAX)),
        ("\"double\"", Value::from_f64_or_zero(0.1)),
    ];
    for (text, value) in cases {
        let schema = schema(text);
        let bytes = schema.encode(value).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(schema.decode(&bytes).as_ref(), Ok(value), "{text}");
    }
    // With the fewest bytes that hold it.
    let small = schema(r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":0}"#);
    assert_eq!(small.encode(&value!("-128")).expect("it fits").as_ref(), [2, 0x80]);
    assert_eq!(small.encode(&value!(128)).expect("it fits").as_ref(), [4, 0, 0x80]);
    assert_eq!(small.encode(&value!(0)).expect("it fits").as_ref(), [2, 0]);
}

#[test]
fn what_a_schema_cannot_carry_is_named() {
    let why = |change: fn(&mut Value)| {
        let mut order = order();
        change(&mut order);
        schema(ORDER).encode(&order).expect_err("it does not fit").message
    };
    assert_eq!(why(|o| set(o, "quantity", 3_000_000_000_i64)), "`.quantity` is 3000000000, beyond an `int` of 32 bits");
    assert_eq!(
        why(|o| set(o, "total", "1.234")),
        "`.total` is no decimal of its schema: `1.234` has more than 2 digits behind the point"
    );
    assert_eq!(why(|o| set(o, "totl", 1)), "`.totl` is no field of the schema");
    assert_eq!(why(|o| unset(o, "id")), "`.id` is missing, and its schema has no default");
    assert_eq!(why(|o| set(o, "note", 5)), "`.note` is of type integer, and its schema wants text");
    assert_eq!(why(|o| set(o, "lines[0].state", "OLD")), "`.lines[0].state` is `OLD`, and its enum has no such symbol");
    assert_eq!(why(|o| set(o, "tags.c", "x")), "`.tags.c` is of type string, and its schema wants a whole number");
}

#[test]
fn defaults_are_written_where_a_field_is_missing() {
    let schema = schema(ORDER);
    let mut short = order();
    unset(&mut short, "note");
    unset(&mut short, "tags");
    unset(&mut short, "lines[0].state");
    let back = schema.decode(&schema.encode(&short).expect("it fits")).expect("it was written");
    let mut whole = order();
    set(&mut whole, "tags", value!({}));
    set(&mut whole, "lines[0].state", "NEW");
    assert_eq!(back, whole);
    let wrong = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int","default":"x"}]}"#;
    assert!(AvroSchema::parse(wrong).is_err(), "a default that does not fit");
}

#[test]
fn unions_take_the_branch_that_fits() {
    let union = schema(
        r#"["null","long","string",{"type":"record","name":"A","fields":[{"name":"a","type":"int"}]},
        {"type":"record","name":"B","fields":[{"name":"b","type":"int"}]}]"#,
    );
    for (value, branch) in
        [(Value::Null, 0u8), (value!(7), 1), (value!("x"), 2), (value!({ a: 1 }), 3), (value!({ b: 1 }), 4)]
    {
        let bytes = union.encode(&value).expect("a branch takes it");
        assert_eq!((bytes[0], union.decode(&bytes)), (branch * 2, Ok(value)));
    }
    assert!(union.encode(&value!({ c: 1 })).is_err());
}

#[test]
fn types_may_contain_themselves() {
    let tree = schema(r#"{"type":"record","name":"T","namespace":"n","fields":[{"name":"next","type":["null","T"]}]}"#);
    let value = value!({ next: { next: { next: null } } });
    assert_eq!(tree.decode(&tree.encode(&value).expect("it fits")), Ok(value));
    let bomb = Bytes::from(vec![2u8; 100_000]);
    assert!(tree.decode(&bomb).is_err_and(|e| e.message.contains("nested more than 127 deep")));
    assert!(AvroSchema::parse(r#"{"type":"record","name":"T","fields":[{"name":"next","type":"T"}]}"#).is_err());
}

#[test]
fn bombs_end_in_an_error() {
    let count = |n: u64| {
        let mut bytes = Vec::new();
        let mut rest = n << 1;
        while rest >= 0x80 {
            bytes.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        bytes.push(rest as u8);
        Bytes::from(bytes)
    };
    let wrong = |text: &str, bytes: Bytes| schema(text).decode(&bytes).expect_err("a bomb").message;
    assert!(wrong(r#"{"type":"array","items":"null"}"#, count(1 << 60)).contains("items without bytes"));
    assert!(wrong(r#"{"type":"array","items":"long"}"#, count(1 << 60)).contains("the payload ends"));
    assert!(wrong("\"bytes\"", count(1 << 60)).contains("are announced, and 0 are left"));
    assert!(wrong("\"string\"", Bytes::from_static(&[1])).contains("the length -1"));
    assert!(wrong("\"long\"", Bytes::from_static(&[0xff; 11])).contains("has no end"));
    assert!(wrong("\"int\"", Bytes::from_static(&[0, 0])).contains("1 bytes are left"));
    assert!(wrong("\"double\"", Bytes::copy_from_slice(&f64::NAN.to_le_bytes())).contains("NaN"));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        "[a-zé]{0,8}".prop_map(|s| Value::Bytes(s.into())),
    ];
    leaf.prop_recursive(4, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z]{1,4}", inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.into(), v)).collect())),
        ]
    })
}

/// Everything that JSON has.
const ANY: &str = r#"{"type":"record","name":"Any","fields":[{"name":"is","type":["null","boolean","long","string",
    {"type":"array","items":"Any"},{"type":"map","values":"Any"}]}]}"#;

fn wrapped(value: Value) -> Value {
    let inner = match value {
        Value::Array(items) => Value::Array(items.into_iter().map(wrapped).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(k, v)| (k, wrapped(v))).collect()),
        other => other,
    };
    value!({ is: (inner) })
}

proptest! {
    #[test]
    fn any_value_passes_there_and_back(value in any_value()) {
        let (schema, value) = (schema(ANY), wrapped(value));
        let bytes = schema.encode(&value).expect("it fits");
        prop_assert_eq!(schema.decode(&bytes), Ok(value));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for text in [ANY, ORDER] {
            let _ = schema(text).decode(&bytes.clone().into());
        }
    }

    #[test]
    fn decimals_keep_their_digits(number in any::<i128>(), scale in 0u32..20) {
        let schema = schema(&format!(r#"{{"type":"bytes","logicalType":"decimal","precision":60,"scale":{scale}}}"#));
        let mut bytes = number.to_be_bytes().to_vec();
        while bytes.len() > 1 && (bytes[0] == 0 && bytes[1] < 0x80 || bytes[0] == 0xff && bytes[1] >= 0x80) {
            bytes.remove(0);
        }
        let mut datum = vec![bytes.len() as u8 * 2];
        datum.extend(bytes);
        let text = schema.decode(&datum.clone().into()).expect("a decimal");
        prop_assert_eq!(schema.encode(&text), Ok(Bytes::from(datum)));
        if scale == 0 {
            prop_assert_eq!(text, Value::Bytes(number.to_string().into()));
        }
    }
}
