//! A singleton stage, and what tries to get two of it: several processes, `scale`, a leader that freezes and comes back, one that
//! is killed, one that leaves. The stage calls a server, which knows who calls; what is committed says who made it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_server::{HttpServer, Received, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::{Value, json};

/// The shortest that brokers take.
const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(300);
const ROWS: usize = 300;

/// Who called, as the server saw it.
#[derive(Default)]
struct Calls {
    /// By record: when it was called for, by whom.
    of: Mutex<BTreeMap<String, Vec<(Instant, String)>>>,
    running: Mutex<BTreeMap<String, usize>>,
    /// Calls that began while another process had one under way.
    together: AtomicUsize,
}

impl Calls {
    fn reply(&self, request: &Received) -> Reply {
        let who = request.header("x-who").unwrap_or_default().to_owned();
        let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
        let id = body["id"].as_str().unwrap_or_default().to_owned();
        lock(&self.of).entry(id).or_default().push((Instant::now(), who.clone()));
        {
            let mut running = lock(&self.running);
            *running.entry(who.clone()).or_default() += 1;
            if running.iter().any(|(other, n)| *other != who && *n > 0) {
                self.together.fetch_add(1, Ordering::AcqRel);
            }
        }
        // Long enough for two that work at one time to meet.
        std::thread::sleep(Duration::from_millis(10));
        *lock(&self.running).entry(who.clone()).or_default() -= 1;
        Reply::json(&json!({ "who": who }).to_string())
    }

    fn by(&self, who: &str) -> usize {
        lock(&self.of).values().flatten().filter(|(_, by)| by == who).count()
    }

