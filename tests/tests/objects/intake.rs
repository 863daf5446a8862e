//! The pipeline `file-intake`: a file is a job, and its job is done when its last line is.

use std::fs;

use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use millstream_tests::workspace;
use serde_json::Value;

use crate::common::{PATIENCE, flows};

fn jobs(site: &Site) -> Vec<(String, String)> {
    let output = site.command(["jobs", "ls", "file-intake", "-o", "json"]).output().expect("jobs runs");
    let all: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let text = |job: &Value, field: &str| job[field].as_str().unwrap_or_default().to_owned();
    let mut jobs: Vec<_> =
        all["jobs"].as_array().into_iter().flatten().map(|job| (text(job, "job"), text(job, "state"))).collect();
    jobs.sort();
    jobs
}

fn has(site: &Site, job: &str, state: &str) {
    let there = || jobs(site).iter().any(|(id, at)| id.starts_with(job) && at == state);
    assert!(wait_until(PATIENCE, there), "{job} is not {state}: {:?}", jobs(site));
}

#[test]
fn a_file_is_done_when_its_last_line_is() {
    let site = Site::embedded();
    let source = workspace().join("pipelines/file-intake/pipeline.yaml");
    let file = site.write("pipeline.yaml", &fs::read_to_string(source).expect("the pipeline"));
    let inbox = crate::common::inbox(&site);
    let put = |name: &str, lines: std::ops::Range<usize>, last: &str| {
        let text: String = lines.map(|n| format!("{name}-{n},tea,{n}\n")).collect();
        fs::write(site.folder().join("beside"), text + last).expect("written");
        fs::rename(site.folder().join("beside"), inbox.join(format!("{name}.csv"))).expect("moved");
    };
    let start = |name: &str| -> Process { site.run(name, &file) };
    let mut worker = start("worker");
    put("small", 0..3, "");
    put("empty", 0..0, "\n\n");
    has(&site, "small.csv#", "done");
    has(&site, "empty.csv#", "done");
    // Killed in the midst of the lines of a large one.
    put("large", 0..20_000, "");
    flows(&site, "file-intake.orders", 4);
    worker.kill();
    let mut worker = start("again");
    put("wrong", 0..2, "no order\r\n");
    has(&site, "wrong.csv#", "failed");
    has(&site, "large.csv#", "done");
    worker.signal("TERM");
    worker.succeed(PATIENCE);
    let orders = site.read("file-intake.orders");
    let mut of: std::collections::BTreeMap<String, Vec<u64>> = Default::default();
    for order in &orders {
        of.entry(order.value["file"].as_str().expect("its file").to_owned())
            .or_default()
            .push(order.value["quantity"].as_u64().expect("a quantity"));
    }
    for (name, lines) in [("small.csv", 3), ("large.csv", 20_000), ("wrong.csv", 2)] {
        let got = of.remove(name).unwrap_or_default();
        assert_eq!(got, (0..lines).collect::<Vec<u64>>(), "the lines of {name}, each once and in order");
    }
    assert!(of.is_empty(), "{of:?}");
    assert_eq!(site.read("file-intake.orders.dlq").len(), 1);
}
