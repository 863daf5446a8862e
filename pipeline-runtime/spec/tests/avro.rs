//! `format: avro`: where its schema comes from, and what is said where there is none.

mod common;

use std::sync::Arc;

use common::{bad, good};
use millstream_codec::{Answer, Known, Question, Ready, RegistryAddress, RegistryAuth, SchemaRegistry, Subject};
use millstream_spec::model::Format;
use millstream_spec::{SourceFile, Verdict, check};

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

/// A registry that is never asked.
struct Silent(String);

impl SchemaRegistry for Silent {
    fn address(&self) -> &str {
        &self.0
    }

    fn known(&self, _: u32) -> Option<Known> {
        panic!("a check asks nobody")
    }

    fn is_fresh(&self, _: u32) -> bool {
        panic!("a check asks nobody")
    }

    fn fetch(&self, _: u32, _: Ready) {
        panic!("a check asks nobody")
    }

    fn number(&self, _: &Subject) -> Option<Result<u32, Arc<str>>> {
        panic!("a check asks nobody")
    }

    fn find(&self, _: &Subject, _: Ready) {
        panic!("a check asks nobody")
    }

    fn ask(&self, _: &Question<'_>) -> Result<Answer, String> {
        panic!("a check asks nobody")
    }
}

fn verdict(yaml: &str, settings: Option<&str>) -> Verdict {
    let settings = settings.map(|url| RegistryAddress { url: url.to_owned(), auth: RegistryAuth::None, ca: None });
    let make = |address: &RegistryAddress| Ok(Arc::new(Silent(address.url.clone())) as Arc<dyn SchemaRegistry>);
    let registry = common::registry().with_schemas(make, settings);
    let file = SourceFile { path: "some/orders.yaml".into(), bytes: yaml.as_bytes().to_vec() };
    check(&file, &registry, &common::files(), &common::env)
}

/// Source and output of a pipeline: `-` for data alone, else the registry's address; the type is known; the subject and whether
/// the schema is registered there.
fn formats(top: &str, settings: Option<&str>, source: &str, to: &str) -> [String; 2] {
    let yaml = format!(
        "pipeline: p\n{top}source: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true', to: {to} }}\n"
    );
    let (pipeline, _) = verdict(&yaml, settings).unwrap_or_else(|issues| panic!("{yaml}: {issues:?}"));
    let told = |format: &Format| match format {
        Format::Registered(protobuf) if protobuf.is_protobuf() => {
            let subject = protobuf.subject().map(|s| format!(" {} {} {}", s.name, s.register, s.protobuf));
            let name = protobuf.message().map_or("any", |message| message.name());
            format!("{name}{}", subject.unwrap_or_default())
        }
        Format::Protobuf(message) => format!("- {}", message.name()),
        Format::Registered(avro) => {
            let subject = avro.subject().map(|s| format!(" {} {}", s.name, s.register)).unwrap_or_default();
            let typed = if avro.schema().is_some() { "typed" } else { "untyped" };
            format!("{} {typed}{subject}", avro.registry().address())
        }
        Format::Avro(_) => "-".to_owned(),
        other => panic!("{other:?}"),
    };
    let output = &pipeline.stages.last().expect("a stage").outputs[0].format;
    [told(&pipeline.sources[0].format), told(output)]
}

#[test]
fn a_registry_in_force_means_numbers() {
    let orders = "{ topic: t, format: avro, schema: order.avsc }";
    let top = "registry: { url: \"http://r:1\", auth: { bearer: t0ken } }\n";
    let own = ["http://r:1 typed", "http://r:1 typed p.a-value false"];
    assert_eq!(formats(top, None, orders, "{ format: avro }"), own);
    assert_eq!(formats("", Some("http://s:1"), orders, "{ format: avro }")[0], "http://s:1 typed");
    assert_eq!(formats(top, Some("http://s:1"), orders, "{ format: avro }"), own);
    assert_eq!(formats("", None, orders, "{ format: avro }"), ["-", "-"]);
    let bare = "{ topic: t, format: { avro: { schema: order.avsc, registry: false } } }";
    assert_eq!(formats(top, None, bare, "{ format: { avro: { registry: false } } }"), ["-", "-"]);
    assert_eq!(formats(top, None, bare, "{ format: avro }"), ["-", "http://r:1 typed p.a-value false"]);
    let untyped = "{ topic: t, format: avro }";
    assert_eq!(formats(top, None, untyped, "{ format: avro }"), ["http://r:1 untyped", "http://r:1 untyped"]);
    let out = |more: &str| format!("{{ topic: out, format: {{ avro: {{ schema: order.avsc{more} }} }} }}");
    let subject = |more: &str| formats(top, None, untyped, &out(more))[1].clone();
    assert_eq!(subject(", register: true"), "http://r:1 typed out-value true");
    assert_eq!(subject(", subject: record"), "http://r:1 typed Order false");
    assert_eq!(subject(", subject: topic-record"), "http://r:1 typed out-Order false");
    // What a source makes lies in a topic of ours.
    let made = "{ generate: { value: 'true', count: 1 }, format: avro, schema: order.avsc }";
    assert_eq!(formats(top, None, made, "{ format: avro }"), ["-", "http://r:1 typed p.a-value false"]);
}

