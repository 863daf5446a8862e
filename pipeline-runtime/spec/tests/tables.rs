//! Rows of a database as a source: what may stand there, and what comes of it.

mod common;

use std::time::Duration;

use common::{bad, good};
use millstream_filter_api::Severity;
use millstream_spec::graph;
use millstream_spec::model::{Format, PostgresRows, PostgresSource, SourceKind};

fn yaml(source: &str) -> String {
    format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true' }}\n")
}

fn postgres(inside: &str) -> PostgresSource {
    let (p, _) = good(&yaml(&format!("{{ postgres: {{ url: 'postgres://u:geheim@h/d', {inside} }} }}")));
    match &p.sources[0].kind {
        SourceKind::Postgres(postgres) => postgres.clone(),
        _ => panic!("another source"),
    }
}

#[test]
fn an_outbox() {
    let found = postgres("outbox: shop.events, mark: taken_at, every: 200ms, notify: events, batch: 10");
    assert_eq!(found.rows, PostgresRows::Outbox { table: "shop.events".into(), mark: Some("taken_at".into()) });
    assert_eq!((found.every, found.notify.as_deref(), found.batch), (Duration::from_millis(200), Some("events"), 10));
    assert_eq!(found.url.reveal(), "postgres://u:geheim@h/d");
    assert!(!format!("{found:?} {}", found.mark()).contains("geheim"));
    let plain = postgres("outbox: events");
    assert_eq!((plain.every, plain.notify, plain.batch), (Duration::from_secs(1), None, 1_000));
    let (p, _) = good(&yaml(
        "{ postgres: { url: 'postgresql://h/d', outbox: events }, format: raw, key: { header: tenant }, id: key }",
    ));
    assert_eq!(p.sources[0].format, Format::Raw);
    assert!(graph::text(&p).contains("source: postgres outbox events (raw) -> p.in"), "{}", graph::text(&p));
}

#[test]
fn a_table_with_a_cursor() {
    let found = postgres("table: orders, cursor: updated_at, key: id, columns: [id, state], late: 10m");
    let PostgresRows::Cursor { table, cursor, key, columns, late } = found.rows else { panic!("no cursor") };
    assert_eq!((table.as_str(), cursor.as_str(), key.as_str()), ("orders", "updated_at", "id"));
    assert_eq!((columns, late), (Some(vec!["id".to_owned(), "state".to_owned()]), Duration::from_secs(600)));
}

#[test]
fn what_is_wrong() {
    let url = "url: 'postgres://u:geheim@h/d'";
    for (source, code, words) in [
        (format!("{{ postgres: {{ {url} }} }}"), "missing_key", "`outbox`"),
        (format!("{{ postgres: {{ {url}, outbox: a, table: b, cursor: c, key: d }} }}"), "conflicting_keys", "`table`"),
        (format!("{{ postgres: {{ {url}, table: b, key: d }} }}"), "missing_key", "`cursor`"),
        (format!("{{ postgres: {{ {url}, table: b, cursor: d }} }}"), "missing_key", "`key`"),
        (format!("{{ postgres: {{ {url}, outbox: a, late: 5m }} }}"), "missing_key", "`late`"),
        (format!("{{ postgres: {{ {url}, outbox: a.b.c }} }}"), "bad_table", "a.b.c"),
        (format!("{{ postgres: {{ {url}, outbox: a, batch: 0 }} }}"), "out_of_range", "batch"),
        ("{ postgres: { outbox: a } }".into(), "missing_key", "`url`"),
        ("{ postgres: { url: 'mysql://u:geheim@h/d', outbox: a } }".into(), "bad_url", "postgres://"),
        (format!("{{ postgres: {{ {url}, outbox: a }}, format: csv }}"), "unknown_word", "`json`, `text` or `raw`"),
        (
            format!("{{ postgres: {{ {url}, table: t, cursor: c, key: k }}, format: text }}"),
            "unknown_word",
            "always `json`",
        ),
        (
            format!("{{ postgres: {{ {url}, table: t, cursor: c, key: k }}, key: {{ header: x }} }}"),
            "no_headers",
            "no headers",
        ),
    ] {
        let issues = bad(&yaml(&source));
        let errors: Vec<_> = issues.into_iter().filter(|i| i.severity == Severity::Error).collect();
        let said: Vec<_> = errors.iter().map(|i| (i.code, format!("{} {:?}", i.message, i.help))).collect();
        assert!(matches!(said.as_slice(), [(c, w)] if *c == code && w.contains(words)), "{source}: {said:?}");
        assert!(!format!("{said:?}").contains("geheim"), "{said:?}");
    }
}
