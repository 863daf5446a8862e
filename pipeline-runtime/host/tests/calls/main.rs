//! A stage whose filter calls out, on the embedded log: order per key through retries, time-outs, panics, dead letters.

mod held_up;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use held_up::HeldUp;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filter_api::{
    Built, Call, CallContext, CallFuture, Called, CheckContext, Checked, Failure, Files, FilterSpec, Headers, Issue,
    Node, Outcome, Outputs, Page, Reads, Record,
};
use millstream_host::{NoMakers, RunOptions, Stop, Summary, run};
use millstream_log::{
    Budget, End, Isolation, Log, LogRecord, NewTopic, Outgoing, Retention, TopicPartition, partition_of,
};
use millstream_spec::model::Pipeline;
use millstream_spec::{Registry, SourceFile, check};

/// Call ids and attempts, by payload.
type Seen = Arc<Mutex<HashMap<String, Vec<(String, u32)>>>>;

/// What the payload says, the call does.
struct Calls {
    seen: Seen,
}

impl Call for Calls {
    fn call(self: Arc<Self>, record: Record, cx: CallContext) -> CallFuture {
        Box::pin(async move {
            let text = String::from_utf8_lossy(record.payload.original().map_or(&[][..], |b| b)).into_owned();
            let entry = (cx.call_id.to_string(), cx.attempt);
            self.seen.lock().expect("no test panics with the lock").entry(text.clone()).or_default().push(entry);
            let outcome = match text.split(' ').next().unwrap_or("") {
                "flaky" if cx.attempt < 3 => Outcome::Fail(Box::new(Failure::transient("flaky", "not yet"))),
                "down" => Outcome::Fail(Box::new(Failure::transient("down", "never"))),
                "bad" => Outcome::data("bad", "no good"),
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                _ => Outcome::Forward,
            };
            Called { record, outcome }
        })
    }
}

struct Spec {
    calls: Arc<Calls>,
}

impl FilterSpec for Spec {
    fn name(&self) -> &'static str {
        "call"
    }

    fn page(&self) -> Page {
        Page { summary: "", description: "", examples: &[] }
    }

    fn config_schema(&self) -> &'static str {
        "{}"
    }

    fn check(&self, _: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let calls = Arc::clone(&self.calls);
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![cx.input.clone()],
            effects: true,
            reads: Reads::Everything,
            build: Arc::new(move || Built::Call(Arc::clone(&calls) as Arc<dyn Call>)),
            warnings: Vec::new(),
            long: None,
        })
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

const PIPELINE: &str = "
apiVersion: millstream/v1
pipeline: calls
source:
  topic: jobs
  format: text
stages:
  - name: work
    filter: call
    timeout: 300ms
    retry: { attempts: 3, backoff: 1ms..5ms }
    dedup: off
";

struct World {
    log: Arc<dyn Log>,
    pipeline: Pipeline,
    seen: Seen,
    /// Last, so that the log is closed before its folder goes.
    _folder: tempfile::TempDir,
}

