//! The log port on Apache Kafka: groups, committed reads, one transactional producer per replica, topics.
//!
//! It must never know: a pipeline, a filter, tokio, how records are decoded. It is the only crate that names rdkafka, and
//! `ffi` is the only module of the project with unsafe code.
//!
//! Start reading at [`KafkaLog`], then `member` (one replica: the ledger of what it owns), `takeover` (how the owner
//! before is fenced), `producer` (what becomes of a transaction) and `feed` (records within a budget).

mod admin;
mod claim;
mod config;
mod context;
mod error;
mod feed;
mod ffi;
mod joining;
mod log;
mod member;
mod producer;
mod properties;
mod reader;
mod rebalance;
mod rights;
mod shared;
mod signal;
mod source;
mod takeover;
mod worker;
mod writer;

pub use config::KafkaConfig;
pub use log::KafkaLog;
pub use properties::validate_properties;
