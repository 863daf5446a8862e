//! Several sources in one pipeline.

mod common;

use common::{bad, good};
use millstream_filter_api::{Kind, Severity};
use millstream_spec::{graph, path};

/// A pipeline with these sources and stages, in flow style.
fn yaml(sources: &str, stages: &[&str]) -> String {
    let stages: String = stages.iter().map(|l| format!("  - {{ {l} }}\n")).collect();
    format!("pipeline: p\nsources: {{ {sources} }}\nstages:\n{stages}")
}

const W: &str = "filter: where, with: 'true'";

fn errors(yaml: &str) -> Vec<(&'static str, String)> {
    let wrong = bad(yaml).into_iter().filter(|i| i.severity == Severity::Error);
    wrong.map(|i| (i.code, format!("{} {}", i.message, i.help.unwrap_or_default()))).collect()
}

fn one(yaml: &str, code: &str, words: &str) {
    let found = errors(yaml);
    assert!(matches!(found.as_slice(), [(c, said)] if *c == code && said.contains(words)), "{found:?}\n{yaml}");
}

#[test]
fn each_has_a_topic_of_its_own_and_is_read_by_name() {
    let sources = "web: { topic: t, key: .id, start: latest }, shop: { file: a.csv }, raw: { topic: u }, made: { generate: { value: '{}' } }";
    let text = yaml(
        sources,
        &[
            &format!("name: a, from: [web, shop], {W}"),
            &format!("name: b, {W}"),
            &format!("name: c, from: [b, raw, made, a], {W}"),
        ],
    );
    let (p, warnings) = good(&text);
    assert_eq!(warnings, []);
    let sources: Vec<_> = p.sources.iter().map(|s| (s.name.as_str(), s.topic.as_str(), s.inlet.as_str())).collect();
    assert_eq!(
        sources,
        [
            ("web", "t", "p.in.web"),
            ("shop", "p.in.shop", "p.in.shop"),
            ("raw", "u", "p.in.raw"),
            ("made", "p.in.made", "p.in.made")
        ]
    );
    let stages: Vec<_> = p.stages.iter().map(|s| (s.name.as_str(), s.group.as_str())).collect();
    assert_eq!(stages, [("ingest-web", "p.ingest-web"), ("a", "p.a"), ("b", "p.b"), ("c", "p.c")]);
    let inputs = |n: usize| -> Vec<_> {
        p.stages[n].inputs.iter().map(|i| (i.topic.as_str(), i.from_stage, i.source)).collect()
    };
    assert_eq!(inputs(0), [("t", None, Some(0))]);
    assert_eq!(inputs(1), [("p.in.web", Some(0), None), ("p.in.shop", None, Some(1))]);
    assert_eq!(inputs(2), [("p.a", Some(1), None)], "the stage before");
    assert_eq!(
        inputs(3),
        [("p.b", Some(2), None), ("u", None, Some(2)), ("p.in.made", None, Some(3)), ("p.a", Some(1), None)]
    );
    assert_eq!(p.stages[0].outputs[0].topic, "p.in.web");
    assert_eq!(p.source_of(&p.stages[1].inputs[1]).map(|s| s.name.as_str()), Some("shop"));
}

#[test]
fn a_source_nobody_reads_is_a_warning_and_does_not_run() {
    let text = yaml("web: { topic: t, key: .id }, shop: { file: a.csv }", &[&format!("name: a, from: shop, {W}")]);
    let (p, warnings) = good(&text);
    let said: Vec<_> = warnings.iter().map(|w| (w.code, w.message.as_str())).collect();
    assert_eq!(said, [("unread_source", "no stage reads the source `web`: it does not run")]);
    assert_eq!((p.sources.len(), p.stages.len(), p.stages[0].inputs[0].source), (1, 1, Some(0)));
}

#[test]
fn one_with_a_name_keeps_its_topic_when_another_comes() {
    let stage = format!("name: a, from: shop, {W}");
    let (p, _) = good(&yaml("shop: { file: a.csv }", &[&stage]));
    assert_eq!(p.stages[0].inputs[0].topic, "p.in.shop");
    let (p, _) = good(&format!("pipeline: p\nsource: {{ file: a.csv }}\nstages: [ {{ name: a, {W} }} ]"));
    assert_eq!((p.sources[0].name.as_str(), p.stages[0].inputs[0].topic.as_str()), ("source", "p.in"));
}

