//! A pipeline that has run is changed: what differs, what of it is safe, and how a person's word makes the rest so.
//!
//! `fingerprint` in the control topic says what ran last. [`begin`] holds a run against it: what is safe is said and goes
//! on, what is not ends the run before anything was made. [`look`] shows it all and touches nothing, [`apply`] does it.
//!
//! Start reading at `compare.rs` (pure), then `survey.rs` (what the log says), `apply.rs` and `hold.rs` (positions).

mod alive;
mod apply;
mod begin;
mod compare;
mod compare_sources;
#[cfg(test)]
mod compare_sources_tests;
#[cfg(test)]
mod compare_tests;
mod fingerprint;
mod hold;
mod moved;
mod repartition;
mod survey;

pub use apply::{Applied, ApplyOptions, apply};
pub use begin::{begin, note};
pub use compare::Difference;
pub use fingerprint::{Fingerprint, StageMark, content};
pub use moved::moved_to;
pub use survey::{ChangePlan, GroupPlan, GrowPlan, PlacePlan, TopicPlan, look};
