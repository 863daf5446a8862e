//! The families of headers that tell of an error: our own, and those of Kafka Connect, Kafka Streams, Spring and share
//! groups. All but Spring write numbers as decimal text; Spring writes them as big-endian integers.

use bytes::Bytes;
use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_log::LogRecord;

use super::letter::ErrorFields;
use crate::dead_letter::PREFIX;
use crate::ids::ID_HEADER;

const CONNECT: &str = "__connect.errors.";
const STREAMS: &str = "__streams.errors.";
const SPRING: &str = "kafka_dlt-";
const SHARE: &str = "__dlq.errors.";

/// Said on a record that was sent again: how often. A new letter of it carries that on.
pub const REDRIVE_HEADER: &str = "millstream.redrive";

/// A record's headers, taken apart.
pub struct Read {
    /// Those of the error.
    pub error: ErrorFields,
    /// All others, in order.
    pub own: Headers,
    /// The message id.
    pub id: Option<Bytes>,
}

/// Takes headers apart. A record that no family knows is a letter all the same: of the topic people name.
pub fn read(record: &LogRecord) -> Read {
    let headers = &record.headers;
    let mut own = HeadersBuilder::with_capacity(headers.size());
    for (name, value) in headers.iter() {
        if ![PREFIX, CONNECT, STREAMS, SPRING, SHARE].iter().any(|family| name.starts_with(family)) {
            own.push(name, value);
        }
    }
    let own = own.finish();
    let has = |family: &str| headers.iter().any(|(name, _)| name.starts_with(family));
    let fields = if has(PREFIX) {
        ours(&Family { headers, prefix: PREFIX })
    } else if has(SPRING) {
        spring(&Family { headers, prefix: SPRING })
    } else if has(CONNECT) {
        connect(&Family { headers, prefix: CONNECT })
    } else if has(STREAMS) {
        streams(&Family { headers, prefix: STREAMS })
    } else if has(SHARE) {
        share_group(&Family { headers, prefix: SHARE })
    } else {
        ErrorFields { attempts: 1, ..ErrorFields::default() }
    };
    let id_header = if fields.system == "millstream" { "millstream.dlq.id" } else { ID_HEADER };
    let id = headers.get(id_header).flatten().map(|id| headers.packed().slice_ref(id));
    let text = id.as_deref().and_then(|id| std::str::from_utf8(id).ok()).unwrap_or_default().to_owned();
    let at = if fields.at == 0 { record.timestamp } else { fields.at };
    // Counted on a record that was sent again, whoever made a letter of it then.
    let sent = own.get_str(REDRIVE_HEADER).and_then(|n| n.parse().ok()).unwrap_or(0);
    let redrives = fields.redrives.max(sent);
    Read { error: ErrorFields { at, id: text, redrives, ..fields }, own, id }
}

struct Family<'a> {
    headers: &'a Headers,
    prefix: &'static str,
}

impl Family<'_> {
    fn raw(&self, name: &str) -> Option<&[u8]> {
        let mut last = None;
        for (header, value) in self.headers.iter() {
            if header.strip_prefix(self.prefix) == Some(name) {
                last = value;
            }
        }
        last
    }

    fn text(&self, name: &str) -> String {
        self.raw(name).map(|v| String::from_utf8_lossy(v).into_owned()).unwrap_or_default()
    }

    /// Decimal text.
    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        std::str::from_utf8(self.raw(name)?).ok()?.parse().ok()
    }

    /// A big-endian integer.
    fn int(&self, name: &str) -> Option<i32> {
        self.raw(name)?.try_into().ok().map(i32::from_be_bytes)
    }

    fn long(&self, name: &str) -> Option<i64> {
        self.raw(name)?.try_into().ok().map(i64::from_be_bytes)
    }
}

fn ours(f: &Family<'_>) -> ErrorFields {
    ErrorFields {
        system: "millstream".to_owned(),
        pipeline: f.text("pipeline"),
        stage: f.text("stage"),
        filter: f.text("filter"),
        topic: f.text("topic"),
        partition: f.number("partition"),
        offset: f.number("offset"),
        timestamp: f.number("timestamp"),
        attempts: f.number("attempts").unwrap_or(1),
        code: f.text("code"),
        class: f.text("class"),
        message: f.text("message"),
        at: f.number("at").unwrap_or(0),
        redrives: f.number("redrives").unwrap_or(0),
        edited: f.number("edited").unwrap_or(0),
        omitted: f.text("omitted"),
        hold: f.raw("hold").is_some(),
        id: String::new(),
    }
}

