//! Messages of every kind, made at random by the other implementation, pass through values and mean the same to it.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value as Theirs};

use super::tests::ORDER;
use super::*;

const ALL: &str = r#"
syntax = "proto3";
import "order.proto";
import "google/protobuf/wrappers.proto";
message All {
  double a = 1; float b = 2; int32 c = 3; int64 d = 4; uint32 e = 5; uint64 f = 6; sint32 g = 7; sint64 h = 8;
  fixed32 i = 9; fixed64 j = 10; sfixed32 k = 11; sfixed64 l = 12; bool m = 13; string n = 14; bytes o = 15;
  optional double oa = 21; optional int32 oc = 23; optional uint64 of = 26; optional bool om = 33; optional string on = 34;
  repeated double ra = 41; repeated float rb = 42; repeated int32 rc = 43; repeated uint64 rf = 46; repeated sint64 rh = 48;
  repeated bool rm = 53; repeated string rn = 54; repeated bytes ro = 55; repeated shop.State rs = 56;
  repeated int32 loose = 57 [packed = false];
  map<int32, string> mi = 60; map<uint64, bytes> mu = 61; map<bool, double> mb = 62; map<sfixed64, shop.State> ms = 63;
  map<string, shop.Order> mo = 64; map<string, google.protobuf.DoubleValue> mw = 65;
  oneof one { int32 x = 70; string y = 71; shop.Order z = 72; shop.State s = 73; }
  repeated shop.Order orders = 2000;
  All self = 536870911;
}"#;

fn all() -> ProtobufSchema {
    let read = |name: &str| (name == "order.proto").then(|| Ok(ORDER.to_owned()));
    let files = ProtobufFiles::compile("all.proto", ALL, &mut { read }).unwrap_or_else(|e| panic!("{e}"));
    files.message(None, true).expect("one message")
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Small, large and at the edges.
    fn number(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(4),
            1 => u64::MAX - self.below(3),
            2 => 1 << self.below(64),
            _ => self.next(),
        }
    }

    fn double(&mut self) -> f64 {
        match self.below(5) {
            0 => f64::INFINITY,
            1 => -0.0,
            2 => f64::MIN_POSITIVE,
            _ => self.next() as i64 as f64 / 1024.0,
        }
    }

    fn message(&mut self, of: &MessageDescriptor, depth: usize) -> DynamicMessage {
        let mut message = DynamicMessage::new(of.clone());
        let mut set = |name: &str, value: Theirs| message.set_field_by_name(name, value);
        match of.full_name() {
            "google.protobuf.Timestamp" => {
                set("seconds", Theirs::I64(self.below(300_000_000_000) as i64 - 60_000_000_000));
                set("nanos", Theirs::I32(self.below(1_000_000_000) as i32));
            }
            "google.protobuf.Duration" => {
                let sign = if self.below(2) == 0 { -1 } else { 1 };
                set("seconds", Theirs::I64(sign * self.below(315_576_000_000) as i64));
                set("nanos", Theirs::I32(sign as i32 * self.below(1_000_000_000) as i32));
            }
            "google.protobuf.Value" => {
                let nth = if depth > 4 { self.below(4) } else { self.below(6) };
                let field = of.oneofs().next().expect("one").fields().nth(nth as usize).expect("six");
                let value = self.one(&field.kind(), depth + 1);
                message.set_field(&field, value);
            }
            _ => {
                for field in of.fields() {
                    // Of a `oneof` the last one that is set counts.
                    if self.below(2) == 0 && depth < 5 {
                        let value = self.field(&field, depth);
                        message.set_field(&field, value);
                    }
                }
            }
        }
        message
    }

    fn field(&mut self, field: &FieldDescriptor, depth: usize) -> Theirs {
        let count = self.below(3);
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let (key, value) = (entry.map_entry_key_field().kind(), entry.map_entry_value_field().kind());
                let entries = (0..count).map(|_| {
                    let key = match self.one(&key, depth) {
                        Theirs::Bool(key) => MapKey::Bool(key),
                        Theirs::I32(key) => MapKey::I32(key),
                        Theirs::I64(key) => MapKey::I64(key),
                        Theirs::U64(key) => MapKey::U64(key),
                        Theirs::String(key) => MapKey::String(key),
                        other => panic!("{other:?} is no key"),
                    };
                    (key, self.one(&value, depth + 1))
                });
                Theirs::Map(entries.collect::<HashMap<_, _>>())
            }
            kind if field.is_list() => Theirs::List((0..count).map(|_| self.one(&kind, depth + 1)).collect()),
            kind => self.one(&kind, depth + 1),
        }
    }

    fn one(&mut self, kind: &Kind, depth: usize) -> Theirs {
        let number = self.number();
        match kind {
            Kind::Double => Theirs::F64(self.double()),
            Kind::Float => Theirs::F32(self.double() as f32),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Theirs::I32(number as i32),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Theirs::I64(number as i64),
            Kind::Uint32 | Kind::Fixed32 => Theirs::U32(number as u32),
            Kind::Uint64 | Kind::Fixed64 => Theirs::U64(number),
            Kind::Bool => Theirs::Bool(number.is_multiple_of(2)),
            Kind::String => Theirs::String("é\0x".chars().cycle().take(self.below(5) as usize).collect()),
            Kind::Bytes => Theirs::Bytes((0..self.below(300)).map(|n| n as u8).collect::<Vec<_>>().into()),
            Kind::Enum(of) if of.full_name() == "google.protobuf.NullValue" => Theirs::EnumNumber(0),
            Kind::Enum(_) => Theirs::EnumNumber(number as i32 % 4),
            Kind::Message(of) => Theirs::Message(self.message(of, depth + 1)),
        }
    }
}

