//! A pipeline that calls a service, the service with keys that are down, and the judge of what came out.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use millstream_tests::checker::{Expected, ExpectedOutput, History, Promise, Seen, Violation, check};
use millstream_tests::http_server::{HttpServer, Received, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::{Value, json};

/// The shortest that brokers take.
pub const SESSION: Duration = Duration::from_secs(6);
/// For what takes seconds on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(300);
pub const PARTITIONS: &str = "2";

/// What the service does with requests of a key, or with all.
#[derive(Default)]
pub struct Faults {
    keys: Mutex<HashMap<String, Reply>>,
    all: Mutex<Option<Reply>>,
    /// From this number of their key on, records pass whatever their key does; 0 is none.
    from: AtomicU64,
    /// Good answers by key.
    answered: Mutex<BTreeMap<String, usize>>,
}

impl Faults {
    /// From now on requests of this key get this.
    pub fn fail(&self, key: &str, reply: Reply) {
        lock(&self.keys).insert(key.to_owned(), reply);
    }

    /// The key is up again.
    pub fn mend(&self, key: &str) {
        lock(&self.keys).remove(key);
    }

    /// Records with this number or a higher one pass also where their key fails.
    pub fn pass_from(&self, seq: u64) {
        self.from.store(seq, Ordering::Release);
    }

    /// Every key is up again.
    pub fn mend_all(&self) {
        lock(&self.keys).clear();
        *lock(&self.all) = None;
    }

    /// From now on every request gets this.
    pub fn fail_all(&self, reply: Reply) {
        *lock(&self.all) = Some(reply);
    }

    /// Good answers to requests whose key passes.
    pub fn answered(&self, of: impl Fn(&str) -> bool) -> usize {
        lock(&self.answered).iter().filter(|(key, _)| of(key)).map(|(_, n)| n).sum()
    }

    fn reply(&self, request: &Received) -> Reply {
        let key = field(request, "key");
        if let Some(reply) = lock(&self.all).clone() {
            return reply;
        }
        let from = self.from.load(Ordering::Acquire);
        let passes = from > 0 && number(request) >= from;
        if let Some(reply) = lock(&self.keys).get(&key).cloned().filter(|_| !passes) {
            return reply;
        }
        *lock(&self.answered).entry(key).or_default() += 1;
        Reply::json("{\"left\":7}")
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A service, and the hand on it.
pub fn service() -> (HttpServer, Arc<Faults>) {
    let faults = Arc::new(Faults::default());
    let of_server = Arc::clone(&faults);
    (HttpServer::start(move |request| of_server.reply(request)), faults)
}

/// A field of a request's body.
pub fn field(request: &Received, name: &str) -> String {
    let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
    body[name].as_str().unwrap_or_default().to_owned()
}

fn number(request: &Received) -> u64 {
    let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
    body["seq"].as_u64().expect("a number")
}

/// A stage `reserve` that calls the service; `options` are those of the stage.
pub fn pipeline(site: &Site, name: &str, server: &HttpServer, options: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\ndefaults: {{ topics: {{ partitions: {PARTITIONS} }} }}\n\
         source:\n  topic: {name}.raw\n  format: json\n  id: .id\n  fields: {{ id: string, key: string, seq: integer }}\n\
         stages:\n  - name: reserve\n    filter: http\n    with: {{ url: \"{}\", into: .stock }}\n    {options}\n",
        server.url("/reserve")
    );
    site.write("pipeline.yaml", &text)
}

/// A row; `seq` rises within a key.
pub fn row(key: &str, seq: usize) -> String {
    json!({ "id": format!("{key}-{seq}"), "key": key, "seq": seq }).to_string()
}

/// `each` rows of every key, one key after the other in turn.
pub fn rows(keys: &[&str], seqs: std::ops::Range<usize>) -> Vec<String> {
    seqs.flat_map(|seq| keys.iter().map(move |key| row(key, seq))).collect()
}

pub fn produce(site: &Site, name: &str, rows: &[String]) {
    site.produce(&format!("{name}.raw"), rows, &["--create", "--partitions", PARTITIONS, "--key", ".key"]);
}

/// What is in `.retry` now, unless it is trimmed.
pub fn copies(site: &Site, name: &str) -> Vec<Seen> {
    site.read(&format!("{name}.reserve.retry"))
}

/// Why a copy lies there.
pub fn reason(copy: &Seen) -> &str {
    copy.header("millstream.retry.reason").expect("a copy says why it is there")
}

/// What the stage has written.
pub fn outputs(site: &Site, name: &str) -> Vec<Seen> {
    site.read(&format!("{name}.reserve"))
}

/// Waits until a number reaches what is wanted.
#[track_caller]
pub fn reaches(what: &str, wanted: usize, mut count: impl FnMut() -> usize) {
    let mut last = 0;
    let came = wait_until(PATIENCE, || {
        last = count();
        last >= wanted
    });
    assert!(came, "{what}: {last} of {wanted}");
}

/// A count of the stage, as `status` shows it.
pub fn status(site: &Site, name: &str, count: &str) -> usize {
    status_of(site, name)[count].as_u64().expect("a count") as usize
}

/// Partitions that wait, as `status` shows them.
pub fn waiting(site: &Site, name: &str) -> Value {
    status_of(site, name)["waiting"].clone()
}

fn status_of(site: &Site, name: &str) -> Value {
    let out = site.command(["status", name, "-o", "json"]).output().expect("status runs");
    let document: Value = serde_json::from_slice(&out.stdout).expect("status prints JSON");
    document["pipelines"][0]["stages"][0].clone()
}

/// Compares everything that is there with the input: each record once, in the order of its key, and no dead letters.
pub fn judge(site: &Site, name: &str) -> Vec<Violation> {
    let source = format!("{name}.raw");
    let input = site.read(&source);
    let mut expected = Expected::default();
    let all = input.iter().map(|record| {
        let mut value = record.value.clone();
        value["stock"] = json!({ "left": 7 });
        ExpectedOutput {
            root: record.value["id"].as_str().expect("an id").to_owned(),
            key: record.key.clone(),
            millis: record.millis(),
            value,
            headers: record.passed_headers(),
        }
    });
    expected.outputs.insert(format!("{name}.reserve"), all.collect());
    expected.letters.insert(format!("{name}.reserve.dlq"), Vec::new());
    let mut history = History::default();
    for topic in [format!("{name}.reserve"), format!("{name}.reserve.dlq")] {
        let records = site.read(&topic);
        history.topics.insert(topic, records);
    }
    history.topics.insert(source, input);
    check(&expected, &history, Promise::ExactlyOnce)
}

/// The stage's part of a summary.
pub fn stage(summary: &Value) -> &Value {
    &summary["pipelines"][0]["stages"][0]
}

/// Ids by key, in the order they lie in a topic.
pub fn ids(records: &[Seen]) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for record in records {
        let id = record.value["id"].as_str().expect("an id").to_owned();
        all.entry(record.key.clone().expect("a key")).or_default().push(id);
    }
    all
}