    /// Waits until one of these has made `more` calls than it had; which.
    fn works(&self, of: &[&'static str], more: usize) -> &'static str {
        let before: Vec<usize> = of.iter().map(|who| self.by(who)).collect();
        let mut found = None;
        let worked = wait_until(PATIENCE, || {
            found = of.iter().zip(&before).find(|(who, n)| self.by(who) >= **n + more).map(|(who, _)| *who);
            found.is_some()
        });
        assert!(worked, "none of {of:?} works");
        found.expect("one works")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Scene {
    site: Site,
    name: String,
    file: PathBuf,
    calls: Arc<Calls>,
    _server: HttpServer,
    rows: usize,
}

impl Scene {
    fn new(site: Site, name: String, option: &str) -> Self {
        let calls = Arc::new(Calls::default());
        let of_server = Arc::clone(&calls);
        let server = HttpServer::start(move |request| of_server.reply(request));
        let text = format!(
            "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: 4 }} }}\n\
             source: {{ topic: {name}.raw, format: json, id: .id, fields: {{ id: string, key: string }} }}\n\
             stages:\n  - name: book\n    filter: http\n    concurrency: 4\n    {option}\n    with:\n      \
             url: \"{}\"\n      into: .booked\n      headers: {{ x-who: \"${{env:WHO:-nobody}}\" }}\n",
            server.url("/book")
        );
        let file = site.write("pipeline.yaml", &text);
        Self { site, name, file, calls, _server: server, rows: 0 }
    }

    fn produce(&mut self) {
        let row = |n: usize| json!({ "id": format!("r-{n}"), "key": format!("k{}", n % 37) }).to_string();
        let rows: Vec<String> = (self.rows..self.rows + ROWS).map(row).collect();
        self.rows += ROWS;
        let topic = format!("{}.raw", self.name);
        self.site.produce(&topic, &rows, &["--create", "--partitions", "4", "--key", ".key"]);
    }

    fn start(&self, who: &str) -> Process {
        let mut command = self.site.command(["run", "--no-listen"]);
        Process::start(command.arg(&self.file).env("WHO", who), self.site.folder(), who)
    }

    fn replicas(&self) -> Value {
        let out = self.site.command(["status", &self.name, "-o", "json"]).output().expect("status runs");
        let document: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        document["pipelines"][0]["stages"][0]["replicas"].clone()
    }

    fn shows(&self, running: u64, standing_by: usize) {
        let mut last = Value::Null;
        let shown = wait_until(PATIENCE, || {
            last = self.replicas();
            last["running"] == running && last["standby"].as_array().map_or(0, Vec::len) == standing_by
        });
        assert!(shown, "{running} work and {standing_by} stand by, and status says {last}");
    }

    /// What is committed, by the time of the call it came from: who made it.
    fn committed(&self) -> Vec<(Instant, String)> {
        let outputs = self.site.read(&format!("{}.book", self.name));
        let calls = lock(&self.calls.of);
        let mut all = Vec::new();
        for output in &outputs {
            let id = output.value["id"].as_str().expect("an id");
            let who = output.value["booked"]["who"].as_str().expect("who made it");
            let at = calls[id].iter().rev().find(|(_, by)| by == who).expect("it was called for").0;
            all.push((at, who.to_owned()));
        }
        all.sort();
        all
    }

    /// Each record is there once, and those of one process lie together in time. How many worked, one after the other.
    fn judge(&self) -> usize {
        let ids: std::collections::BTreeSet<String> = self
            .site
            .read(&format!("{}.book", self.name))
            .iter()
            .map(|r| r.value["id"].as_str().expect("an id").to_owned())
            .collect();
        let all = self.committed();
        assert_eq!((ids.len(), all.len()), (self.rows, self.rows), "each record once");
        let mut blocks: Vec<&str> = all.iter().map(|(_, who)| who.as_str()).collect();
        blocks.dedup();
        blocks.len()
    }

    fn finish(&self, running: Vec<Process>) {
        for mut process in running {
            process.signal("TERM");
            process.succeed(PATIENCE);
        }
        self.site.until_idle("last", &self.file, PATIENCE);
    }
}

fn take(all: &mut Vec<(&'static str, Process)>, who: &str) -> Process {
    let at = all.iter().position(|(name, _)| *name == who).expect("it runs");
    all.remove(at).1
}

/// Three processes; the leader freezes and comes back, the next one is killed, the last one leaves.
fn tried(mut scene: Scene, freeze: bool) {
    let who = ["a", "b", "c"];
    scene.produce();
    let mut running: Vec<(&'static str, Process)> = who.iter().map(|who| (*who, scene.start(who))).collect();
    let first = scene.calls.works(&who, 20);
    scene.shows(1, 2);
    let mut expected = 1;
    let others: Vec<&'static str> = who.iter().filter(|who| **who != first).copied().collect();
    let mut frozen = None;
    if freeze {
        scene.produce();
        let leader = take(&mut running, first);
        leader.signal("STOP");
        let second = scene.calls.works(&others, 20);
        expected += 1;
        leader.signal("CONT");
        let refused = scene.site.command(["scale", &format!("{}.book", scene.name), "4"]).output().expect("scale runs");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains("is a singleton"), "{said}");
        scene.shows(1, 2);
        scene.produce();
        scene.calls.works(&[second], 20);
        frozen = Some((first, leader));
    } else {
        assert_eq!(scene.calls.together.load(Ordering::Acquire), 0, "two called at one time");
    }
    let leader = if let Some(frozen) = frozen {
        running.push(frozen);
        scene.produce();
        scene.calls.works(&others, 20)
    } else {
        scene.produce();
        scene.calls.works(&[first], 20)
    };
    take(&mut running, leader).kill();
    let left: Vec<&'static str> = running.iter().map(|(who, _)| *who).collect();
    let next = scene.calls.works(&left, 20);
    expected += 1;
    // One that leaves is followed by one that stood by.
    let mut leaving = take(&mut running, next);
    leaving.signal("TERM");
    leaving.succeed(PATIENCE);
    scene.produce();
    let (last, process) = running.pop().expect("one is left");
    scene.calls.works(&[last], 20);
    expected += 1;
    scene.finish(vec![process]);
    let blocks = scene.judge();
    assert!(
        blocks <= expected + 1,
        "{blocks} took turns, and {expected} worked one after the other and one at the end"
    );
    if !freeze {
        assert_eq!(scene.calls.together.load(Ordering::Acquire), 0, "two called at one time");
    }
}

#[test]
fn one_works_whatever_is_tried_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    tried(Scene::new(site, unique("alone"), "singleton: true"), true);
}

#[test]
fn one_works_whatever_is_tried_on_the_embedded_log() {
    tried(Scene::new(Site::embedded(), "alone".to_owned(), "singleton: true"), false);
}

/// The negative control: without the word, two work at one time, and the judge sees it.
#[test]
fn without_the_word_two_work() {
    let mut scene = Scene::new(Site::embedded(), "both".to_owned(), "description: shared");
    scene.produce();
    let running: Vec<Process> = ["a", "b"].iter().map(|who| scene.start(who)).collect();
    scene.shows(2, 0);
    let met = wait_until(PATIENCE, || {
        scene.produce();
        scene.calls.together.load(Ordering::Acquire) > 0
    });
    assert!(met, "two processes never called at one time");
    scene.finish(running);
    assert!(scene.judge() > 2, "they took turns");
}
