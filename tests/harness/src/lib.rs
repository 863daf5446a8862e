//! A real Apache Kafka for tests: a running cluster named in the environment, else one started here from Kafka's own
//! jars (resolved with Maven into a cache folder) on Java 17.
//!
//! It must never know: rdkafka, a pipeline, any crate of the runtime. It speaks to brokers with a handful of bytes.
//!
//! [`Postgres`] is a real server of that kind, from the machine's own package.
//!
//! Start reading at [`KafkaCluster`]; [`Broker`] is one process of it, `guard` says why none outlives a test.
//!
//! Environment:
//! - `MILLSTREAM_TEST_BROKERS`: `host:port,…` of a running cluster, used by [`KafkaCluster::shared`];
//! - `MILLSTREAM_TEST_KAFKA_DIR`: the folder of jars (default `target/kafka-jars`), filled when it is not complete;
//! - `MILLSTREAM_TEST_REQUIRE_KAFKA=1` or `CI=true`: a machine without Java or Maven fails instead of skipping.

mod broker;
mod cluster;
mod guard;
mod jars;
mod postgres;
mod properties;
mod ready;
mod secure;
mod tool;

pub use broker::Broker;
pub use cluster::{KafkaCluster, Options};
pub use jars::KAFKA_VERSION;
pub use postgres::{Postgres, Session};
pub use secure::{GUEST, GUEST_PASSWORD, PASSWORD, Secure, USER};
pub use tool::tool;

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// Java or Maven is missing: tests may be skipped, loudly.
    #[error("Kafka cannot be started here: {0}")]
    Unavailable(String),
    /// It should have worked.
    #[error("{0}")]
    Failed(String),
}

impl HarnessError {
    pub(crate) fn failed(what: &str, error: impl std::fmt::Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }
}

/// Result of this crate's calls.
pub type HarnessResult<T> = Result<T, HarnessError>;

/// A name that no other test, run or process uses: `<prefix>-<random>`.
pub fn unique(prefix: &str) -> String {
    format!("{prefix}-{:08x}{:04x}", fastrand::u32(..), std::process::id() & 0xffff)
}
