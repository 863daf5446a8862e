//! Files come, change and go while the processes that watch them are killed: each change is told once.

use std::fs;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, tail};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, Told, flows, inbox, pipeline, put, told, wrong};

const WATCHED: &str = "url: 'file:inbox', match: '**/*.dat', on: [created, changed, deleted], settle: 200ms, every: 1s";
/// Files that each round makes.
const FILES: usize = 40;

/// Round n makes some, changes those of the round before, and takes away those before these.
fn play(site: &Site, round: usize, wanted: &mut Told) {
    let name = |round: usize, n: usize| format!("{}/{round}-{n}.dat", n % 7);
    let mut tell = |name: String, event: &str, size: usize| wanted.insert((name, event.to_owned(), size as u64), 1);
    for n in 0..FILES {
        put(site, &name(round, n), 100 + n);
        tell(name(round, n), "created", 100 + n);
        if round >= 1 {
            put(site, &name(round - 1, n), 200 + n);
            tell(name(round - 1, n), "changed", 200 + n);
        }
        if round >= 2 {
            fs::remove_file(inbox(site).join(name(round - 2, n))).expect("it is there");
            tell(name(round - 2, n), "deleted", 200 + n);
        }
    }
}

fn through_kills(site: &Site, name: &str, workers: usize, rounds: usize) {
    let file = site.write("pipeline.yaml", &pipeline(name, WATCHED));
    put(site, "not-asked-for.txt", 1);
    let out = format!("{name}.note");
    let (mut wanted, mut running) = (Told::new(), Vec::<Option<Process>>::new());
    running.resize_with(workers, || None);
    for round in 0..rounds {
        for (at, worker) in running.iter_mut().enumerate() {
            worker.get_or_insert_with(|| site.run(&format!("worker-{at}-{round}"), &file));
        }
        let before = wanted.len();
        play(site, round, &mut wanted);
        // In the midst of it.
        flows(site, &out, before + 1);
        // The owner is the one that said last that the source runs there; all others only read.
        let last = |worker: &Option<Process>| {
            let said = worker.as_ref().map(Process::stderr).unwrap_or_default();
            said.lines().rfind(|line| line.contains("the source runs here")).unwrap_or_default().to_owned()
        };
        let owner = running.iter_mut().max_by_key(|worker| last(worker)).expect("a worker");
        owner.take().expect("it runs").kill();
        running.iter_mut().enumerate().for_each(|(at, worker)| {
            worker.get_or_insert_with(|| site.run(&format!("worker-{at}-{round}-again"), &file));
        });
        // What changes again before it was told is told once.
        flows(site, &out, wanted.len());
    }
    for worker in running.iter_mut().flatten() {
        worker.signal("TERM");
        worker.succeed(PATIENCE);
    }
    for topic in [format!("{name}.in"), out] {
        let found = wrong(&told_of(site, &topic), &wanted);
        assert!(found.is_empty(), "{topic}: {found:?}");
    }
}

fn told_of(site: &Site, topic: &str) -> Told {
    let mut records = site.read(topic);
    // Of an output the id has a hash behind.
    for record in &mut records {
        record.headers.iter_mut().filter_map(|(_, value)| value.as_mut()).for_each(|value| {
            value.truncate(value.find('~').unwrap_or(value.len()));
        });
    }
    told(&records)
}

#[test]
fn each_change_is_told_once_on_the_embedded_log() {
    through_kills(&Site::embedded(), "watch", 1, 4);
}

#[test]
fn each_change_is_told_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("watch"), 2, 3);
}

/// Negative control: a worker that writes what it has seen outside of the transaction of its records dies between both.
fn control(site: &Site, name: &str, breaks: &str, fault: &str) -> Vec<String> {
    use std::os::unix::process::ExitStatusExt;

    let file = site.write("pipeline.yaml", &pipeline(name, WATCHED));
    let out = format!("{name}.note");
    put(site, "a.dat", 1);
    let mut worker = site.run_broken("worker", &file, breaks, fault, "b.dat#2");
    flows(site, &format!("{name}.in"), 1);
    put(site, "b.dat", 2);
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    put(site, "c.dat", 3);
    let mut whole = site.run("whole", &file);
    let wanted: Told =
        ["a", "b", "c"].iter().zip(1u64..).map(|(n, size)| ((format!("{n}.dat"), "created".into(), size), 1)).collect();
    let done = millstream_tests::process::wait_until(PATIENCE, || {
        told_of(site, &out).contains_key(&("c.dat".to_owned(), "created".to_owned(), 3))
    });
    assert!(done, "c.dat never came:\n{}", tail(&whole.stderr()));
    whole.signal("TERM");
    whole.succeed(PATIENCE);
    let found = wrong(&told_of(site, &format!("{name}.in")), &wanted);
    eprintln!("{breaks} {fault}: {found:?}");
    found
}

const LOST: &str = "(\"b.dat\", \"created\", 2) is lost";
const DOUBLED: &str = "(\"b.dat\", \"created\", 2) is doubled";

#[test]
fn what_was_seen_is_known_exactly_with_its_records_on_the_embedded_log() {
    assert_eq!(control(&Site::embedded(), "watch", "seen_first", "die_in_commit"), [LOST]);
    assert_eq!(control(&Site::embedded(), "watch", "seen_last", "die_after_commit"), [DOUBLED]);
    assert!(control(&Site::embedded(), "watch", "nothing", "die_in_commit").is_empty());
    assert!(control(&Site::embedded(), "watch", "nothing", "die_after_commit").is_empty());
}

#[test]
fn what_was_seen_is_known_exactly_with_its_records_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let play = |breaks: &'static str, fault: &'static str| {
        move || control(&Site::kafka(cluster.bootstrap(), SESSION), &unique("control"), breaks, fault)
    };
    std::thread::scope(|scope| {
        let whole = scope.spawn(play("nothing", "die_in_commit"));
        let first = scope.spawn(play("seen_first", "die_in_commit"));
        assert_eq!(play("seen_last", "die_after_commit")(), [DOUBLED]);
        assert_eq!(first.join().expect("no panic"), [LOST]);
        assert!(whole.join().expect("no panic").is_empty());
    });
}
