//! What is wrong with a configuration is told at its place, all at once, with advice, and without a secret.

use crate::common::pipeline;
use millstream_filter_api::{Issue, Severity};

fn errors(filter: &str) -> Vec<Issue> {
    match pipeline("", filter) {
        Ok(_) => panic!("{filter} passed its check"),
        Err(issues) => issues.into_iter().filter(|i| i.severity == Severity::Error).collect(),
    }
}

#[test]
fn errors_stand_at_their_place() {
    // The filter stands in line 8 from column 9 on; (filter, place of the first error, code, words in it)
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("http: {}", "8:15", "missing_key", &["`url`"]),
        ("http: https://a", "8:15", "wrong_type", &["a map"]),
        ("http: { url: 7 }", "8:22", "wrong_type", &["`url`"]),
        ("http: { url: stock }", "8:22", "bad_url", &["https://"]),
        ("http: { url: /reserve }", "8:22", "bad_url", &["whole address"]),
        ("http: { url: \"ftp://a/b\" }", "8:22", "bad_url", &["does not begin"]),
        ("http: { url: \"http://\" }", "8:22", "bad_url", &["`url`"]),
        ("http: { url: \"http://a b/\" }", "8:22", "bad_url", &["%20"]),
        ("http: { url: \"http://a:99999/\" }", "8:22", "bad_url", &["port"]),
        ("http: { url: \"http://u:p@a/\" }", "8:22", "bad_url", &["Authorization"]),
        ("http: { url: \"http://a/{id}\" }", "8:22", "bad_url", &["plain text", "`body`"]),
        ("http: { url: \"http://a/#x\" }", "8:22", "bad_url", &["fragment"]),
        ("http: { url: \"http://a/\", metod: PUT }", "8:35", "unknown_key", &["did you mean `method`?"]),
        ("http: { url: \"http://a/\", method: post }", "8:43", "unknown_value", &["did you mean `POST`?"]),
        ("http: { url: \"http://a/\", method: TRACE }", "8:43", "unknown_value", &["`GET`", "`TRACE`"]),
        ("http: { url: \"http://a/\", headers: x }", "8:44", "wrong_type", &["`headers`"]),
        ("http: { url: \"http://a/\", headers: { a b: c } }", "8:46", "bad_header", &["`a b`"]),
        ("http: { url: \"http://a/\", headers: { A: b, a: c } }", "8:52", "bad_header", &["twice"]),
        ("http: { url: \"http://a/\", headers: { A: 007 } }", "8:49", "wrong_type", &["quote it"]),
        ("http: { url: \"http://a/\", headers: { Host: b } }", "8:46", "bad_header", &["follows from `url`"]),
        ("http: { url: \"http://a/\", headers: { Idempotency-Key: b } }", "8:46", "bad_header", &["its own"]),
        ("http: { url: \"http://a/\", headers: { Content-Length: \"3\" } }", "8:46", "bad_header", &["the body"]),
        ("http: { url: \"http://a/\", body: .nope }", "8:41", "unknown_field", &["`.nope`"]),
        ("http: { url: \"http://a/\", into: answer }", "8:41", "invalid_path", &["`.name`"]),
        ("http: { url: \"http://a/\", into: .a, keep: true }", "8:41", "conflicting_keys", &["`keep`"]),
        ("http: { url: \"http://a/\", keep: yes }", "8:41", "wrong_type", &["true or false"]),
        ("http: { url: \"http://a/\", timeout: 0s }", "8:44", "bad_duration", &["`timeout`"]),
        ("http: { url: \"http://a/\", timeout: 30s }", "8:44", "conflicting_keys", &["20s"]),
        ("http: { url: \"http://a/\", connect_timeout: 5 }", "8:52", "bad_duration", &["`connect_timeout`"]),
        ("http: { url: \"http://a/\", max_response: 1GiB }", "8:49", "bad_size", &["64MiB"]),
        ("http: { url: \"http://a/\", poll: true }", "8:41", "wrong_type", &["`poll`"]),
        ("http: { url: \"http://a/\", poll: { evry: 1s } }", "8:43", "unknown_key", &["did you mean `every`?"]),
        ("http: { url: \"http://a/\", poll: { every: 0s } }", "8:50", "bad_duration", &["`every`"]),
        ("http: { url: \"http://a/\", poll: { timeout: 8d } }", "8:52", "bad_duration", &["7d"]),
        ("http: { url: \"http://a/\", poll: { until: .state } }", "8:50", "expression_invalid", &["true or false"]),
        ("http: { url: \"http://a/\", poll: { url: \".a +\" } }", "8:53", "expression_invalid", &[]),
    ];
    for (filter, place, code, words) in cases {
        let issues = errors(filter);
        let first = &issues[0];
        assert_eq!(
            (format!("{}:{}", first.span.line, first.span.col).as_str(), first.code),
            (*place, *code),
            "{filter}: {first}"
        );
        for word in *words {
            assert!(first.to_string().contains(word), "{filter}: no {word:?} in {first}");
        }
    }
}

#[test]
fn every_error_is_told_at_once() {
    let issues = errors("http: { url: x, method: post, headers: { Host: a, B: 1 }, into: x, keep: 1, timeout: x }");
    let codes: Vec<_> = issues.iter().map(|i| i.code).collect();
    assert_eq!(codes.len(), 6, "{codes:?}");
}

#[test]
fn no_error_shows_what_a_reference_brought_in() {
    for filter in [
        "http: { url: \"${env:TOKEN}\" }",
        "http: { url: \"http://a/\", method: \"${env:TOKEN}\" }",
        "http: { url: \"http://a/\", headers: { A: \"${env:TORN}\" } }",
        "http: { url: \"http://a/\", timeout: \"${env:TOKEN}\" }",
    ] {
        for issue in errors(filter) {
            assert!(!issue.to_string().contains("s3cr3t"), "{issue}");
        }
    }
}

#[test]
fn a_get_has_no_effects_and_the_others_have() {
    for (method, effects) in [("GET", false), ("POST", true), ("DELETE", true)] {
        let (pipeline, warnings) = pipeline("", &format!("http: {{ url: \"http://a/\", method: {method} }}")).unwrap();
        assert_eq!(pipeline.stages[0].filters[0].checked.effects, effects, "{method}");
        assert_eq!(warnings, []);
    }
}
