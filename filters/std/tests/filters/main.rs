//! The filters as a pipeline file names them: their pages, their checks, what they do to records.

mod checks;
mod common;
mod examples;
mod fidelity;
