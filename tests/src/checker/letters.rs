//! Dead-letter topics: each expected letter once, the record unchanged, the documented headers right.

use std::collections::HashMap;

use super::outputs::differences;
use super::{ExpectedLetter, History, Promise, Seen, Violation, root};

/// Every header a letter has, after `millstream.dlq.`.
const FIELDS: [&str; 15] = [
    "version",
    "pipeline",
    "stage",
    "filter",
    "topic",
    "partition",
    "offset",
    "timestamp",
    "id",
    "attempts",
    "code",
    "message",
    "class",
    "at",
    "redrives",
];

/// The records of a topic by partition and offset.
type Places<'a> = HashMap<(i32, i64), &'a Seen>;

/// Compares one topic.
pub(super) fn check(
    topic: &str,
    wanted: &[ExpectedLetter],
    history: &History,
    promise: Promise,
    found: &mut Vec<Violation>,
) {
    let mut by_place: HashMap<(i32, i64), Vec<&Seen>> = HashMap::new();
    let mut by_root: HashMap<String, Vec<&Seen>> = HashMap::new();
    for letter in history.of(topic) {
        let Some((place, id)) = fields(topic, letter, found) else { continue };
        by_root.entry(root(&id).unwrap_or(&id).to_owned()).or_default().push(letter);
        by_place.entry(place).or_default().push(letter);
    }
    let mut origins: HashMap<&str, Places<'_>> = HashMap::new();
    for one in wanted {
        let places = || history.of(&one.from).iter().map(|r| ((r.partition, r.offset), r)).collect();
        origins.entry(&one.from).or_insert_with(places);
    }
    let mut explained = std::collections::HashSet::new();
    for one in wanted {
        let root = &one.record.root;
        let there: &[&Seen] = match one.place {
            Some(place) => by_place.get(&place).map_or(&[], Vec::as_slice),
            None => by_root.get(root).map_or(&[], Vec::as_slice),
        };
        if there.is_empty() {
            found.push(Violation::Lost { topic: topic.into(), root: root.clone() });
        }
        if there.len() > 1 && promise == Promise::ExactlyOnce {
            let places = there.iter().map(|l| l.place()).collect();
            found.push(Violation::Doubled { topic: topic.into(), root: root.clone(), places });
        }
        for letter in there {
            explained.insert(letter.place());
            compare(topic, one, letter, &origins[one.from.as_str()], found);
        }
    }
    for letter in history.of(topic) {
        if letter.header("millstream.dlq.id").is_some() && !explained.contains(&letter.place()) {
            let root = letter.header("millstream.dlq.id").unwrap_or_default().to_owned();
            found.push(Violation::Unexpected { topic: topic.into(), place: letter.place(), root });
        }
    }
}

/// Place of the record in the stage's input, and its id; says which headers are missing or no numbers.
fn fields(topic: &str, letter: &Seen, found: &mut Vec<Violation>) -> Option<((i32, i64), String)> {
    let field = |name: &str| letter.header(&format!("millstream.dlq.{name}"));
    let missing: Vec<&str> = FIELDS.into_iter().filter(|f| field(f).is_none()).collect();
    if !missing.is_empty() {
        found.push(wrong(topic, letter, "headers", "all of millstream.dlq.*".into(), format!("without {missing:?}")));
        return None;
    }
    let number = |name: &'static str, found: &mut Vec<Violation>| {
        let text = field(name).unwrap_or_default();
        let number = text.parse::<i64>().ok();
        if number.is_none() {
            found.push(wrong(topic, letter, name, "a decimal number".into(), text.to_owned()));
        }
        number
    };
    let (partition, offset) = (number("partition", found)?, number("offset", found)?);
    number("timestamp", found)?;
    number("at", found)?;
    let place = (i32::try_from(partition).ok()?, offset);
    Some((place, field("id").unwrap_or_default().to_owned()))
}

fn compare(topic: &str, wanted: &ExpectedLetter, letter: &Seen, origins: &Places<'_>, found: &mut Vec<Violation>) {
    let field = |name: &str| letter.header(&format!("millstream.dlq.{name}")).unwrap_or_default();
    let attempts = if wanted.class == "exhausted" { field("attempts") } else { "1" };
    for (name, expected) in [
        ("pipeline", wanted.pipeline.as_str()),
        ("stage", &wanted.stage),
        ("topic", &wanted.from),
        ("class", &wanted.class),
        ("attempts", attempts),
        ("redrives", "0"),
    ] {
        if field(name) != expected {
            found.push(wrong(topic, letter, name, expected.to_owned(), field(name).to_owned()));
        }
    }
    if field("code").is_empty() || field("message").is_empty() {
        found.push(wrong(topic, letter, "code and message", "a reason".into(), "none".into()));
    }
    let id = field("id");
    if root(id).unwrap_or(id) != wanted.record.root {
        found.push(wrong(topic, letter, "id", wanted.record.root.clone(), id.to_owned()));
    }
    differences(topic, &wanted.record, letter, field("timestamp").parse().ok(), found);
    // What the letter says of its origin must be so.
    let place = field("partition").parse().ok().zip(field("offset").parse().ok());
    let origin = place.and_then(|place| origins.get(&place));
    let same = origin.is_some_and(|r| r.key == letter.key && r.value == letter.value);
    if !same {
        let place = format!("{}/{}/{}", wanted.from, field("partition"), field("offset"));
        found.push(wrong(topic, letter, "origin", "the record it came from".into(), place));
    }
}

fn wrong(topic: &str, letter: &Seen, what: &'static str, expected: String, is: String) -> Violation {
    Violation::Wrong { topic: topic.into(), place: letter.place(), what, expected, found: is }
}
