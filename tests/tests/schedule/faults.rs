//! Processes are killed and frozen while a fast clock ticks, and their clocks are five seconds off, before and behind: one of
//! them is always there, so each tick comes once, also under `missed: once`, which takes what nobody was there for.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, at, begin, id, now, pipeline, ticks, wrong};

/// Distance of ticks, ms.
const STEP: i64 = 50;
const WORKERS: usize = 3;
const ROUNDS: usize = 4;
/// By how much the clock of each is off, in seconds.
const OFF: [i64; WORKERS] = [0, 5, -5];

/// Waits until a new tick has come out.
fn flows(site: &Site, name: &str) {
    let out = format!("{name}.note");
    let last = || ticks(name, &site.read(&out)).last().copied();
    let before = last();
    assert!(wait_until(PATIENCE, || last() > before), "{out} stands still");
}

/// The one that was the last to say that the clock runs there.
fn owner(workers: &[Process]) -> usize {
    let said = |worker: &Process| {
        let all = worker.stderr();
        all.lines().rfind(|line| line.contains("the source runs here")).unwrap_or_default().to_owned()
    };
    // A line begins with its time, by the clock of the machine.
    let last = workers.iter().enumerate().max_by_key(|(_, worker)| said(worker));
    last.map_or(0, |(at, _)| at)
}

fn through_faults(site: &Site, name: &str) {
    let file = site.write("pipeline.yaml", &pipeline(name, "every: 50ms"));
    let mut workers: Vec<Process> =
        (0..WORKERS).map(|at| site.run_off(&format!("worker-{at}"), &file, OFF[at])).collect();
    flows(site, name);
    all_are_known(site, name);
    for round in 0..ROUNDS {
        let at = owner(&workers);
        let worker = &mut workers[at];
        if round == 1 {
            // It wakes up as somebody whose partitions are another's, with what it had in hand.
            worker.signal("STOP");
            let stopped = now();
            assert!(wait_until(PATIENCE, || now() > stopped + 2 * SESSION.as_millis() as i64));
            flows_unless_owner(site, name);
            worker.signal("CONT");
        } else {
            // The new one is there before anybody has taken over, and may be the next owner.
            worker.kill();
            *worker = site.run_off(&format!("worker-{round}-again"), &file, OFF[at]);
        }
        flows(site, name);
    }
    for worker in &mut workers {
        worker.signal("TERM");
        worker.succeed(PATIENCE);
    }
    let given = ticks(name, &site.read(&format!("{name}.in")));
    assert_eq!(wrong(&given, STEP), [""; 0], "{} ticks", given.len());
}

/// Waits until each has said that it is there, which it does when the log takes it within a second: who has not been heard of
/// was not there for all that others know, and what came due meanwhile is missed.
fn all_are_known(site: &Site, name: &str) {
    let known = || {
        let out = site.command(["status", name, "-o", "json"]).output().expect("status starts");
        let status: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        status["pipelines"][0]["processes"].as_array().map_or(0, Vec::len)
    };
    assert!(wait_until(PATIENCE, || known() == WORKERS), "{} of {WORKERS} are known", known());
}

/// On the embedded log the frozen process may be the one that holds the folder: then all others wait for it.
fn flows_unless_owner(site: &Site, name: &str) {
    if name != EMBEDDED {
        flows(site, name);
    }
}

const EMBEDDED: &str = "clock";

#[test]
fn each_tick_comes_once_on_the_embedded_log() {
    through_faults(&Site::embedded(), EMBEDDED);
}

#[test]
fn each_tick_comes_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_faults(&Site::kafka(cluster.bootstrap(), SESSION), &unique("clock"));
}

/// Negative control: a worker that commits where the clock stands before the records of ticks dies between both. The
/// ticks there were, and those that came.
fn control(site: &Site, name: &str, breaks: &str) -> (Vec<i64>, Vec<i64>) {
    use std::os::unix::process::ExitStatusExt;

    begin(site, name, &at(&[now() + 3_600_000], "all"));
    let times: Vec<i64> = (0..5).map(|n| now() + n).collect();
    let file = site.write("pipeline.yaml", &pipeline(name, &at(&times, "all")));
    let mut worker = site.run_broken("worker", &file, breaks, "die_in_commit", &id(name, times[2]));
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    site.until_idle("last", &file, PATIENCE);
    let came = ticks(name, &site.read(&format!("{name}.note")));
    (times, came)
}

fn loses((times, came): (Vec<i64>, Vec<i64>)) {
    assert!(came.len() < times.len() && came.iter().all(|tick| times.contains(tick)), "{came:?} of {times:?}");
    assert!(came.windows(2).all(|pair| pair[0] < pair[1]), "{came:?}");
}

fn loses_nothing((times, came): (Vec<i64>, Vec<i64>)) {
    assert_eq!(came, times);
}

#[test]
fn a_position_before_its_tick_loses_it_on_the_embedded_log() {
    loses(control(&Site::embedded(), EMBEDDED, "positions_first"));
    loses_nothing(control(&Site::embedded(), EMBEDDED, "nothing"));
}

#[test]
fn a_position_before_its_tick_loses_it_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = || Site::kafka(cluster.bootstrap(), SESSION);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| control(&site(), &unique("whole"), "nothing"));
        loses(control(&site(), &unique("broken"), "positions_first"));
        loses_nothing(whole.join().expect("no panic"));
    });
}
