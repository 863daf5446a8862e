//! Right pipelines, and what becomes of them.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{good, run};
use millstream_filter_api::{Kind, Severity};
use millstream_spec::model::*;
use millstream_spec::path;

const ORDERS: &str = r#"
apiVersion: millstream/v1
pipeline: orders                 # a comment
description: Clean, price and split retail orders.
delivery: exactly_once
defaults:
  replicas: 2
  dedup: { window: 24h }
  topics: { partitions: 6, retention: 7d }
source:
  topic: orders.raw
  start: earliest
  format: json
  fields: { order_id: string, line: integer, quantity: integer, unit_price: number, customer_id: string?, sku: string }
  id: [.order_id, .line]
  key: .order_id
stages:
  - name: clean
    filter: map
    with: |
      .total = .quantity * .unit_price
  - name: split
    filter: route
    with:
      refunds: .quantity < 0
      orders: true               # first match wins
    outputs: { refunds: { to: { topic: refunds, partitions: 3, max_record: 1MiB }, key: .sku } }
  - name: bill
    from: split.orders
    filters:
      - lookup: { table: prices.csv, by: .sku, into: .price }
      - where: .price != null
    key: .sku
    to: billing
    replicas: 4
    concurrency: 8
    order: partition
    timeout: 5s
    retry: { attempts: 2, backoff: 1s..5s, until: 2h }
    on_failure: continue
    dead_letter: { retention: 30d }
tests:
  - name: a negative quantity is a refund
    input:  [ { key: "17850", value: { order_id: C536379, line: 1, quantity: -1 } } ]
    expect: { split.refunds: [ { value: { order_id: C536379, total: -2.5 } } ], split.orders: [], bill.dlq: [] }
"#;

/// A stage with levels reads a topic for each, which a stage of ours before it writes; whoever reads the same goes on to.
#[test]
fn levels_are_sorted_by_a_stage_before() {
    let (p, _) = good(
        "pipeline: p\nsource: { topic: t, fields: { tier: string } }\nstages:\n  - { name: a, filter: where, with: 'true' }\n  \
         - { name: b, filter: where, with: 'true', priority: { by: .tier, levels: [gold, rest], weights: [4, 1] } }\n  \
         - { name: c, from: a, filter: where, with: 'true', to: x }\n",
    );
    let names: Vec<&str> = p.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["a", "b-levels", "b", "c"]);
    let topics = |n: usize| p.stages[n].inputs.iter().map(|i| i.topic.as_str()).collect::<Vec<_>>();
    assert_eq!(
        (topics(1), topics(2), topics(3)),
        (vec!["p.a"], vec!["p.b-levels.gold", "p.b-levels.rest"], vec!["p.a"])
    );
    assert_eq!(p.stages[2].priority.as_ref().map(|p| p.weights.clone()), Some(Some(vec![4, 1])));
    let issues = common::bad(
        "pipeline: p\nsource: { topic: t, fields: { tier: string } }\nstages:\n  \
         - { name: b, filter: where, with: 'true', priority: { by: .tier, levels: [gold, rest], strict: false } }\n",
    );
    assert!(issues.iter().any(|i| i.code == "missing_key" && i.message.contains("`weights`")), "{issues:?}");
}

