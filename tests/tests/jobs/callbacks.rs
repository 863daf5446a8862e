//! Who asks by a header is called when something happens to the job: signed, at least once, in the order of its events and with one
//! id on every attempt, whoever is killed meanwhile, and at no address that is not allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Received, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::Value;
use sha2::Sha256;

use super::{PATIENCE, SESSION, jobs, said};

const ORDERS: usize = 16;
const SECRET: &str = "whsec_a2VwdCBieSBib3RoIHNpZGVzIG9mIHRoaXMgdGVzdA==";
const KEY: &[u8] = b"kept by both sides of this test";

fn pipeline(site: &Site, name: &str, server: &HttpServer) -> PathBuf {
    let port = server.authority().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs:\n  callback:\n    url: {{ header: callback_url }}\n    \
         on: [stage, done, failed, cancelled]\n    allow: [ \"{}\", \"https://*:{port}/\" ]\n    secret: \"{SECRET}\"\n    \
         retry: {{ attempts: 1000, backoff: 50ms..500ms }}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .order }}\n\
         stages:\n  - name: parts\n    filter: split\n    with: .parts\n  \
         - name: bill\n    filter: map\n    with: |\n      if .bad == true {{ abort }}\n",
        server.url("/hooks/")
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn is_bad(order: usize) -> bool {
    order.is_multiple_of(4)
}

fn order(site: &Site, name: &str, orders: std::ops::Range<usize>, url: &str) {
    let row = |order: usize| {
        let bad = order < ORDERS && is_bad(order);
        format!("{{\"order\":\"order-{order}\",\"parts\":[{{\"bad\":{bad}}},{{\"bad\":false}}]}}")
    };
    let header = format!("callback_url={url}");
    let options = ["--create", "--partitions", "2", "--key", ".order", "--header", &header];
    site.produce(&format!("{name}.raw"), &orders.map(row).collect::<Vec<_>>(), &options);
}

/// Takes each third call only when it comes again, and none at `/hooks/reject` before that is mended.
fn receiver(mended: &Arc<AtomicBool>) -> HttpServer {
    let (mended, seen) = (Arc::clone(mended), Mutex::new(BTreeMap::<String, usize>::new()));
    HttpServer::start(move |request| {
        let id = request.header("webhook-id").unwrap_or_default().to_owned();
        let mut seen = seen.lock().expect("not poisoned");
        let known = seen.len();
        let attempt = seen.entry(id).and_modify(|n| *n += 1).or_insert(0);
        match (*attempt, known % 3) {
            _ if request.path == "/hooks/reject" && !mended.load(Ordering::SeqCst) => Reply::status(400),
            (0, 0) => Reply::status(500),
            (0, 1) => Reply::status(429).header("Retry-After", "0"),
            _ => Reply::status(204),
        }
    })
}

/// What has come, by job: ids in the order of their first arrival. Each call is signed, and one id has one body.
fn received(server: &HttpServer) -> BTreeMap<String, Vec<String>> {
    let (mut all, mut bodies) = (BTreeMap::<String, Vec<String>>::new(), BTreeMap::<String, Vec<u8>>::new());
    for request in server.received() {
        let id = signed(&request);
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        let job = body["data"]["job"].as_str().expect("a job").to_owned();
        assert!(body["timestamp"].is_string() && body["type"].is_string(), "{body}");
        match bodies.insert(id.clone(), request.body.clone()) {
            Some(before) => assert_eq!(before, request.body, "two bodies have the id {id}"),
            None => all.entry(job).or_default().push(id),
        }
    }
    all
}

/// The id of a call that is signed with the secret.
fn signed(request: &Received) -> String {
    let header = |name: &str| request.header(name).unwrap_or_else(|| panic!("{name} is there")).to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).expect("a key");
    [id.as_bytes(), b".", at.as_bytes(), b".", &request.body].iter().for_each(|part| mac.update(part));
    let signature = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header("webhook-signature"), signature);
    id
}

/// What is to be told, by job: ids and what they are about, in order; what is refused is left out.
fn to_be_told(site: &Site, name: &str) -> BTreeMap<String, Vec<(String, String)>> {
    let mut all: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for seen in site.read(&format!("{name}.jobs.callbacks")) {
        let (value, id) = (&seen.value, seen.header("ce_id").expect("an id").to_owned());
        if seen.header("millstream.callback.refused").is_none() {
            let about = format!("{} {}", value["type"].as_str().unwrap_or(""), value["stage"].as_str().unwrap_or(""));
            let job = value["data"]["job"].as_str().expect("a job").to_owned();
            all.entry(job).or_default().push((id, about.trim_end().to_owned()));
        }
    }
    all
}

fn ids(told: &[(String, String)]) -> Vec<String> {
    told.iter().map(|(id, _)| id.clone()).collect()
}