impl World {
    fn new(yaml: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).expect("a log");
        let seen = Seen::default();
        let spec = Spec { calls: Arc::new(Calls { seen: Arc::clone(&seen) }) };
        let file = SourceFile { path: PathBuf::from("calls.yaml"), bytes: yaml.as_bytes().to_vec() };
        let registry = Registry::new([Arc::new(spec) as Arc<dyn FilterSpec>]);
        let (pipeline, _) = check(&file, &registry, &NoFiles, &|_| None).unwrap_or_else(|issues| panic!("{issues:#?}"));
        log.create(&[NewTopic {
            name: "jobs".to_owned(),
            partitions: 2,
            retention: Retention::Kept,
            replication: None,
            max_record_bytes: None,
            settings: Vec::new(),
        }])
        .expect("a topic");
        Self { log, pipeline, seen, _folder: folder }
    }

    fn write(&self, records: &[(&str, &str)]) {
        let mut writer = self.log.writer().expect("a writer");
        let mut batch = records
            .iter()
            .map(|(key, value)| Outgoing {
                to: TopicPartition::new("jobs", partition_of(key.as_bytes(), 2)),
                key: Some(Bytes::copy_from_slice(key.as_bytes())),
                value: Some(Bytes::copy_from_slice(value.as_bytes())),
                headers: Headers::new(),
                timestamp: 1_000,
                tag: 0,
            })
            .collect();
        writer.send(&mut batch).expect("written");
        writer.flush(Duration::from_secs(5)).expect("durable");
    }

    fn run(&self) -> Summary {
        self.run_on(Arc::clone(&self.log), true, Stop::new(Duration::from_secs(10)))
    }

    fn run_on(&self, log: Arc<dyn Log>, until_idle: bool, stop: Stop) -> Summary {
        let options = RunOptions {
            until_idle,
            feed: true,
            create_source: false,
            apply: false,
            accept_gap: false,
            stages: None,
            instance: None,
            served: None,
            makers: Arc::new(NoMakers),
            stop,
            progress: None,
        };
        run(log, std::slice::from_ref(&self.pipeline), &options).expect("a clean run")
    }

    /// Runs on a log of its own until `then` is over.
    fn run_while(&self, log: Arc<dyn Log>, then: impl FnOnce()) {
        let stop = Stop::new(Duration::from_secs(10));
        std::thread::scope(|scope| {
            let drain = Drain(stop.clone());
            scope.spawn(|| self.run_on(log, false, stop));
            then();
            drop(drain);
        });
    }

    /// Waits until a topic holds these payloads of a key.
    fn wait_for(&self, topic: &str, key: &str, payloads: &[&str]) {
        let deadline = Instant::now() + Duration::from_secs(80);
        loop {
            let there = if self.log.describe(&[topic]).expect("described")[0].is_some() {
                texts(self.read(topic).get(key))
            } else {
                Vec::new()
            };
            if there == payloads {
                return;
            }
            assert!(Instant::now() < deadline, "{topic} has {there:?} of {key}, and not {payloads:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All records of a topic, by key, in order per partition.
    fn read(&self, topic: &str) -> BTreeMap<String, Vec<LogRecord>> {
        let partitions = self.log.describe(&[topic]).expect("described")[0].as_ref().map_or(0, |t| t.partitions);
        let places: Vec<TopicPartition> = (0..partitions).map(|p| TopicPartition::new(topic, p)).collect();
        let ends = self.log.ends(&places, End::High).expect("ends");
        let mut reader = self.log.reader(Isolation::Committed).expect("a reader");
        let from: Vec<(TopicPartition, i64)> = places.iter().map(|p| (p.clone(), 0)).collect();
        reader.assign(&from).expect("assigned");
        let mut found: BTreeMap<String, Vec<LogRecord>> = BTreeMap::new();
        let mut left: i64 = ends.iter().sum();
        let deadline = Instant::now() + Duration::from_secs(10);
        while left > 0 && Instant::now() < deadline {
            for batch in reader.poll(Budget { records: 100, bytes: 1 << 20 }, Duration::from_millis(50)).expect("read")
            {
                for record in batch.records {
                    left -= 1;
                    let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
                    found.entry(key).or_default().push(record);
                }
            }
        }
        assert_eq!(left, 0, "all of {topic} was read");
        found
    }
}

/// Ends a run, also when the test fails meanwhile.
struct Drain(Stop);

impl Drop for Drain {
    fn drop(&mut self) {
        self.0.drain();
    }
}

fn texts(records: Option<&Vec<LogRecord>>) -> Vec<String> {
    let text = |r: &LogRecord| String::from_utf8_lossy(r.value.as_deref().unwrap_or_default()).into_owned();
    records.into_iter().flatten().map(text).collect()
}

#[test]
fn order_per_key_holds_through_retries_and_each_failure_ends_as_its_class_says() {
    let world = World::new(PIPELINE);
    world.write(&[
        ("a", "flaky 1"),
        ("a", "ok 2"),
        ("b", "down 1"),
        ("b", "ok 2"),
        ("c", "bad 1"),
        ("c", "panic 2"),
        ("c", "hang 3"),
        ("c", "ok 4"),
    ]);
    let summary = world.run();
    let outputs = world.read("calls.work");
    assert_eq!(texts(outputs.get("a")), ["flaky 1", "ok 2"]);
    assert_eq!(texts(outputs.get("b")), ["ok 2"]);
    assert_eq!(texts(outputs.get("c")), ["ok 4"]);
    let letters = world.read("calls.work.dlq");
    assert_eq!(texts(letters.get("b")), ["down 1"]);
    assert_eq!(texts(letters.get("c")), ["bad 1", "panic 2", "hang 3"]);
    let header = |key: &str, at: usize, name: &str| {
        letters[key][at].headers.get_str(&format!("millstream.dlq.{name}")).unwrap_or("none").to_owned()
    };
    let fate = |key: &str, at: usize| ["code", "class", "attempts"].map(|name| header(key, at, name));
    assert_eq!(fate("b", 0), ["down", "exhausted", "3"]);
    assert_eq!(fate("c", 0), ["bad", "data", "1"]);
    assert_eq!(fate("c", 1), ["filter_panicked", "bug", "1"]);
    assert_eq!(fate("c", 2), ["timeout", "exhausted", "3"]);
    let stage = &summary.pipelines[0].stages[0];
    assert_eq!((stage.read, stage.forwarded, stage.dead_lettered, stage.outputs), (8, 4, 4, 4));
    assert!(summary.pipelines[0].balanced);
}

#[test]
fn a_call_has_one_id_over_its_attempts_and_no_other_record_has_it() {
    let world = World::new(PIPELINE);
    world.write(&[("a", "flaky 1"), ("b", "flaky 2")]);
    world.run();
    let seen = world.seen.lock().expect("no test panics with the lock");
    let (one, two) = (&seen["flaky 1"], &seen["flaky 2"]);
    assert_eq!(one.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(one.iter().all(|(id, _)| *id == one[0].0));
    assert_ne!(one[0].0, two[0].0);
}

#[test]
fn a_second_run_has_nothing_to_do() {
    let world = World::new(PIPELINE);
    world.write(&[("a", "ok 1")]);
    assert_eq!(world.run().pipelines[0].stages[0].read, 1);
    assert_eq!(world.run().pipelines[0].stages[0].read, 0);
    assert_eq!(texts(world.read("calls.work").get("a")), ["ok 1"]);
}

const PARKS: &str = "
apiVersion: millstream/v1
pipeline: calls
source:
  topic: jobs
  format: text
stages:
  - name: work
    filter: call
    retry: { attempts: 50, backoff: 60s..60s, park_after: { attempts: 1, time: 5s } }
    dedup: off
";

/// A new owner cannot tell yet which keys of one partition are set aside: that partition waits, and no other. Seen red
/// with a replica that waits for `.retry` before it goes on.
#[test]
fn a_transaction_open_in_one_partition_of_retry_holds_up_no_other() {
    let world = World::new(PARKS);
    let of = |p: i32| ["a", "b", "c", "d", "e", "f"].into_iter().filter(move |k| partition_of(k.as_bytes(), 2) == p);
    let (parked, same) = (of(0).next().expect("a key"), of(0).nth(1).expect("another key"));
    let other = of(1).next().expect("a key elsewhere");
    world.write(&[(parked, "down 1")]);
    world.run_while(Arc::clone(&world.log), || world.wait_for("calls.work.retry", parked, &["down 1"]));
    let open = Arc::new(AtomicBool::new(true));
    let place = TopicPartition::new("calls.work.retry", 0);
    let log = HeldUp { real: Arc::clone(&world.log), place, open: Arc::clone(&open) };
    world.write(&[(other, "ok 1"), (same, "ok 1"), (parked, "ok 2")]);
    world.run_while(Arc::new(log), || {
        world.wait_for("calls.work", other, &["ok 1"]);
        assert_eq!(texts(world.read("calls.work").get(same)), [""; 0], "it is not known whether it may go on");
        open.store(false, Ordering::SeqCst);
        world.wait_for("calls.work", same, &["ok 1"]);
        world.wait_for("calls.work.retry", parked, &["down 1", "ok 2"]);
    });
}