#[test]
fn so_it_is_with_protobuf() {
    let top = "registry: { url: \"http://r:1\" }\n";
    let line = "{ topic: t, format: { protobuf: { message: Line } }, schema: protos/parts/line.proto }";
    assert_eq!(formats(top, None, line, "{ format: protobuf }"), ["shop.Line", "shop.Line p.a-value false true"]);
    let out = "{ topic: out, format: { protobuf: { register: true, subject: topic-record } } }";
    assert_eq!(formats("", Some("http://s:1"), line, out), ["shop.Line", "shop.Line out-shop.Line true true"]);
    assert_eq!(formats("", None, line, "{ format: protobuf }"), ["- shop.Line", "- shop.Line"]);
    let bare = "{ format: { protobuf: { registry: false } } }";
    assert_eq!(formats(top, None, line, bare), ["shop.Line", "- shop.Line"]);
    assert_eq!(formats(top, None, "{ topic: t, format: protobuf }", "{ format: protobuf }"), ["any", "any"]);
}

#[test]
fn what_is_wrong_with_a_registry_is_said() {
    let said = |top: &str, source: &str, to: &str, code: &str, words: &str| {
        let yaml = format!(
            "pipeline: p\n{top}source: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true', to: {to} }}\n"
        );
        let issues = verdict(&yaml, None).err().expect("it is wrong");
        let text = |i: &millstream_filter_api::Issue| format!("{} {}", i.message, i.help.as_deref().unwrap_or(""));
        let found = issues.iter().any(|i| i.code == code && text(i).contains(words));
        assert!(found, "{yaml}: {issues:?}");
        assert!(issues.iter().all(|i| !text(i).contains("s3cret")), "{issues:?}");
    };
    let (source, to, untyped) = ("{ topic: t }", "out", "{ topic: t, format: avro }");
    said("registry: { url: ftp://x }\n", source, to, "wrong_text", "https://registry.example.com:8081");
    said("registry: { url: \"http://u:s3cret@x\" }\n", source, to, "wrong_text", "auth: { basic:");
    said("registry: { urk: \"http://x\" }\n", source, to, "unknown_key", "did you mean `url`?");
    said("registry: http://x\n", source, to, "wrong_type", "map");
    said("registry: { url: \"http://x\", ca: none.pem }\n", source, to, "file_unreadable", "none.pem");
    said("", "{ topic: t, format: { avro: { registry: true } } }", to, "missing_key", "`registry: { url: … }`");
    said("", "{ topic: t, format: avro }", to, "missing_key", "or name a schema registry");
    let top = "registry: { url: \"http://r:1\" }\n";
    said(top, untyped, "{ format: { avro: { register: true } } }", "conflicting_keys", "an output that has a schema");
    let protobuf = "{ topic: t, format: protobuf, schema: protos/order.proto }";
    said(top, protobuf, "{ format: protobuf }", "not_supported_yet", "`parts/line.proto`");
    said(top, untyped, "{ format: protobuf }", "missing_key", "`protobuf` needs a schema");
    said(top, "{ topic: t, format: { protobuf: { message: A } } }", to, "conflicting_keys", "`message`");
    said(top, protobuf, "{ format: avro }", "missing_key", "`avro` needs a schema");
    said(top, source, "{ format: avro }", "missing_key", "`avro` needs a schema");
    said(top, source, "{ format: { avro: { schema: order.avsc, subject: topc } } }", "unknown_word", "`topic`");
}
