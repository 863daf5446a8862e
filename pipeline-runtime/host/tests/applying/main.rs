//! `apply` on the embedded log, with faults at every step of it: whatever was done of a change by then, nothing is lost and
//! nothing comes twice.

mod faulty;
mod world;

use std::sync::Arc;
use std::sync::mpsc::channel;

use faulty::{FaultyLog, Moment};
use millstream_host::{ApplyOptions, apply};

use world::World;

/// Seen red with the position of the new reader taken from the beginning of its topic.
#[test]
fn a_fault_at_any_step_can_be_mended_by_applying_again() {
    for moment in [Moment::Before, Moment::After] {
        let mut step = 0;
        loop {
            let world = World::new();
            world.write(0..40);
            world.run(&world.before, None).expect("a clean run");
            world.write(40..60);
            world.run(&world.before, Some("clean")).expect("a clean run");
            let log = FaultyLog::new(Arc::clone(&world.log), step, moment);
            let ended = apply(&log, &world.after, &ApplyOptions::default(), &World::stop());
            let failed = match ended {
                Ok(_) => false,
                Err(e) => {
                    assert_eq!(e.code, "broken_on_purpose", "step {step} {moment:?}: {e}");
                    true
                }
            };
            // The pipeline as it was goes on, or is stopped; it never does harm.
            if let Err(e) = world.run(&world.before, None) {
                let stopped = e.to_string().contains("position_moved") || e.to_string().contains("pipeline_changed");
                assert!(stopped, "step {step} {moment:?}: {e}");
            }
            apply(&*world.log, &world.after, &ApplyOptions::default(), &World::stop()).expect("it can be done again");
            world.write(60..80);
            world.run(&world.after, None).expect("a clean run");
            assert_eq!(world.booked(), World::texts(0..80), "step {step} {moment:?}");
            if !failed {
                break;
            }
            step += 1;
        }
        assert!(step > 6, "topics, two groups, two positions, the fingerprint: {step}");
    }
}

/// Records lie unread between the stages when their topics grow.
#[test]
fn a_fault_at_any_step_of_a_repartition_can_be_mended_by_applying_again() {
    for moment in [Moment::Before, Moment::After] {
        let mut step = 0;
        loop {
            let world = World::new();
            world.write(0..40);
            world.run(&world.before, None).expect("a clean run");
            world.write(40..60);
            world.run(&world.before, Some("clean")).expect("a clean run");
            let log = FaultyLog::new(Arc::clone(&world.log), step, moment);
            let refused = apply(&*world.log, &world.wider, &ApplyOptions::default(), &World::stop());
            assert_eq!(refused.expect_err("it wants a word").code, "repartition");
            let options = ApplyOptions { repartition: true, ..ApplyOptions::default() };
            let failed = apply(&log, &world.wider, &options, &World::stop()).is_err_and(|e| {
                assert_eq!(e.code, "broken_on_purpose", "step {step} {moment:?}: {e}");
                true
            });
            // The pipeline as it was goes on, or is stopped; it never does harm.
            if let Err(e) = world.run(&world.before, None) {
                assert!(e.to_string().contains("pipeline_changed"), "step {step} {moment:?}: {e}");
            }
            apply(&*world.log, &world.wider, &options, &World::stop()).expect("it can be done again");
            world.write(60..80);
            world.run(&world.wider, None).expect("a clean run");
            assert_eq!(world.booked(), World::texts(0..80), "step {step} {moment:?}");
            if !failed {
                break;
            }
            step += 1;
        }
        assert!(step > 4, "topics, what lies beside them, what waits, the fingerprint: {step}");
    }
}

/// The only source gets a name, as it does where another one comes. What it gave is in the topic of its old name, and what
/// it gives from then on in that of the new one. Seen red with the position not taken along.
#[test]
fn a_fault_at_any_step_of_naming_a_source_can_be_mended_by_applying_again() {
    for moment in [Moment::Before, Moment::After] {
        let mut step = 0;
        loop {
            let world = World::new();
            world.append(0..40);
            let unnamed = world.of_file(None, true);
            world.feed(&unnamed, "p.in", 40).expect("a clean run");
            let named = world.of_file(Some("eu"), true);
            let log = FaultyLog::new(Arc::clone(&world.log), step, moment);
            let failed = apply(&log, &named, &ApplyOptions::default(), &World::stop()).is_err_and(|e| {
                assert_eq!(e.code, "broken_on_purpose", "step {step} {moment:?}: {e}");
                true
            });
            world.append(40..50);
            // The pipeline as it was goes on, or is stopped; it never does harm.
            if let Err(e) = world.feed(&unnamed, "p.in", 50) {
                let stopped = e.to_string().contains("position_moved") || e.to_string().contains("pipeline_changed");
                assert!(stopped, "step {step} {moment:?}: {e}");
            }
            apply(&*world.log, &named, &ApplyOptions::default(), &World::stop()).expect("it can be done again");
            world.feed(&named, "p.book", 50).expect("a clean run");
            world.append(50..60);
            world.run(&world.of_file(Some("eu"), false), None).expect("a clean run");
            assert_eq!(world.booked(), World::texts(0..60), "step {step} {moment:?}");
            let given = [world.texts_in("p.in"), world.texts_in("p.in.eu")].concat();
            assert_eq!(given, World::texts(0..60), "step {step} {moment:?}");
            if !failed {
                break;
            }
            step += 1;
        }
        assert!(step > 6, "topics, two groups and the reader's, two positions, the fingerprint: {step}");
    }
}

/// A process that has looked at the fingerprint before it was changed, and of which nobody hears, comes when all is done.
/// Seen red with the old position left unmarked: it reads on, and books what the new way books too.
#[test]
fn who_comes_late_with_the_old_file_is_stopped() {
    let world = World::new();
    world.write(0..40);
    world.run(&world.before, None).expect("a clean run");
    let (joins, joined) = channel();
    let (go, wait) = channel();
    let late = Arc::new(FaultyLog::late(Arc::clone(&world.log), joins, wait));
    std::thread::scope(|scope| {
        let run = scope.spawn(|| world.run_on(late, &world.before, Some("book")));
        joined.recv().expect("it joins");
        apply(&*world.log, &world.after, &ApplyOptions::default(), &World::stop()).expect("applied");
        world.write(40..60);
        world.run(&world.after, Some("clean")).expect("a clean run");
        go.send(()).expect("it waits");
        let ended = run.join().expect("no panic");
        assert!(ended.is_err_and(|e| e.to_string().contains("position_moved")));
    });
    world.run(&world.after, None).expect("a clean run");
    assert_eq!(world.booked(), World::texts(0..60));
}
