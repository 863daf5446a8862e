//! How clients are configured: our defaults, then the user's properties, then what the runtime relies on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millstream_log::{Class, Isolation, LogError, LogResult, MemberConfig};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;

use crate::context::{Context, KafkaConsumer, KafkaProducer, Notes};
use crate::error::kafka_error;
use crate::properties::{Kind, is_for, uncapped, validate_properties};
use crate::signal::Signal;
use crate::worker::drop_apart;

/// Milliseconds that a member's thread may be blocked by one call (the end of a transaction) with room to spare.
const MOST_BLOCKED: u128 = 40_000;

/// How old news of a topic may be in most clients.
const NEWS: Duration = Duration::from_secs(300);

/// A cluster and how to reach it.
#[derive(Clone)]
pub struct KafkaConfig {
    /// `host:port,…` of some of its brokers.
    pub brokers: String,
    /// Client properties of the user, by librdkafka's names; see [`validate_properties`].
    pub properties: Vec<(String, String)>,
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values may be passwords.
        let names: Vec<&str> = self.properties.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("KafkaConfig").field("brokers", &self.brokers).field("properties", &names).finish()
    }
}

/// A consumer and what it has to say.
#[derive(Clone)]
pub(crate) struct Reading {
    pub(crate) client: Arc<KafkaConsumer>,
    pub(crate) notes: Arc<Notes>,
}

impl KafkaConfig {
    /// A cluster without further properties.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self { brokers: brokers.into(), properties: Vec::new() }
    }

    pub(crate) fn check(&self) -> LogResult<()> {
        if self.brokers.trim().is_empty() {
            return Err(LogError::new(Class::Config, "no_brokers", "no broker is named: give host:port,…"));
        }
        validate_properties(&self.properties)
            .map_err(|refused| LogError::new(Class::Config, "client_property", refused.join("; ")))?;
        if self.properties.is_empty() { Ok(()) } else { self.try_clients() }
    }

    /// Values that are right one by one may not be right together, and a certificate may not be there: only a client
    /// finds out. These have no brokers and connect to nothing.
    fn try_clients(&self) -> LogResult<()> {
        let nowhere = Self { brokers: String::new(), properties: self.properties.clone() };
        let member = MemberConfig {
            group: "check".to_owned(),
            lead: String::new(),
            side: Vec::new(),
            delivery: millstream_log::Delivery::ExactlyOnce,
            name: "check".to_owned(),
            instance: None,
            session_timeout: Duration::from_secs(10),
            prefetch_bytes: 1 << 20,
        };
        drop_apart(nowhere.member(&member, Arc::default()).map_err(wrong_together)?, Duration::ZERO);
        drop_apart(nowhere.producer("check", Some("check"), None).map_err(wrong_together)?, Duration::ZERO);
        Ok(())
    }

    /// How long clients may go on with old news of a topic: as long as ours do, which is what the Java client does by
    /// itself (`metadata.max.age.ms`).
    pub(crate) fn settling(&self) -> Duration {
        let set = self.properties.iter().rfind(|(name, _)| name == "topic.metadata.refresh.interval.ms");
        let set = set.and_then(|(_, value)| value.trim().parse::<i64>().ok());
        // Negative switches the refreshing off; others' clients go on with it.
        set.and_then(|ms| u64::try_from(ms).ok()).map_or(NEWS, Duration::from_millis)
    }

    /// A consumer in no group, for offsets, metadata and readers.
    pub(crate) fn free_consumer(
        &self,
        role: &str,
        isolation: Isolation,
        signal: Option<Arc<Signal>>,
    ) -> LogResult<Reading> {
        // The end of a partition is told by a fetch that finds nothing, and a broker answers that one only after this time.
        let mut config = self.layered(Kind::Consumer, &[("fetch.wait.max.ms", "100".into())]);
        own_reading(&mut config, isolation, "earliest");
        consumer(&config, role, signal)
    }

    /// A consumer that only looks up what a group has committed; it never joins.
    pub(crate) fn group_watcher(&self, group: &str, isolation: Isolation) -> LogResult<Reading> {
        let mut config = self.layered(Kind::Consumer, &[]);
        own_reading(&mut config, isolation, "error");
        config.set("group.id", group);
        consumer(&config, "group watcher", None)
    }

    /// A member of a group.
    pub(crate) fn member(&self, member: &MemberConfig, signal: Arc<Signal>) -> LogResult<Reading> {
        let session = match self.properties.iter().rfind(|(name, _)| name == "session.timeout.ms") {
            Some((_, value)) => value.trim().parse().map(Duration::from_millis).map_err(|_| {
                LogError::new(Class::Config, "client_property", format!("`session.timeout.ms` is no number: {value:?}"))
            })?,
            None => member.session_timeout,
        };
        let session = session.as_millis().max(1);
        let most = (member.prefetch_bytes / 1024).clamp(256, 2_000_000);
        let mut config = self.layered(
            Kind::Consumer,
            &[
                ("session.timeout.ms", session.to_string()),
                // A thread that hangs counts as dead, as a process that does.
                ("max.poll.interval.ms", (session * 3).max(MOST_BLOCKED).to_string()),
                ("fetch.max.bytes", (most * 1024).clamp(1 << 20, 50 << 20).to_string()),
            ],
        );
        own_reading(&mut config, Isolation::Committed, "error");
        config.set("group.id", &member.group);
        config.set("partition.assignment.strategy", "cooperative-sticky");
        config.set("heartbeat.interval.ms", (session / 10).clamp(100, 3_000).to_string());
        config.set("queued.max.messages.kbytes", most.to_string());
        if let Some(instance) = &member.instance {
            config.set("group.instance.id", instance);
        }
        consumer(&config, &format!("{} {}", member.group, member.name), Some(signal))
    }

    /// An idempotent producer, transactional with an id.
    pub(crate) fn producer(
        &self,
        role: &str,
        transactional_id: Option<&str>,
        batch_bytes: Option<usize>,
    ) -> LogResult<(KafkaProducer, Arc<Notes>)> {
        let mut config = self.layered(
            Kind::Producer,
            &[
                ("linger.ms", "5".into()),
                ("compression.type", "lz4".into()),
                ("queue.buffering.max.kbytes", (64 << 10).to_string()),
                ("queue.buffering.max.messages", "500000".into()),
                ("message.max.bytes", (32 << 20).to_string()),
            ],
        );
        config.set("enable.idempotence", "true");
        config.set("delivery.report.only.error", "true");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id);
        }
        if let Some(bytes) = batch_bytes {
            config.set("batch.size", bytes.max(1).to_string());
        }
        let context = Context::new(role);
        let notes = context.notes.clone();
        let client = KafkaProducer::from_config_and_context(&config, context)
            .map_err(|e| kafka_error("cannot make a Kafka producer", &e))?;
        Ok((client, notes))
    }

    /// For topics and their settings.
    pub(crate) fn admin(&self) -> ClientConfig {
        self.layered(Kind::Admin, &[])
    }

    fn layered(&self, kind: Kind, defaults: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("client.id", "millstream");
        config.set("socket.keepalive.enable", "true");
        config.set("reconnect.backoff.max.ms", "2000");
        config.set("socket.timeout.ms", "30000");
        for (name, value) in defaults {
            config.set(*name, value);
        }
        for (name, value) in self.properties.iter().filter(|(name, _)| is_for(name, kind)) {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config.set("log.connection.close", "false");
        config
    }
}

