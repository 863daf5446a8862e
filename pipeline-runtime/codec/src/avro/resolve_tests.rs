//! Reading by another schema, rule by rule of the specification, and against what apache-avro makes of the same.

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value;

use super::{AvroSchema, Framed, Resolution};

fn schema(text: &str) -> AvroSchema {
    AvroSchema::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn f(float: f64) -> Value {
    Value::from_f64_or_zero(float)
}

fn read(writer: &str, reader: &str, value: &Value) -> Result<Value, (&'static str, String)> {
    let (writer, reader) = (schema(writer), schema(reader));
    let datum = writer.encode(value).unwrap_or_else(|e| panic!("{e}"));
    Framed::As(&Resolution::new(&writer, &reader)).decode(&datum)
}

const V1: &str = r#"{"type":"record","name":"Order","namespace":"shop","fields":[{"name":"id","type":"string"},
    {"name":"quantity","type":"int"},{"name":"sku","type":"string"},
    {"name":"gone","type":["null",{"type":"array","items":{"type":"map","values":"double"}}]},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID","LOST"]}}]}"#;

const V2: &str = r#"{"type":"record","name":"Order","namespace":"store","fields":[{"name":"id","type":"bytes"},
    {"name":"quantity","type":["null","long"]},{"name":"article","type":"string","aliases":["sku"]},
    {"name":"note","type":["null","string"],"default":null},
    {"name":"lines","type":{"type":"array","items":"int"},"default":[1,2]},
    {"name":"state","type":{"type":"enum","name":"State","symbols":["NEW","PAID","OTHER"],"default":"OTHER"}}]}"#;

#[test]
fn a_record_is_read_by_a_newer_schema() {
    let written = value!({ id: "a", quantity: 7, sku: "D", gone: [{ x: (f(1.5)) }, {}], state: "LOST" });
    let wanted = value!({ id: "a", quantity: 7, article: "D", note: null, lines: [1, 2], state: "OTHER" });
    assert_eq!(read(V1, V2, &written), Ok(wanted));
    assert_eq!(schema(V2).cannot_read(&schema(V1)), Vec::<String>::new());
    // The other way round a field is missing that has no default.
    let told = schema(V1).cannot_read(&schema(V2));
    assert_eq!(told, ["the field `sku` was not written, and the reader's has no default"]);
}

