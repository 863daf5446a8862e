//! A folder or a bucket as a source, end to end: each change once, whoever dies.

mod bucket;
mod common;
mod folder;
mod intake;
mod killed;
