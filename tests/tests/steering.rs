//! Orders to running pipelines: two processes run one pipeline, a third program pauses, resumes and scales its stages
//! and looks at them. Nothing is lost, doubled or out of order by it, also when a process is killed in the middle; and
//! orders hold for processes that start later.

use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::model::{self, Names};
use millstream_tests::checker::workload::Workload;
use millstream_tests::checker::{History, Promise, check, report};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;
use serde_json::Value;

const SESSION: Duration = Duration::from_secs(6);
/// For what takes a second or two on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// For working off everything, sessions of the dead included.
const WORK_OFF: Duration = Duration::from_secs(240);

/// A pipeline of three stages on a log, and two processes that run it.
struct Stand<'a> {
    site: &'a Site,
    names: Names,
    workload: Workload,
    added: usize,
    steps: usize,
}

impl<'a> Stand<'a> {
    fn new(site: &'a Site, name: &str) -> Self {
        let names = Names { pipeline: name.to_owned() };
        site.write("pipeline.yaml", &model::yaml(&names, "exactly_once"));
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let mut stand = Self { site, names, workload: Workload::new(seed), added: 0, steps: 0 };
        stand.add(200);
        stand
    }

    /// Adds rows to the source topic.
    fn add(&mut self, rows: usize) -> usize {
        let rows = self.workload.rows(rows);
        let count = rows.keyed.len() + rows.garbage.len();
        self.added += count;
        self.steps += 1;
        self.site.produce_rows(&self.names.source(), &rows, self.steps);
        count
    }

    fn start(&self, name: &str, more: &[&str]) -> Process {
        Process::start(self.site.command(["run", "pipeline.yaml"]).args(more), self.site.folder(), name)
    }

    /// A command that ends with 0; what it prints. `{}` stands for the pipeline.
    fn order(&self, words: &str) -> String {
        succeeds(self.site, &words.replace("{}", &self.names.pipeline))
    }

    fn status(&self) -> Value {
        let out = self.order("status {} -o json");
        let document: Value =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("status printed no JSON: {e}: {out}"));
        document["pipelines"][0].clone()
    }

    /// One stage of the status.
    fn stage(&self, name: &str) -> Value {
        let status = self.status();
        let stages = status["stages"].as_array().expect("stages");
        stages.iter().find(|s| s["name"] == name).unwrap_or_else(|| panic!("no stage {name} in {status}")).clone()
    }

    /// Waits until a stage stands as wanted.
    fn until(&self, stage: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let came = wait_until(PATIENCE, || {
            last = self.stage(stage);
            holds(&last)
        });
        assert!(came, "stage {stage} never stood with {what}: {last}");
    }

    /// How many records the processes that run now have ended in a stage, as told by reports of all of them that are
    /// younger than this call.
    fn read_by_now(&self, stage: &str) -> u64 {
        let asked = millis();
        let mut status = Value::Null;
        let reported = wait_until(PATIENCE, || {
            status = self.status();
            let processes = status["processes"].as_array().expect("processes");
            !processes.is_empty() && processes.iter().all(|p| p["at"].as_i64() > Some(asked))
        });
        assert!(reported, "a process reports at least every ten seconds: {status}");
        let stages = status["stages"].as_array().expect("stages");
        stages.iter().find(|s| s["name"] == stage).and_then(|s| s["read"].as_u64()).expect("a count")
    }

    /// Everything is worked off and judged.
    fn judge(&self) {
        self.site.until_idle("last", &self.site.folder().join("pipeline.yaml"), WORK_OFF);
        let input = self.site.read(&self.names.source());
        assert_eq!(input.len(), self.added, "the source topic has not the rows that were added");
        let mut expected = model::expect(&self.names, &input);
        // Positions are asked for in the crash tests.
        expected.readers.clear();
        let mut history = History::default();
        for topic in self.names.outputs().into_iter().chain(self.names.letters()) {
            history.topics.insert(topic.clone(), self.site.read(&topic));
        }
        history.topics.insert(self.names.source(), input);
        let found = check(&expected, &history, Promise::ExactlyOnce);
        assert!(found.is_empty(), "{}", report(&found));
    }
}

fn succeeds(site: &Site, words: &str) -> String {
    let (status, out, err) = ran(site, words);
    assert_eq!(status, Some(0), "`{words}` failed: {err}");
    out
}

