//! `pipelines/csv-to-avro` on its own data, on both logs, compared row by row with another reading of the file.

use std::process::Command;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use millstream_tests::workspace;
use serde_json::{Value, json};

use crate::common::{PATIENCE, SESSION, shown};

const AT: &str = "pipelines/csv-to-avro";

#[test]
fn the_generator_makes_the_committed_readings_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Command::new(env!("CARGO_BIN_EXE_make-readings")).arg(folder.path()).status().expect("it starts");
    assert!(made.success());
    let read = |path: std::path::PathBuf| std::fs::read(path).expect("readings");
    assert!(
        read(folder.path().join("readings.csv")) == read(workspace().join(AT).join("data/readings.csv")),
        "run `cargo run -p millstream-tests --bin make-readings {AT}/data`"
    );
}

/// What the pipeline should make of a row; none where it is dropped, an error where it cannot be.
fn expected(row: &csv::StringRecord) -> Result<Option<Value>, ()> {
    let [sensor, at, celsius, state, place] = [0, 1, 2, 3, 4].map(|n| row.get(n).expect("five columns"));
    if celsius.is_empty() {
        return Ok(None);
    }
    let (whole, part) = celsius.split_once('.').unwrap_or((celsius, ""));
    let state = state.to_lowercase();
    if at == "yesterday" || part.len() > 2 || !["ok", "low_battery", "fault"].contains(&state.as_str()) {
        return Err(());
    }
    let place = if place.is_empty() { Value::Null } else { json!(place) };
    Ok(Some(
        json!({ "sensor": sensor, "at": at, "celsius": format!("{whole}.{part:0<2}"), "state": state, "place": place }),
    ))
}

fn runs(site: &Site, name: &str) {
    let from = workspace().join(AT);
    let file = std::fs::read_to_string(from.join("pipeline.yaml")).expect("the pipeline");
    let data = std::fs::read_to_string(from.join("data/readings.csv")).expect("readings");
    let schema = std::fs::read_to_string(from.join("schemas/reading.avsc")).expect("the schema");
    for folder in ["data", "schemas"] {
        std::fs::create_dir_all(site.folder().join(folder)).expect("a folder");
    }
    site.write("data/readings.csv", &data);
    site.write("schemas/reading.avsc", &schema);
    let file = site.write("pipeline.yaml", &file.replace("pipeline: csv-to-avro\n", &format!("pipeline: {name}\n")));
    site.until_idle("run", &file, PATIENCE);

    let rows: Vec<_> =
        csv::Reader::from_reader(data.as_bytes()).into_records().map(|row| row.expect("a row")).collect();
    let outcomes: Vec<_> = rows.iter().map(expected).collect();
    let mut typed: Vec<Value> = outcomes.iter().flatten().flatten().cloned().collect();
    let warm = |reading: &&Value| {
        let celsius: f64 = reading["celsius"].as_str().expect("text").parse().expect("a number");
        celsius > 25.0 && reading["state"] == "ok"
    };
    let mut warm: Vec<Value> = typed.iter().filter(warm).cloned().collect();
    assert!(rows.len() == 240 && !warm.is_empty() && typed.len() > warm.len(), "{} rows", rows.len());

    let typed_as = |topic: &str| shown(site, topic, &["--schema", "schemas/reading.avsc"]);
    for all in [&mut typed, &mut warm] {
        all.sort_by_key(ToString::to_string);
    }
    assert_eq!(typed_as(&format!("{name}.typed")), typed);
    assert_eq!(typed_as(&format!("{name}.warm")), warm);
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((failed, shown(site, &format!("{name}.typed.dlq"), &[]).len()), (3, 3));
}

#[test]
fn rows_become_avro_on_the_embedded_log() {
    runs(&Site::embedded(), "csv-to-avro");
}

#[test]
fn rows_become_avro_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    runs(&Site::kafka(cluster.bootstrap(), SESSION), &unique("csv-to-avro"));
}
