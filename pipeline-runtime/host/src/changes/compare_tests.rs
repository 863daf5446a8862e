//! A table of changes: what is said of each, and who goes on where.

use super::compare::{Comparison, Facts, compare};
use super::fingerprint::{FilterMark, Fingerprint, InputMark, OutputMark, SourceMark, StageMark};

/// `clean` reads the source, `split` reads it and writes `refunds` and `sales`, `book` reads `sales`.
fn shop() -> Fingerprint {
    Fingerprint {
        delivery: "exactly_once".into(),
        sources: vec![source("", "topic", "raw", "")],
        stages: vec![
            stage("clean", &["raw"], &[("", "p.clean")]),
            stage("split", &["p.clean"], &[("refunds", "p.split.refunds"), ("sales", "p.split.sales")]),
            stage("book", &["p.split.sales"], &[("", "p.book")]),
        ],
    }
}

pub fn source(name: &str, kind: &str, topic: &str, file: &str) -> SourceMark {
    SourceMark {
        name: name.into(),
        kind: kind.into(),
        topic: topic.into(),
        file: file.into(),
        id: ".id".into(),
        key: String::new(),
        format: "json".into(),
        partitions: if kind == "topic" { 0 } else { 4 },
        options: "s".into(),
    }
}

pub fn stage(name: &str, inputs: &[&str], outputs: &[(&str, &str)]) -> StageMark {
    let output = |(name, topic): &(&str, &str)| OutputMark {
        name: (*name).into(),
        topic: (*topic).into(),
        partitions: 4,
        key: String::new(),
        format: "json".into(),
    };
    StageMark {
        name: name.into(),
        group: format!("p.{name}"),
        retry: format!("p.{name}.retry"),
        inputs: inputs.iter().map(|t| InputMark { topic: (*t).into(), partitions: 4 }).collect(),
        filters: vec![FilterMark { name: "map".into(), options: name.into() }],
        outputs: outputs.iter().map(output).collect(),
        order: "key".into(),
        dedup: Some(1_000),
        replicas: 1,
        options: "o".into(),
    }
}

fn facts() -> Facts {
    let topics = ["raw", "p.clean", "p.split.refunds", "p.split.sales", "p.book"];
    let unread = [(("p.book".into(), "p.split.sales".into()), 7)].into();
    Facts { partitions: topics.map(|t| (t.to_owned(), 4)).into(), unread, ..Facts::default() }
}

fn changed(change: impl FnOnce(&mut Fingerprint)) -> Comparison {
    let mut new = shop();
    change(&mut new);
    compare(&shop(), &new, &facts())
}

fn at<'f>(pipeline: &'f mut Fingerprint, name: &str) -> &'f mut StageMark {
    pipeline.stages.iter_mut().find(|s| s.name == name).expect("a stage")
}

/// `stage kind` of each difference, an exclamation mark before those that are not safe.
fn kinds(found: &Comparison) -> Vec<String> {
    let show = |d: &super::Difference| format!("{}{} {}", if d.safe { "" } else { "!" }, d.stage, d.kind);
    found.differences.iter().map(show).collect()
}

fn moves(found: &Comparison) -> Vec<String> {
    found.takeovers.iter().map(|t| format!("{}: {} -> {}", t.topic, t.from_group, t.to_group)).collect()
}

fn orphans(found: &Comparison) -> Vec<String> {
    found.orphans.iter().map(|o| format!("{}: {}", o.topic, o.group)).collect()
}

#[test]
fn nothing_changed_is_nothing() {
    assert_eq!(changed(|_| {}), Comparison::default());
}

