//! The filter `sql` as a pipeline file names it: on SQLite, and on a PostgreSQL of the tests' own.

mod checks;
#[path = "../http/common.rs"]
#[allow(dead_code)]
mod common;
mod lite;
mod pg;
