use bytes::Bytes;
use millstream_filter_api::Value;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, Value as Theirs};
use vrl::value;

use super::*;

pub(super) const ORDER: &str = r#"
syntax = "proto3";
package shop;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/any.proto";

enum State { NEW = 0; GONE = 1; LOST = -1; }

message Order {
  string id = 1;
  int32 quantity = 2;
  optional string note = 3;
  State state = 4;
  repeated Line lines = 5;
  map<string, int64> tags = 6;
  google.protobuf.Timestamp at = 7;
  google.protobuf.Duration took = 8;
  google.protobuf.Struct more = 9;
  google.protobuf.Value any = 10;
  google.protobuf.Int64Value limit = 11;
  oneof paid { string card = 12; Cash cash = 13; }
  bytes raw = 14;
  double price = 15;
  uint64 big = 16;
  google.protobuf.Any boxed = 17;
  Order parent = 18;
  repeated sint32 steps = 19;
  map<int32, Line> by_number = 20;
  google.protobuf.NullValue nothing = 21;
  optional google.protobuf.NullValue or_nothing = 22;
  message Line { string sku = 1; State state = 2; float weight = 3; }
  message Cash { uint32 cents = 1; }
}
"#;

pub(super) fn compile(text: &str, message: &str) -> ProtobufSchema {
    let files = ProtobufFiles::compile("order.proto", text, &mut |_| None).unwrap_or_else(|e| panic!("{e}"));
    files.message(Some(message), false).unwrap_or_else(|e| panic!("{e}"))
}

pub(super) fn order() -> ProtobufSchema {
    compile(ORDER, "Order")
}

/// What the other implementation writes.
fn theirs(schema: &ProtobufSchema, fields: &[(&str, Theirs)]) -> Bytes {
    let descriptor = schema.files().pool().get_message_by_name(schema.name()).expect("a message");
    let mut message = DynamicMessage::new(descriptor);
    for (name, value) in fields {
        message.set_field_by_name(name, value.clone());
    }
    message.encode_to_vec().into()
}

fn float(float: f64) -> Value {
    Value::from_f64_or_zero(float)
}

fn set(value: &mut Value, path: &str, to: impl Into<Value>) {
    value.insert(&vrl::path::parse_value_path(path).expect("a path"), to);
}

fn unset(value: &mut Value, path: &str) {
    value.remove(&vrl::path::parse_value_path(path).expect("a path"), false);
}

fn whole() -> Value {
    let at = chrono::DateTime::from_timestamp(1_795_000_000, 123_000_000).expect("a time");
    value!({
        id: "A1",
        quantity: (-3),
        note: "",
        state: "GONE",
        lines: [{ sku: "cup", state: "NEW", weight: (float(0.5)) }, { sku: "", state: 7, weight: (float(0.0)) }],
        tags: { a: 1, b: (-2) },
        at: (Value::Timestamp(at)),
        took: "-1.500s",
        more: { n: null, list: [(float(1.0)), "x", true, {}] },
        any: null,
        limit: 0,
        cash: { cents: 5 },
        raw: (Value::Bytes(Bytes::from_static(&[0xff, 0]))),
        price: (float(12.5)),
        big: 9223372036854775807_i64,
        boxed: { type_url: "type.googleapis.com/shop.Order", value: "" },
        parent: {
            id: "", quantity: 0, state: "NEW", lines: [], tags: {}, raw: "", price: (float(0.0)), big: 0, steps: [],
            by_number: {}, nothing: null
        },
        steps: [1, (-1), 2147483647],
        by_number: { "-1": { sku: "m", state: "LOST", weight: (float(0.0)) } },
        nothing: null,
        or_nothing: null
    })
}

#[test]
fn messages_pass_there_and_back() {
    let bytes = order().encode(&whole(), None).expect("it fits");
    assert_eq!(order().decode(&bytes), Ok(whole()));
}

