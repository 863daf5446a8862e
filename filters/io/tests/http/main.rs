//! The filter `http` as a pipeline file names it, against a server of the test's own.

mod calls;
mod checks;
mod common;
mod examples;
mod failures;
mod polling;
