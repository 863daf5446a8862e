//! `format: msgpack` and `format: cbor`: where they may stand, and what is said elsewhere.

mod common;

use common::{bad, good};
use millstream_spec::model::{Format, Packed};

fn pipeline(source: &str, to: &str) -> String {
    format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true'{to} }}\n")
}

#[test]
fn they_stand_at_topics_and_outputs() {
    let source = "{ topic: t, format: msgpack, fields: { n: integer }, key: .n }";
    let (pipeline, warnings) = good(&pipeline(source, ", to: { format: cbor }"));
    assert_eq!(warnings, []);
    assert_eq!(pipeline.sources[0].format, Format::Packed(Packed::Msgpack));
    assert!(pipeline.sources[0].typed);
    let (made, _) = good(&self::pipeline("{ generate: { value: '{}', count: 1 }, format: cbor }", ""));
    assert_eq!(made.sources[0].format, Format::Packed(Packed::Cbor));
    assert_eq!(pipeline.stages.last().map(|stage| &stage.outputs[0].format), Some(&Format::Packed(Packed::Cbor)));
}

#[test]
fn elsewhere_they_are_refused_by_name() {
    for (source, code, words) in [
        ("{ file: { path: a.txt }, format: cbor }", "unknown_word", "`cbor` is for topics"),
        ("{ file: a.msgpack }", "unknown_word", "`msgpack` is for topics"),
        ("{ http: { path: /o, auth: none }, format: cbor }", "not_supported_yet", "requests of `cbor`"),
        ("{ file: orders.avro }", "not_supported_yet", "files of Avro"),
        ("{ file: a.txt, format: avro, schema: order.avsc }", "not_supported_yet", "files of Avro"),
        ("{ topic: t, format: msgpac }", "unknown_word", "did you mean `msgpack`?"),
    ] {
        let issues = bad(&pipeline(source, ""));
        let texts: Vec<_> =
            issues.iter().map(|i| format!("{} {} {}", i.code, i.message, i.help.as_deref().unwrap_or(""))).collect();
        assert!(texts.iter().any(|text| text.starts_with(code) && text.contains(words)), "{source}: {texts:?}");
    }
}