#[test]
fn what_is_not_set_has_its_default_or_is_absent() {
    let empty = order().decode(&Bytes::new()).expect("all is optional");
    let want = value!({
        id: "", quantity: 0, state: "NEW", lines: [], tags: {}, raw: "", price: (float(0.0)), big: 0, steps: [], by_number: {},
        nothing: null
    });
    assert_eq!(empty, want);
    assert_eq!(order().encode(&empty, None).expect("it fits").len(), 0);
    // Null is as good as nothing where a field can be absent.
    let mut nulls = empty.clone();
    for path in ["note", "at", "limit", "cash", "parent"] {
        set(&mut nulls, path, Value::Null);
    }
    assert_eq!(order().encode(&nulls, None).expect("it fits").len(), 0);
    // Negative zero is no default.
    set(&mut nulls, "price", Value::from_f64_or_zero(-0.0));
    assert_eq!(order().encode(&nulls, None).expect("it fits").len(), 9);
}

#[test]
fn bytes_are_those_of_the_other_implementation() {
    let schema = order();
    let fields = [
        ("id", Theirs::String("A1".into())),
        ("quantity", Theirs::I32(-3)),
        ("note", Theirs::String(String::new())),
        ("price", Theirs::F64(12.5)),
        ("steps", Theirs::List(vec![Theirs::I32(1), Theirs::I32(-1)])),
        ("big", Theirs::U64(1 << 62)),
    ];
    let bytes = theirs(&schema, &fields);
    let value = schema.decode(&bytes).expect("it is one");
    assert_eq!(schema.encode(&value, None), Ok(bytes));
}

#[test]
fn parts_of_a_message_are_put_together_and_the_last_of_a_oneof_counts() {
    let schema = order();
    let part = |id: &str, fields: &[(&str, Theirs)]| {
        let inner = theirs(&schema, &[&[("id", Theirs::String(id.into()))], fields].concat());
        [&[18 << 3 & 0x7f | 2 | 0x80, 1, inner.len() as u8][..], &inner].concat()
    };
    let parts = [
        part("first", &[("quantity", Theirs::I32(5)), ("steps", Theirs::List(vec![Theirs::I32(1)]))]),
        part("second", &[("steps", Theirs::List(vec![Theirs::I32(2)]))]),
    ]
    .concat();
    let value = schema.decode(&parts.into()).expect("it is one");
    let parent =
        |name: &str| value.get(&vrl::path::parse_value_path(&format!("parent.{name}")).expect("a path")).cloned();
    assert_eq!((parent("id"), parent("quantity")), (Some(value!("second")), Some(value!(5))));
    assert_eq!(parent("steps"), Some(value!([1, 2])));
    let both = [&[13 << 3 | 2, 2, 8, 5][..], &[12 << 3 | 2, 1, b'x']].concat();
    let value = schema.decode(&both.into()).expect("it is one");
    let object = value.as_object().expect("an object");
    assert!(object.contains_key("card") && !object.contains_key("cash"), "{value}");
}

const OLD: &str = r#"
syntax = "proto2";
package old;
enum Grade { A = 1; B = 2; }
message Item {
  required string id = 1;
  optional int32 count = 2 [default = 7];
  optional Grade grade = 3;
  repeated Grade grades = 4 [packed = true];
  repeated int32 loose = 5;
  optional group Box = 6 { optional string label = 1; }
  repeated group Part = 7 { required fixed64 number = 1; }
  extensions 100 to 200;
}
extend Item { optional string colour = 100; repeated Grade marks = 101; }
"#;

