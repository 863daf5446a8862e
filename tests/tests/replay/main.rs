//! `millstream replay` from end to end, on both logs: a pipeline beside the live one is killed, goes on, is compared and
//! removed, and the live one never notices.

mod beside;
mod common;
mod in_place;
mod orders;
mod refused;
#[allow(dead_code, reason = "the flagship's tests use all of it")]
#[path = "../flagship/shop.rs"]
mod shop;

use std::time::Duration;

/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
const SESSION: Duration = Duration::from_secs(6);
