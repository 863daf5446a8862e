//! Which client properties a user may set. An allow-list: the runtime's own keys, and those that load code or run
//! commands, are refused with the reason.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Keys that may be set.
const ALLOWED: &[&str] = &[
    // Connection.
    "client.id",
    "client.rack",
    "client.dns.lookup",
    "broker.address.family",
    "broker.address.ttl",
    "connections.max.idle.ms",
    "metadata.max.age.ms",
    "metadata.recovery.strategy",
    "metadata.recovery.rebootstrap.trigger.ms",
    "topic.metadata.refresh.interval.ms",
    "topic.metadata.refresh.fast.interval.ms",
    "topic.metadata.propagation.max.ms",
    "reconnect.backoff.ms",
    "reconnect.backoff.max.ms",
    "retry.backoff.ms",
    "retry.backoff.max.ms",
    "socket.keepalive.enable",
    "socket.nagle.disable",
    "socket.send.buffer.bytes",
    "socket.receive.buffer.bytes",
    "socket.connection.setup.timeout.ms",
    "api.version.request.timeout.ms",
    // TLS.
    "security.protocol",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.key.location",
    "ssl.key.pem",
    "ssl.key.password",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.crl.location",
    "ssl.cipher.suites",
    "ssl.curves.list",
    "ssl.sigalgs.list",
    "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification",
    // SASL.
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.username",
    "sasl.password",
    // Time-outs.
    "socket.timeout.ms",
    "session.timeout.ms",
    "max.poll.interval.ms",
    "request.timeout.ms",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "transaction.timeout.ms",
    // Sizes.
    "message.max.bytes",
    "receive.message.max.bytes",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "batch.size",
    "batch.num.messages",
    "linger.ms",
    "queue.buffering.max.ms",
    // Compression.
    "compression.type",
    "compression.codec",
    "compression.level",
];

/// Keys that only consumers, or only producers, know; librdkafka warns about them on the other kind.
const CONSUMER_ONLY: &[&str] = &[
    "session.timeout.ms",
    "max.poll.interval.ms",
    "fetch.min.bytes",
    "fetch.max.bytes",
    "fetch.wait.max.ms",
    "fetch.message.max.bytes",
    "max.partition.fetch.bytes",
];
const PRODUCER_ONLY: &[&str] = &[
    "message.max.bytes",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.timeout.ms",
    "transaction.timeout.ms",
    "queue.buffering.max.messages",
    "queue.buffering.max.kbytes",
    "batch.size",
    "batch.num.messages",
    "linger.ms",
    "queue.buffering.max.ms",
    "compression.type",
    "compression.codec",
    "compression.level",
];

/// Keys the runtime sets itself, and why.
const OWNED: &[(&str, &str)] = &[
    ("bootstrap.servers", "the brokers are named by `brokers`"),
    ("metadata.broker.list", "the brokers are named by `brokers`"),
    ("group.id", "the group is `<pipeline>.<stage>`"),
    ("group.instance.id", "static membership is a setting of its own"),
    ("group.protocol", "the runtime relies on the classic protocol"),
    ("group.remote.assignor", "the runtime relies on the classic protocol"),
    ("partition.assignment.strategy", "handing over without a stop relies on cooperative-sticky"),
    ("heartbeat.interval.ms", "it follows from the session time-out"),
    ("transactional.id", "it names the owner of each partition"),
    ("isolation.level", "uncommitted records must never be processed"),
    ("auto.offset.reset", "a lost position must never be skipped in silence"),
    ("enable.idempotence", "without it records are doubled and reordered"),
    ("acks", "without all of them records are lost"),
    ("request.required.acks", "without all of them records are lost"),
    ("max.in.flight", "the order of a partition depends on it"),
    ("max.in.flight.requests.per.connection", "the order of a partition depends on it"),
    ("retries", "a lost answer must be asked for again"),
    ("message.send.max.retries", "a lost answer must be asked for again"),
    ("enable.gapless.guarantee", "a refused record must not end the producer"),
    ("enable.partition.eof", "the end of a partition is how `--until-idle` ends"),
    ("partitioner", "partitions are chosen by key, as the Java client does"),
    ("allow.auto.create.topics", "topics are created with the settings they need"),
    ("queued.min.messages", "memory is bounded by `prefetch`"),
    ("queued.max.messages.kbytes", "memory is bounded by `prefetch`"),
    ("delivery.report.only.error", "the runtime counts on it"),
];

