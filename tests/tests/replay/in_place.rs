//! A stage reads a range of its input once more while the pipeline runs. The checker judges twice: what is live, and what
//! bears the replay's mark, each exactly once and in order, through kills, rebalances and scaling.

use std::path::PathBuf;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::model::{self, Names};
use millstream_tests::checker::workload::Workload;
use millstream_tests::checker::{History, Promise, Seen, Violation, check, kinds, report};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

const SESSION: Duration = Duration::from_secs(6);
/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
const MARK: &str = "millstream.replay";

/// A pipeline of three stages on a log.
struct Stand<'a> {
    site: &'a Site,
    names: Names,
    file: PathBuf,
    workload: Workload,
    steps: usize,
}

impl<'a> Stand<'a> {
    fn new(site: &'a Site, name: &str) -> Self {
        let names = Names { pipeline: name.to_owned() };
        let file = site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        Self { site, names, file, workload: Workload::new(seed), steps: 0 }
    }

    fn add(&mut self, rows: usize) {
        let rows = self.workload.rows(rows);
        self.steps += 1;
        self.site.produce_rows(&self.names.source(), &rows, self.steps);
    }

    fn run(&self, name: &str) -> Process {
        self.site.run(name, &self.file)
    }

    fn until_idle(&self, name: &str) -> Value {
        self.site.until_idle(name, &self.file, PATIENCE)
    }

    /// A command: its exit status, what it printed and what it said. `{}` stands for the pipeline.
    fn command(&self, words: &str) -> (Option<i32>, String, String) {
        let words = words.replace("{}", &self.names.pipeline);
        let out = self.site.command(words.split(' ')).output().expect("the command starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    }

    /// One that ends with 0; what it said.
    #[track_caller]
    fn order(&self, words: &str) -> String {
        let (status, _, said) = self.command(words);
        assert_eq!(status, Some(0), "{words}: {}", tail(&said));
        said
    }

    /// The last replay of the first stage.
    fn replay(&self) -> Value {
        let (status, out, said) = self.command("status {} -o json");
        assert_eq!(status, Some(0), "{}", tail(&said));
        let document: Value = serde_json::from_str(&out).expect("JSON");
        document["pipelines"][0]["stages"][0]["replay"].clone()
    }

    #[track_caller]
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let came = wait_until(PATIENCE, || {
            last = self.replay();
            holds(&last)
        });
        assert!(came, "{what}: {last}");
        last
    }

    /// What is wrong with the live outputs, and with those of a replay.
    fn judge(&self, replay: &Value) -> (Vec<Violation>, Vec<Violation>) {
        let id = replay["id"].as_str().expect("an id");
        let input = self.site.read(&self.names.source());
        let in_range = |seen: &&Seen| {
            let slices = replay["range"].as_array().expect("a range").iter();
            let of = |s: &&Value| s["partition"].as_i64() == Some(seen.partition.into());
            let slice = slices.filter(of).map(|s| s["from"].as_i64()..s["to"].as_i64());
            slice.into_iter().any(|range| range.contains(&Some(seen.offset)))
        };
        let range: Vec<Seen> = input.iter().filter(in_range).cloned().collect();
        let topics: Vec<String> = self.names.outputs().into_iter().chain(self.names.letters()).collect();
        let (mut live, mut replayed) = (History::default(), History::default());
        for topic in topics {
            let (marked, plain): (Vec<Seen>, Vec<Seen>) =
                self.site.read(&topic).into_iter().partition(|r| r.header(MARK).is_some());
            let marked = marked.into_iter().filter(|r| r.header(MARK) == Some(id)).map(|mut r| {
                r.headers.retain(|(name, _)| name != MARK);
                r
            });
            replayed.topics.insert(topic.clone(), marked.collect());
            live.topics.insert(topic, plain);
        }
        let judge = |input: Vec<Seen>, mut history: History| {
            let mut expected = model::expect(&self.names, &input);
            expected.readers.clear();
            history.topics.insert(self.names.source(), input);
            check(&expected, &history, Promise::ExactlyOnce)
        };
        (judge(input, live), judge(range, replayed))
    }

    #[track_caller]
    fn is_right(&self, replay: &Value) {
        let (live, replayed) = self.judge(replay);
        assert!(live.is_empty(), "live: {}", report(&live));
        assert!(replayed.is_empty(), "replayed: {}", report(&replayed));
    }
}

/// Two processes work on a replay and on live records, and are killed one after the other in the middle of it; one stage is
/// scaled meanwhile.
fn killed(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    stand.add(6_000);
    stand.until_idle("first");
    let said = stand.order("replay {} --in-place --from start --to end --detach");
    assert!(said.contains("waits until one does"), "{said}");
    stand.add(500);
    let mut workers = [stand.run("worker-0"), stand.run("worker-1")];
    // What a process says is seen at once; asking for the status takes longer than a quick replay.
    let begun = |worker: &Process| worker.stderr().contains(&format!("partitions assigned stage={name}.clean.replay."));
    let ended = |worker: &Process| worker.stderr().contains("the replay has ended here");
    let mut first = 0;
    let found = wait_until(PATIENCE, || {
        first = workers.iter().position(begun).unwrap_or(2);
        first < 2
    });
    assert!(found, "nobody replays:\n{}", tail(&workers[0].stderr()));
    let (mut done, mut interrupted) = (0, 0);
    for round in 0..4 {
        let at = (first + round) % 2;
        if round == 0 {
            // The time itself is what is tried.
            wait_until(Duration::from_millis(fastrand::u64(0..100)), || false);
        } else {
            // As soon as something more has passed.
            let now = stand.until("it goes on", |r| r["state"] == "done" || r["done"].as_i64() > Some(done));
            done = now["done"].as_i64().expect("a number");
        }
        let worker = &mut workers[at];
        assert_eq!(worker.ended(), None, "it ended by itself:\n{}", tail(&worker.stderr()));
        worker.kill();
        interrupted += usize::from(begun(worker) && !ended(worker));
        *worker = stand.run(&format!("worker-{at}-{round}"));
        if round == 1 {
            stand.order("scale {}.clean 3");
            stand.add(300);
        }
    }
    assert!(interrupted > 0, "no kill met the replay in the middle of it");
    let replay = stand.until("it is done", |r| r["state"] == "done");
    assert_eq!(replay["done"], replay["total"]);
    for worker in &mut workers {
        worker.signal("TERM");
        worker.succeed(PATIENCE);
    }
    stand.until_idle("last");
    assert_eq!(stand.until_idle("again")["pipelines"][0]["stages"][0]["read"], 0, "a position has moved back");
    stand.is_right(&replay);
}

#[test]
fn each_record_passes_once_more_through_kills_on_the_embedded_log() {
    killed(&Site::embedded(), "orders");
}

#[test]
fn each_record_passes_once_more_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    killed(&Site::kafka(cluster.bootstrap(), SESSION), &unique("replay"));
}

