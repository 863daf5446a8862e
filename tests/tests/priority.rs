//! Levels of importance: who is served first while there is too much to do, that order and exactly once hold through `kill -9`,
//! and that what matters least moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::Seen;
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::{Value, json};

/// The shortest that brokers take.
const SESSION: Duration = Duration::from_secs(6);
const PATIENCE: Duration = Duration::from_secs(300);
const CONCURRENCY: usize = 8;

struct Scene {
    site: Site,
    name: String,
    file: PathBuf,
    /// Tiers in the order of the calls.
    called: Arc<Mutex<Vec<String>>>,
    _server: HttpServer,
    made: BTreeMap<String, usize>,
    /// One of a key that is being worked on cannot begin.
    keys: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Scene {
    fn new(site: Site, name: String, how: &str) -> Self {
        let called = Arc::new(Mutex::new(Vec::new()));
        let of_server = Arc::clone(&called);
        let server = HttpServer::start(move |request| {
            let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
            lock(&of_server).push(body["tier"].as_str().unwrap_or("none").to_owned());
            std::thread::sleep(Duration::from_millis(20));
            Reply::json("{}")
        });
        let text = format!(
            "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
             source: {{ topic: {name}.raw, id: .id, fields: {{ id: string, key: string, n: integer, tier: string? }} }}\n\
             stages:\n  - name: answer\n    filter: http\n    concurrency: {CONCURRENCY}\n    \
             with: {{ url: \"{}\", into: .said }}\n    priority: {{ by: .tier, levels: [gold, silver, bronze], {how} }}\n",
            server.url("/answer")
        );
        let file = site.write("pipeline.yaml", &text);
        Self { site, name, file, called, _server: server, made: BTreeMap::new(), keys: 13 }
    }

    fn produce(&mut self, tier: &str, count: usize) {
        let keys = self.keys;
        let from = *self.made.get(tier).unwrap_or(&0);
        let row = |n: usize| {
            let key = format!("k{}", n % keys);
            json!({ "id": format!("{tier}-{n}"), "key": key, "n": n, "tier": tier }).to_string()
        };
        let rows: Vec<String> = (from..from + count).map(row).collect();
        self.made.insert(tier.to_owned(), from + count);
        let topic = format!("{}.raw", self.name);
        self.site.produce(&topic, &rows, &["--create", "--partitions", "2", "--key", ".key"]);
    }

    fn run(&self, name: &str) -> Process {
        let mut command = self.site.command(["run", "--no-listen"]);
        Process::start(command.arg(&self.file), self.site.folder(), name)
    }

    fn calls(&self, tier: &str) -> usize {
        lock(&self.called).iter().filter(|t| *t == tier).count()
    }

    fn waits_in(&self, level: &str, count: usize) {
        let topic = format!("{}.answer-levels.{level}", self.name);
        assert!(wait_until(PATIENCE, || self.site.read(&topic).len() >= count), "{level} never has {count}");
    }

    fn reaches(&self, tier: &str, count: usize) {
        assert!(wait_until(PATIENCE, || self.calls(tier) >= count), "{tier} is called {} times", self.calls(tier));
    }

    /// Everything is there once, in the order of key and level.
    fn judge(&self) {
        let outputs = self.site.read(&format!("{}.answer", self.name));
        let mut last: BTreeMap<(String, String), i64> = BTreeMap::new();
        for output in &outputs {
            let text = |name: &str| output.value[name].as_str().expect("a text").to_owned();
            let n = output.value["n"].as_i64().expect("a number");
            let before = last.insert((text("tier"), text("key")), n);
            assert!(before.is_none_or(|before| before < n), "{} {} is behind {before:?}", text("tier"), n);
        }
        assert_eq!(outputs.len(), self.made.values().sum::<usize>(), "each record once");
    }
}

/// Shares while all wait, through a kill; then everything is there.
fn shared_out(mut scene: Scene) {
    scene.keys = 101;
    scene.produce("bronze", 400);
    scene.produce("gold", 400);
    scene.produce("other", 20);
    // First only the sorting, so that everything waits in its level.
    let mut sorting = scene.site.command(["run", "--no-listen", "--until-idle", "--stages", "answer-levels"]);
    Process::start(sorting.arg(&scene.file), scene.site.folder(), "sorting").succeed(PATIENCE);
    scene.waits_in("bronze", 420);
    scene.waits_in("gold", 400);
    let mut run = scene.run("first");
    // Which level's records come first from the log is chance; then both wait, and the weights decide.
    scene.reaches("gold", 50);
    let low = |scene: &Scene| scene.calls("bronze") + scene.calls("other");
    let before = low(&scene);
    scene.reaches("gold", 220);
    let bronze = low(&scene) - before;
    assert!(bronze >= 2, "bronze moves: {bronze}");
    assert!(bronze <= 60, "of 17 one is bronze's, and {bronze} came with 170 of gold");
    run.kill();
    let mut again = scene.run("again");
    // One that comes late is not behind all that waits.
    let before = lock(&scene.called).len();
    scene.reaches("gold", 300);
    scene.produce("silver", 40);
    scene.reaches("silver", 20);
    let since: Vec<String> = lock(&scene.called)[before..].to_vec();
    let bronze = since.iter().filter(|t| *t == "bronze" || *t == "other").count();
    assert!(bronze < 300, "{bronze} of bronze before 20 of silver");
    assert!(wait_until(PATIENCE, || scene.site.read(&format!("{}.answer", scene.name)).len() >= 860));
    again.signal("TERM");
    again.succeed(PATIENCE);
    scene.site.until_idle("last", &scene.file, PATIENCE);
    scene.judge();
}

/// Nothing below is begun while something above waits.
fn strictly(mut scene: Scene) {
    scene.keys = 1_009;
    scene.produce("bronze", 200);
    let mut run = scene.run("run");
    scene.reaches("bronze", 20);
    scene.produce("gold", 200);
    scene.reaches("gold", 1);
    let from = lock(&scene.called).iter().position(|t| t == "gold").expect("gold was called");
    scene.reaches("gold", 200);
    let between = lock(&scene.called)[from..].to_vec();
    let last = between.iter().rposition(|t| t == "gold").expect("gold was called");
    let bronze = between[..last].iter().filter(|t| *t == "bronze").count();
    // What was sorted in two transactions leaves a moment without gold between them.
    assert!(bronze <= 4 * CONCURRENCY, "{bronze} of bronze while gold waited");
    assert!(wait_until(PATIENCE, || scene.site.read(&format!("{}.answer", scene.name)).len() >= 400));
    run.signal("TERM");
    run.succeed(PATIENCE);
    scene.judge();
}

const WEIGHTS: &str = "weights: [16, 4, 1]";

#[test]
fn levels_are_served_by_their_shares_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    shared_out(Scene::new(Site::kafka(cluster.bootstrap(), SESSION), unique("levels"), WEIGHTS));
}

#[test]
fn levels_are_served_by_their_shares_on_the_embedded_log() {
    shared_out(Scene::new(Site::embedded(), "levels".to_owned(), WEIGHTS));
}

#[test]
fn strict_is_strict_on_the_embedded_log() {
    strictly(Scene::new(Site::embedded(), "strict".to_owned(), "strict: true"));
}

/// A level goes, a letter comes back and all is replayed: what is read from several topics behaves as any other input.
fn changed(site: &Site, name: &str) {
    let write = |levels: &str, filter: &str| {
        let text = format!(
            "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
             source: {{ topic: {name}.raw, id: .id, fields: {{ id: string, key: string, n: integer, tier: string }} }}\n\
             stages:\n  - name: answer\n    filter: map\n    with: '{filter}'\n    \
             priority: {{ by: .tier, levels: [{levels}], strict: true }}\n"
        );
        site.write("pipeline.yaml", &text)
    };
    let command = |words: &[&str], file: &PathBuf| {
        let out = site.command(words).arg(file).output().expect("the command starts");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{words:?}: {said}");
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let row = |n: usize| {
        let tier = ["gold", "silver", "bronze"][n % 3];
        json!({ "id": n.to_string(), "key": format!("k{}", n % 5), "n": n, "tier": tier }).to_string()
    };
    let rows: Vec<String> = (0..300).map(row).collect();
    let raw = format!("{name}.raw");
    site.produce(&raw, &rows[..150], &["--create", "--partitions", "2", "--key", ".key"]);
    let file = write("gold, silver, bronze", "if .n == 102 { abort }; .done = true");
    site.until_idle("first", &file, PATIENCE);
    site.produce(&raw, &rows[150..], &["--key", ".key"]);
    let file = write("gold, bronze", ".done = true");
    let plan = command(&["plan"], &file);
    assert!(plan.contains(&format!("nothing goes to `{name}.answer-levels.silver` any more")), "{plan}");
    command(&["apply"], &file);
    let out = site.command(["dlq", "redrive", &format!("{name}.answer")]).output().expect("redrive starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let mut run = site.run("second", &file);
    let seen = || {
        let all = site.read(&format!("{name}.answer"));
        let replayed = |r: &Seen| r.headers.iter().any(|(header, _)| header == "millstream.replay");
        let (again, live): (Vec<Seen>, Vec<Seen>) = all.into_iter().partition(replayed);
        let numbers = |all: Vec<Seen>| -> Vec<i64> { all.iter().filter_map(|r| r.value["n"].as_i64()).collect() };
        (numbers(live), numbers(again))
    };
    assert!(wait_until(PATIENCE, || seen().0.len() >= 300), "{:?}", seen().0.len());
    let stage = format!("{name}.answer");
    let words = ["replay", &stage, "--in-place", "--from", "start", "--to", "end"];
    let out = site.command(words).output().expect("replay starts");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    // What went by the level that is gone, 50 of the first half, is not input of this stage any more.
    assert!(wait_until(PATIENCE, || seen().1.len() >= 250), "{:?}", seen().1.len());
    run.signal("TERM");
    run.succeed(PATIENCE);
    for (numbers, wanted) in [(seen().0, 300), (seen().1, 250)] {
        let once: BTreeSet<i64> = numbers.iter().copied().collect();
        assert_eq!((numbers.len(), once.len()), (wanted, wanted), "each once");
    }
}

#[test]
fn levels_come_and_go_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    changed(&Site::kafka(cluster.bootstrap(), SESSION), &unique("change"));
}

#[test]
fn levels_come_and_go_on_the_embedded_log() {
    changed(&Site::embedded(), "change");
}