fn ran(site: &Site, words: &str) -> (Option<i32>, String, String) {
    let out = site.command(words.split_whitespace()).output().unwrap_or_else(|e| panic!("{words}: {e}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), tail(&text(&out.stderr)))
}

fn millis() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

fn stop(processes: &mut [&mut Process]) {
    for process in processes.iter() {
        process.signal("TERM");
    }
    for process in processes {
        process.succeed(PATIENCE);
    }
}

/// Turned red by hand once: with replicas that read on while they are paused (`paused` taken for false in
/// `replica/mod.rs`) the lag is 0 where it must be all that was added.
fn pauses_and_resumes(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    let (mut one, mut two) = (stand.start("one", &[]), stand.start("two", &[]));
    stand.until("clean", "all read by two processes", |s| s["lag"] == 0 && s["replicas"]["running"] == 4);
    // The control: a stage that is not paused does end what is added meanwhile.
    let before = stand.read_by_now("clean");
    let added = stand.add(500) as u64;
    stand.until("clean", "the next rows read", |s| s["lag"] == 0);
    assert_eq!(stand.read_by_now("clean"), before + added);

    assert_eq!(stand.order("pause {}.clean"), format!("paused {name}.clean\n"));
    for process in [&mut one, &mut two] {
        process.wait_for_stderr("paused by order", PATIENCE);
    }
    stand.until("clean", "nothing in flight", |s| s["paused"] == true && s["in_flight"] == 0);
    let before = stand.read_by_now("clean");
    let added = stand.add(1_000) as u64;
    assert_eq!(stand.read_by_now("clean"), before, "a paused stage has ended records");
    assert_eq!(stand.stage("clean")["lag"], added, "and none of them is committed");
    assert_eq!(stand.stage("split")["paused"], false);

    assert_eq!(stand.order("resume {}"), format!("resumed {name}.clean\nresumed {name}.split\nresumed {name}.book\n"));
    stand.until("book", "everything read", |s| s["lag"] == 0);
    stand.until("clean", "everything read", |s| s["lag"] == 0 && s["paused"] == false);
    stop(&mut [&mut one, &mut two]);
    assert_eq!(stand.status()["processes"], serde_json::json!([]), "who ends cleanly takes its report back");
    stand.judge();
}

#[test]
fn a_paused_stage_reads_nothing_on_the_embedded_log() {
    pauses_and_resumes(&Site::embedded(), "orders");
}

#[test]
fn a_paused_stage_reads_nothing_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    pauses_and_resumes(&Site::kafka(cluster.bootstrap(), SESSION), &unique("pause"));
}

/// Turned red by hand once: with a crew that sends nobody away (`Step::Stop` left out in `crew.rs`) the replicas that are
/// too many stay. That the judge sees what is lost or doubled is proved by `crash_controls.rs`.
fn scales_while_records_flow(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    let (mut one, mut two) = (stand.start("one", &[]), stand.start("two", &[]));
    stand.until("clean", "both processes", |s| s["replicas"]["running"] == 4);
    stand.add(6_000);
    stand.order("scale {}.clean 4");
    stand.until("clean", "four replicas in each process", |s| {
        s["replicas"]["running"] == 8 && s["replicas"]["override"] == 4 && s["replicas"]["file"] == 2
    });
    stand.add(6_000);
    stand.order("scale {}.clean 1");
    // In the middle of the hand-over of three replicas.
    two.kill();
    stand.add(3_000);
    stand.order("scale {}.split 0");
    stand.until("split", "no replica", |s| {
        s["replicas"]["processes"].as_object().is_some_and(|p| p.values().any(|n| *n == 0))
    });
    let mut three = stand.start("three", &[]);
    // What the dead process had reported is stale after a while; whoever lives has none of this stage.
    stand.until("split", "no replica anywhere", |s| s["replicas"]["running"] == 0);
    stand.until("clean", "one replica in each of two processes", |s| s["lag"] == 0 && s["replicas"]["running"] == 2);
    stand.add(2_000);
    stand.until("clean", "the rest read", |s| s["lag"] == 0);
    assert!(stand.stage("split")["lag"].as_i64() > Some(1_000), "nobody reads it: {}", stand.stage("split"));
    stand.order("scale {}.split --reset");
    stand.order("scale {}.clean --reset");
    stand.until("split", "replicas as the file says", |s| {
        s["replicas"]["running"] == 4 && s["replicas"]["override"].is_null() && s["lag"] == 0
    });
    stand.until("book", "everything read", |s| s["lag"] == 0);
    stop(&mut [&mut one, &mut three]);
    stand.judge();
}

#[test]
fn stages_scale_while_records_flow_on_the_embedded_log() {
    scales_while_records_flow(&Site::embedded(), "orders");
}

#[test]
fn stages_scale_while_records_flow_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    scales_while_records_flow(&Site::kafka(cluster.bootstrap(), SESSION), &unique("scale"));
}

