//! One of several sources is a topic that gets more partitions: what the pipeline owns beside it gets as many, and no key's
//! later record overtakes an earlier one.

use std::sync::Arc;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::Log;
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::tail;
use millstream_tests::site::Site;
use serde_json::json;

use crate::common::{PATIENCE, SESSION, add, flows, wrong};

/// Nobody says how many partitions the topics have: they follow `web`.
fn pipeline(name: &str, follow: bool) -> String {
    format!(
        "pipeline: {name}\n\
         sources:\n\
         \x20 shop: {{ file: {{ path: shop/rows.csv, follow: {follow} }}, fields: {{ from: string, n: integer, key: string }}, key: .key }}\n\
         \x20 web: {{ topic: {name}.web, fields: {{ from: string, n: integer, key: string }} }}\n\
         stages:\n\
         \x20 - {{ name: take, from: [shop, web], filter: map, with: .twice = .n * 2, to: {{ partitions: 1 }} }}\n"
    )
}

fn grows(site: &Site, name: &str, options: &[&str], log: &dyn Fn() -> Arc<dyn Log>) {
    site.write("before.yaml", &pipeline(name, true));
    let file = site.write("grown.yaml", &pipeline(name, false));
    let step = |words: &[&str], status: i32, part: &str| {
        let mut process = site.start(&format!("step-{:08x}", fastrand::u32(..)), words);
        let ended = process.wait(PATIENCE).code();
        let said = process.stdout() + &process.stderr();
        assert!(ended == Some(status) && said.contains(part), "{words:?}: {}", tail(&said));
    };
    let produce = |from: usize, to: usize| {
        let row = |n: usize| json!({ "from": "web", "n": n, "key": format!("k{}", n % 13) }).to_string();
        let rows: Vec<String> = (from..to).map(row).collect();
        site.produce(&format!("{name}.web"), &rows, &["--create", "--partitions", "2", "--key", ".key"]);
    };
    let (inlet, web) = (format!("{name}.in.shop"), format!("{name}.web"));
    let partitions = |topic: &str| log().describe(&[topic]).expect("topics")[0].as_ref().map(|info| info.partitions);
    let idle = [&["run", "--until-idle", "grown.yaml"][..], options].concat();
    produce(0, 200);
    add(site, "shop", 0..200);
    let mut run = site.start("before", &[&["run", "before.yaml"][..], options].concat());
    flows(site, &format!("{name}.take"), 400);
    run.signal("TERM");
    run.succeed(PATIENCE);
    assert_eq!((partitions(&inlet), partitions(&format!("{name}.take.state"))), (Some(2), Some(2)), "as many as `web`");
    // Unread when it grows.
    produce(200, 300);
    log().add_partitions(&[(&web, 4)]).expect("partitions are added");
    produce(300, 400);
    add(site, "shop", 200..400);
    step(&idle, 1, "has 4 partitions now and had 2");
    step(&["apply", "grown.yaml"], 1, "[repartition]");
    step(&["plan", "grown.yaml"], 0, &format!("grow    {inlet} (2 to 4 partitions)"));
    step(&["apply", "--repartition", "grown.yaml"], 0, "applied");
    assert_eq!((partitions(&inlet), partitions(&format!("{name}.take.state"))), (Some(4), Some(4)));
    // Killed while the new ones may wait.
    let mut run = site.start("run", &[&["run", "grown.yaml"][..], options].concat());
    run.wait_for_stderr("the source runs here", PATIENCE);
    run.kill();
    step(&idle, 0, "");
    assert_eq!(wrong(&site.read(&format!("{name}.take")), &[("web", 400), ("shop", 400)]), [""; 0]);
    assert!(site.read(&inlet).iter().any(|r| r.partition >= 2), "the source writes by the new number");
    assert_eq!(site.until_idle("again", &file, PATIENCE)["pipelines"][0]["stages"][0]["read"], 0);
}

#[test]
fn a_source_grows_beside_another_on_the_embedded_log() {
    let site = Site::embedded();
    let folder = site.folder().join("log");
    let log = || -> Arc<dyn Log> { EmbeddedLog::open(&folder, EmbeddedOptions::default()).expect("the log opens") };
    grows(&site, "shop", &[], &log);
}

#[test]
fn a_source_grows_beside_another_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    let log = || -> Arc<dyn Log> { Arc::new(KafkaLog::new(KafkaConfig::new(cluster.bootstrap())).expect("a cluster")) };
    // Others know of new partitions after as long as this.
    let news = ["--kafka", "topic.metadata.refresh.interval.ms=1000"];
    grows(&site, &unique("grown"), &news, &log);
}
