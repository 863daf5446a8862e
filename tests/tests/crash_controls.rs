//! Negative controls of the crash tests: workers that break a promise on purpose turn the checker red, by the right
//! colour of red. The same worker with nothing broken meets the same fault beside each and stays green, so that it is
//! the break that is seen.
//!
//! The faults wait for their moment inside the commit (`tests/broken`), so that one run shows it. The crash tests
//! themselves leave the moments to chance.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::checker::{Violation, kinds, report};
use millstream_tests::control::{Fault, MARKED, Outcome, play};
use millstream_tests::site::Site;

/// The shortest that brokers take: what a new owner waits for.
const SESSION: Duration = Duration::from_secs(6);

mod kafka {
    use super::*;

    #[test]
    fn positions_before_outputs_lose() {
        on_kafka("positions_first", Fault::DieInCommit, lost_unseen, green);
    }

    #[test]
    fn marks_before_the_transaction_lose() {
        on_kafka("marks_first", Fault::DieInCommit, lost_as_repeats, green);
    }

    #[test]
    fn marks_after_the_transaction_double_a_repeat() {
        on_kafka("marks_last", Fault::DieAfterCommit, doubled_by_a_repeat, green_with_a_repeat);
    }

    #[test]
    fn outputs_that_nobody_fences_are_doubled() {
        on_kafka("no_fencing", Fault::FreezeProcess, doubled_by_a_zombie, green_zombie);
    }

    /// Passes where there is no Kafka and none is demanded.
    fn on_kafka(breaks: &str, fault: Fault, red: fn(&Outcome), green: fn(&Outcome)) {
        let Some(cluster) = KafkaCluster::shared() else { return };
        both(|| (Site::kafka(cluster.bootstrap(), SESSION), unique("control")), breaks, fault, red, green);
    }
}

mod embedded {
    use super::*;

    #[test]
    fn positions_before_outputs_lose() {
        on_embedded("positions_first", Fault::DieInCommit, lost_unseen, green);
    }

    #[test]
    fn marks_before_the_transaction_lose() {
        on_embedded("marks_first", Fault::DieInCommit, lost_as_repeats, green);
    }

    #[test]
    fn marks_after_the_transaction_double_a_repeat() {
        on_embedded("marks_last", Fault::DieAfterCommit, doubled_by_a_repeat, green_with_a_repeat);
    }

    /// One process owns the folder; its replicas can still be each other's zombies.
    #[test]
    fn outputs_that_nobody_fences_are_doubled() {
        on_embedded("no_fencing", Fault::FreezeReplica, doubled_by_a_zombie, green_zombie);
    }

    fn on_embedded(breaks: &str, fault: Fault, red: fn(&Outcome), green: fn(&Outcome)) {
        both(|| (Site::embedded(), "control".to_owned()), breaks, fault, red, green);
    }
}

/// The broken worker and the whole one, at the same time: both wait for sessions to end, most of the time.
fn both(site: impl Fn() -> (Site, String) + Sync, breaks: &str, fault: Fault, red: fn(&Outcome), green: fn(&Outcome)) {
    let one = |breaks: &str, judge: fn(&Outcome)| {
        let (site, name) = site();
        judge(&play(&site, &name, breaks, fault));
    };
    std::thread::scope(|scope| {
        let whole = scope.spawn(|| one("nothing", green));
        one(breaks, red);
        whole.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
    });
}

/// The next owner never read them again: neither outputs nor dead letters are there.
fn lost_unseen(outcome: &Outcome) {
    only(&["lost"], outcome);
    let lost = topics("lost", outcome);
    assert!(lost.contains("clean") && lost.contains("clean.dlq") && lost.contains("book"), "{}", say(outcome));
    assert_eq!(outcome.duplicates, 0, "{}", say(outcome));
}

/// The next owner dropped records as repeats of what comes after them: of a record with a wrong type, whose dead letter
/// is due again, and the same one mended, the mark of the second was there already. (Marks of the very same place are
/// no repeats to the engine; without mended records this break does no harm.)
fn lost_as_repeats(outcome: &Outcome) {
    only(&["lost"], outcome);
    assert_eq!(topics("lost", outcome), BTreeSet::from(["clean.dlq"]), "{}", say(outcome));
    assert_eq!(outcome.duplicates, outcome.violations.len() as u64, "{}", say(outcome));
}

/// The second output of the id stands behind later ones of its key, with the repeat's time. The next stage drops it, or
/// gives it out again as well: until the process is dead, that stage may have committed the first one, and it is as
/// broken as the other.
fn doubled_by_a_repeat(outcome: &Outcome) {
    only(&["bad id", "doubled", "out of order", "wrong"], outcome);
    assert!(topics("doubled", outcome).contains("clean"), "{}", say(outcome));
    let another = |v: &Violation| matches!(v, Violation::Doubled { root, .. } if root != MARKED);
    assert!(!outcome.violations.iter().any(another), "{}", say(outcome));
}

/// The zombie's outputs came after those of the owner that had taken over; its dead letters too, if it held any.
fn doubled_by_a_zombie(outcome: &Outcome) {
    only(&["bad id", "doubled", "out of order"], outcome);
    let doubled = |v: &Violation| matches!(v, Violation::Doubled { topic, root, .. } if topic.ends_with(".clean") && root == MARKED);
    assert!(outcome.violations.iter().any(doubled), "{}", say(outcome));
}

fn green(outcome: &Outcome) {
    only(&[], outcome);
    assert_eq!(outcome.duplicates, 0, "{}", say(outcome));
}

fn green_with_a_repeat(outcome: &Outcome) {
    only(&[], outcome);
    assert_eq!(outcome.duplicates, 1, "{}", say(outcome));
}

/// Not by luck: the log refused what the zombie held.
fn green_zombie(outcome: &Outcome) {
    green(outcome);
    assert!(outcome.said.contains("the commit of positions: Err("), "{}", say(outcome));
}

fn only(expected: &[&str], outcome: &Outcome) {
    assert_eq!(kinds(&outcome.violations).into_iter().collect::<Vec<_>>(), expected, "{}", say(outcome));
}

/// Where records were lost or doubled, without the pipeline's name.
fn topics<'a>(kind: &str, outcome: &'a Outcome) -> BTreeSet<&'a str> {
    let topic = |v: &'a Violation| match v {
        Violation::Lost { topic, .. } | Violation::Doubled { topic, .. } => {
            topic.split_once('.').map(|(_, stage)| stage)
        }
        _ => None,
    };
    outcome.violations.iter().filter(|v| v.kind() == kind).filter_map(topic).collect()
}

fn say(outcome: &Outcome) -> String {
    format!(
        "{} repeats dropped; {}\n--- the worker ---\n{}",
        outcome.duplicates,
        report(&outcome.violations),
        outcome.said
    )
}
