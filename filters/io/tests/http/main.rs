//! The filter `http` as a pipeline file names it, against a server of the test's own; and the examples of all pages.

mod calls;
mod checks;
mod common;
mod examples;
mod failures;
mod polling;