/// Beginnings of keys of a kind, and why they are refused.
const REFUSED: &[(&str, &str)] = &[
    ("plugin.library.paths", "it loads code into the process"),
    ("ssl.engine", "it loads code into the process"),
    ("ssl.providers", "it loads code into the process"),
    ("sasl.kerberos.", "`sasl.kerberos.kinit.cmd` runs commands, and Kerberos is not built in"),
    ("sasl.oauthbearer.", "OAuth is not supported yet"),
    ("enable.sasl.oauthbearer.", "OAuth is not supported yet"),
    ("enable.auto.", "positions are committed with the outputs"),
    ("auto.commit.", "positions are committed with the outputs"),
    ("offset.store.", "positions are committed with the outputs"),
    ("interceptors", "it loads code into the process"),
];

/// Which kind of client a property is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Consumer,
    Producer,
    Admin,
}

/// Checks properties by name and value, each by itself; one sentence for each that is refused.
pub fn validate_properties(properties: &[(String, String)]) -> Result<(), Vec<String>> {
    let refused: Vec<String> =
        properties.iter().filter_map(|(name, value)| refusal(name).or_else(|| wrong_value(name, value))).collect();
    if refused.is_empty() { Ok(()) } else { Err(refused) }
}

/// Whether a client of this kind knows an allowed property.
pub(crate) fn is_for(name: &str, kind: Kind) -> bool {
    match kind {
        Kind::Consumer => !PRODUCER_ONLY.contains(&name),
        Kind::Producer => !CONSUMER_ONLY.contains(&name),
        Kind::Admin => !PRODUCER_ONLY.contains(&name) && !CONSUMER_ONLY.contains(&name),
    }
}

fn refusal(name: &str) -> Option<String> {
    if ALLOWED.contains(&name) {
        return None;
    }
    let owned = OWNED.iter().find(|(key, _)| *key == name);
    if let Some((_, why)) = owned {
        return Some(format!("client property `{name}` is set by the runtime: {why}"));
    }
    if let Some((_, why)) = REFUSED.iter().find(|(start, _)| name.starts_with(start)) {
        return Some(format!("client property `{name}` is refused: {why}"));
    }
    Some(format!("client property `{name}` is unknown or not allowed; see the list of allowed ones in the docs"))
}

/// What librdkafka has against a value.
fn wrong_value(name: &str, value: &str) -> Option<String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Err(KafkaError::ClientConfig(_, why, ..)) => Some(format!("client property `{name}`: {}", uncapped(&why))),
        _ => None,
    }
}

/// A sentence as the end of one.
pub(crate) fn uncapped(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str) -> Result<(), Vec<String>> {
        validate_properties(&[(name.to_owned(), "1".to_owned())])
    }

    /// Negative control: any of these keys added to `ALLOWED` fails it.
    #[test]
    fn the_runtimes_keys_and_those_that_run_code_are_refused_by_name() {
        for name in [
            "group.id",
            "transactional.id",
            "isolation.level",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "plugin.library.paths",
            "ssl.engine.location",
            "sasl.kerberos.kinit.cmd",
            "acks",
            "no.such.key",
            "",
        ] {
            let errors = check(name).expect_err(name);
            assert!(errors.len() == 1 && errors[0].contains(&format!("`{name}`")), "{errors:?}");
        }
        assert_eq!(
            validate_properties(&[("acks".into(), "0".into()), ("nope".into(), String::new())]).unwrap_err().len(),
            2
        );
    }

    /// Negative control: a misspelt key in `ALLOWED` fails it.
    #[test]
    fn every_allowed_key_is_known_to_librdkafka() {
        use rdkafka::types::RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN;
        for name in ALLOWED.iter().copied() {
            assert_eq!(refusal(name), None);
            // No value fits all: one that is refused for its value is known by its name.
            let tried = rdkafka::ClientConfig::new().set(name, "1").create_native_config();
            let unknown = matches!(tried, Err(KafkaError::ClientConfig(RD_KAFKA_CONF_UNKNOWN, ..)));
            assert!(!unknown, "{name} is unknown to librdkafka");
        }
    }

    /// Negative control: without the look at values none is refused.
    #[test]
    fn a_wrong_value_is_refused_by_name() {
        let refused = |name: &str, value: &str| validate_properties(&[(name.into(), value.into())]).err();
        for (name, value) in [
            ("compression.type", "zzz"),
            ("session.timeout.ms", "soon"),
            ("security.protocol", "sasl"),
            ("linger.ms", "-1"),
        ] {
            let errors = refused(name, value).expect(name);
            assert!(errors.len() == 1 && errors[0].starts_with(&format!("client property `{name}`: ")), "{errors:?}");
        }
        assert_eq!(refused("compression.type", "zstd"), None);
        assert_eq!(refused("sasl.password", "any, = text"), None);
    }
}
