//! Several sources in one pipeline, end to end.

mod changed;
mod common;
mod grown;
mod killed;
mod mixed;