#[test]
fn the_whole_language() {
    let (p, warnings) = good(ORDERS);
    assert_eq!(warnings, []);
    assert_eq!((p.name.as_str(), p.delivery), ("orders", Delivery::ExactlyOnce));
    let names: Vec<_> = p.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["ingest", "clean", "split", "bill"]);

    let ingest = &p.stages[0];
    assert_eq!((ingest.group.as_str(), ingest.filters.len(), ingest.dedup.is_none()), ("orders.ingest", 0, true));
    assert_eq!((ingest.inputs[0].topic.as_str(), ingest.inputs[0].from_stage), ("orders.raw", None));
    assert_eq!(ingest.outputs[0].topic, "orders.in");
    assert_eq!(ingest.outputs[0].key, Some(KeyRule::Fields(vec![path::field(".order_id").unwrap()])));
    assert_eq!(p.sources[0].topic, "orders.raw");

    let clean = &p.stages[1];
    assert_eq!((clean.inputs[0].topic.as_str(), clean.inputs[0].from_stage), ("orders.in", Some(0)));
    assert_eq!((clean.replicas, clean.concurrency, clean.order), (2, 64, Order::Key));
    assert_eq!(clean.outputs[0].types.at_path(&path::field(".total").unwrap()), Kind::float());
    assert_eq!(clean.outputs[0].settings.partitions, 6);
    assert_eq!(clean.retry.park_after, Some(ParkAfter { attempts: 3, time: Duration::from_secs(5) }));
    assert_eq!((clean.dlq.as_str(), clean.state.as_str()), ("orders.clean.dlq", "orders.clean.state"));

    let split = &p.stages[2];
    let outputs: Vec<_> =
        split.outputs.iter().map(|o| (o.name.as_deref().unwrap(), o.topic.as_str(), o.given)).collect();
    assert_eq!(outputs, [("refunds", "refunds", true), ("orders", "orders.split.orders", false)]);
    assert_eq!((split.outputs[0].settings.partitions, split.outputs[0].settings.max_record_bytes), (3, Some(1 << 20)));
    assert_eq!(split.outputs[0].settings.retention, Some(Duration::from_secs(7 * 86_400)));
    assert!(split.outputs[0].key.is_some() && split.outputs[1].key.is_none());

    let bill = &p.stages[3];
    assert_eq!((bill.inputs[0].topic.as_str(), bill.inputs[0].from_stage), ("orders.split.orders", Some(2)));
    assert_eq!(
        (bill.replicas, bill.concurrency, bill.order, bill.timeout),
        (4, 8, Order::Partition, Duration::from_secs(5))
    );
    assert_eq!(
        bill.retry,
        Retry {
            attempts: 2,
            backoff_min: Duration::from_secs(1),
            backoff_max: Duration::from_secs(5),
            // It keeps the order of its partitions.
            park_after: None,
            until: Some(Duration::from_secs(7_200)),
        }
    );
    assert_eq!(bill.dead_letter_retention, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!((bill.filters.len(), bill.outputs[0].topic.as_str(), bill.outputs[0].given), (2, "billing", true));
    assert_eq!(p.tests.len(), 1);
}

/// A pipeline around one source.
fn source(source: &str) -> Source {
    good(&format!("pipeline: p\nsource: {source}\nstages: [{{ name: a, filter: where, with: 'true' }}]"))
        .0
        .sources
        .remove(0)
}

#[test]
fn defaults_are_those_of_the_docs() {
    let (p, _) = good("pipeline: p\nsource: { topic: t }\nstages: [{ name: a, filter: where, with: 'true' }]");
    assert_eq!(p.sources[0].format, Format::Json);
    let source = &p.sources[0];
    assert_eq!((&source.id, &source.key, source.typed), (&IdRule::Default, &None, false));
    let a = &p.stages[0];
    assert_eq!((a.replicas, a.concurrency, a.order, a.timeout), (1, 64, Order::Key, Duration::from_secs(30)));
    assert_eq!(
        (a.retry.attempts, a.retry.backoff_min, a.retry.backoff_max),
        (6, Duration::from_millis(200), Duration::from_secs(30))
    );
    assert_eq!(a.retry.park_after, Some(ParkAfter { attempts: 3, time: Duration::from_secs(5) }));
    assert_eq!((a.retry.until, a.retry_topic.as_str()), (None, "p.a.retry"));
    assert_eq!(a.dedup, Some(Dedup { window: Duration::from_secs(86_400), max_ids: 5_000_000 }));
    assert_eq!(
        a.outputs[0].settings,
        TopicSettings {
            partitions: 12,
            partitions_said: false,
            retention: None,
            replication: None,
            max_record_bytes: None
        }
    );
    assert_eq!(a.inputs[0].from_stage, None);
}

