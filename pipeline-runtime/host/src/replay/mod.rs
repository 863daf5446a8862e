//! Records that were read once are read again: which ones, and by whom.
//!
//! Start reading at `range.rs`: what a person calls a range, as offsets of partitions. `beside` is a pipeline of its own
//! over a range, `diff` holds what came out of it against the live one's outputs.

pub mod beside;
pub mod diff;
pub mod in_place;
mod range;

pub use crate::ids::hash128;
pub use range::{Bound, Range, Slice, resolve};
