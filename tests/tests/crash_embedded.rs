//! A process on the embedded log, killed at random moments and started again: every committed transaction is there as a
//! whole, and no other is. Between the kills other processes write and read through the running owner.

use std::time::Duration;

use millstream_tests::checker::{Promise, check, report};
use millstream_tests::crash::{Crash, Faults, Plan};
use millstream_tests::site::Site;

#[test]
fn exactly_once_survives_kills() {
    survives("exactly_once", Promise::ExactlyOnce);
}

#[test]
fn at_least_once_never_loses() {
    survives("at_least_once", Promise::AtLeastOnce);
}

fn survives(delivery: &'static str, promise: Promise) {
    let plan = Plan {
        seed: fastrand::u64(..),
        delivery,
        workers: 1,
        rounds: 10,
        rows: 8_000,
        moment: Duration::from_millis(60),
        faults: Faults::Kills,
        beside: false,
    };
    let site = Site::embedded();
    let mut crash = Crash::new(&site, "crash", plan.with_environment(delivery));
    crash.play();
    let (mut expected, history) = crash.finish();
    // Positions of this log cannot be seen from outside; a second run that finds nothing to read says the same.
    expected.readers.clear();
    let found = check(&expected, &history, promise);
    assert!(found.is_empty(), "{}", report(&found));
}
