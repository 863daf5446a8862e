//! Nobody runs while a clock ticks, and then somebody does.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, at, begin, now, pipeline, ticks};

/// The times of a clock while nobody was there, and which of them came.
fn missed(site: &Site, name: &str, policy: &str) -> (Vec<i64>, Vec<i64>) {
    // It begins to know of ticks when it first runs: those before are nobody's.
    let past = now() - 60_000;
    begin(site, name, &at(&[past, now() + 3_600_000], policy));
    // Changing the times is safe, and none that has passed is forgotten.
    let times: Vec<i64> = (0..3).map(|n| now() + n).collect();
    let file = site.write(&format!("{name}.yaml"), &pipeline(name, &at(&[&[past], times.as_slice()].concat(), policy)));
    assert!(wait_until(PATIENCE, || now() > times[2]));
    site.until_idle(&format!("{name}-last"), &file, PATIENCE);
    let came = ticks(name, &site.read(&format!("{name}.note")));
    let again = site.until_idle(&format!("{name}-again"), &file, PATIENCE);
    assert_eq!(again["pipelines"][0]["stages"][0]["read"], 0, "{again}");
    (times, came)
}

fn each_policy(site: impl Fn() -> Site + Sync, name: impl Fn(&str) -> String + Sync) {
    std::thread::scope(|scope| {
        let of = |policy: &'static str| {
            let (site, name) = (&site, &name);
            scope.spawn(move || missed(&site(), &name(policy), policy))
        };
        let (skip, once, all) = (of("skip"), of("once"), of("all"));
        assert_eq!(skip.join().expect("no panic").1, [0; 0]);
        let (times, came) = once.join().expect("no panic");
        assert_eq!(came, times[2..], "one, of the last");
        let (times, came) = all.join().expect("no panic");
        assert_eq!(came, times);
    });
}

#[test]
fn what_nobody_was_there_for_on_the_embedded_log() {
    each_policy(Site::embedded, str::to_owned);
}

#[test]
fn what_nobody_was_there_for_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    each_policy(|| Site::kafka(cluster.bootstrap(), SESSION), unique);
}
