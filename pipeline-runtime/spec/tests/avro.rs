//! `format: avro`: where its schema comes from, and what is said where there is none.

mod common;

use common::{bad, good};
use millstream_spec::model::Format;

/// A pipeline with this source, whose only stage has this behind its filter.
fn pipeline(source: &str, rest: &str) -> String {
    format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true'{rest} }}\n")
}

#[test]
fn avro_gives_types_and_is_passed_on() {
    let format = |to: &str| {
        let yaml = format!(
            "pipeline: p\nsource: {{ topic: t, format: avro, schema: order.avsc, key: .n }}\nstages:\n  - {{ name: a, filter: where, with: 'true'{to} }}\n"
        );
        let (pipeline, warnings) = good(&yaml);
        assert_eq!(warnings, []);
        assert!(pipeline.sources[0].types.as_object().is_some_and(|o| o.known().len() == 3));
        pipeline.stages.into_iter().last().unwrap().outputs.pop().unwrap().format
    };
    assert_eq!(format(""), Format::Json);
    assert!(matches!(format(", to: { format: avro }"), Format::Avro(_)));
    assert!(matches!(format(", to: { format: { avro: { schema: order.avsc } } }"), Format::Avro(_)));
}

#[test]
fn avro_needs_its_schema() {
    let said = |source: &str, rest: &str, code: &str, words: &str| {
        let issues = bad(&pipeline(source, rest));
        let [issue] = issues.as_slice() else { panic!("{source}{rest}: {issues:?}") };
        let text = format!("{} {}", issue.message, issue.help.as_deref().unwrap_or(""));
        assert!(issue.code == code && text.contains(words), "{source}{rest}: {issue:?}");
    };
    let orders = "{ topic: t, format: avro, schema: order.avsc }";
    said("{ topic: t, format: avro }", "", "missing_key", "`schema: FILE.avsc`");
    said("{ topic: t, format: avro, schema: none.avsc }", "", "file_unreadable", "none.avsc");
    said("{ topic: t, format: avro, schema: broken.avsc }", "", "schema_invalid", "no Avro schema");
    said("{ topic: t, format: avro, schema: order.json }", "", "schema_invalid", "`.avsc`");
    said("{ topic: t, schema: order.avsc }", "", "conflicting_keys", "`format: avro`");
    said("{ topic: t, format: avro, schema: order.avsc, key: .nn }", "", "unknown_field", "did you mean `.n`?");
    said("{ topic: t }", ", to: { format: avro }", "missing_key", "{ avro: { schema:");
    said(orders, ", to: { format: { avro: { schema: order.json } } }", "schema_invalid", "`.avsc`");
    said("{ http: { path: /o, auth: none }, format: avro, schema: order.avsc }", "", "not_supported_yet", "Avro");
}