#[test]
fn sources_of_files() {
    let file = |s: &str| match source(s).kind {
        SourceKind::File(f) => (f.path.display().to_string(), f.lines, f.follow),
        _ => panic!("not a file: {s}"),
    };
    let csv = FileLines::Csv { separator: b',' };
    assert_eq!(file("{ file: orders.csv }"), ("some/orders.csv".into(), csv, false));
    assert_eq!(file("{ file: orders, format: csv }").1, csv);
    assert_eq!(
        file("{ file: { path: a.csv, separator: ';', follow: true } }"),
        ("some/a.csv".into(), FileLines::Csv { separator: b';' }, true)
    );
    assert_eq!(file("{ file: a.tsv }").1, FileLines::Csv { separator: b'\t' });
    assert_eq!(file("{ file: a.jsonl }").1, FileLines::Jsonl);
    assert_eq!(file("{ file: a.json, format: json }").1, FileLines::Jsonl);
    assert_eq!(file("{ file: /var/log/a.log }").0, "/var/log/a.log");

    let s = source("{ file: orders.csv, format: csv, id: .a, key: .a, fields: { a: string, n: integer } }");
    assert_eq!((s.topic.as_str(), s.format, s.typed), ("p.in", Format::Json, true));
    assert_eq!(s.types.at_path(&path::field(".n").unwrap()), Kind::integer());
    assert!(s.key.is_some(), "the source keys its own records");
    assert_eq!(source("{ file: a.txt }").types, Kind::bytes());
}

#[test]
fn sources_of_topics_and_generators() {
    let s = source("{ topic: t, format: csv, fields: { b: string, a: integer } }");
    assert_eq!(s.format, Format::Csv { columns: vec!["b".into(), "a".into()], separator: b',' });
    let s = source("{ topic: t, format: { csv: { columns: [x], separator: tab } } }");
    assert_eq!(s.format, Format::Csv { columns: vec!["x".into()], separator: b'\t' });
    let s = source("{ topic: t, start: 2026-01-31T12:00:00Z, schema: order.json, id: .order_id }");
    assert!(matches!(s.kind, SourceKind::Topic { start: Start::At(1_769_860_800_000) }));
    assert_eq!(s.schema.as_ref().map(|s| s.0.as_str()), Some("order.json"));
    assert_eq!(s.types.at_path(&path::field(".line").unwrap()), Kind::integer().or_undefined());
    let s = source("{ generate: { value: '{}', count: 10, rate: 30/m, seed: 7 } }");
    let SourceKind::Generate(g) = s.kind else { panic!() };
    assert_eq!((g.count, g.rate, g.seed, g.value.as_text()), (Some(10), Some(0.5), 7, Some("{}")));
    assert_eq!(s.topic, "p.in");
    assert_eq!(source("{ topic: t, id: { header: x } }").id, IdRule::Header("x".into()));
    assert_eq!(source("{ topic: t, id: hash }").id, IdRule::Hash);
    assert_eq!(source("{ topic: t, id: key }").id, IdRule::Key);
}

#[test]
fn a_source_may_have_a_name_and_a_list_may_be_read() {
    let (p, w) = good(
        "pipeline: p\nsources: { web: { topic: t } }\nstages:\n  - { name: a, from: web, filter: where, with: 'true' }\n  - { name: b, from: web, filter: where, with: 'true' }\n  - { name: c, from: [a, b], filter: where, with: 'true' }\n",
    );
    assert_eq!(w, []);
    assert_eq!(p.sources[0].name, "web");
    let inputs: Vec<_> = p.stages[2].inputs.iter().map(|i| (i.topic.as_str(), i.from_stage)).collect();
    assert_eq!(inputs, [("p.a", Some(0)), ("p.b", Some(1))]);
}

#[test]
fn a_stage_may_read_a_later_one() {
    let (p, w) = good(
        "pipeline: p\nsource: { topic: t }\nstages:\n  - { name: a, from: b, filter: where, with: 'true', to: x }\n  - { name: b, from: source, filter: where, with: 'true' }\n",
    );
    assert_eq!(w, []);
    assert_eq!(p.stages[0].inputs[0].from_stage, Some(1));
}