/// Orders are given while nobody runs, and hold for whoever comes.
fn orders_survive_restarts(site: &Site, name: &str) {
    let stand = Stand::new(site, name);
    stand.order("pause {}.split");
    stand.order("scale {}.clean 3");
    for round in ["first", "second"] {
        let mut process = stand.start(round, &[]);
        stand.until("clean", "three replicas", |s| s["replicas"]["running"] == 3 && s["lag"] == 0);
        stand.until("split", "paused, and all to do", |s| s["paused"] == true && s["lag"].as_i64() > Some(100));
        assert_eq!(stand.read_by_now("split"), 0);
        stop(&mut [&mut process]);
    }
    // A run that is to end with its input says why it does not, and does when it may.
    stand.order("scale {}.split 0");
    let mut idle = stand.start("idle", &["--until-idle", "-o", "json"]);
    idle.wait_for_stderr("is paused; `millstream resume", PATIENCE);
    stand.order("resume {}.split");
    stand.until("split", "no order to pause", |s| s["paused"] == false);
    assert!(idle.ended().is_none(), "a stage that is scaled to 0 has records to read");
    stand.order("scale {}.split --reset");
    idle.succeed(WORK_OFF);
    let summary: Value = serde_json::from_str(&idle.stdout()).expect("a summary");
    assert!(summary["pipelines"][0]["stages"][1]["read"].as_u64() > Some(100), "{summary}");
    stand.judge();
}

#[test]
fn orders_survive_restarts_on_the_embedded_log() {
    orders_survive_restarts(&Site::embedded(), "orders");
}

#[test]
fn orders_survive_restarts_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    orders_survive_restarts(&Site::kafka(cluster.bootstrap(), SESSION), &unique("restarts"));
}

/// One process per stage gives what one process for all gives; and what a replica did counts when it has left.
///
/// Turned red by hand once: with places that are forgotten with their replicas (`slots` cut to those wanted in
/// `crew.rs`) the summary misses what they read.
fn stages_run_apart(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    // It ends with its own input, whatever the others have to do.
    let mut first = stand.start("alone", &["--stages", "clean", "--until-idle", "-o", "json"]);
    first.succeed(WORK_OFF);
    let summary: Value = serde_json::from_str(&first.stdout()).expect("a summary");
    let stages = summary["pipelines"][0]["stages"].as_array().expect("stages");
    assert_eq!((stages.len(), &stages[0]["name"]), (1, &Value::from("clean")));
    assert!(site.read(&stand.names.of("book")).is_empty());

    let full = format!("{name}.book");
    let mut apart = [
        stand.start("clean", &["--stages", "clean", "-o", "json"]),
        stand.start("split", &["--stages", "split"]),
        stand.start("book", &["--stages", &full]),
    ];
    let added = stand.add(3_000);
    stand.until("clean", "one process", |s| s["replicas"]["processes"].as_object().is_some_and(|p| p.len() == 1));
    stand.until("clean", "everything read", |s| s["lag"] == 0 && s["replicas"]["running"] == 2);
    stand.order("scale {}.clean 1");
    stand.until("clean", "one replica", |s| s["replicas"]["running"] == 1);
    stand.until("book", "everything read", |s| s["lag"] == 0 && s["read"].as_u64() > Some(1_000));
    let [clean, split, book] = &mut apart;
    stop(&mut [clean, split, book]);
    let summary: Value = serde_json::from_str(&clean.stdout()).expect("a summary");
    assert_eq!(summary["pipelines"][0]["stages"][0]["read"], added, "{summary}");
    stand.judge();
}

#[test]
fn stages_run_in_processes_of_their_own_on_the_embedded_log() {
    stages_run_apart(&Site::embedded(), "orders");
}

#[test]
fn stages_run_in_processes_of_their_own_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    stages_run_apart(&Site::kafka(cluster.bootstrap(), SESSION), &unique("apart"));
}

