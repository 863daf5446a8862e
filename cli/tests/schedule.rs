//! `schedule`, and what `run` says of clocks.

mod common;

use common::Place;
use serde_json::Value;

const STAGE: &str = "stages: [{ name: a, filter: where, with: 'true' }]\n";
const STAGES: &str = "stages: [{ name: s, from: [fast, slow], filter: where, with: 'true' }]\n";

fn place() -> Place {
    let place = Place::new();
    place.file("one.yaml", format!("pipeline: one\nsource: {{ schedule: {{ every: 90m }} }}\n{STAGE}"));
    place.file(
        "two.yaml",
        format!(
            "pipeline: two\nsources:\n  fast: {{ schedule: {{ every: 7h }} }}\n  slow: {{ schedule: {{ cron: '0 2 * * *', timezone: Asia/Tokyo }} }}\n{STAGES}"
        ),
    );
    place.file("past.yaml", format!("pipeline: past\nsource: {{ schedule: {{ at: 2001-01-01T00:00:00Z }} }}\n{STAGE}"));
    place.file("none.yaml", format!("pipeline: none\nsource: {{ topic: t }}\n{STAGE}"));
    place
}

fn ticks(text: &str) -> Vec<Value> {
    let document: Value = serde_json::from_str(text).expect("one document");
    document["ticks"].as_array().expect("a list").clone()
}

#[test]
fn what_is_to_come_is_shown() {
    let place = place();
    let one = ticks(&place.run("schedule one -o json").good());
    assert_eq!(one.len(), 10);
    let at = |tick: &Value| tick["at"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("RFC 3339");
    assert!(one.iter().all(|tick| at(tick).as_second() % 5_400 == 0 && tick["timezone"] == "UTC"), "{one:?}");
    assert!(one.windows(2).all(|pair| at(&pair[1]).as_second() - at(&pair[0]).as_second() == 5_400));
    assert_eq!(one[0]["id"], format!("schedule/one/source@{}", one[0]["at"].as_str().unwrap_or_default()));
    let two = ticks(&place.run("schedule two --next 20 -o json").good());
    assert!(two.windows(2).all(|pair| at(&pair[0]) <= at(&pair[1])), "of both, by time");
    let slow: Vec<&Value> = two.iter().filter(|tick| tick["source"] == "slow").collect();
    assert!(slow.len() >= 4 && slow.len() < 10, "{two:?}");
    assert!(slow.iter().all(|tick| tick["local"].as_str().is_some_and(|l| l.ends_with("T02:00:00+09:00"))), "{slow:?}");
    let table = place.run("schedule two --source slow --next 2").good();
    assert!(table.starts_with("source") && table.lines().count() == 3 && table.contains("Asia/Tokyo"), "{table}");
    assert!(place.run("schedule past").good().contains("nothing more comes"));
}

#[test]
fn what_has_no_schedule_is_an_error() {
    let place = place();
    assert!(place.run("schedule none").bad(2).contains("pipeline `none` has no schedule"));
    assert!(place.run("schedule two --source slwo").bad(2).contains("did you mean `slow`?"));
    assert!(place.run("schedule one --next 0").bad(2).contains("--next"));
    assert!(place.run("run one --until-idle").bad(2).contains("`--until-idle` would never end"));
}

#[test]
fn times_that_had_passed_before_it_ran_are_nobodys() {
    let place = place();
    let said = place.run("run past --until-idle -o json").good();
    assert!(said.contains("\"read\":0"), "{said}");
}