#[test]
fn proto2_has_required_fields_groups_and_extensions() {
    let schema = compile(OLD, "old.Item");
    let value = value!({
        id: "x",
        grade: "B",
        grades: ["A", "B"],
        loose: [1, 2],
        box: { label: "l" },
        part: [{ number: 1 }, { number: 2 }],
        "[old.colour]": "red",
        "[old.marks]": ["A"]
    });
    let bytes = schema.encode(&value, None).expect("it fits");
    assert_eq!(schema.decode(&bytes), Ok(value.clone()));
    let why = |bytes: &[u8]| schema.decode(&Bytes::copy_from_slice(bytes)).expect_err("it is none");
    assert!(why(&[16, 1]).message.contains("`.id`: is required"), "{}", why(&[16, 1]));
    // The end of a group is missing, or another one.
    assert!(why(&[10, 0, 51, 10, 0]).message.contains("ends in a group"));
    assert!(why(&[10, 0, 51, 60]).message.contains("did not begin"));
    // What its enum does not have is unknown, and stays.
    let raw: Bytes = [&bytes[..], &[24, 9, 34, 2, 9, 1]].concat().into();
    let mut changed = schema.decode(&raw).expect("it is one");
    let mut want = value.clone();
    set(&mut want, "grades", value!(["A", "B", "A"]));
    assert_eq!(changed, want);
    set(&mut changed, "count", 1);
    let back = schema.encode(&changed, Some(&raw)).expect("it fits");
    assert!(back.ends_with(&[24, 9, 32, 9]), "{back:?}");
    let mut missing = value;
    unset(&mut missing, "id");
    assert_eq!(schema.encode(&missing, None).expect_err("it is required").message, "`.id` is missing, and is required");
    set(&mut missing, "id", "x");
    set(&mut missing, "grade", 9);
    assert!(schema.encode(&missing, None).expect_err("closed").message.contains("no such number"));
}

#[test]
fn what_a_message_cannot_carry_is_named() {
    let why = |path: &str, to: Value| {
        let mut order = whole();
        set(&mut order, path, to);
        order_error(&order)
    };
    fn order_error(value: &Value) -> String {
        order().encode(value, None).expect_err("it does not fit").message
    }
    assert_eq!(why("quantity", value!(3_000_000_000_i64)), "`.quantity` is 3000000000, beyond 32 bits");
    assert_eq!(why("quantity", value!("3")), "`.quantity` is of type string, and its message wants a whole number");
    assert_eq!(why("quantity", Value::Null), "`.quantity` is of type null, and its message wants a whole number");
    assert_eq!(why("totl", value!(1)), "`.totl` is no field of `shop.Order`");
    assert_eq!(why("lines[1].state", value!("OLD")), "`.lines[1].state` is `OLD`, and its enum has no such name");
    assert_eq!(why("by_number.x", value!({})), "`.by_number.x` is no key of this map");
    assert_eq!(why("by_number.\"01\"", value!({})), "`.by_number.01` is no key of this map");
    assert_eq!(why("tags.c", value!("x")), "`.tags.c` is of type string, and its message wants a whole number");
    assert_eq!(why("card", value!("x")), "`.cash` is set, and so is `card`, and of these two one can be");
    assert_eq!(why("big", value!(-1)), "`.big` is -1, no whole number of 64 bits without sign");
    assert_eq!(why("took", value!("1,5s")), "`.took` is `1,5s`, which is no duration such as `1.5s`");
    assert_eq!(why("at", value!("soon")), "`.at` is `soon`, which is no RFC 3339 time");
    assert_eq!(why("id", Value::Bytes(Bytes::from_static(&[0xff]))), "`.id` holds bytes that are not UTF-8 text");
    assert_eq!(why("lines[0].weight", float(1e300)), "`.lines[0].weight` is 1e300, beyond a `float` of 32 bits");
}

#[test]
fn numbers_beyond_those_of_expressions_are_text_where_that_is_wanted() {
    let bytes = theirs(&order(), &[("big", Theirs::U64(u64::MAX))]);
    let error = order().decode(&bytes).expect_err("beyond");
    assert!(
        error.code == "number_out_of_range" && error.message.contains("`.big`: is 18446744073709551615"),
        "{error}"
    );
    let wide = order().files().message(Some("Order"), true).expect("a message");
    let value = wide.decode(&bytes).expect("as text");
    assert_eq!(value.as_object().and_then(|o| o.get("big")), Some(&value!("18446744073709551615")));
    assert_eq!(wide.encode(&value, None), Ok(bytes));
    let nan = theirs(&order(), &[("price", Theirs::F64(f64::NAN))]);
    assert!(order().decode(&nan).is_err_and(|e| e.code == "number_out_of_range" && e.message.contains("`.price`")));
    let infinite = theirs(&order(), &[("price", Theirs::F64(f64::NEG_INFINITY))]);
    let value = order().decode(&infinite).expect("a float");
    assert_eq!(order().encode(&value, None), Ok(infinite));
}

