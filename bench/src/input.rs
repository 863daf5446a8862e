//! The inputs: JSON records of a size, with an id header, keyed, over four partitions. Each is loaded once and read by all.

use std::fmt::Write as _;
use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::cluster::Cluster;

/// What a system reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    /// 200 bytes, the id header.
    Small,
    /// 1 KiB, the id header.
    Large,
    /// 200 bytes, the id and four more headers.
    Headers,
}

/// What services put beside a payload, with values as long as theirs.
const MORE_HEADERS: [(&str, &str); 4] = [
    ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ("source", "shop/checkout/eu-central-1"),
    ("type", "com.example.order.placed"),
    ("tenant", "t-0042"),
];

impl Input {
    /// In tables.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Small => "200 B",
            Self::Large => "1 KiB",
            Self::Headers => "200 B, 5 headers",
        }
    }

    fn topic(self) -> &'static str {
        match self {
            Self::Small => "bench-input-small",
            Self::Large => "bench-input-large",
            Self::Headers => "bench-input-headers",
        }
    }

    /// Bytes of a payload.
    pub(crate) fn payload(self) -> usize {
        if self == Self::Large { 1024 } else { 200 }
    }
}

/// One record in so many has a quantity that `where` drops.
pub(crate) const DROPPED_IN: u64 = 10;

/// Makes the topic of `records` records if it is not there; its name.
pub(crate) fn load(cluster: &Cluster, input: Input, records: u64) -> Result<String, String> {
    let topic = format!("{}-{records}", input.topic());
    if cluster.ends(&topic).is_ok_and(|n| n == records) {
        return Ok(topic);
    }
    cluster.delete_all(&topic)?;
    cluster.create(&topic)?;
    eprintln!("loading {records} records into {topic}");
    fill(cluster, &topic, input, records).map_err(|e| format!("cannot load {topic}: {e}"))?;
    match cluster.ends(&topic)? {
        n if n == records => Ok(topic),
        n => Err(format!("{topic} has {n} records, not {records}; delete it")),
    }
}

fn fill(cluster: &Cluster, topic: &str, input: Input, records: u64) -> Result<(), KafkaError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", cluster.brokers())
        .set("enable.idempotence", "true")
        .set("partitioner", "murmur2_random")
        .create()?;
    let mut random = fastrand::Rng::with_seed(1);
    let (mut payload, mut id, mut key) = (String::new(), String::new(), String::new());
    for n in 0..records {
        payload.clear();
        id.clear();
        key.clear();
        write_row(n, input.payload(), &mut random, &mut payload, &mut id, &mut key);
        let mut headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&id) });
        if input == Input::Headers {
            for (key, value) in MORE_HEADERS {
                headers = headers.insert(Header { key, value: Some(value) });
            }
        }
        let mut record = BaseRecord::to(topic).key(&key).payload(&payload).headers(headers);
        while let Err((error, again)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error);
            }
            producer.poll(Duration::from_millis(1));
            record = again;
        }
        if n % 256 == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(Duration::from_secs(60))
}

/// The payloads alone, a line each, for what reads files.
pub(crate) fn lines(records: u64, out: &mut impl std::io::Write) -> std::io::Result<()> {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut payload, mut id, mut key) = (String::new(), String::new(), String::new());
    for n in 0..records {
        payload.clear();
        id.clear();
        key.clear();
        write_row(n, Input::Small.payload(), &mut random, &mut payload, &mut id, &mut key);
        payload.push('\n');
        out.write_all(payload.as_bytes())?;
    }
    out.flush()
}

/// Writing into a `String` cannot fail, so the results are dropped.
fn write_row(n: u64, size: usize, random: &mut fastrand::Rng, payload: &mut String, id: &mut String, key: &mut String) {
    let _ = write!(id, "o-{n:010}");
    let _ = write!(key, "c{}", random.u32(0..50_000));
    let quantity = if n.is_multiple_of(DROPPED_IN) { -1 } else { random.i32(1..50) };
    let (euros, cents) = (random.u32(1..100), random.u32(0..100));
    let _ = write!(
        payload,
        r#"{{"order_id":"{id}","customer_id":"{key}","sku":"s{}","quantity":{quantity},"unit_price":{euros}.{cents:02},"note":""#,
        random.u32(0..5_000)
    );
    while payload.len() < size - 2 {
        payload.push(char::from(b'a' + random.u8(0..26)));
    }
    payload.push_str("\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_have_the_size_they_are_said_to_have() {
        let mut random = fastrand::Rng::with_seed(1);
        for (n, input) in [(0, Input::Small), (1, Input::Large), (9_999_999, Input::Headers)] {
            let (mut payload, mut id, mut key) = (String::new(), String::new(), String::new());
            write_row(n, input.payload(), &mut random, &mut payload, &mut id, &mut key);
            assert_eq!(payload.len(), input.payload(), "{payload}");
            assert!(payload.starts_with('{') && payload.ends_with("\"}"));
        }
    }
}