type Row = (&'static str, fn(&mut Fingerprint), &'static [&'static str]);

const SAFE: &[Row] = &[
    ("another expression", |p| at(p, "clean").filters[0].options = "x".into(), &["clean options"]),
    ("another filter", |p| at(p, "clean").filters[0].name = "where".into(), &["clean filters"]),
    (
        "more filters",
        |p| at(p, "clean").filters.push(FilterMark { name: "where".into(), options: "w".into() }),
        &["clean filters"],
    ),
    ("replicas", |p| at(p, "book").replicas = 4, &["book replicas"]),
    ("retries and the like", |p| at(p, "book").options = "x".into(), &["book options"]),
    ("order", |p| at(p, "book").order = "none".into(), &["book options"]),
    ("a longer window", |p| at(p, "book").dedup = Some(9_000), &["book options"]),
    ("no dedup", |p| at(p, "book").dedup = None, &["book options"]),
    ("options of the source", |p| p.sources[0].options = "x".into(), &[" options"]),
    ("delivery", |p| p.delivery = "at_least_once".into(), &[" delivery"]),
    ("a stage at the end", |p| p.stages.push(stage("mail", &["p.book"], &[("", "p.mail")])), &["mail stage_added"]),
    ("a stage beside", |p| p.stages.push(stage("audit", &["p.clean"], &[("", "p.audit")])), &["audit stage_added"]),
    (
        "one more output",
        |p| at(p, "split").outputs.push(stage("x", &[], &[("guests", "p.split.guests")]).outputs.remove(0)),
        &["split output_added"],
    ),
    ("stages in another order of the file", |p| p.stages.swap(0, 2), &[]),
];

#[test]
fn safe_changes() {
    for (name, change, wanted) in SAFE {
        let found = changed(change);
        assert_eq!(kinds(&found), *wanted, "{name}");
        assert!(found.is_safe() && found.takeovers.is_empty() && found.orphans.is_empty(), "{name}: {found:?}");
    }
}

const UNSAFE: &[Row] = &[
    ("another id", |p| p.sources[0].id = "key".into(), &["! id"]),
    ("another key of the source", |p| p.sources[0].key = ".x".into(), &["! key"]),
    ("another source", |p| (p.sources[0].kind, p.sources[0].file) = ("file".into(), "a.csv".into()), &["! source"]),
    ("another key", |p| at(p, "clean").outputs[0].key = ".sku".into(), &["!clean key"]),
    ("another partition count", |p| at(p, "clean").outputs[0].partitions = 8, &["!clean partitions"]),
    ("another format", |p| at(p, "book").outputs[0].format = "text".into(), &["!book format"]),
    ("another topic for the last output", |p| at(p, "book").outputs[0].topic = "billing".into(), &["!book to"]),
    ("the other output is read", |p| at(p, "book").inputs[0].topic = "p.split.refunds".into(), &["!book from"]),
    ("the last stage is gone", |p| drop(p.stages.pop()), &["!book stage_removed"]),
    (
        "a topic more is read",
        |p| at(p, "book").inputs.push(InputMark { topic: "p.split.refunds".into(), partitions: 4 }),
        &["!book from"],
    ),
];

#[test]
fn unsafe_changes() {
    for (name, change, wanted) in UNSAFE {
        let found = changed(change);
        assert_eq!(kinds(&found), *wanted, "{name}");
        assert!(found.differences.iter().all(|d| d.what.contains(' ') && !d.why.is_empty()), "{name}: {found:?}");
        assert!(found.takeovers.is_empty() && found.orphans.is_empty(), "{name}: {found:?}");
    }
}

#[test]
fn an_inserted_stage_goes_on_where_the_old_reader_stands() {
    let found = changed(|p| {
        p.stages.insert(2, stage("mask", &["p.split.sales"], &[("", "p.mask")]));
        at(p, "book").inputs[0].topic = "p.mask".into();
    });
    assert_eq!(kinds(&found), ["!mask stage_inserted", "!book from"]);
    assert_eq!(moves(&found), ["p.split.sales: p.book -> p.mask"]);
    assert!(orphans(&found).is_empty());
    assert!(found.differences[1].why.contains("7 offsets of `p.split.sales`"), "{found:?}");
}

#[test]
fn two_inserted_stages_begin_one_behind_the_other() {
    let found = changed(|p| {
        p.stages.insert(2, stage("mask", &["p.split.sales"], &[("", "p.mask")]));
        p.stages.insert(3, stage("price", &["p.mask"], &[("", "p.price")]));
        at(p, "book").inputs[0].topic = "p.price".into();
    });
    assert_eq!(kinds(&found), ["!mask stage_inserted", "price stage_added", "!book from"]);
    assert_eq!(moves(&found), ["p.split.sales: p.book -> p.mask"]);
}

#[test]
fn a_first_stage_is_inserted_like_any_other() {
    let found = changed(|p| {
        p.stages.insert(0, stage("ingest", &["raw"], &[("", "p.ingest")]));
        at(p, "clean").inputs[0].topic = "p.ingest".into();
    });
    assert_eq!(kinds(&found), ["!ingest stage_inserted", "!clean from"]);
    assert_eq!(moves(&found), ["raw: p.clean -> p.ingest"]);
}

#[test]
fn a_stage_taken_out_leaves_its_place_to_the_next() {
    let found = changed(|p| {
        p.stages.remove(0);
        at(p, "split").inputs[0].topic = "raw".into();
    });
    assert_eq!(kinds(&found), ["!split from", "!clean stage_removed"]);
    assert_eq!(moves(&found), ["raw: p.clean -> p.split"]);
    assert_eq!(orphans(&found), ["p.clean: p.split"], "what lies between must be worked off");
}

#[test]
fn a_renamed_stage_keeps_its_place_and_the_next_works_off_first() {
    let found = changed(|p| {
        let mut tidy = p.stages.remove(0);
        (tidy.name, tidy.group, tidy.outputs[0].topic) = ("tidy".into(), "p.tidy".into(), "p.tidy".into());
        p.stages.insert(0, tidy);
        at(p, "split").inputs[0].topic = "p.tidy".into();
    });
    assert_eq!(kinds(&found), ["!tidy stage_renamed", "!split from"]);
    assert_eq!(moves(&found), ["raw: p.clean -> p.tidy"]);
    assert_eq!(orphans(&found), ["p.clean: p.split"]);
}

#[test]
fn another_topic_between_stages_is_worked_off_first() {
    let found = changed(|p| {
        at(p, "clean").outputs[0].topic = "shared".into();
        at(p, "split").inputs[0].topic = "shared".into();
    });
    assert_eq!(kinds(&found), ["!clean to", "!split from"]);
    assert_eq!((moves(&found), orphans(&found)), (vec![], vec!["p.clean: p.split".to_owned()]));
}

#[test]
fn one_stage_before_two_takes_both_places() {
    let mut old = shop();
    old.stages.push(stage("audit", &["p.split.sales"], &[("", "p.audit")]));
    let mut new = old.clone();
    new.stages.push(stage("mask", &["p.split.sales"], &[("", "p.mask")]));
    at(&mut new, "book").inputs[0].topic = "p.mask".into();
    at(&mut new, "audit").inputs[0].topic = "p.mask".into();
    let found = compare(&old, &new, &facts());
    assert_eq!(moves(&found), ["p.split.sales: p.book -> p.mask", "p.split.sales: p.audit -> p.mask"]);
}

#[test]
fn partitions_added_by_somebody_are_noticed() {
    let mut facts = facts();
    facts.partitions.insert("raw".into(), 6);
    let mut new = shop();
    new.stages[0].inputs[0].partitions = 6;
    let found = compare(&shop(), &new, &facts);
    assert_eq!(kinds(&found), ["!clean partitions"]);
    assert!(found.differences[0].what.contains("`raw` has 6 partitions now and had 4"), "{found:?}");
    assert!(found.differences[0].why.contains("no multiple"), "{found:?}");
}

/// Negative control: without the look at who writes the topic the last case is safe too.
#[test]
fn a_source_that_grew_is_safe_where_order_can_be_kept_and_nothing_is_known_of_ids() {
    let grown = |stage: &str, topic: &str, to: i32, dedup: Option<u64>| {
        let (mut old, mut facts) = (shop(), facts());
        at(&mut old, stage).dedup = dedup;
        facts.partitions.insert(topic.into(), to);
        let mut new = old.clone();
        at(&mut new, stage).inputs[0].partitions = to;
        let found = compare(&old, &new, &facts);
        assert_eq!(found.differences.len(), 1, "{found:?}");
        found.is_safe()
    };
    assert!(grown("clean", "raw", 8, None));
    assert!(!grown("clean", "raw", 8, Some(1_000)), "repeats would not be noticed");
    assert!(!grown("clean", "raw", 6, None), "keys would change places among the old ones");
    assert!(!grown("split", "p.clean", 8, None), "`clean` writes it by the old number");
}