#[test]
fn formats_follow_the_payload() {
    let formats = |source: &str, to: &str| {
        let yaml =
            format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true'{to} }}");
        good(&yaml).0.stages.pop().unwrap().outputs.pop().unwrap().format
    };
    assert_eq!(formats("{ topic: t, format: text }", ""), Format::Text);
    assert_eq!(formats("{ topic: t, format: raw }", ""), Format::Raw);
    assert_eq!(formats("{ topic: t }", ""), Format::Json);
    let csv = "{ topic: t, format: csv, fields: { a: string } }";
    assert_eq!(formats(csv, ""), Format::Json);
    assert_eq!(formats(csv, ", to: { format: csv }"), Format::Csv { columns: vec!["a".into()], separator: b',' });
}

#[test]
fn references_stand_for_any_scalar() {
    let (p, _) = good(
        "pipeline: p\nsource: { topic: 'x-${env:TOPIC:-raw}' }\nstages:\n  - name: a\n    filter: where\n    with: 'true'\n    replicas: ${env:REPLICAS}\n",
    );
    assert_eq!((p.sources[0].topic.as_str(), p.stages[0].replicas), ("x-raw", 3));
}

#[test]
fn secrets_are_not_printed() {
    for yaml in [
        "pipeline: p\nsource: { topic: t, start: '${env:SECRET}' }\nstages: [{ name: a, filter: where, with: 'true' }]",
        "pipeline: p\nsource: { topic: 't ${env:SECRET}' }\nstages: [{ name: a, filter: where, with: 'true' }]",
        "pipeline: p\nsource: { topic: t, id: '${file:token}' }\nstages: [{ name: a, filter: where, with: 'true' }]",
        "pipeline: ${env:REPLICAS}\nsource: { topic: t }\nstages: [{ name: a, filter: where, with: 'true' }]",
    ] {
        let issues = run(yaml).err().expect("is wrong");
        let shown = millstream_spec::render(Path::new("p"), yaml.as_bytes(), &issues);
        assert!(!shown.contains("hunter2") && !shown.contains("s3cr3t") && !shown.contains("`3`"), "{shown}");
        assert!(shown.contains("***"), "{shown}");
    }
}

#[test]
fn warnings_do_not_stop() {
    let (p, w) = good(
        "pipeline: p\nsource: { topic: t, id: .a, key: .b }\nstages:\n  - { name: a, filter: route, with: { x: 'true', y: true } }\n  - { name: b, from: a.x, filter: where, with: 'true' }\n",
    );
    assert_eq!(p.stages.len(), 3);
    let found: Vec<_> = w.iter().map(|i| (i.severity, i.code, i.span.line, i.span.col)).collect();
    assert_eq!(found, [(Severity::Warning, "ids_may_not_meet", 2, 25), (Severity::Warning, "unread_output", 4, 50)]);
    let told = "pipeline: p\nsource: { topic: t, id: [.a, .b], key: .b }\nstages:\n  - { name: a, filter: route, with: { x: 'true', y: true }, outputs: { y: {} } }\n  - { name: b, from: a.x, filter: where, with: 'true' }\n";
    assert_eq!(good(told).1, []);
    // What ends a pipeline is its result; an output beside one that is read is most likely forgotten, wherever it stands.
    let first = "pipeline: p\nsource: { topic: t }\nstages:\n  - { name: b, from: a.x, filter: where, with: 'true' }\n";
    let route = "  - { name: a, from: source, filter: route, with: { x: 'true', y: true } }\n";
    let codes = |yaml: &str| good(yaml).1.iter().map(|i| (i.code, i.message.clone())).collect::<Vec<_>>();
    assert_eq!(codes(&format!("{first}{route}")), [("unread_output", "no stage reads the output `a.y`".to_owned())]);
    assert_eq!(codes(&format!("pipeline: p\nsource: {{ topic: t }}\nstages:\n{route}")), []);
}

/// Red while a check said nothing of a source's file.
#[test]
fn a_source_file_that_is_not_there_is_a_warning() {
    let warned = |file: &str| {
        let yaml =
            format!("pipeline: p\nsource:\n  file: {file}\nstages: [{{ name: a, filter: where, with: 'true' }}]\n");
        good(&yaml).1.into_iter().map(|i| (i.code, i.span.line, i.span.col, i.message)).collect::<Vec<_>>()
    };
    assert_eq!(warned("prices.csv"), []);
    assert_eq!(warned("none.csv"), [("file_missing", 3, 9, "`none.csv` does not exist".to_owned())]);
    assert_eq!(warned("{ path: folder.csv }"), [("file_missing", 3, 17, "`folder.csv` is a folder".to_owned())]);
}