fn told_through_kills(site: &Site, name: &str, kills: usize) {
    let mended = Arc::new(AtomicBool::new(false));
    let (server, other) = (receiver(&mended), HttpServer::start(|_| Reply::status(200)));
    let file = pipeline(site, name, &server);
    order(site, name, 0..ORDERS, &server.url("/hooks/told?token=t"));
    let port = server.authority().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let resolved = format!("https://localhost:{port}/hooks/resolved");
    let refused = [other.url("/hooks/"), server.url("/hooks/../up")];
    order(site, name, 100..101, &resolved);
    order(site, name, 101..102, &server.url("/hooks/reject"));
    (102..).zip(&refused).for_each(|(n, url)| order(site, name, n..n + 1, url));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    for n in 0..kills {
        let so_far = n * ORDERS / 3;
        assert!(wait_until(PATIENCE, || server.received().len() > so_far), "{so_far} are told");
        running[n % 2].kill();
        running[n % 2] = site.run(&format!("run-{}", n + 2), &file);
    }

    // All that is to be told is told, in its order. Each job comes past the first stage first, and has one end.
    let wanted = |told: &[(String, String)]| {
        let about: Vec<&str> = told.iter().map(|(_, about)| about.as_str()).collect();
        let ends = about.iter().filter(|about| !about.starts_with("job.stage")).count();
        about.first() == Some(&"job.stage parts") && about.contains(&"job.stage bill") && ends == 1
    };
    let mut last = (BTreeMap::new(), BTreeMap::new());
    let all_are_told = wait_until(PATIENCE, || {
        last = (to_be_told(site, name), received(&server));
        (0..ORDERS).all(|n| {
            let job = format!("order-{n}");
            last.0.get(&job).is_some_and(|told| wanted(told) && last.1.get(&job) == Some(&ids(told)))
        })
    });
    assert!(all_are_told, "{last:#?}");
    for n in 0..ORDERS {
        let end = if is_bad(n) { "job.failed" } else { "job.done" };
        assert!(last.0[&format!("order-{n}")].iter().any(|(_, about)| about == end), "{n}: {last:?}");
    }

    // What is refused is said, and the job runs. What resolves to this machine is a dead letter, and so is what is rejected.
    let mut all = BTreeMap::new();
    let as_wanted = wait_until(PATIENCE, || {
        all = jobs(site, name);
        (100..102 + refused.len()).all(|n| {
            let job = &all.get(&format!("order-{n}")).cloned().unwrap_or_default();
            job["state"] == "done" && job["callback"]["refused"].is_string() == (n >= 102)
        })
    });
    assert!(as_wanted, "{all:#?}");
    assert_eq!(all["order-1"]["callback"]["to"], server.url("/hooks/told").as_str(), "no more than the place is shown");
    let letters = || {
        let letter = |seen: millstream_tests::checker::Seen| {
            let header = |name: &str| seen.header(name).map(str::to_owned).unwrap_or_default();
            (header("millstream.callback.url"), header("millstream.dlq.code"), header("ce_id"))
        };
        site.read(&format!("{name}.callback.dlq")).into_iter().map(letter).collect::<Vec<_>>()
    };
    let with = |code: &str| letters().iter().filter(|(_, is, _)| is == code).count();
    let wanted = 3;
    assert!(
        wait_until(PATIENCE, || with("http_status") == wanted && with("callback_not_allowed") == wanted),
        "{:?}",
        letters()
    );
    assert!(
        letters().iter().all(|(url, code, _)| (*url == resolved) == (code == "callback_not_allowed")),
        "{:?}",
        letters()
    );

    // A letter that is sent back has its id again.
    mended.store(true, Ordering::SeqCst);
    let attempts = |server: &HttpServer| server.received().iter().filter(|r| r.path == "/hooks/reject").count();
    let before = attempts(&server);
    let redrive = ["dlq", "redrive", &format!("{name}.callback"), "--code", "http_status"];
    let redriven = site.command(redrive).output().expect("dlq starts");
    assert!(redriven.status.success(), "{}", said(&redriven));
    assert!(wait_until(PATIENCE, || attempts(&server) >= before + wanted), "{:?}", letters());
    assert_eq!(received(&server)["order-101"].len(), wanted, "no new id");
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }

    // What is refused is counted, and `until-idle` waits for what is to be told.
    order(site, name, 200..201, &refused[0]);
    order(site, name, 201..202, &server.url("/hooks/201"));
    let summary = site.until_idle("last", &file, PATIENCE);
    let stages = summary["pipelines"][0]["stages"].as_array().expect("stages").clone();
    let callback = stages.into_iter().find(|stage| stage["name"] == "callback").expect("the stage that calls");
    assert_eq!(callback["dropped"]["callback_refused"], 1, "{summary}");
    assert_eq!((&callback["forwarded"], &summary["pipelines"][0]["balanced"]), (&3.into(), &true.into()), "{summary}");
    assert_eq!(received(&server)["order-201"], ids(&to_be_told(site, name)["order-201"]));
    let paths: BTreeSet<String> = server.received().into_iter().map(|r| r.path).collect();
    assert!(paths.iter().all(|path| path.starts_with("/hooks/") && !path.contains("resolved")), "{paths:?}");
    assert!(other.received().is_empty(), "an address that is not allowed is called");
    said_nowhere(site, name);
}

