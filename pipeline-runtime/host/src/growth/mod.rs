//! Partitions added to a topic that a stage reads.
//!
//! A key's later records lie in another partition than its earlier ones from then on, and two partitions are read side
//! by side. So the new ones wait until the old ones have been worked off up to where they ended when the growth was
//! settled, with what of them was set aside. [`Added`] in the control topic (`partitions/<stage>`) says what waits, so
//! that every process holds the same and a crash forgets nothing.
//!
//! ```text
//! a topic of others grew ── no dedup: a running process takes it up ──┐
//!        │                                                            v
//!        └─ dedup: the stage stops ── `apply --repartition` ──> step without ends ── its writers know ──> ends noted
//! a topic of ours: `apply --repartition` (nothing runs) ───────────────────────> ends noted at once          │
//!                             step taken back, members join anew and read <── old partitions are past them ──┘
//! ```
//!
//! Start reading at `record.rs` (what is written), then `watch.rs` (what a running process does), `gate.rs` (what a
//! replica sees of it) and `take.rs` (side topics, and what is noted).

mod gate;
mod record;
mod take;
mod watch;

pub use gate::Gate;
pub use record::{Added, Step};
pub use take::{grow_sides, note};
pub use watch::{Watch, ends, is_read_here};

use millstream_log::{Class, LogError};

/// Whether a key stays where it was or goes to a new partition. By another number keys go from one old partition to another
/// too, and there is no telling which record there came by which number.
pub fn keeps_order(from: i32, to: i32) -> bool {
    from > 0 && to % from == 0
}

/// What only a person can decide: the topic `topic` has other partitions than `stage` reads.
pub fn stopped(stage: &str, topic: &str, known: i32, now: i32, why: &str) -> LogError {
    LogError::new(
        Class::Config,
        "partitions_added",
        format!(
            "`{topic}` has {now} partitions now and `{stage}` goes by {known}: {why}; end every process of the \
             pipeline, then `millstream apply --repartition`"
        ),
    )
}
