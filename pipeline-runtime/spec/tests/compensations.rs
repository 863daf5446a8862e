//! Compensations that are wrong, each with the code of its only issue and its place.

mod common;

use common::bad;
use millstream_filter_api::Severity;

const W: &str = "    filter: where\n    with: 'true'\n";

fn stage(lines: &str) -> String {
    format!("pipeline: p\nsource: {{ topic: t, fields: {{ n: integer }} }}\nstages: \n  - name: a\n{W}    {lines}\n")
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let cases = [
        (stage("on_failure: compensate"), "nothing_to_compensate", (7, 17)),
        (stage("compensate: wheer"), "unknown_filter", (7, 17)),
        (stage("compensate: { where: 5 }"), "bad_expression", (7, 26)),
        (stage("compensate: { where: 'true', map: '.' }"), "wrong_count", (7, 17)),
        (stage("to: p.a.undo\n    compensate: { where: 'true' }"), "duplicate_topic", (8, 17)),
        (stage("deadline: 5m"), "not_supported_yet", (7, 15)),
        (format!("jobs: {{ track: false }}\n{}", stage("compensate: { where: 'true' }")), "conflicting_keys", (1, 16)),
        (format!("delivery: at_least_once\n{}", stage("compensate: { where: 'true' }")), "not_supported_yet", (8, 17)),
    ];
    for (yaml, code, place) in cases {
        let errors: Vec<_> = bad(&yaml).into_iter().filter(|i| i.severity == Severity::Error).collect();
        let found: Vec<_> = errors.iter().map(|i| (i.code, (i.span.line, i.span.col))).collect();
        assert_eq!(found, [(code, place)], "{yaml}: {errors:?}");
    }
}
