//! Who asks by a header is told in a topic what became of the job: once each time it ends, whoever is killed meanwhile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;

use super::{PATIENCE, SESSION, said};

const ORDERS: usize = 12;

fn pipeline(site: &Site, name: &str, url: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\n\
         jobs: {{ reply: {{ to: {{ header: reply_to }}, correlation: {{ header: correlation_id }}, \
         allow: [ \"replies.*\", \"{name}*\" ] }} }}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}-raw, format: json, id: .order }}\n\
         stages:\n  - name: parts\n    filter: split\n    with: .parts\n  \
         - name: bill\n    filter: http\n    with: {{ url: \"{url}\", keep: true }}\n"
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn order(site: &Site, name: &str, order: usize, to: &str) {
    let row = format!("{{\"order\":\"order-{order}\",\"parts\":[{{\"n\":{order}}},{{\"n\":{order}}}]}}");
    let (to, correlation) = (format!("reply_to={to}"), format!("correlation_id=c-{order}"));
    let options = ["--create", "--partitions", "2", "--header", &to, "--header", &correlation];
    site.produce(&format!("{name}-raw"), &[row], &options);
}

/// States by correlation id, in the order in which they came; what is no reply is left out.
fn told(site: &Site, topic: &str) -> BTreeMap<String, Vec<String>> {
    let mut told: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for seen in site.read(topic) {
        let header = |name: &str| seen.header(name).map(str::to_owned);
        let (Some(correlation), Some(job)) = (header("correlation_id"), header("millstream.job")) else { continue };
        let value = &seen.value;
        assert_eq!(value["job"], job.as_str());
        assert_eq!(value["state"].as_str(), header("millstream.job.state").as_deref());
        assert_eq!(seen.key.as_deref(), Some(correlation.as_str()));
        assert_eq!(correlation.trim_start_matches("c-"), job.trim_start_matches("order-"));
        assert_eq!(value["result"]["n"].is_number(), value["state"] == "done", "{value}");
        told.entry(correlation).or_default().push(value["state"].as_str().expect("a state").to_owned());
    }
    told
}

fn wanted(failed: &[&str], done: &[&str]) -> BTreeMap<String, Vec<String>> {
    let states = |n: usize| if n.is_multiple_of(4) { failed } else { done };
    let states = |n: usize| states(n).iter().map(|state| (*state).to_owned()).collect();
    (0..ORDERS).map(|n| (format!("c-{n}"), states(n))).collect()
}

#[track_caller]
fn all_told(site: &Site, topic: &str, wanted: &BTreeMap<String, Vec<String>>) {
    let mut last = BTreeMap::new();
    wait_until(PATIENCE, || {
        last = told(site, topic);
        last == *wanted
    });
    assert_eq!(last, *wanted);
}

fn once_through_kills(site: &Site, name: &str) {
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let server = HttpServer::start(move |request| {
        let n = request.text().chars().filter(char::is_ascii_digit).collect::<String>().parse::<usize>();
        let bad = n.is_ok_and(|n| n < ORDERS && n.is_multiple_of(4)) && !is_mended.load(Ordering::SeqCst);
        if bad { Reply::status(422) } else { Reply::json("{}") }
    });
    let file = pipeline(site, name, &server.url("/bill"));
    let (replies, foreign) = (format!("replies.{name}"), format!("{name}-x-other"));
    site.produce(&replies, &["{}".to_owned()], &["--create", "--partitions", "2"]);
    site.produce(&foreign, &["{}".to_owned()], &["--create"]);
    (0..ORDERS).for_each(|n| order(site, name, n, &replies));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    for n in 0..4 {
        let so_far = n * 2;
        assert!(wait_until(PATIENCE, || told(site, &replies).len() > so_far), "{so_far} are told");
        running[n % 2].kill();
        running[n % 2] = site.run(&format!("run-{}", n + 2), &file);
    }
    all_told(site, &replies, &wanted(&["failed"], &["done"]));

    // What is refused is said, and the job runs: the pipeline's own topics, what no pattern names, what is not there.
    let own = format!("{name}.jobs.notes");
    let refused = [(100, own.as_str()), (101, "else.where"), (102, &format!("{name}-raw")), (103, "no topic")];
    refused.iter().for_each(|(n, to)| order(site, name, *n, to));
    order(site, name, 104, "replies.nowhere");
    order(site, name, 105, &foreign);
    let told_last = |n: usize| wait_until(PATIENCE, || told(site, &foreign).contains_key(&format!("c-{n}")));
    assert!(told_last(105), "what a pattern names is told");
    for (n, to) in refused {
        let job = format!("order-{n}");
        let mut document = Value::Null;
        // Whoever asks adds up the last notes; that a reply is refused is known when the count has come to them.
        let judged = wait_until(PATIENCE, || {
            let out =
                site.command(["jobs", "wait", name, &job, "-o", "json", "--timeout", "3m"]).output().expect("jobs");
            document = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", said(&out)));
            document["reply"]["refused"].is_string()
        });
        assert!(judged, "{document}");
        assert_eq!((&document["state"], &document["reply"]["to"]), (&"done".into(), &to.into()), "{document}");
    }
    assert!(site.read(&format!("{name}-raw")).iter().all(|seen| seen.header("millstream.job").is_none()));

    // A job that goes on after its end is told of again.
    mended.store(true, Ordering::SeqCst);
    let redriven = site.command(["dlq", "redrive", &format!("{name}.bill")]).output().expect("dlq starts");
    assert!(redriven.status.success(), "{}", said(&redriven));
    all_told(site, &replies, &wanted(&["failed", "done"], &["done"]));
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let heard = (0..6).any(|n| {
        let errors = std::fs::read_to_string(site.folder().join(format!("run-{n}.err"))).unwrap_or_default();
        errors.contains("there is no topic `replies.nowhere`")
    });
    assert!(heard, "a topic that is not there is said");
}

#[test]
fn replies_are_written_once_through_kills_on_the_embedded_log() {
    once_through_kills(&Site::embedded(), "replied");
}

#[test]
fn replies_are_written_once_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    once_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("replied"));
}

/// The process that sends a reply dies in the commit, once it has written it as `breaks` says.
fn after_a_death_in_the_commit(breaks: &str) -> Vec<String> {
    let (site, name) = (Site::embedded(), "replied");
    let server = HttpServer::start(|_| Reply::json("{}"));
    let file = pipeline(&site, name, &server.url("/bill"));
    site.produce("replies.web", &["{}".to_owned()], &["--create"]);
    order(&site, name, 1, "replies.web");
    site.run_broken("broken", &file, breaks, "die_in_commit", "reply").wait(PATIENCE);
    site.until_idle("whole", &file, PATIENCE);
    told(&site, "replies.web").remove("c-1").unwrap_or_default()
}

/// Negative control: a reply that is written outside the transaction of its position is there twice.
#[test]
fn replies_before_the_transaction_come_twice() {
    assert_eq!(after_a_death_in_the_commit("nothing"), ["done"], "the fault alone breaks nothing");
    assert_eq!(after_a_death_in_the_commit("notes_first"), ["done", "done"]);
}