#[test]
fn numbers_and_text_are_widened_and_not_narrowed() {
    let good: &[(&str, &str, Value, Value)] = &[
        ("int", "long", value!(3), value!(3)),
        ("int", "float", value!(3), f(3.0)),
        ("long", "double", value!(3), f(3.0)),
        ("long", "float", value!(16_777_217), f(16_777_216.0)),
        ("float", "double", f(1.5), f(1.5)),
        ("string", "bytes", value!("x"), value!("x")),
        ("bytes", "string", value!("x"), value!("x")),
    ];
    for (from, to, value, wanted) in good {
        let quoted = |name: &str| format!("\"{name}\"");
        assert_eq!(read(&quoted(from), &quoted(to), value).as_ref(), Ok(wanted), "{from} as {to}");
        // Inside of a union as well, and a union that holds it.
        let union = |name: &str| format!("[\"null\",\"{name}\"]");
        assert_eq!(read(&quoted(from), &union(to), value).as_ref(), Ok(wanted), "{from} as union of {to}");
        assert_eq!(read(&union(from), &quoted(to), value).as_ref(), Ok(wanted), "union of {from} as {to}");
        if !matches!((*from, *to), ("string", "bytes") | ("bytes", "string")) {
            let back = read(&quoted(to), &quoted(from), wanted).expect_err("narrowed");
            assert_eq!(back.0, "avro_schema_mismatch", "{to} as {from}");
        }
    }
    // A branch that the reader has not is a fault of the datum that has it.
    assert_eq!(read(r#"["null","int"]"#, r#""int""#, &value!(1)), Ok(value!(1)));
    let null = read(r#"["null","int"]"#, r#""int""#, &Value::Null).expect_err("no null");
    assert_eq!(null, ("avro_schema_mismatch", "Null was written, and the reader wants Int".to_owned()));
    // The very type comes before one that it could be widened to.
    assert_eq!(read(r#""int""#, r#"["double","int"]"#, &value!(1)), Ok(value!(1)));
}

#[test]
fn logical_types_are_not_taken_for_each_other() {
    let of = |base: &str, logical: &str| format!(r#"{{"type":"{base}","logicalType":"{logical}"}}"#);
    let at = value!("2026-11-22T08:30:00Z");
    let (millis, micros) = (of("long", "timestamp-millis"), of("long", "timestamp-micros"));
    assert!(read(&millis, &micros, &at).is_err_and(|(code, _)| code == "avro_schema_mismatch"));
    assert_eq!(read(&millis, "\"long\"", &at), Ok(value!(1_795_336_200_000_i64)));
    assert!(read("\"long\"", &millis, &value!(0)).is_ok_and(|value| value.is_timestamp()));
    let decimal = |scale: u32| format!(r#"{{"type":"bytes","logicalType":"decimal","precision":9,"scale":{scale}}}"#);
    assert_eq!(read(&decimal(2), &decimal(2), &value!("1.50")), Ok(value!("1.50")));
    assert!(read(&decimal(2), &decimal(3), &value!("1.50")).is_err(), "another number");
}

#[test]
fn names_decide_and_aliases_make_them_one() {
    let record = |name: &str, more: &str| {
        format!(r#"{{"type":"record","name":"{name}"{more},"fields":[{{"name":"a","type":"int"}}]}}"#)
    };
    let value = value!({ a: 1 });
    assert_eq!(read(&record("x.Order", ""), &record("y.Order", ""), &value), Ok(value.clone()));
    assert!(
        read(&record("x.Order", ""), &record("x.Sale", ""), &value)
            .is_err_and(|(_, what)| what.contains("`x.Order` was written, and the reader's is `x.Sale`"))
    );
    assert_eq!(read(&record("x.Order", ""), &record("x.Sale", r#","aliases":["Order"]"#), &value), Ok(value));
}

#[test]
fn types_that_contain_themselves_are_matched_once() {
    let tree = |value: &str| {
        format!(
            r#"{{"type":"record","name":"T","fields":[{{"name":"v","type":"{value}"}},{{"name":"next","type":["null","T"]}}]}}"#
        )
    };
    let written = value!({ v: 1, next: { v: 2, next: null } });
    assert_eq!(
        read(&tree("int"), &tree("double"), &written),
        Ok(value!({ v: (f(1.0)), next: { v: (f(2.0)), next: null } }))
    );
}

#[test]
fn what_is_passed_over_is_bounded_and_may_be_what_no_value_holds() {
    let both = r#"{"type":"record","name":"R","fields":[{"name":"x","type":"double"},{"name":"a","type":"int"}]}"#;
    let one = r#"{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}"#;
    let plan = Resolution::new(&schema(both), &schema(one));
    let mut datum = f64::NAN.to_le_bytes().to_vec();
    datum.push(4);
    assert_eq!(Framed::As(&plan).decode(&datum.clone().into()), Ok(value!({ a: 2 })));
    datum.pop();
    assert!(Framed::As(&plan).decode(&datum.into()).is_err_and(|(code, _)| code == "avro_truncated"));
    let nulls = r#"{"type":"record","name":"R","fields":[{"name":"x","type":{"type":"array","items":"null"}}]}"#;
    let none = r#"{"type":"record","name":"R","fields":[]}"#;
    let bomb = Bytes::from_static(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]);
    let plan = Resolution::new(&schema(nulls), &schema(none));
    assert!(Framed::As(&plan).decode(&bomb).is_err_and(|(_, what)| what.contains("items without bytes")));
}

/// Another program's resolution of the same data: what we make of it is what it makes of it.
#[test]
fn apache_avro_reads_the_same() {
    let writer = apache_avro::Schema::parse_str(V1).expect("a schema");
    let wanted = V2.replace("[\"null\",\"long\"]", "\"long\"").replace("\"bytes\"", "\"string\"");
    // It knows no aliases of fields.
    let wanted = wanted.replace("article", "sku").replace(r#","aliases":["sku"]"#, "");
    let reader = apache_avro::Schema::parse_str(&wanted.replace("store", "shop")).expect("a schema");
    let written = value!({ id: "a", quantity: 7, sku: "D", gone: null, state: "PAID" });
    let datum = schema(V1).encode(&written).expect("it fits");
    let theirs = apache_avro::from_avro_datum(&writer, &mut datum.as_ref(), Some(&reader)).expect("read");
    let theirs: serde_json::Value = theirs.try_into().expect("as JSON");
    let ours = Framed::As(&Resolution::new(&schema(V1), &schema(&wanted))).decode(&datum).expect("read");
    assert_eq!(serde_json::to_value(&ours).expect("as JSON"), theirs);
}

#[test]
fn schemas_refer_to_others() {
    let line = r#"{"type":"record","name":"shop.Line","fields":[{"name":"n","type":"int"}]}"#;
    let order = r#"{"type":"record","name":"shop.Order","fields":[{"name":"lines","type":{"type":"array","items":"shop.Line"}}]}"#;
    let whole = AvroSchema::registered(order, &[line.to_owned()]).expect("a schema");
    let value = value!({ lines: [{ n: 1 }] });
    assert_eq!(whole.decode(&whole.encode(&value).expect("it fits")), Ok(value));
    assert!(AvroSchema::registered(order, &[]).is_err_and(|why| why.contains("`shop.Line` is not known")));
}