/// Without their descriptors.
fn fields(message: &DynamicMessage) -> Vec<String> {
    message.fields().map(|(field, value)| format!("{} {}", field.name(), format!("{value:?}").len())).collect()
}

proptest! {
    #[test]
    fn any_message_passes_there_and_back(seed in any::<u64>()) {
        let schema = all();
        let descriptor = schema.files().pool().get_message_by_name("All").expect("a message");
        let message = Random(seed).message(&descriptor, 0);
        let bytes: Bytes = message.encode_to_vec().into();
        // What is set to its default is not set.
        let message = DynamicMessage::decode(descriptor.clone(), bytes.clone()).expect("a message");
        let value = schema.decode(&bytes).map_err(|e| TestCaseError::fail(format!("seed {seed}: {e}")))?;
        let back = schema.encode(&value, Some(&bytes)).map_err(|e| TestCaseError::fail(format!("seed {seed}: {e}")))?;
        let theirs = DynamicMessage::decode(descriptor, back.clone()).expect("a message");
        prop_assert!(theirs == message, "seed {seed}: {:?} is not {:?}", fields(&theirs), fields(&message));
        prop_assert_eq!(schema.decode(&back), Ok(value), "seed {}", seed);
    }

    /// What one type does not know another does: nothing of it is lost, though something was changed.
    #[test]
    fn fields_that_are_not_known_are_kept(seed in any::<u64>()) {
        let schema = all();
        let descriptor = schema.files().pool().get_message_by_name("All").expect("a message");
        let message = Random(seed).message(&descriptor, 0);
        let bytes: Bytes = message.encode_to_vec().into();
        let narrow = "syntax = \"proto3\"; message All { int32 c = 3; All self = 536870911; }";
        let narrow = ProtobufFiles::compile("n.proto", narrow, &mut |_| None).and_then(|files| files.message(None, true));
        let narrow = narrow.expect("one message");
        let mut value = narrow.decode(&bytes).expect("a message");
        value.insert(&vrl::path::parse_value_path("c").expect("a path"), 17);
        let back = narrow.encode(&value, Some(&bytes)).expect("it fits");
        let mut want = DynamicMessage::decode(descriptor.clone(), bytes).expect("a message");
        want.set_field_by_name("c", Theirs::I32(17));
        let back = DynamicMessage::decode(descriptor, back).expect("a message");
        prop_assert!(back == want, "seed {seed}: {:?} is not {:?}", fields(&back), fields(&want));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = Bytes::from(bytes);
        if let Ok(value) = all().decode(&raw) {
            // What was read can be written.
            let back = all().encode(&value, Some(&raw)).expect("it fits");
            prop_assert_eq!(all().decode(&back), Ok(value));
        }
    }

    /// Cut off, with bytes changed and doubled.
    #[test]
    fn broken_messages_are_decoded_or_refused(seed in any::<u64>(), cut in any::<u16>(), at in any::<u16>(), byte in any::<u8>()) {
        let schema = all();
        let descriptor = schema.files().pool().get_message_by_name("All").expect("a message");
        let mut bytes = Random(seed).message(&descriptor, 2).encode_to_vec();
        if !bytes.is_empty() {
            let at = usize::from(at) % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - usize::from(cut) % 3 * bytes.len() / 7);
        }
        let raw = Bytes::from(bytes);
        if let Ok(value) = schema.decode(&raw) {
            let back = schema.encode(&value, Some(&raw)).expect("it fits");
            prop_assert_eq!(schema.decode(&back), Ok(value));
        }
    }
}
