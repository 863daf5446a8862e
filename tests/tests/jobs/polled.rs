//! Long steps: a server accepts and is asked until it is done. Whoever dies meanwhile, what was sent is not sent again;
//! how far it is, is seen from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_client::{HttpClient, authority, wait_ready};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

use crate::{PATIENCE, SESSION, jobs, said};

const ORDERS: usize = 10;

/// One that the server has forgotten while it was at it, and one that is cancelled meanwhile.
const GONE: &str = "gone-0";
const CANCELLED: &str = "cancelled-1";

fn orders() -> impl Iterator<Item = String> {
    [GONE.to_owned(), CANCELLED.to_owned()].into_iter().chain((2..ORDERS).map(|n| format!("good-{n}")))
}

fn pipeline(site: &Site, name: &str, url: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {{ progress: .percent }}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\nsource: {{ topic: {name}.raw, format: json, id: .order }}\n\
         stages:\n  - name: render\n    filter: http\n    retry: {{ attempts: 1000, backoff: 50ms..1s }}\n    \
         with: {{ url: \"{url}\", poll: {{ every: 100ms, until: .state == \"done\", progress: .percent }} }}\n  \
         - {{ name: mail, filter: map, with: .sent = true }}\n"
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn produce(site: &Site, name: &str, orders: impl Iterator<Item = String>) {
    let rows: Vec<String> = orders.map(|order| format!("{{\"order\":\"{order}\"}}")).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".order"]);
}

/// Accepts what is posted, and is at 40.5 percent of it until it may finish. Every fourth question goes wrong.
fn server(finish: &Arc<AtomicBool>) -> HttpServer {
    let (finish, asked) = (Arc::clone(finish), std::sync::atomic::AtomicUsize::new(0));
    HttpServer::start(move |request| {
        if request.method == "POST" {
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            let order = body["order"].as_str().expect("an order");
            return match Reply::status(202).header("Location", &format!("/at/{order}")) {
                Reply::Answer(_, headers, _) => Reply::Answer(202, headers, b"{\"state\":\"queued\"}".to_vec()),
                other => other,
            };
        }
        let order = request.path.rsplit('/').next().unwrap_or_default();
        match finish.load(Ordering::SeqCst) {
            _ if asked.fetch_add(1, Ordering::SeqCst) % 4 == 3 => Reply::status(503),
            true => Reply::json(&format!("{{\"order\":\"{order}\",\"state\":\"done\",\"percent\":100}}")),
            false => Reply::json("{\"state\":\"running\",\"percent\":40.5}"),
        }
    })
}

/// How often an order was posted, and how often it was asked for.
fn counts(server: &HttpServer) -> BTreeMap<String, (usize, usize)> {
    let mut all: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for request in server.received() {
        if request.method == "POST" {
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            all.entry(body["order"].as_str().expect("an order").to_owned()).or_default().0 += 1;
        } else {
            all.entry(request.path.rsplit('/').next().unwrap_or_default().to_owned()).or_default().1 += 1;
        }
    }
    all
}

/// How often each was posted.
fn posts(server: &HttpServer) -> BTreeMap<String, usize> {
    counts(server).into_iter().map(|(order, (posted, _))| (order, posted)).collect()
}

/// Waits until every one of these was asked for since now.
#[track_caller]
fn asked_again(server: &HttpServer, orders: &[String]) {
    let before = counts(server);
    let missing = || -> Vec<&String> {
        let now = counts(server);
        let asked = |all: &BTreeMap<String, (usize, usize)>, order: &String| all.get(order).map_or(0, |c| c.1);
        orders.iter().filter(|order| asked(&now, order) <= asked(&before, order)).collect()
    };
    assert!(wait_until(PATIENCE, || missing().is_empty()), "nobody asks for {:?}", missing());
}

/// The calls of which something is kept.
fn kept(site: &Site, name: &str) -> BTreeSet<String> {
    let mut all = BTreeMap::new();
    for record in site.read(&format!("{name}.render.checkpoints")) {
        all.insert(record.key.unwrap_or_default(), record.value.is_null());
    }
    all.into_iter().filter(|(_, ended)| !ended).map(|(key, _)| key).collect()
}

fn serving(site: &Site, label: &str, file: &Path) -> Process {
    Process::start(site.command(["run", "--listen", "127.0.0.1:0"]).arg(file), site.folder(), label)
}

#[track_caller]
fn all_stand(site: &Site, name: &str, what: &str, wanted: impl Fn(&str) -> (Value, Value)) {
    let (mut is, wanted) = (Vec::new(), orders().map(|order| (wanted(&order), order)).collect::<Vec<_>>());
    wait_until(PATIENCE, || {
        let all = jobs(site, name);
        let of = |order: &String| {
            all.get(order).map_or((Value::Null, Value::Null), |j| (j["state"].clone(), j["progress"].clone()))
        };
        is = orders().map(|order| (of(&order), order)).collect();
        is == wanted
    });
    assert_eq!(is, wanted, "{what}");
}

fn sent_once_through_kills(site: &Site, name: &str) {
    let finish = Arc::new(AtomicBool::new(false));
    let server = server(&finish);
    let file = pipeline(site, name, &server.url("/render"));
    produce(site, name, orders());
    let all: Vec<String> = orders().collect();
    let mut running = [serving(site, "run-0", &file), site.run("run-1", &file)];
    let at = authority(&mut running[0], PATIENCE);
    asked_again(&server, &all);

    // Seen before any stage has ended with a record of it.
    all_stand(site, name, "under way", |_| ("running".into(), 40.5.into()));
    // Until now one may have been posted twice: if the second process joined while the first was about to keep the answer.
    // From now on what was answered is kept of every one.
    let posted = posts(&server);
    assert_eq!(posted.len(), ORDERS);
    let mut client = HttpClient::new(&at, PATIENCE);
    wait_ready(&mut client, PATIENCE);
    let job = client.request("GET", &format!("/api/v1/jobs/{GONE}"), &[], b"").expect("an answer").json();
    assert_eq!((&job["state"], &job["progress"]), (&"running".into(), &40.5.into()), "{job}");
    let shown = site.command(["jobs", "show", name, GONE]).output().expect("jobs starts");
    assert!(said(&shown).contains("\nprogress 40.5 %\n"), "{}", said(&shown));

    running.iter_mut().for_each(Process::kill);
    running = [site.run("run-2", &file), site.run("run-3", &file)];
    asked_again(&server, &all);
    // Who is told to end does not wait for what another can go on with.
    running[0].signal("TERM");
    running[0].succeed(PATIENCE);
    running[0] = site.run("run-4", &file);
    asked_again(&server, &all);
    running[1].kill();
    running[1] = site.run("run-5", &file);
    asked_again(&server, &all);
    assert_eq!(posts(&server), posted);
    assert_eq!(kept(site, name).len(), ORDERS);

    // Of one that is cancelled nobody asks any more, and nothing is kept.
    let cancelled = site.command(["jobs", "cancel", name, CANCELLED]).output().expect("jobs starts");
    assert!(cancelled.status.success(), "{}", said(&cancelled));
    assert!(wait_until(PATIENCE, || kept(site, name).len() == ORDERS - 1), "{:?}", kept(site, name));
    let before = counts(&server)[CANCELLED];
    finish.store(true, Ordering::SeqCst);
    all_stand(site, name, "done", |order| match order {
        CANCELLED => ("cancelled".into(), 40.5.into()),
        _ => ("done".into(), 100.into()),
    });
    assert_eq!(counts(&server)[CANCELLED], before);
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    assert_eq!(posts(&server), posted);
    assert_eq!(kept(site, name), BTreeSet::new());
    let out: Vec<Value> = site.read(&format!("{name}.mail")).into_iter().map(|r| r.value["order"].clone()).collect();
    assert_eq!(out.len(), ORDERS - 1, "{out:?}");
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
}

#[test]
fn what_was_accepted_is_not_sent_again_through_kills_on_the_embedded_log() {
    sent_once_through_kills(&Site::embedded(), "jobs-poll");
}

#[test]
fn what_was_accepted_is_not_sent_again_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    sent_once_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-poll"));
}

