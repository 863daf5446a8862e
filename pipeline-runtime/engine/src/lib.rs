//! Every delivery decision of one replica of one stage: which record runs next, when a failed one runs again, what is a
//! duplicate, what is finished, and what a commit says. It is sans-IO: records, answers and the time come in by calls;
//! work, outputs and commit plans go out as values. The same code runs under a real log and in a simulation.
//!
//! It must never know: a log, a clock, a thread, a runtime, a payload. It is generic over the host's input record `R`
//! and the host's finished outputs `O`, and looks into neither.
//!
//! Start reading at [`Engine`], then `engine/start.rs` (which record runs next), `engine/finish.rs` (what became of
//! it), `engine/commit.rs` (transactions), `engine/park.rs` (when a key is set aside), `engine/copies.rs` (how it comes
//! back), `engine/hold.rs` (keys that wait for a decision). Beneath them: `tracker` (which offsets are done), `lanes` (order),
//! `retry` (waiting), `dedup` (ids), `parked` (which keys are set aside), `holds` (which dead letters hold theirs), `window`
//! (which copies are in memory), `breaker` (whether all fails).
//!
//! # Parking
//! A record that fails for too long is *parked*: the host writes a *copy* of it to the last input of the stage, `.retry`,
//! in the transaction that finishes it. Later records of its key are copied *behind* it without being run, so the key
//! takes no room and holds nothing up, and its copies lie in order. The engine asks for copies ([`Finished::Park`],
//! [`Task::Park`]), the host writes them ([`Fate::Parked`]), reads them back ([`Engine::admit_copy`]), and after an
//! assignment tells what lies there ([`Engine::restore_copy`]). Once per turn the host asks [`Engine::overdue`], and
//! with nothing in the open transaction [`Engine::rereads`]. A stage that never parked pays one look at an empty map per
//! record.
//!
//! # Holds
//! With [`EngineConfig::hold`] the host finishes a dead letter with [`Fate::Held`] and writes a *mark*
//! ([`CopyKind::Hold`]) to `.retry` beside it: an open copy that has no record and does not end by itself. So later records
//! of the key go behind it as they go behind a parked one, and their copies are passed over where they lie. The hold ends
//! in the commit that finishes a [`CopyKind::Free`], or hands its place over to a [`CopyKind::First`]. Marks and copies that
//! wait for long are written again at the end of `.retry` ([`Task::Move`]) before the finished ranges between them, or the
//! finished part of the log, grow too large.
//!
//! # Rules
//! The engine keeps these by its structure, asserts them in debug builds and counts what breaks them in release builds
//! ([`Counters::violations`]). The simulation in `tests/` checks them from outside.
//! - R1 a committed offset is never above the lowest unfinished one, and never goes back
//! - R2 what a commit says is finished has its outputs in that commit's transaction, and the other way round
//! - R3 per key, outputs are released in the order of the input, through copies too
//! - R4 every record read ends once; one that is parked, when its copy ends
//! - R5 no more is held than the budget: three quarters for live records, one for copies; and one live record and one
//!   copy of each slot always
//! - R6 what was computed under an old assignment has no effect
//! - R7 a duplicate id in the window is not emitted, and nothing else is dropped as one
//! - R8 dedup state rebuilt from its changelog equals the live one, and so do the keys that a look through `.retry` finds
//!   set aside
//!
//! That nothing but a duplicate is dropped as one (the other half of R7), and R8, need the whole input or the changelog:
//! the simulation and the tests of `dedup` check them.

mod breaker;
mod config;
mod counters;
mod dedup;
mod engine;
mod error;
mod holds;
mod lanes;
mod parked;
mod ranges;
mod retry;
mod slab;
mod slot;
mod tracker;
mod varint;
mod window;
mod work;

pub use config::{DedupConfig, EngineConfig, Now, Order, Park};
pub use counters::{Counters, Rule, Violations};
pub use dedup::{Restore, StateSnapshot};
pub use engine::{CommitPlan, CommitPosition, Engine, Start};
pub use error::{Class, EngineError};
pub use ranges::{Ranges, decode as ranges_of_metadata, range_bytes, ranges_of_bytes};
pub use work::{Copy, CopyKind, Fate, Finished, Place, Reason, Task, Ticket, Work};