/// What people and scripts see of a running pipeline.
fn is_seen(site: &Site, name: &str) {
    let mut stand = Stand::new(site, name);
    let mut run = stand.start("run", &[]);
    stand.until("book", "everything read", |s| s["lag"] == 0 && s["read"].as_u64() > Some(0));

    let table = stand.order("status {}");
    assert!(table.starts_with(&format!("{name}  1 process\nstage ")), "{table}");
    for stage in ["clean", "split", "book"] {
        assert!(table.lines().any(|l| l.starts_with(stage) && l.contains("2/2")), "{table}");
    }
    // Without a name: the pipelines of this folder.
    assert!(stand.order("status").starts_with(name));
    let top = stand.order("top {} -n 2 --interval 200ms");
    assert_eq!(top.matches("\nstage ").count(), 2, "plain tables, one after the other: {top}");
    assert!(!top.contains('\u{1b}'), "nothing but text into a pipe");
    let lines = stand.order("top {} -n 2 --interval 200ms -o json");
    assert!(lines.lines().all(|l| serde_json::from_str::<Value>(l).is_ok_and(|d| d["pipelines"][0]["name"] == *name)));

    let letters = site.read(&stand.names.of("clean.dlq")).len();
    assert!(letters > 0, "the workload has broken rows");
    assert_eq!(stand.stage("clean")["dead_letters"], letters);

    let seen = |out: &str| -> Vec<Value> {
        out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    };
    let words = format!("tap {name}.split --in --from start --limit 3");
    let input = seen(&succeeds(site, &words));
    assert_eq!((input.len(), &input[0]["topic"]), (3, &Value::from(stand.names.of("clean"))));
    // A condition, on all outputs of a stage that has several.
    let out = site
        .command(["tap", &format!("{name}.split"), "--from", "start", "--limit", "5", "--where", ".amount < 0"])
        .output()
        .expect("tap");
    let output = seen(&String::from_utf8_lossy(&out.stdout));
    assert_eq!(output.len(), 5, "{}", String::from_utf8_lossy(&out.stderr));
    assert!(output.iter().all(|r| r["value"]["amount"].as_i64() < Some(0)));
    assert!(output.iter().all(|r| r["topic"] == stand.names.of("split.refunds")));
    let dlq = seen(&succeeds(site, &format!("tap {name}.clean --dlq --from start --limit 1")));
    assert_eq!(dlq[0]["topic"], stand.names.of("clean.dlq"));

    // Live: it begins with what comes from now on.
    let tap = site.start("tap", &["tap", &format!("{name}.book"), "--out"]);
    let had = site.read(&stand.names.of("book")).len();
    assert!(
        wait_until(PATIENCE, || {
            stand.add(50);
            !tap.stdout().is_empty()
        }),
        "nothing was seen of what flows: {}",
        tap.stderr()
    );
    let first = seen(tap.stdout().lines().next().unwrap_or_default());
    assert!(site.read(&stand.names.of("book")).len() > had && first[0]["topic"] == stand.names.of("book"));
    tap.signal("INT");
    let mut tap = tap;
    tap.succeed(PATIENCE);
    stop(&mut [&mut run]);
    stand.judge();
}

#[test]
fn a_running_pipeline_is_seen_on_the_embedded_log() {
    is_seen(&Site::embedded(), "orders");
}

#[test]
fn a_running_pipeline_is_seen_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    is_seen(&Site::kafka(cluster.bootstrap(), SESSION), &unique("seen"));
}

#[test]
fn what_is_wrong_is_said_with_what_is_right() {
    let site = Site::embedded();
    let stand = Stand::new(&site, "orders");
    for (words, said) in [
        ("pause ordres", "did you mean `orders`?"),
        ("pause orders.claen", "did you mean `orders.clean`?"),
        ("scale orders 2", "name it as in `orders.clean`"),
        ("scale orders.clean", "required"),
        ("scale orders.clean 2000", "2000"),
        ("scale orders.clean 2 --reset", "cannot be used with"),
        ("tap orders", "name it as in `orders.clean`"),
        ("tap orders.clean --in --dlq", "cannot be used with"),
        ("tap orders.clean --where .amuont<0", "did you mean"),
        ("status orders.clean", "name it as `orders`"),
        ("run pipeline.yaml --stages claen", "did you mean `clean`?"),
    ] {
        let (status, _, err) = ran(&site, words);
        assert_eq!(status, Some(2), "`{words}`: {err}");
        assert!(err.contains(said), "`{words}` said: {err}");
    }
    // A stage that has not run yet has no topic to look at; an order to it holds all the same.
    let (status, _, err) = ran(&site, "tap orders.clean");
    assert_eq!(status, Some(1), "{err}");
    stand.order("pause {}");
    assert!(stand.order("status").contains("no process runs it"));
    // An order of a later version is not guessed at.
    let newer = r#"{"k":"pause/clean","v":2}"#.to_owned();
    site.produce("orders.control", &[newer], &["--key", ".k"]);
    let (status, _, err) = ran(&site, "run pipeline.yaml --until-idle");
    assert_eq!(status, Some(1), "{err}");
    assert!(err.contains("newer_version"), "{err}");
    assert!(stand.order("status").contains("newer_version"));
}
