//! `check`, `graph`, `filters` and `schema`.

mod common;

use common::Place;
use serde_json::{Value, json};

const GOOD: &str = "\
pipeline: orders
source:
  topic: orders.raw
  fields: { quantity: integer, unit_price: number }
stages:
  - name: price
    filter: map
    with: |
      .total = .quantity * .unit_price
  - name: split
    filter: route
    with:
      refunds: .total < 0.0
      sales: true
  - name: keep
    from: [split.sales]
    filter: where
    with: .total > 1.0
  - name: back
    from: split.refunds
    filter: where
    with: 'true'
";

#[test]
fn every_issue_of_every_file_is_told_at_its_place() {
    let place = Place::new();
    place.file("a.yaml", GOOD.replace("filter: map", "fliter: map").replace("pipeline: orders", "pipeline: a"));
    place.file(
        "deep/b.yaml",
        GOOD.replace(".quantity *", ".quantty *").replace("from: split.refunds", "from: splt.refunds"),
    );
    place.file("deep/c.yaml", GOOD.replace("pipeline: orders", "pipeline: c"));
    place.file("d.yaml", b"pipeline: \xff");
    let ended = place.run("check a.yaml deep d.yaml");
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let places: Vec<&str> = ended.stdout.lines().filter(|l| l.contains(": error: ")).collect();
    for (start, word) in [
        ("a.yaml:7:5: ", "fliter"),
        ("deep/b.yaml:9:", "quantty"),
        ("deep/b.yaml:20:11: ", "splt"),
        ("d.yaml:1:11: ", "UTF-8"),
    ] {
        assert!(places.iter().any(|l| l.starts_with(start) && l.contains(word)), "{start} {word}: {}", ended.stdout);
    }
    assert!(ended.stdout.contains("did you mean `filter`?"), "{}", ended.stdout);
    assert!(ended.stdout.contains("deep/c.yaml: pipeline `c` is right, 4 stages"), "{}", ended.stdout);

    let json: Value = serde_json::from_str(&place.run("check a.yaml deep d.yaml -o json").stdout).expect("JSON");
    let files = json["files"].as_array().expect("a list");
    let paths: Vec<&str> = files.iter().filter_map(|f| f["path"].as_str()).collect();
    assert_eq!(paths, ["a.yaml", "deep/b.yaml", "deep/c.yaml", "d.yaml"]);
    assert_eq!((&files[2]["pipeline"], &files[0]["pipeline"]), (&json!("c"), &Value::Null));
    let issue = files[0]["issues"].as_array().and_then(|i| i.iter().find(|i| i["line"] == 7)).expect("the issue");
    assert_eq!((issue["severity"].as_str(), issue["col"].as_i64()), (Some("error"), Some(5)));
    assert!(json["errors"].as_u64().is_some_and(|n| n >= 4));
}

#[test]
fn a_right_pipeline_is_said_to_be_right() {
    let place = Place::new();
    place.file("pipelines/orders/pipeline.yaml", GOOD);
    for name in ["orders", "pipelines/orders", "pipelines/orders/pipeline.yaml", "pipelines"] {
        let said = place.run(&format!("check {name}")).good();
        assert!(
            said.contains("pipelines/orders/pipeline.yaml: pipeline `orders` is right, 4 stages"),
            "{name}: {said}"
        );
    }
    assert!(place.run("check none.yaml").bad(2).contains("`none.yaml` does not exist"));
    assert!(place.run("check oders").bad(2).contains("did you mean `orders`?"));
    place.file("empty/readme.md", "");
    assert!(place.run("check empty").bad(2).contains("no *.yaml in `empty`"));
}

#[test]
fn a_pipeline_is_drawn() {
    let place = Place::new();
    place.file("orders.yaml", GOOD);
    let text = place.run("graph orders").good();
    assert!(text.contains("orders.raw") && text.contains("orders.split.refunds"), "{text}");
    let mermaid = place.run("graph orders.yaml --as mermaid").good();
    assert!(mermaid.contains("flowchart") && mermaid.contains("refunds"), "{mermaid}");
    let json: Value = serde_json::from_str(&place.run("graph orders -o json").good()).expect("JSON");
    assert_eq!(json["source"]["topic"], "orders.raw");
    let outputs = json!([{ "name": "refunds", "topic": "orders.split.refunds" }, { "name": "sales", "topic": "orders.split.sales" }]);
    assert_eq!(json["stages"][1]["outputs"], outputs);
    assert_eq!(json["stages"][3]["inputs"], json!(["orders.split.refunds"]));
    for form in ["dot", "svg"] {
        let said = place.run(&format!("graph orders --as {form}")).bad(2);
        assert!(said.contains(&format!("`--as {form}` is not supported yet")), "{said}");
    }
    place.file("bad.yaml", "pipeline: x\n");
    assert!(place.run("graph bad.yaml").bad(2).contains("bad.yaml:1:1: error: "));
}