#[test]
fn unknown_fields_stay_where_they_are() {
    let newer = ORDER
        .replace("float weight = 3;", "float weight = 3; string added = 9;")
        .replace("uint32 cents = 1;", "uint32 cents = 1; string added = 9;")
        .replace("bytes raw = 14;", "bytes raw = 14; string added = 99;");
    let (newer, older) = (compile(&newer, "Order"), order());
    let mut value = whole();
    for path in ["added", "lines[0].added", "lines[1].added", "by_number.\"-1\".added", "cash.added", "parent.added"] {
        set(&mut value, path, format!("at {path}"));
    }
    set(&mut value, "parent.added", "");
    let raw = newer.encode(&value, None).expect("it fits");
    let old = older.decode(&raw).expect("it is one");
    assert_eq!(old, whole());
    let after = |change: &dyn Fn(&mut Value)| {
        let mut changed = old.clone();
        change(&mut changed);
        let bytes = older.encode(&changed, Some(&raw)).expect("it fits");
        newer.decode(&bytes).expect("it is one")
    };
    let mut want = value.clone();
    set(&mut want, "quantity", 4);
    set(&mut want, "lines[1].sku", "pot");
    assert_eq!(
        after(&|v| {
            set(v, "quantity", 4);
            set(v, "lines[1].sku", "pot")
        }),
        want
    );
    // An item that goes takes with it what it had, and the others keep theirs.
    let mut want = value.clone();
    unset(&mut want, "lines[0]");
    assert_eq!(after(&|v| unset(v, "lines[0]")), want);
    // So it is when they change places.
    let swap = |v: &mut Value| {
        let path = vrl::path::parse_value_path("lines").expect("a path");
        if let Some(Value::Array(lines)) = v.get_mut(&path) {
            lines.swap(0, 1);
        }
    };
    let mut want = value.clone();
    swap(&mut want);
    assert_eq!(after(&swap), want);
    // And a message that goes.
    let mut want = value.clone();
    unset(&mut want, "cash");
    set(&mut want, "card", "x");
    assert_eq!(
        after(&|v| {
            unset(v, "cash");
            set(v, "card", "x")
        }),
        want
    );
    // The control: without the original they are gone.
    let bytes = older.encode(&old, None).expect("it fits");
    assert_ne!(newer.decode(&bytes).expect("it is one"), value);
}

#[test]
fn bombs_end_in_an_error() {
    let schema = order();
    let why = |bytes: Vec<u8>| schema.decode(&bytes.into()).expect_err("a bomb").message;
    let nested = |tag: &[u8], depth: usize| {
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let mut length = Vec::new();
            super::wire::put_varint(&mut length, bytes.len() as u64);
            bytes = [tag, &length, &bytes].concat();
        }
        bytes
    };
    assert!(why(nested(&[0x92, 1], 5_000)).contains("nested more than 127 deep"));
    // Lists in lists of JSON.
    let mut lists = Vec::new();
    for _ in 0..1_000 {
        let mut inner = vec![10];
        super::wire::put_varint(&mut inner, lists.len() as u64);
        inner.extend(&lists);
        lists = vec![0x32];
        super::wire::put_varint(&mut lists, inner.len() as u64);
        lists.extend(inner);
    }
    let mut any = vec![10 << 3 | 2];
    super::wire::put_varint(&mut any, lists.len() as u64);
    any.extend(lists);
    assert!(why(any).contains("nested more than 127 deep"));
    // Groups nobody knows.
    assert!(why([0xc3, 0x3e].repeat(5_000)).contains("nested more than 127 deep"));
    assert!(why(vec![10, 0xff, 0xff, 0xff, 0xff, 0x0f]).contains("are announced, and 0 are left"));
    assert!(why(vec![16, 0xff]).contains("ends in a number"));
    assert!(why([&[16][..], &[0xff; 11]].concat()).contains("has no end"));
    assert!(why(vec![0]).contains("0 is no number of a field"));
    assert!(why(vec![10, 1, 0xff]).contains("`.id`: a string is not UTF-8"));
    assert!(why(vec![15]).contains("no type of a field"));
    // A message takes two bytes, and its value has three fields.
    let many = [42, 0].repeat(200_000);
    assert!(why(many).contains("too many for one value"));
}

