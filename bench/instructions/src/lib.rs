//! How many instructions the hot loops of engine, codecs and filters take per record, held against what the repository says:
//! a clone or an allocation too many is seen on any machine, however busy it is.
//!
//! It must never know: a clock, a log, a runtime. Start reading at `benches/hot_loops` (what is counted), then
//! `tests/instructions.rs` (how), then [`compare`] (what is wrong with it).

mod baseline;

pub use baseline::{Baseline, Finding, TOLERANCE, TOLERANCE_OF_OTHERS, compare};
