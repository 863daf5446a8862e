//! `format: protobuf`: where its message comes from, and what is said where there is none.

mod common;

use common::{bad, good};
use millstream_spec::model::Format;

const ORDERS: &str = "{ topic: t, format: protobuf, schema: protos/order.proto }";

/// A pipeline with this source, whose only stage has this behind its filter.
fn pipeline(source: &str, rest: &str) -> String {
    format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true'{rest} }}\n")
}

/// Messages of source and output; `-` for another format.
fn formats(source: &str, rest: &str) -> [String; 2] {
    let (pipeline, warnings) = good(&pipeline(source, rest));
    assert_eq!(warnings, [], "{source}{rest}");
    let told = |format: &Format| match format {
        Format::Protobuf(schema) => schema.name().to_owned(),
        _ => "-".to_owned(),
    };
    [told(&pipeline.sources[0].format), told(&pipeline.stages[0].outputs[0].format)]
}

#[test]
fn a_message_gives_types_and_is_passed_on() {
    let order = ["shop.Order", "shop.Order"];
    assert_eq!(formats(ORDERS, ""), ["shop.Order", "-"]);
    assert_eq!(formats(ORDERS, ", to: { format: protobuf }"), order);
    let inside = "{ topic: t, format: { protobuf: { schema: protos/order.proto, message: Order } }, key: .n }";
    assert_eq!(formats(inside, ", to: { format: protobuf }"), order);
    // In another folder than the file.
    let other = "{ topic: t, format: { protobuf: { message: shop.Other, uint64: text, include: [protos] } }, schema: protos/parts/line.proto }";
    assert_eq!(formats(other, "")[0], "shop.Other");
    let (pipeline, _) = good(&pipeline(ORDERS, ""));
    assert!(pipeline.sources[0].types.as_object().is_some_and(|o| o.known().len() == 4));
}

#[test]
fn what_is_wrong_is_said() {
    let said = |source: &str, rest: &str, code: &str, words: &str| {
        let issues = bad(&pipeline(source, rest));
        let text = |i: &millstream_filter_api::Issue| format!("{} {}", i.message, i.help.as_deref().unwrap_or(""));
        let found = issues.iter().any(|i| i.code == code && text(i).contains(words));
        assert!(found, "{source}{rest}: {issues:?}");
    };
    let of = |file: &str| format!("{{ topic: t, format: protobuf, schema: {file} }}");
    said("{ topic: t, format: protobuf }", "", "missing_key", "`schema: FILE.proto`");
    said("{ topic: t }", ", to: { format: protobuf }", "missing_key", "{ protobuf: { schema:");
    said(&of("none.proto"), "", "file_unreadable", "none.proto");
    said(&of("broken.proto"), "", "schema_invalid", "broken.proto:2:19");
    said(&of("broken.desc"), "", "schema_invalid", "--include_imports");
    said(&of("order.json"), "", "schema_invalid", "`.proto`");
    said(&of("order.avsc"), "", "schema_invalid", "`.proto`");
    said(&of("protos/parts/line.proto"), "", "schema_invalid", "`shop.Line`, `shop.Other`");
    let named = "{ topic: t, format: { protobuf: { schema: protos/order.proto, message: Ordr } } }";
    said(named, "", "schema_invalid", "without a message `Ordr`; it has `shop.Order`");
    said("{ topic: t, schema: protos/order.proto }", "", "conflicting_keys", "`format: protobuf`");
    said("{ topic: t, format: avro, schema: protos/order.proto }", "", "schema_invalid", "`.avsc`");
    said("{ topic: t, format: protobuf, schema: protos/order.proto, key: .nn }", "", "unknown_field", "`.n`");
    said("{ http: { path: /o, auth: none }, format: protobuf }", "", "not_supported_yet", "Protobuf");
    said("{ topic: t, format: { protobuf: { uint64: float } } }", "", "unknown_word", "`text`");
    said(ORDERS, ", to: { format: { protobuf: { message: shop.Lin } } }", "schema_invalid", "shop.Lin");
    let line = ", to: { format: { protobuf: { schema: protos/parts/line.proto, message: Line } } }";
    said(ORDERS, ", to: { format: { protobuf: { registry: true } } }", "missing_key", "no schema registry");
    assert!(formats(ORDERS, "")[0] == "shop.Order" && !bad(&pipeline(ORDERS, line)).is_empty());
}