#[test]
fn ids_that_two_would_give_are_kept_apart() {
    let sources = "a: { file: x/o.csv }, b: { file: y/o.csv }, c: { file: z.csv }, d: { generate: { value: '{}' } }, e: { topic: t }, f: { topic: u }";
    let (p, _) = good(&yaml(sources, &[&format!("name: s, from: [a, b, c, d, e, f], {W}")]));
    let prefixes: Vec<_> = p.sources.iter().map(|s| s.id_prefix.as_deref()).collect();
    assert_eq!(prefixes, [Some("a"), Some("b"), None, None, None, None]);
}

#[test]
fn types_are_what_is_common() {
    let sources = "a: { topic: t, fields: { id: string, n: integer, only: string } }, b: { topic: u, fields: { id: string, n: number } }";
    let (p, _) =
        good(&yaml(sources, &[&format!("name: s, from: [a, b], {W}"), &format!("name: x, from: a, {W}, to: y")]));
    let at =
        |stage: usize, input: usize, p2: &str| p.stages[stage].inputs[input].types.at_path(&path::field(p2).unwrap());
    assert_eq!((at(0, 0, ".n"), at(0, 1, ".n")), (Kind::float(), Kind::float()));
    assert_eq!(at(1, 0, ".n"), Kind::integer(), "alone it is what it is");
    let out = |p2: &str| p.stages[0].outputs[0].types.at_path(&path::field(p2).unwrap());
    assert_eq!((out(".id"), out(".only")), (Kind::bytes(), Kind::bytes().or_undefined()));
    one(&yaml(sources, &["name: s, from: [a, b], filter: where, with: .nowhere"]), "bad_expression", ".nowhere");
}

#[test]
fn what_is_wrong() {
    let two = "web: { topic: t }, shop: { topic: u }";
    let s = |more: &str| format!("{more}, {W}");
    one(&yaml(two, &[&s("name: a")]), "ambiguous_from", "`from: web`, `from: shop`, or several: `from: [web, shop]`");
    one(&yaml(two, &[&s("name: a, from: [web, shpo]")]), "unknown_from", "did you mean `shop`?");
    one(&yaml(two, &[&s("name: a, from: source")]), "unknown_from", "there is no stage or source `source`");
    one(&yaml(two, &[&s("name: a, from: [web, web]"), &s("name: b, from: shop")]), "duplicate_name", "read twice");
    one(&yaml(two, &[&s("name: shop, from: [web, shop]")]), "duplicate_name", "`shop` is the name of a source");
    one(&yaml(two, &[&s("name: a, from: [web, shop], to: u")]), "cycle", "what the source `shop` reads");
    one(&yaml(two, &[&s("name: a, from: [web, shop], to: p.in.shop")]), "duplicate_topic", "the source `shop` writes");
    one(&yaml("a: { topic: t }, b: { topic: t }", &[&s("name: x, from: [a, b]")]), "duplicate_topic", "twice");
    one(&yaml("dlq: { topic: t }", &[&s("name: a, from: dlq")]), "reserved_name", "`dlq`");
    one(
        &yaml("web: { topic: t, key: .id }, b: { topic: u }", &[&s("name: ingest-web, from: [web, b]")]),
        "reserved_name",
        "between source `web` and its readers",
    );
    let many: String = (0..101).map(|n| format!("s{n}: {{ topic: t{n} }}, ")).collect();
    let found = errors(&yaml(&many, &[&s("name: a, from: s1")]));
    assert!(found.iter().any(|(code, _)| *code == "wrong_count"), "{found:?}");
}

#[test]
fn a_schema_holds_for_all_that_reach_the_stage_or_must_be_said() {
    let validate = |sources: &str, with: &str| {
        yaml(sources, &[&format!("name: x, from: [a, b], {W}"), &format!("name: y, filter: validate, with: {with}")])
    };
    let same = "a: { topic: t, schema: order.json }, b: { topic: u, schema: order.json }";
    let differ = "a: { topic: t, schema: order.json }, b: { topic: u }";
    good(&validate(same, "{}"));
    good(&validate(differ, "{ schema: order.json }"));
    one(&validate(differ, "{}"), "nothing_to_validate", "records of several sources reach `y`");
    let alone = yaml(differ, &["name: x, from: a, filter: validate, with: {}", &format!("name: y, from: [x, b], {W}")]);
    good(&alone);
}

