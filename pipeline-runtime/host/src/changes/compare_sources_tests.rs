//! A table of changes of sources.

use super::compare::{Comparison, Facts, compare};
use super::compare_tests::{source, stage};
use super::fingerprint::Fingerprint;

/// `merge` reads the files `eu` and `us`.
fn shop() -> Fingerprint {
    Fingerprint {
        delivery: "exactly_once".into(),
        sources: vec![source("eu", "file", "p.in.eu", "eu.csv"), source("us", "file", "p.in.us", "us.csv")],
        stages: vec![stage("merge", &["p.in.eu", "p.in.us"], &[("", "p.merge")])],
    }
}

fn from(old: &Fingerprint, change: impl FnOnce(&mut Fingerprint)) -> Comparison {
    let mut new = old.clone();
    change(&mut new);
    compare(old, &new, &Facts::default())
}

fn kinds(found: &Comparison) -> Vec<String> {
    let show = |d: &super::Difference| format!("{}{} {}", if d.safe { "" } else { "!" }, d.stage, d.kind);
    found.differences.iter().map(show).collect()
}

fn moves(found: &Comparison) -> Vec<String> {
    found.sources.iter().map(|t| format!("{} -> {} ({})", t.from, t.to, t.name)).collect()
}

fn orphans(found: &Comparison) -> Vec<&str> {
    found.orphans.iter().map(|o| o.topic.as_str()).collect()
}

fn input(topic: &str) -> super::fingerprint::InputMark {
    super::fingerprint::InputMark { topic: topic.into(), partitions: 4 }
}

#[test]
fn one_that_comes_is_safe_and_its_reader_is_not() {
    let found = from(&shop(), |p| {
        p.sources.push(source("web", "topic", "web", ""));
        p.stages[0].inputs.push(input("web"));
    });
    assert_eq!(kinds(&found), [" source_added", "!merge from"]);
    assert!(found.touched.is_empty() && moves(&found).is_empty() && orphans(&found).is_empty());
    let found = from(&shop(), |p| {
        p.sources.push(source("web", "topic", "web", ""));
        p.stages.push(stage("log", &["web"], &[("", "p.log")]));
    });
    assert!(found.is_safe(), "a new stage reads it: {:?}", kinds(&found));
}

/// What was accepted is worked off; what was not, stays.
#[test]
fn one_that_goes_is_worked_off_first() {
    let found = from(&shop(), |p| {
        p.sources.remove(1);
        p.stages[0].inputs.remove(1);
    });
    assert_eq!(kinds(&found), ["! source_removed", "!merge from"]);
    assert_eq!(orphans(&found), ["p.in.us"]);
    assert_eq!(found.touched, ["p.in.us".to_owned()].into());
    assert!(found.differences[0].what.contains("source `us` is gone: file us.csv"), "{found:?}");
}

#[test]
fn one_that_comes_back_waits_for_a_person() {
    let facts = Facts { stands: [("p.in.us".to_owned(), 70)].into(), ..Facts::default() };
    let new = shop();
    let mut old = shop();
    old.sources.remove(1);
    old.stages[0].inputs.remove(1);
    let found = compare(&old, &new, &facts);
    assert_eq!(kinds(&found), ["! source_added", "!merge from"]);
    assert!(found.differences[0].why.contains("gave 70 records"), "{found:?}");
}

#[test]
fn another_name_takes_the_position_along() {
    let found = from(&shop(), |p| {
        p.sources[1] = source("usa", "file", "p.in.usa", "us.csv");
        p.stages[0].inputs[1] = input("p.in.usa");
    });
    assert_eq!(kinds(&found), ["! source_renamed", "!merge from"]);
    assert_eq!((moves(&found), orphans(&found)), (vec!["p.in.us -> p.in.usa (usa)".to_owned()], vec!["p.in.us"]));
}

/// The most common change: the only source gets a name because another one comes.
#[test]
fn the_short_form_becomes_one_of_several() {
    let mut old = shop();
    old.sources = vec![source("", "file", "p.in", "eu.csv")];
    old.stages[0].inputs = vec![input("p.in")];
    let found = compare(&old, &shop(), &Facts::default());
    assert_eq!(kinds(&found), ["! source_renamed", " source_added", "!merge from"]);
    assert!(found.differences[0].what.contains("the source is named `eu` now"), "{found:?}");
    assert_eq!((moves(&found), orphans(&found)), (vec!["p.in -> p.in.eu (eu)".to_owned()], vec!["p.in"]));
    let back = compare(&shop(), &old, &Facts::default());
    assert_eq!(kinds(&back), ["! source_renamed", "! source_removed", "!merge from"]);
    assert_eq!(moves(&back), ["p.in.eu -> p.in (source)"]);
}

#[test]
fn a_topic_may_get_a_name_without_further_ado() {
    let mut old = shop();
    old.sources = vec![source("", "topic", "raw", "")];
    old.stages[0].inputs = vec![input("raw")];
    let found = from(&old, |p| p.sources[0].name = "web".into());
    assert_eq!(kinds(&found), [" source_renamed"]);
    assert!(found.is_safe() && moves(&found).is_empty() && orphans(&found).is_empty());
}

#[test]
fn a_change_says_which_source_it_is_of() {
    let found = from(&shop(), |p| p.sources[1].id = "key".into());
    assert_eq!(kinds(&found), ["! id"]);
    assert!(found.differences[0].what.starts_with("`id` of source `us`: key instead of .id"), "{found:?}");
    let found = from(&shop(), |p| p.sources[1].file = "other.csv".into());
    assert_eq!(kinds(&found), ["! source"]);
    assert!(found.differences[0].what.starts_with("source `us`: file other.csv instead of file us.csv"), "{found:?}");
    assert!(moves(&found).is_empty());
    let found = from(&shop(), |p| p.sources.swap(0, 1));
    assert_eq!(kinds(&found), [""; 0], "their order in the file does not matter");
}
