//! What the page says is what happens.

use crate::common::{Http, text};
use millstream_filter_api::Outcome;
use millstream_tests::http_server::{HttpServer, Reply};
use serde_json::{Value, json};

/// What the examples' server knows.
fn stock() -> HttpServer {
    HttpServer::start(|request| match request.path.as_str() {
        "/notices" => Reply::status(202),
        "/reports" => Reply::status(202).header("Location", "/reports/1"),
        "/reports/1" => Reply::json("{\"state\":\"done\",\"pages\":3}"),
        "/reserve" if request.text().contains("\"A\"") => Reply::json("{\"left\":7}"),
        _ => Reply::status(404),
    })
}

#[tokio::test]
async fn every_example_does_what_it_says() {
    let server = stock();
    let mut ran = 0;
    for spec in millstream_filters_io::registry() {
        for example in spec.page().examples {
            assert!(example.yaml.starts_with(&format!("{}:", spec.name())), "{}", example.title);
            // In the list of a stage's filters each line stands further in.
            let filter = example.yaml.replace('\n', "\n        ").replace("stock.example", &server.authority());
            let http = Http::with(example.fields, &filter);
            let mut wanted = example.output.lines();
            for (n, line) in example.input.lines().enumerate() {
                let (record, outcome) = http.attempt(http.decode(line), &format!("id-{n}")).await;
                let got = match outcome {
                    Outcome::Forward => format!("{{\"value\":{}}}", text(&record)),
                    Outcome::Fail(failure) => json!({ "failed": failure.code }).to_string(),
                    other => panic!("{other:?}"),
                };
                assert_eq!(Some(got.as_str()), wanted.next(), "{}", example.title);
            }
            assert_eq!(wanted.next(), None, "{}", example.title);
            ran += 1;
        }
    }
    assert!(ran >= 6, "only {ran} examples ran");
}

#[test]
fn pages_and_schemas_are_complete_and_names_in_order() {
    let specs = millstream_filters_io::registry();
    assert!(specs.iter().map(|s| s.name()).is_sorted());
    for spec in &specs {
        let page = spec.page();
        assert!(page.summary.len() < 80 && !page.summary.ends_with('.') && !page.description.is_empty());
        let schema: Value = serde_json::from_str(spec.config_schema()).unwrap();
        jsonschema::validator_for(&schema).unwrap_or_else(|e| panic!("{}: {e}", spec.name()));
        // Each option of the schema has its line on the page.
        for (option, _) in schema["properties"].as_object().unwrap() {
            assert!(page.description.contains(&format!("- `{option}")), "{option} is not on the page");
        }
    }
}