#[test]
fn partitions_that_cannot_be_equal_are_told_at_once() {
    let text = yaml(
        "a: { file: a.csv }, b: { topic: t }",
        &[&format!("name: x, from: b, {W}, to: {{ partitions: 3 }}"), &format!("name: y, from: [x, a], {W}")],
    );
    one(&text, "partitions_differ", "`x` has 3, `a` has 12");
}

#[test]
fn a_test_says_which_source_gives_a_record() {
    let two = yaml("web: { topic: t }, shop: { topic: u }", &[&format!("name: a, from: [web, shop], {W}")]);
    let test = |input: &str| format!("{two}tests: [ {{ name: t, input: [ {input} ], expect: {{ a: [] }} }} ]\n");
    good(&test("{ source: shop, value: 1 }"));
    one(&test("{ value: 1 }"), "missing_key", "say which of them gives the record");
    one(&test("{ source: shp, value: 1 }"), "unknown_source", "did you mean `shop`?");
}

#[test]
fn all_are_drawn() {
    let sources = "web: { topic: t, key: .id }, shop: { file: a.csv }";
    let text =
        yaml(sources, &[&format!("name: a, from: [shop, web], {W}"), &format!("name: b, from: web, {W}, to: o")]);
    let p = good(&text).0;
    let expected = "p: exactly once
web: topic t (json)
└─ ingest-web: sets the key -> p.in.web
   ├─ a (see there)
   └─ b: where -> o
shop: file a.csv (csv) -> p.in.shop
└─ a: where -> p.a
dead letters: p.<stage>.dlq
";
    assert_eq!(graph::text(&p), expected);
    let drawn = graph::mermaid(&p);
    for line in ["t0[(\"t\")]", "source1([\"shop: file a.csv (csv)\"]) --> t1", "t1[(\"p.in.shop\")]", "t1 --> s1"] {
        assert!(drawn.lines().any(|l| l.trim() == line), "{line} in\n{drawn}");
    }
}

#[test]
fn jobs_of_a_source_that_several_stages_read_begin_in_a_stage_before_them() {
    let two = [format!("name: a, from: web, {W}"), format!("name: b, from: [web, shop], {W}, dedup: {{ window: 1h }}")];
    let stages: Vec<&str> = two.iter().map(String::as_str).collect();
    let untracked = yaml("web: { topic: t }, shop: { file: a.csv }", &stages);
    let names = |text: &str| good(text).0.stages.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&untracked), ["a", "b"]);
    assert_eq!(names(&format!("{untracked}jobs: {{ track: false }}\n")), ["a", "b"]);
    let tracked = format!("{untracked}jobs: {{ track: true }}\n");
    let (p, _) = good(&tracked);
    assert_eq!(names(&tracked), ["ingest-web", "a", "b"], "one stage alone reads `shop`");
    let ingest = &p.stages[0];
    assert_eq!((ingest.inputs[0].topic.as_str(), ingest.inputs[0].source), ("t", Some(0)));
    assert_eq!((ingest.outputs[0].topic.as_str(), &ingest.outputs[0].key), ("p.in.web", &None));
    // What comes again for one of them comes for both.
    assert_eq!(ingest.dedup.as_ref().map(|d| d.window.as_secs()), Some(3600));
    for reader in &p.stages[1..] {
        assert_eq!((reader.inputs[0].from_stage, reader.inputs[0].source), (Some(0), None));
    }
    assert!(graph::text(&p).contains("ingest-web: begins jobs -> p.in.web"), "{}", graph::text(&p));
    // What a source writes lies in its own topic; a need for tracking is enough.
    let made = format!(
        "pipeline: p\nsource: {{ generate: {{ value: '{{}}' }}, key: .k }}\nstages:\n  - {{ name: a, {W}, compensate: {{ where: \
         'true' }} }}\n  - {{ name: b, from: source, {W}, dedup: off }}\n"
    );
    let (p, _) = good(&made);
    assert_eq!(p.stages[0].inputs[0].topic, "p.in");
    assert_eq!((p.stages[0].outputs[0].topic.as_str(), &p.stages[0].outputs[0].key), ("p.ingest", &None));
    assert!(p.stages[0].dedup.is_none(), "one of them wants what comes again");
    assert_eq!(p.stages[1].inputs[0].topic, "p.ingest");
    one(&tracked.replace("name: a,", "name: ingest-web,"), "reserved_name", "between source `web` and its readers");
}