/// How often an order is posted when the worker that follows it, which breaks what it is told to, is killed meanwhile.
fn posts_with_a_death_in_between(breaks: &str) -> usize {
    let (site, name) = (Site::embedded(), "jobs-poll-broken");
    let finish = Arc::new(AtomicBool::new(false));
    let server = server(&finish);
    let file = pipeline(&site, name, &server.url("/render"));
    let text = std::fs::read_to_string(&file).expect("the pipeline").replace("jobs: { progress: .percent }\n", "");
    std::fs::write(&file, text).expect("written");
    produce(&site, name, std::iter::once("good-0".to_owned()));
    // The fault is never met: it is killed from outside.
    let mut broken = site.run_broken("broken", &file, breaks, "die_in_commit", "nobody");
    asked_again(&server, &["good-0".to_owned()]);
    broken.kill();
    finish.store(true, Ordering::SeqCst);
    site.until_idle("whole", &file, PATIENCE);
    assert_eq!(site.read(&format!("{name}.mail")).len(), 1);
    counts(&server)["good-0"].0
}

/// Negative control: checkpoints that nobody writes. Also: jobs need not be tracked for them.
#[test]
fn without_checkpoints_it_is_sent_twice() {
    assert_eq!(posts_with_a_death_in_between("nothing"), 1, "the kill alone breaks nothing");
    assert_eq!(posts_with_a_death_in_between("checkpoints_forgotten"), 2);
}

/// A letter that is sent back begins anew: what the server had accepted has failed.
#[test]
fn a_letter_that_is_sent_back_is_sent_again() {
    let (site, name) = (Site::embedded(), "jobs-poll-again");
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let server = HttpServer::start(move |request| match (request.method.as_str(), is_mended.load(Ordering::SeqCst)) {
        ("POST", _) => Reply::status(202).header("Location", &format!("/at/{GONE}")),
        (_, false) => Reply::status(410),
        (_, true) => Reply::json("{\"state\":\"done\"}"),
    });
    let file = pipeline(&site, name, &server.url("/render"));
    let text = std::fs::read_to_string(&file).expect("the pipeline").replace("until: .state == \"done\", ", "");
    std::fs::write(&file, text).expect("written");
    produce(&site, name, std::iter::once(GONE.to_owned()));
    site.until_idle("run", &file, PATIENCE);
    assert_eq!((&jobs(&site, name)[GONE]["error"]["code"], kept(&site, name).len()), (&"http_status".into(), 0));
    mended.store(true, Ordering::SeqCst);
    let retried = site.command(["jobs", "retry", name, GONE]).output().expect("jobs starts");
    assert!(retried.status.success(), "{}", said(&retried));
    site.until_idle("again", &file, PATIENCE);
    assert_eq!((&jobs(&site, name)[GONE]["state"], counts(&server)[GONE]), (&"done".into(), (2, 2)));
}
