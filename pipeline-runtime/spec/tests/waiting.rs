//! Stages that wait for events: what they are lowered to, and what is wrong, each with the code of its only issue and its place.

mod common;

use std::time::Duration;

use common::{bad, good};
use millstream_filter_api::Severity;

const HEAD: &str = "pipeline: p\nsource: { topic: t, fields: { uid: string } }\nstages:\n";
const WAITS: &str = "wait_for: { topic: approvals, by: .uid, timeout: 2d }";

fn stage(lines: &str) -> String {
    format!("{HEAD}  - name: a\n    filter: where\n    with: 'true'\n    {lines}\n")
}

#[test]
fn three_stages_come_before_it() {
    let (pipeline, _) = good(&format!("{}  - name: b\n    filter: where\n    with: 'true'\n", stage(WAITS)));
    let names: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a-records", "a-wait", "a", "b", "a-events"]);
    let [records, wait, own, _, events] = pipeline.stages.as_slice() else { panic!("{names:?}") };
    let topics = |at: &millstream_spec::model::Stage| at.inputs.iter().map(|i| i.topic.clone()).collect::<Vec<_>>();
    assert_eq!((topics(records), topics(events)), (vec!["t".to_owned()], vec!["approvals".to_owned()]));
    assert_eq!(
        (topics(wait), topics(own)),
        (vec!["p.a-records".to_owned(), "p.a-events".to_owned()], vec!["p.a-wait".to_owned()])
    );
    let meets = wait.meets.as_ref().expect("it waits");
    assert_eq!((meets.timeout, meets.topic.as_str()), (Duration::from_secs(2 * 86_400), "approvals"));
    assert_eq!(meets.group, events.group);
    assert!(events.of_events && records.outputs[0].key.is_some() && records.outputs[0].key == events.outputs[0].key);
    assert!(records.dedup.is_some() && wait.dedup.is_none() && events.dedup.is_none() && own.dedup.is_some());
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let waits = |topic: &str| format!("wait_for: {{ topic: {topic}, by: .uid, timeout: 2d }}");
    let cases = [
        (stage("wait_for: { topic: x, by: .uid }"), "missing_key", (7, 15)),
        (stage("wait_for: { topic: x, by: uid, timeout: 1h }"), "bad_path", (7, 31)),
        (stage("wait_for: { topic: x, by: .uid, timeout: soon }"), "bad_duration", (7, 46)),
        (stage(&waits("p.a")), "not_supported_yet", (7, 24)),
        (format!("delivery: at_least_once\n{}", stage(WAITS)), "not_supported_yet", (8, 15)),
    ];
    for (yaml, code, place) in cases {
        let errors: Vec<_> = bad(&yaml).into_iter().filter(|i| i.severity == Severity::Error).collect();
        let found: Vec<_> = errors.iter().map(|i| (i.code, (i.span.line, i.span.col))).collect();
        assert_eq!(found, [(code, place)], "{yaml}: {errors:?}");
    }
}
