//! The flagship, `pipelines/retail-orders`, on both logs: on its own data, and on real orders that are compared record
//! by record with what a computation in plain Rust over the same file says (`expected.rs`; it shares nothing with the
//! engine).

mod changed;
mod expected;
mod real;
mod shop;

use std::process::Command;
use std::time::Duration;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use millstream_tests::workspace;

use shop::{Outcome, Shop, Stage};

/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(300);
const SESSION: Duration = Duration::from_secs(6);

#[test]
fn the_generator_makes_the_committed_data_byte_for_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    make_orders(folder.path(), None);
    for name in ["orders.csv", "prices.csv"] {
        let committed = std::fs::read(workspace().join("pipelines/retail-orders/data").join(name)).expect("committed");
        let made = std::fs::read(folder.path().join(name)).expect("made");
        assert!(
            committed == made,
            "{name}: run `cargo run -p millstream-tests --bin make-orders pipelines/retail-orders/data`"
        );
    }
}

#[test]
fn both_logs_give_the_same() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let name = unique("retail");
    let run = |site: Site| {
        let shop = Shop::new(site, &name);
        let stages = shop.run();
        (stages, shop.outcome())
    };
    let (embedded_stages, embedded) = run(Site::embedded());
    let (kafka_stages, kafka) = run(Site::kafka(cluster.bootstrap(), SESSION));
    assert_eq!(embedded_stages, kafka_stages);
    same(&embedded, &kafka);
    assert!(embedded_stages[0].duplicates > 0, "the sample has repeats");
    assert!(
        embedded.letters("validate").len() > 10 && embedded.letters("price").len() > 10,
        "and what cannot be processed"
    );
    assert!(shop::OUTPUTS.iter().all(|output| !embedded.records(output).is_empty()), "every output has records");
}

#[test]
fn a_second_run_finds_nothing_new() {
    let shop = Shop::new(Site::embedded(), "retail-orders");
    shop.run();
    let first = shop.outcome();
    let again = shop.run();
    assert!(again.iter().all(|stage| *stage == Stage::nothing(&stage.name)), "{again:?}");
    same(&first, &shop.outcome());
}

/// Killed whenever it has committed something more, until it comes to its end: as if nothing had been.
#[test]
fn kill_9_in_the_middle_leaves_no_trace() {
    let busy = || {
        let shop = Shop::new(Site::embedded(), "retail-orders");
        make_orders(&shop.folder().join("data"), Some("4000"));
        shop
    };
    let undisturbed = busy();
    undisturbed.run();
    let killed = busy();
    let mut seen = 0;
    for kill in 0..3 {
        let mut run = killed.start(&format!("killed-{kill}"));
        let more = || killed.site().read(&killed.topic("orders")).len() > seen;
        assert!(wait_until(PATIENCE, more), "nothing came to the last topic");
        assert!(run.ended().is_none(), "it ended before it could be killed");
        run.kill();
        seen = killed.site().read(&killed.topic("orders")).len();
    }
    killed.run();
    let (undisturbed, killed) = (undisturbed.outcome(), killed.outcome());
    assert!(seen < undisturbed.records("orders").len(), "all was done before the last kill");
    same(&undisturbed, &killed);
}

#[test]
fn real_orders_on_the_embedded_log() {
    real::come_out_as_computed(Site::embedded(), "retail-orders");
}

#[test]
fn real_orders_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    real::come_out_as_computed(Site::kafka(cluster.bootstrap(), SESSION), &unique("retail"));
}

/// Topic by topic: the same records, in the same order per key and invoice; the same dead letters.
fn same(one: &Outcome, other: &Outcome) {
    for output in shop::OUTPUTS {
        let (one, other) = (one.records(output), other.records(output));
        let in_order = |records: &[millstream_tests::checker::Seen]| {
            let mut lines = std::collections::BTreeMap::<_, Vec<_>>::new();
            for r in records {
                let line = (r.id().map(str::to_owned), r.value.clone());
                lines.entry((r.key.clone(), shop::invoice(&r.value).to_owned())).or_default().push(line);
            }
            lines
        };
        assert_eq!(one.len(), other.len(), "{output}");
        assert_eq!(in_order(one), in_order(other), "{output}");
    }
    for stage in shop::STAGES {
        assert_eq!(one.letters(stage), other.letters(stage), "dead letters of {stage}");
    }
}

fn make_orders(folder: &std::path::Path, invoices: Option<&str>) {
    let made = Command::new(env!("CARGO_BIN_EXE_make-orders")).arg(folder).args(invoices).status();
    assert!(made.is_ok_and(|status| status.success()), "make-orders failed");
}