/// The secret is in no topic, no log and nothing that is printed.
fn said_nowhere(site: &Site, name: &str) {
    for command in [&["status", name, "-o", "json"][..], &["plan", &format!("{name}.yaml")], &["jobs", "ls", name]] {
        let out = said(&site.command(command).output().expect("starts"));
        assert!(!out.contains(SECRET), "{command:?}: {out}");
    }
    for topic in ["control", "callback.dlq", "jobs", "jobs.callbacks"] {
        site.read(&format!("{name}.{topic}"));
    }
    for file in std::fs::read_dir(site.folder()).expect("the folder").flatten().map(|entry| entry.path()) {
        if file.extension().is_some_and(|end| end == "out" || end == "err") {
            let text = String::from_utf8_lossy(&std::fs::read(&file).expect("a file")).into_owned();
            let key = std::str::from_utf8(KEY).expect("text");
            assert!(!text.contains(SECRET) && !text.contains(key), "{}: {text}", file.display());
        }
    }
}

#[test]
fn jobs_are_told_of_through_kills_on_the_embedded_log() {
    told_through_kills(&Site::embedded(), "hooked", 4);
}

#[test]
fn jobs_are_told_of_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    // What a killed process had open holds readers up for so long; default a minute.
    site.write("millstream.yaml", "kafka: { transaction.timeout.ms: 12000, socket.timeout.ms: 12000 }\n");
    told_through_kills(&site, &unique("hooked"), 2);
}

/// The process that counts jobs dies after the commit that has the first event of a job, having written it as `breaks` says; what is
/// told then.
fn after_a_death_behind_the_commit(breaks: &str) -> usize {
    let (site, name) = (Site::embedded(), "hooked");
    let server = receiver(&Arc::default());
    let file = pipeline(&site, name, &server);
    order(&site, name, 1..2, &server.url("/hooks/1"));
    site.run_broken("broken", &file, breaks, "die_after_commit", "callback").wait(PATIENCE);
    site.until_idle("whole", &file, PATIENCE);
    received(&server).get("order-1").map_or(0, Vec::len)
}

/// Negative control: what is to be told is written outside the transaction of the status that says that it is told.
#[test]
fn callbacks_behind_the_transaction_are_lost() {
    assert_eq!(after_a_death_behind_the_commit("nothing"), 3, "the fault alone breaks nothing");
    assert!(after_a_death_behind_the_commit("callbacks_last") < 3);
}

#[test]
fn what_is_wrong_with_a_callback_is_said_at_its_place() {
    let site = Site::embedded();
    let callback = |more: &str| format!("    callback: {{ url: {{ header: u }}, {more} }}\n");
    let good = "allow: [ \"https://*.example.com/\" ], secret: s3cret";
    let stage = |name: &str| format!("  - {{ name: {name}, filter: map, with: .a = 1 }}\n");
    let check = |jobs: &str, stage: &str| {
        let text = format!(
            "apiVersion: millstream/v1\npipeline: p\njobs:\n{jobs}source: {{ topic: raw, format: json }}\nstages:\n{stage}"
        );
        let out = site.command(["check"]).arg(site.write("p.yaml", &text)).output().expect("check starts");
        (out.status.code(), said(&out))
    };
    assert_eq!(check(&callback(good), &stage("a")).0, Some(0), "{}", check(&callback(good), &stage("a")).1);
    for (more, code, at) in [
        ("allow: [ \"https://a/\" ]", "missing_key", "{ url"),
        ("secret: s", "missing_key", "{ url"),
        (&format!("{good}, on: [done, dun]"), "unknown_word", "dun"),
        ("allow: [ 'ftp://a/' ], secret: s", "bad_callback_target", "'ftp"),
        ("allow: [ 'https://a/', 'http://*.example.com/' ], secret: s", "bad_callback_target", "'http:"),
        ("allow: [ 'https://a/' ], secret: whsec_%%%", "bad_secret", "whsec"),
        (&format!("{good}, tries: 5"), "unknown_key", "tries"),
    ] {
        let line = callback(more);
        let place = format!("p.yaml:4:{}: error", line.find(at).expect("it is there") + 1);
        let (status, said) = check(&line, &stage("a"));
        assert!(
            status == Some(2) && said.contains(&place) && said.contains(&format!("[{code}]")),
            "{place} {more}: {said}"
        );
    }
    let (status, taken) = check(&callback(good), &stage("callback"));
    assert!(status == Some(2) && taken.contains("[reserved_name]"), "{taken}");
    let (status, untracked) = check(&format!("    track: false\n{}", callback(good)), &stage("a"));
    assert!(status == Some(2) && untracked.contains("[conflicting_keys]"), "{untracked}");
}