/// Orders before anything runs: one at a time, cancelled, ordered again with the live records held, and worked off by a
/// run that ends when it is idle.
fn steered(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    stand.add(400);
    let id = "wrong-for-good";
    let wrong = stand.workload.never_mended(id);
    site.produce(&stand.names.source(), &[wrong], &["--key", ".account", "--header", "step=1"]);
    stand.until_idle("first");
    stand.order("replay {} --in-place --from start --to end --pause-live --detach");
    let (status, _, said) = stand.command("replay {}.clean --in-place --from start --to end");
    assert!(status != Some(0) && said.contains("replay_runs"), "{status:?} {said}");
    stand.order("replay {} --cancel");
    let (status, _, said) = stand.command("replay {} --cancel");
    assert!(status == Some(1) && said.contains("no replay"), "{status:?} {said}");
    let cancelled = stand.replay();
    assert_eq!((&cancelled["state"], &cancelled["done"]), (&"cancelled".into(), &0.into()));

    stand.order("replay {} --in-place --from start --to end --pause-live --detach");
    stand.add(200);
    let summary = stand.until_idle("held");
    assert!(summary["pipelines"][0]["stages"][0]["read"].as_u64() >= Some(200), "live records were left: {summary}");
    let replay = stand.replay();
    assert_eq!((&replay["state"], &replay["pause_live"]), (&"done".into(), &true.into()), "{replay}");
    stand.is_right(&replay);
    let cleaned = site.read(&stand.names.of("clean"));
    let newer = cleaned.iter().filter(|r| r.header("step") == Some("2"));
    for live in newer {
        let behind = |r: &&Seen| r.header(MARK).is_some() && r.partition == live.partition && r.offset > live.offset;
        assert_eq!(cleaned.iter().find(behind), None, "a live record of {:?} did not wait", live.place());
    }

    // A letter of the live record, and one of the replayed one: each is mended and sent back as what it is.
    let of_id = |topic: &str| -> Vec<bool> {
        let all = site.read(&stand.names.of(topic));
        let mut marks: Vec<bool> = all
            .iter()
            .filter(|r| r.value["id"] == id && r.value["amount"] == 5)
            .map(|r| r.header(MARK).is_some())
            .collect();
        marks.sort_unstable();
        marks
    };
    for verb in ["edit {}.clean --with .amount=5 --where", "redrive {}.clean --where"] {
        let words = format!("dlq {verb} .id==\"{id}\"");
        stand.order(&words);
    }
    stand.until_idle("mended");
    assert_eq!(of_id("clean"), [false, true]);
    assert_eq!(of_id("split.sales"), [false, true], "the stage behind tells them apart");
}

#[test]
fn a_replay_is_steered_on_the_embedded_log() {
    steered(&Site::embedded(), "orders");
}

#[test]
fn a_replay_is_steered_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    steered(&Site::kafka(cluster.bootstrap(), SESSION), &unique("replay"));
}

/// A worker whose stages behind the replayed one know records by their ids alone.
fn with_broken(breaks: &str) -> Vec<Violation> {
    let site = Site::embedded();
    let mut stand = Stand::new(&site, "orders");
    stand.add(300);
    stand.until_idle("first");
    stand.order("replay {} --in-place --from start --to end --detach");
    let mut worker = site.run_broken("worker", &stand.file, breaks, "die_in_commit", "nobody");
    let replay = stand.until("it is done", |r| r["state"] == "done");
    worker.kill();
    stand.until_idle("last");
    let (live, replayed) = stand.judge(&replay);
    assert!(live.is_empty(), "{}", report(&live));
    replayed
}

/// The negative control.
#[test]
fn stages_behind_that_forget_the_replay_drop_its_records() {
    let found = with_broken("nothing");
    assert!(found.is_empty(), "{}", report(&found));
    let found = with_broken("replay_forgotten");
    assert!(kinds(&found).contains("lost"), "{}", report(&found));
    let in_book = |v: &Violation| matches!(v, Violation::Lost { topic, .. } if topic == "orders.book");
    assert!(found.iter().any(in_book), "{}", report(&found));
}