/// The text of a client that could not be made, as one about the properties.
fn wrong_together(error: LogError) -> LogError {
    let why = error.message.rsplit("Client creation error: ").next().unwrap_or_default();
    LogError::new(Class::Config, "client_property", format!("client properties: {}", uncapped(why)))
}

/// What every consumer relies on.
fn own_reading(config: &mut ClientConfig, isolation: Isolation, reset: &str) {
    let isolation = match isolation {
        Isolation::Committed => "read_committed",
        Isolation::Uncommitted => "read_uncommitted",
    };
    for (name, value) in [
        ("isolation.level", isolation),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("auto.offset.reset", reset),
        ("enable.partition.eof", "true"),
        ("allow.auto.create.topics", "false"),
        ("queued.min.messages", "10000"),
        ("queued.max.messages.kbytes", "8192"),
        ("fetch.queue.backoff.ms", "10"),
    ] {
        config.set(name, value);
    }
}

fn consumer(config: &ClientConfig, role: &str, signal: Option<Arc<Signal>>) -> LogResult<Reading> {
    let context = Context::new(role);
    let notes = context.notes.clone();
    let mut client = KafkaConsumer::from_config_and_context(config, context)
        .map_err(|e| kafka_error("cannot make a Kafka consumer", &e))?;
    if let Some(signal) = signal {
        client.set_nonempty_callback(move || signal.raise());
    }
    Ok(Reading { client: Arc::new(client), notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(properties: &[(&str, &str)]) -> LogResult<()> {
        let properties = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        KafkaConfig { properties, ..KafkaConfig::new("127.0.0.1:1") }.check()
    }

    /// Negative control: without `try_clients` both pass.
    #[test]
    fn properties_that_do_not_fit_together_are_refused() {
        check(&[("session.timeout.ms", "7000"), ("compression.type", "zstd")]).expect("they fit");
        let wrong = [
            (vec![("session.timeout.ms", "20000"), ("max.poll.interval.ms", "10000")], "max.poll.interval.ms"),
            (vec![("security.protocol", "ssl"), ("ssl.ca.location", "/no/such/file")], "ssl.ca.location"),
        ];
        for (properties, named) in wrong {
            let error = check(&properties).expect_err(named);
            assert_eq!((error.class, error.code), (Class::Config, "client_property"), "{error}");
            assert!(error.message.contains(named), "{error}");
        }
    }
}
