//! Two files feed one stage, and processes are killed while all of them work: each row comes out once, in order.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::{Process, tail};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, add, flows, pipeline, wrong};

/// Their files have one name.
const BOTH: &[(&str, &str)] = &[("eu", "eu"), ("us", "us")];
/// Rows of a file that each round adds.
const ROWS: usize = 4_000;

/// The files grow, so that there is something to do when it is time to die.
fn through_kills(site: &Site, name: &str, workers: usize, rounds: usize) {
    let file = site.write("pipeline.yaml", &pipeline(name, BOTH, true));
    let out = format!("{name}.merge");
    let mut running: Vec<Option<Process>> = (0..workers).map(|_| None).collect();
    for round in 0..rounds {
        add(site, "eu", round * ROWS..(round + 1) * ROWS);
        add(site, "us", round * ROWS..(round + 1) * ROWS);
        for (at, worker) in running.iter_mut().enumerate() {
            worker.get_or_insert_with(|| site.run(&format!("worker-{at}-{round}"), &file));
        }
        flows(site, &out, 2 * round * ROWS + 1);
        if round % 2 == 1 {
            running.iter_mut().flatten().for_each(Process::kill);
            running.iter_mut().for_each(|worker| *worker = None);
        } else if let Some(mut worker) = running[round / 2 % workers].take() {
            worker.kill();
        }
    }
    drop(running);
    let file = site.write("pipeline.yaml", &pipeline(name, BOTH, false));
    site.until_idle("last", &file, PATIENCE);
    let again = site.until_idle("again", &file, PATIENCE);
    assert_eq!(again["pipelines"][0]["stages"][0]["read"], 0, "{again}");
    let found = wrong(&site.read(&out), &[("eu", rounds * ROWS), ("us", rounds * ROWS)]);
    assert!(found.is_empty(), "{found:?}");
    for source in ["eu", "us"] {
        assert_eq!(site.read(&format!("{name}.in.{source}")).len(), rounds * ROWS, "each has a topic of its own");
    }
}

#[test]
fn each_row_comes_once_on_the_embedded_log() {
    through_kills(&Site::embedded(), "shop", 1, 4);
}

#[test]
fn each_row_comes_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("files"), 2, 3);
}

/// Negative control: a worker that commits where a source stands before its records dies between both. The other source
/// is as broken, and may be between them too when the process is dead at last.
fn control(site: &Site, name: &str, breaks: &str) -> Vec<String> {
    use std::os::unix::process::ExitStatusExt;

    let file = site.write("pipeline.yaml", &pipeline(name, BOTH, false));
    add(site, "eu", 0..50);
    add(site, "us", 0..50);
    let mut worker = site.run_broken("worker", &file, breaks, "die_in_commit", "us/rows.csv#7");
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    site.until_idle("last", &file, PATIENCE);
    wrong(&site.read(&format!("{name}.merge")), &[("eu", 50), ("us", 50)])
}

fn loses(found: &[String]) -> bool {
    eprintln!("{found:?}");
    found.iter().any(|f| f == "50 rows of us are lost") && found.iter().all(|f| f.ends_with("are lost"))
}

#[test]
fn a_position_before_its_rows_loses_them_on_the_embedded_log() {
    assert!(loses(&control(&Site::embedded(), "shop", "positions_first")));
    assert!(control(&Site::embedded(), "shop", "nothing").is_empty());
}

#[test]
fn a_position_before_its_rows_loses_them_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let site = || Site::kafka(cluster.bootstrap(), SESSION);
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| control(&site(), &unique("whole"), "nothing"));
        assert!(loses(&control(&site(), &unique("broken"), "positions_first")));
        assert!(whole.join().expect("no panic").is_empty());
    });
}
