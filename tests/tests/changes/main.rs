//! A pipeline is changed while records flow: safe changes go through, others are refused with their reason, and an applied
//! one loses and doubles nothing.

mod applied;
mod common;
mod finished;
mod killed;
mod partitions;
mod refused;
mod safe;