#[test]
fn line_ends_and_marks_do_not_matter() {
    let windows = ORDERS.replace('\n', "\r\n");
    let marked = format!("\u{feff}{ORDERS}");
    for yaml in [windows.as_str(), marked.as_str()] {
        let (p, w) = good(yaml);
        assert_eq!((p.stages.len(), w.len(), p.stages[3].span.line), (4, 0, good(ORDERS).0.stages[3].span.line));
    }
}

#[test]
fn a_compensation_is_a_stage_of_its_own() {
    let (p, _) = good(
        "pipeline: shop\nsource: { topic: t, fields: { id: string } }\nstages:\n  \
         - { name: reserve, filter: where, with: 'true', timeout: 7s, compensate: { where: .id != \"\" } }\n  \
         - { name: charge, filter: where, with: 'true', deadline: 5m }\n  \
         - { name: tell, filter: where, with: 'true', on_failure: continue }\n",
    );
    let names: Vec<_> = p.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["reserve", "charge", "tell", "reserve.compensate"]);
    let (reserve, undoes) = (&p.stages[0], &p.stages[3]);
    assert_eq!(reserve.undo().map(|o| o.topic.as_str()), Some("shop.reserve.undo"));
    let input = &undoes.inputs[0];
    assert_eq!((input.topic.as_str(), input.from_stage, input.source), ("shop.reserve.undo", Some(0), None));
    assert_eq!((undoes.compensates, undoes.timeout.as_secs(), &undoes.dedup), (Some(0), 7, &None));
    assert_eq!(
        (undoes.group.as_str(), undoes.dlq.as_str()),
        ("shop.reserve.compensate", "shop.reserve.compensate.dlq")
    );
    let ends: Vec<bool> = p.stages.iter().map(|s| s.ends_job).collect();
    assert_eq!(ends, [true, true, false, false]);
    let jobs = p.jobs.as_ref().expect("tracked by itself");
    assert_eq!((jobs.result.as_str(), p.stages[1].deadline.map(|d| d.as_secs())), ("tell", Some(300)));
}

#[test]
fn what_calls_back_is_a_stage_of_its_own() {
    let (p, _) = good(
        "pipeline: shop\njobs:\n  callback: { url: { header: told_at }, allow: [ 'https://a/' ], secret: hush-hush, on: [stage, done], \
         timeout: 7s }\nsource: { topic: t, fields: { id: string } }\nstages:\n  \
         - { name: reserve, filter: where, with: 'true', compensate: { where: .id != \"\" } }\n",
    );
    let names: Vec<_> = p.stages.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names, ["reserve", "reserve.compensate", "callback"]);
    let (stage, jobs) = (&p.stages[2], p.jobs.as_ref().expect("tracked by itself"));
    assert!(stage.calls_back && stage.outputs.is_empty() && stage.dedup.is_none() && !stage.ends_job);
    assert_eq!((stage.timeout.as_secs(), stage.retry.attempts, stage.dlq.as_str()), (12, 15, "shop.callback.dlq"));
    let callback = jobs.callback.as_ref().expect("it calls");
    assert_eq!(
        (callback.url.as_str(), callback.stages, callback.states.as_slice()),
        ("told_at", true, &["done".to_owned()][..])
    );
    assert_eq!(
        (stage.inputs[0].topic.as_str(), callback.topic.as_str()),
        ("shop.jobs.callbacks", "shop.jobs.callbacks")
    );
    // What is compared when the file changes, and written into the log.
    let given = format!("{:?} {jobs:?}", stage.filters[0].options);
    assert!(given.contains("https://a/") && !given.contains("hush"), "{given}");
    let picture = millstream_spec::graph::text(&p);
    assert!(picture.contains("jobs: shop.jobs.callbacks\n└─ callback: callback\n"), "{picture}");
}