#[test]
fn filters_are_listed_and_have_a_page() {
    let place = Place::new();
    let list = place.run("filters").good();
    let names: Vec<&str> = list.lines().filter_map(|l| l.split_whitespace().next()).collect();
    assert_eq!(
        names,
        ["correlate", "http", "levels", "lookup", "map", "route", "split", "sql", "take_event", "validate", "where"]
    );
    for name in names {
        let page = place.run(&format!("filters {name}")).good();
        assert!(page.starts_with(&format!("{name}\n")) && page.contains("Example: "), "{page}");
        let json: Value = serde_json::from_str(&place.run(&format!("filters {name} -o json")).good()).expect("JSON");
        assert_eq!(json["name"], name);
        assert!(json["config_schema"].is_object() && json["examples"].as_array().is_some_and(|e| !e.is_empty()));
    }
    assert!(place.run("filters wehre").bad(2).contains("did you mean `where`?"));
    let all: Value = serde_json::from_str(&place.run("filters -o json").good()).expect("JSON");
    assert_eq!(all.as_array().map(Vec::len), Some(11));
}

#[test]
fn the_schema_is_a_json_schema_of_pipelines() {
    let schema: Value = serde_json::from_str(&Place::new().run("schema").good()).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert!(schema["properties"]["stages"].is_object(), "{schema}");
}

/// Red while the first path that could not be read ended the check.
#[test]
fn paths_that_cannot_be_read_hide_nothing() {
    let place = Place::new();
    place.file("good.yaml", GOOD);
    place.file("bad.yaml", GOOD.replace("filter: map", "fliter: map").replace("pipeline: orders", "pipeline: a"));
    place.file("large.yaml", vec![b'#'; 9 << 20]);
    let ended = place.run("check none.yaml good.yaml large.yaml bad.yaml");
    assert!(ended.stdout.contains("good.yaml: pipeline `orders` is right"), "{ended:?}");
    assert!(ended.stdout.contains("bad.yaml:7:5: error"), "{ended:?}");
    assert!(ended.stderr.contains("error: `none.yaml` does not exist\n"), "{ended:?}");
    assert!(ended.bad(2).contains("error: cannot read `large.yaml`: it is larger than 8 MiB\n"));
    let ended = place.run("run none.yaml bad.yaml nobody");
    for said in ["`none.yaml` does not exist", "bad.yaml:7:5: error", "there is no pipeline `nobody` here; there are"] {
        assert!(ended.stderr.contains(said), "{said}: {ended:?}");
    }
    let json: Value = serde_json::from_str(&place.run("check none.yaml good.yaml -o json").stdout).expect("JSON");
    assert_eq!((&json["unreadable"], &json["errors"]), (&json!(["`none.yaml` does not exist"]), &json!(1)));
}

/// As `check <(make-pipeline)` has it.
#[cfg(unix)]
#[test]
fn a_pipe_is_a_file_to_check() {
    let place = Place::new();
    let said = place.run_with("check /dev/stdin", GOOD).good();
    assert!(said.contains("pipeline `orders` is right"), "{said}");
    assert!(place.run("check /dev/null").stdout.contains("the file is empty"));
}

#[test]
fn a_source_file_that_is_missing_is_a_warning() {
    let place = Place::new();
    let of = |file: &str| {
        format!("pipeline: p\nsource: {{ file: {file} }}\nstages: [{{ name: a, filter: where, with: true }}]\n")
    };
    place.file("data/x.csv", "a\n1\n");
    place.file("p.yaml", of("data/none.csv"));
    assert!(place.run("check p.yaml").good().contains("p.yaml:2:17: warning: `data/none.csv` does not exist"));
    place.file("p.yaml", of("{ path: data, format: csv }"));
    assert!(place.run("check p.yaml").good().contains("`data` is a folder"));
    place.file("p.yaml", of("data/x.csv"));
    assert!(!place.run("check p.yaml").good().contains("warning"));
}