#[test]
fn types_come_from_the_message() {
    let kind = order().kind();
    let at = |path: &str| kind.at_path(&vrl::path::parse_value_path(path).expect("a path"));
    assert!(at("quantity").is_integer() && at("quantty").is_undefined());
    assert!(at("lines[0].sku").contains_bytes() && at("at").contains_timestamp());
    assert!(at("parent.parent.parent").is_object() || at("parent.parent").contains_any_defined());
    let misfits = |value: Value| order().misfits(&millstream_filter_api::Kind::from(value));
    assert_eq!(misfits(whole()), [""; 0]);
    assert_eq!(misfits(value!({ quantity: "x" })), ["`.quantity` is of type string, and it wants integer"]);
    assert_eq!(misfits(value!({ quantty: 1 })), ["`.quantty` is no field of `shop.Order`"]);
    assert_eq!(misfits(value!({ note: null })), [""; 0]);
    assert_eq!(misfits(value!({ lines: [{ sku: 1 }] })).len(), 1);
    assert_eq!(misfits(value!("x")), ["`.` is of type string, and it wants object"]);
    assert_eq!(
        compile(OLD, "Item").misfits(&millstream_filter_api::Kind::from(value!({ count: 1 }))),
        ["`.id` is missing, and is required"]
    );
}

#[test]
fn files_are_compiled_with_their_imports() {
    let main = "syntax = \"proto3\"; import \"a/line.proto\"; message Order { a.Line line = 1; }";
    let read = |import: &str| match import {
        "a/line.proto" => Some(Ok("syntax = \"proto3\"; package a; message Line { int32 n = 1; }".to_owned())),
        _ => None,
    };
    let files = ProtobufFiles::compile("order.proto", main, &mut { read }).expect("it is whole");
    assert_eq!(files.imports(), ["a/line.proto"]);
    let order = files.message(None, false).expect("one message");
    assert_eq!((order.name(), order.path()), ("Order", &[0][..]));
    assert_eq!(files.message(Some("a.Line"), false).expect("imported").name(), "a.Line");
    // The same as a set.
    let set = ProtobufFiles::descriptor_set(&files.pool().encode_to_vec()).expect("a set");
    assert_eq!(set.message(Some("Order"), false), Ok(order));
    let wrong = |text: &str| {
        let files = ProtobufFiles::compile("order.proto", text, &mut |name| {
            (name == "self.proto").then(|| Ok("syntax = \"proto3\"; import \"self.proto\";".to_owned()))
        });
        files.and_then(|files| files.message(None, false)).expect_err("it is wrong")
    };
    assert!(wrong("syntax = \"proto3\";\nmessage A { int32 = 1; }").contains("order.proto:2:"), "a place");
    assert!(wrong("syntax = \"proto3\"; message A { B b = 1; }").contains("'B' is not defined"));
    assert!(wrong("syntax = \"proto3\"; import \"x.proto\";").contains("`x.proto`, which is not there"));
    assert!(wrong("syntax = \"proto3\"; import \"self.proto\";").contains("imports itself"));
    assert!(wrong("syntax = \"proto3\"; message A {} message B {}").contains("`A`, `B`"));
    assert!(wrong("syntax = \"proto3\";").contains("without a message"));
    assert!(wrong("edition = \"2023\"; message A {}").contains("not supported yet"));
    assert!(wrong(&"{".repeat(10_000)).contains("nested more than 100 deep"));
    assert!(ProtobufFiles::descriptor_set(b"no set").is_err());
    let nested = "syntax = \"proto3\"; message A {} message B { message C {} message D { message E {} } }";
    let nested = ProtobufFiles::compile("n.proto", nested, &mut |_| None).expect("it is whole");
    assert_eq!(nested.at(&[1, 1, 0], false).expect("there").name(), "B.D.E");
    assert_eq!(nested.message(Some("B.D.E"), false).expect("there").path(), [1, 1, 0]);
    assert!(nested.at(&[2], false).is_err() && nested.at(&[1, -1], false).is_err());
}
