//! What the end-to-end tests share. The tests themselves are in `tests/`, the harness that starts Apache Kafka is the
//! crate `millstream-test-kafka` in `harness/`.
//!
//! Start reading at [`site`] (a log and a folder to work in); [`checker`] judges what came out, [`crash`] makes it hard,
//! [`control`] shows that the two would see a broken promise.

mod binary;
pub mod checker;
pub mod control;
pub mod crash;
pub mod http_client;
pub mod http_server;
pub mod kafka_tools;
pub mod process;
pub mod schema_registry;
pub mod site;

pub use binary::{binary, build, workspace};