fn connect(f: &Family<'_>) -> ErrorFields {
    ErrorFields {
        system: "connect".to_owned(),
        pipeline: f.text("connector.name"),
        stage: f.text("stage"),
        filter: short(&f.text("class.name")),
        topic: f.text("topic"),
        partition: f.number("partition"),
        offset: f.number("offset"),
        code: short(&f.text("exception.class.name")),
        message: f.text("exception.message"),
        ..foreign(f)
    }
}

fn streams(f: &Family<'_>) -> ErrorFields {
    // The exception as Java prints it: its class, a colon, its message.
    let exception = f.text("exception");
    let class = exception.split(':').next().unwrap_or_default();
    ErrorFields {
        system: "streams".to_owned(),
        topic: f.text("topic"),
        partition: f.number("partition"),
        offset: f.number("offset"),
        code: short(class.trim()),
        message: f.text("message"),
        ..foreign(f)
    }
}

fn spring(f: &Family<'_>) -> ErrorFields {
    // The outermost exception only says that a listener failed; its cause says why. A record whose key or value could
    // not be read has headers of its own for that.
    let first = |names: [&str; 3]| names.iter().map(|n| f.text(n)).find(|t| !t.is_empty()).unwrap_or_default();
    ErrorFields {
        system: "spring".to_owned(),
        pipeline: f.text("original-consumer-group"),
        topic: f.text("original-topic"),
        partition: f.int("original-partition"),
        offset: f.long("original-offset"),
        timestamp: f.long("original-timestamp"),
        code: short(&first(["exception-cause-fqcn", "exception-fqcn", "key-exception-fqcn"])),
        message: first(["exception-message", "key-exception-message", "exception-cause-message"]),
        ..foreign(f)
    }
}

fn share_group(f: &Family<'_>) -> ErrorFields {
    ErrorFields {
        system: "share-group".to_owned(),
        pipeline: f.text("group"),
        topic: f.text("topic"),
        partition: f.number("partition"),
        offset: f.number("offset"),
        message: f.text("message"),
        attempts: f.number("delivery.count").unwrap_or(1),
        ..foreign(f)
    }
}

/// What no other system says, unless somebody edited the letter here.
fn foreign(f: &Family<'_>) -> ErrorFields {
    let edited = f.headers.get_str("millstream.dlq.edited").and_then(|n| n.parse().ok()).unwrap_or(0);
    ErrorFields { attempts: 1, edited, ..ErrorFields::default() }
}

