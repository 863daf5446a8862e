//! Records that were read once are read again: which ones, and by whom.
//!
//! Start reading at `range.rs`: what a person calls a range, as offsets of partitions.

pub mod in_place;
mod range;

pub use range::{Bound, Range, Slice, resolve};
