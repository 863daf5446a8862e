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
        ("sql: {}", "8:14", "missing_key", &["`url`"]),
        ("sql: { url: \"sqlite:a\" }", "8:14", "missing_key", &["`statement`"]),
        ("sql: { url: \"mysql://a/b\", statement: select 1 }", "8:21", "bad_url", &["`postgres://…`", "sqlite:"]),
        ("sql: { url: \"sqlite:\", statement: select 1 }", "8:21", "bad_url", &["no file"]),
        ("sql: { url: \"sqlite::memory:\", statement: select 1 }", "8:21", "bad_url", &["no file"]),
        ("sql: { url: \"postgres:///d\", statement: select 1 }", "8:21", "bad_url", &["no host"]),
        ("sql: { url: \"postgres://h/d?sslmode=no\", statement: select 1 }", "8:21", "bad_url", &["`sslmode`"]),
        ("sql: { url: \"sqlite:a\", statement: \"select 1; select 2\" }", "8:44", "bad_statement", &["one statement"]),
        ("sql: { url: \"sqlite:a\", statement: \"-- no\" }", "8:44", "bad_statement", &["no statement"]),
        ("sql: { url: \"sqlite:a\", statement: commit }", "8:44", "bad_statement", &["`commit`"]),
        ("sql: { url: \"sqlite:a\", statement: select ? }", "8:44", "bad_statement", &["`$1`"]),
        ("sql: { url: \"sqlite:a\", statement: select $1 }", "8:44", "sql_placeholders", &["`$1`", "has 0"]),
        ("sql: { url: \"sqlite:a\", statement: select $2, args: [.n, .n] }", "8:61", "sql_placeholders", &["no `$1`"]),
        ("sql: { url: \"sqlite:a\", statement: select $0, args: [.n] }", "8:61", "sql_placeholders", &["`$0`"]),
        ("sql: { url: \"sqlite:a\", statement: select $1, args: .n }", "8:61", "wrong_type", &["a list"]),
        ("sql: { url: \"sqlite:a\", statement: select $1, args: [.nope] }", "8:62", "unknown_field", &["`.nope`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, into: x }", "8:60", "invalid_path", &["`.name`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, rows: all }", "8:60", "conflicting_keys", &["`into`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, into: .x, rows: 2 }", "8:70", "unknown_value", &["`first`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, once: yes }", "8:60", "wrong_type", &["`once`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, once: { keep: 3 } }", "8:68", "bad_duration", &["`keep`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, init: [7] }", "8:61", "wrong_type", &["`init`"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, timeout: 30s }", "8:63", "conflicting_keys", &["20s"]),
        ("sql: { url: \"sqlite:a\", statement: select 1, connections: 0 }", "8:67", "wrong_type", &["1 to 1000"]),
    ];
    for (filter, place, code, words) in cases {
        let issues = errors(filter);
        let first = &issues[0];
        let found = (format!("{}:{}", first.span.line, first.span.col), first.code);
        assert_eq!((found.0.as_str(), found.1), (*place, *code), "{filter}: {first}");
        for word in *words {
            assert!(first.to_string().contains(word), "{filter}: no {word:?} in {first}");
        }
    }
}

#[test]
fn every_error_is_told_at_once() {
    let issues = errors("sql: { url: x, statment: select 1, into: x, once: 3, init: 7, timeout: x, connections: x }");
    let codes: Vec<_> = issues.iter().map(|i| i.code).collect();
    assert_eq!(codes.len(), 8, "{codes:?}");
    assert!(issues.iter().any(|i| i.to_string().contains("did you mean `statement`?")), "{issues:?}");
}

#[test]
fn no_error_shows_what_a_reference_brought_in() {
    for url in ["${env:TOKEN}", "postgres://u:${env:TOKEN}@h:x/d", "postgres://u:${env:TOKEN}@h/d?sslmode=${env:TOKEN}"]
    {
        for issue in errors(&format!("sql: {{ url: \"{url}\", statement: select 1 }}")) {
            assert!(!issue.to_string().contains("s3cr3t"), "{issue}");
        }
    }
}

#[test]
fn a_statement_that_only_looks_has_no_effects() {
    for (rest, effects) in [
        ("statement: \"select 1\"", false),
        ("statement: \"(values (1))\"", false),
        ("statement: \"select f()\", once: true", true),
        ("statement: \"with a as (select 1) select * from a\"", true),
        ("statement: \"delete from t\", once: false", true),
    ] {
        let (pipeline, warnings) = pipeline("", &format!("sql: {{ url: \"sqlite:a\", {rest} }}")).unwrap();
        assert_eq!(pipeline.stages[0].filters[0].checked.effects, effects, "{rest}");
        assert_eq!(warnings, []);
    }
}