/// A Java class without its package.
fn short(class: &str) -> String {
    class.rsplit(['.', '$']).next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(headers: &[(&str, &[u8])]) -> Read {
        let headers = headers.iter().map(|(n, v)| (*n, Some(*v))).collect();
        read(&LogRecord { offset: 5, timestamp: 77, key: None, value: None, headers })
    }

    #[test]
    fn our_own() {
        let read = letter(&[
            ("a", b"1"),
            ("millstream.dlq.pipeline", b"orders"),
            ("millstream.dlq.stage", b"clean"),
            ("millstream.dlq.topic", b"orders.raw"),
            ("millstream.dlq.partition", b"2"),
            ("millstream.dlq.offset", b"41"),
            ("millstream.dlq.timestamp", b"1700000000000"),
            ("millstream.dlq.id", b"x-1"),
            ("millstream.dlq.attempts", b"6"),
            ("millstream.dlq.code", b"timeout"),
            ("millstream.dlq.class", b"exhausted"),
            ("millstream.dlq.at", b"1700000000123"),
            ("millstream.dlq.redrives", b"2"),
            ("a", b"2"),
        ]);
        assert!(read.own.iter().eq([("a", Some(&b"1"[..])), ("a", Some(b"2"))]));
        let e = read.error;
        assert_eq!((e.system.as_str(), e.pipeline.as_str(), e.stage.as_str()), ("millstream", "orders", "clean"));
        assert_eq!((e.topic.as_str(), e.partition, e.offset), ("orders.raw", Some(2), Some(41)));
        assert_eq!((e.code.as_str(), e.class.as_str(), e.attempts, e.redrives), ("timeout", "exhausted", 6, 2));
        assert_eq!((e.timestamp, e.at, e.id.as_str()), (Some(1_700_000_000_000), 1_700_000_000_123, "x-1"));
        assert_eq!(read.id.as_deref(), Some(&b"x-1"[..]));
    }

    #[test]
    fn kafka_connect() {
        let e = letter(&[
            ("__connect.errors.topic", b"orders"),
            ("__connect.errors.partition", b"3"),
            ("__connect.errors.offset", b"17"),
            ("__connect.errors.connector.name", b"sink"),
            ("__connect.errors.stage", b"VALUE_CONVERTER"),
            ("__connect.errors.class.name", b"org.apache.kafka.connect.json.JsonConverter"),
            ("__connect.errors.exception.class.name", b"org.apache.kafka.connect.errors.DataException"),
            ("__connect.errors.exception.message", b"no schema"),
        ])
        .error;
        assert_eq!((e.system.as_str(), e.pipeline.as_str(), e.stage.as_str()), ("connect", "sink", "VALUE_CONVERTER"));
        assert_eq!((e.topic.as_str(), e.partition, e.offset), ("orders", Some(3), Some(17)));
        assert_eq!(
            (e.code.as_str(), e.filter.as_str(), e.message.as_str()),
            ("DataException", "JsonConverter", "no schema")
        );
        assert_eq!((e.at, e.attempts), (77, 1), "the letter's own time, where no header has one");
    }

    #[test]
    fn kafka_streams() {
        let e = letter(&[
            ("__streams.errors.exception", b"java.lang.ArithmeticException: / by zero"),
            ("__streams.errors.message", b"/ by zero"),
            ("__streams.errors.topic", b"in"),
            ("__streams.errors.partition", b"0"),
            ("__streams.errors.offset", b"9"),
        ])
        .error;
        assert_eq!((e.code.as_str(), e.message.as_str()), ("ArithmeticException", "/ by zero"));
        assert_eq!((e.topic.as_str(), e.partition, e.offset), ("in", Some(0), Some(9)));
    }

    #[test]
    fn spring_writes_numbers_as_integers() {
        let e = letter(&[
            ("kafka_dlt-original-topic", b"orders"),
            ("kafka_dlt-original-partition", &3i32.to_be_bytes()),
            ("kafka_dlt-original-offset", &40i64.to_be_bytes()),
            ("kafka_dlt-original-timestamp", &1_700_000_000_000i64.to_be_bytes()),
            ("kafka_dlt-original-consumer-group", b"billing"),
            ("kafka_dlt-exception-fqcn", b"org.springframework.kafka.listener.ListenerExecutionFailedException"),
            ("kafka_dlt-exception-cause-fqcn", b"com.acme.Orders$TooMany"),
            ("kafka_dlt-exception-message", b"Listener failed"),
        ])
        .error;
        assert_eq!((e.system.as_str(), e.pipeline.as_str(), e.code.as_str()), ("spring", "billing", "TooMany"));
        assert_eq!((e.partition, e.offset, e.timestamp), (Some(3), Some(40), Some(1_700_000_000_000)));
        let cut = letter(&[("kafka_dlt-original-partition", b"\x00\x01")]).error;
        assert_eq!(cut.partition, None);
    }

    #[test]
    fn share_groups_and_records_of_nobody() {
        let e = letter(&[
            ("__dlq.errors.topic", b"jobs"),
            ("__dlq.errors.group", b"workers"),
            ("__dlq.errors.delivery.count", b"5"),
            ("__dlq.errors.message", b"rejected"),
        ])
        .error;
        assert_eq!((e.system.as_str(), e.pipeline.as_str(), e.attempts), ("share-group", "workers", 5));
        let e = letter(&[("ce_id", b"7"), (REDRIVE_HEADER, b"4")]).error;
        assert_eq!((e.system.as_str(), e.id.as_str(), e.redrives), ("", "7", 4));
    }
}
