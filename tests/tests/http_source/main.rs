//! Requests as a source, end to end.

mod away;
mod common;
mod hostile;
mod killed;
mod lifecycle;
mod modes;
