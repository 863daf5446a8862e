//! Clocks as sources, end to end: one record a tick, whatever dies.

mod common;
mod faults;
mod missed;
mod overlap;
