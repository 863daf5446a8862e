//! Rules for text: names, durations, paths and words. Each says what is right twice, as a function and as a pattern for
//! editors; a test holds the two equal.

use crate::shape::TextRule;
use crate::{path, postgres, units};

const fn words(what: &'static str, words: &'static [&'static str], later: &'static [&'static str]) -> TextRule {
    TextRule { what, code: "unknown_word", words, later, reserved: &[], fits: |_| false, pattern: "", max: 64 }
}

const fn rule(what: &'static str, code: &'static str, fits: fn(&str) -> bool, pattern: &'static str) -> TextRule {
    TextRule { what, code, words: &[], later: &[], reserved: &[], fits, pattern, max: 249 }
}

/// Anything, for people.
pub(crate) static FREE: TextRule = TextRule { max: 100_000, ..rule("text", "wrong_text", |_| true, "[\\s\\S]*") };
/// Anything but nothing.
pub(crate) static SOME: TextRule =
    TextRule { max: 100_000, ..rule("text that is not empty", "wrong_text", |t| !t.is_empty(), "[\\s\\S]+") };
/// An expression; whether it compiles is checked elsewhere.
pub(crate) static EXPRESSION: TextRule =
    TextRule { max: 100_000, ..rule("an expression", "wrong_text", |t| !t.is_empty(), "[\\s\\S]+") };

pub(crate) static API_VERSION: TextRule = words("`millstream/v1`", &["millstream/v1"], &[]);
pub(crate) static DELIVERY: TextRule =
    words("`exactly_once` or `at_least_once`", &["exactly_once", "at_least_once"], &[]);
pub(crate) static ORDER: TextRule = words("`key`, `partition` or `none`", &["key", "partition", "none"], &[]);
pub(crate) static ON_FAILURE: TextRule =
    words("`continue`, `hold_key` or `compensate`", &["continue", "hold_key", "compensate"], &[]);
pub(crate) static MISSED: TextRule = words("`skip`, `once` or `all`", &["skip", "once", "all"], &[]);
pub(crate) static OVERLAP: TextRule = words("`allow`, `skip` or `queue`", &["allow", "skip", "queue"], &[]);
pub(crate) static APART: TextRule = words("`apart`", &["apart"], &[]);
/// A variable of the environment, or a file.
pub(crate) static SECRET: TextRule = rule(
    "the name of a variable or the path of a file, as in `${env:NAME}`",
    "bad_name",
    |t| !t.is_empty() && !t.contains(['$', ' ', '\t', '\r', '\n']),
    "[^$ \\t\\r\\n]+",
);
pub(crate) static ON_OFF: TextRule = words("`on` or `off`", &["on", "off"], &[]);
/// Of a source: `jsonl` is for files alone.
pub(crate) static FORMAT: TextRule = words(
    "`raw`, `text`, `json`, `csv`, `msgpack`, `cbor`, `avro` or `protobuf`, for a file `csv`, `jsonl` or `text`",
    &["raw", "text", "json", "jsonl", "csv", "msgpack", "cbor", "avro", "protobuf"],
    &[],
);
/// Of an output.
pub(crate) static TO_FORMAT: TextRule = words(
    "`raw`, `text`, `json`, `csv`, `msgpack`, `cbor`, `avro` or `protobuf`",
    &["raw", "text", "json", "csv", "msgpack", "cbor", "avro", "protobuf"],
    &[],
);
/// How fields of 64 bits without sign are taken.
pub(crate) static UINT64: TextRule = words("`integer` or `text`", &["integer", "text"], &[]);
/// How the subject of a topic's schema is named.
pub(crate) static SUBJECT: TextRule =
    words("`topic`, `record` or `topic-record`", &["topic", "record", "topic-record"], &[]);
pub(crate) static LINES: TextRule =
    words("`csv`, `jsonl` or `text`", &["csv", "jsonl", "json", "text"], &["avro", "protobuf"]);
pub(crate) static TYPE: TextRule = words(
    "a type such as `string`, `integer` or `number?`",
    &[
        "string", "integer", "number", "boolean", "object", "array", "any", "string?", "integer?", "number?",
        "boolean?", "object?", "array?", "any?",
    ],
    &["timestamp", "timestamp?"],
);

/// Pipelines, stages, outputs and sources.
pub(crate) static NAME: TextRule = TextRule { max: 63, ..rule(NAME_WHAT, "bad_name", is_name, NAME_PATTERN) };
/// A name that no topic of ours has as its last part.
pub(crate) static OWN_NAME: TextRule = TextRule {
    max: 63,
    reserved: &["dlq", "retry", "state", "in", "ingest", "control"],
    ..rule(NAME_WHAT, "bad_name", is_name, NAME_PATTERN)
};
/// The same for a source: `<pipeline>.in.ids` holds the ids that the source without a name has taken in, and
/// `<pipeline>.in.seen` the objects that it has seen.
pub(crate) static SOURCE_NAME: TextRule = TextRule {
    max: 63,
    reserved: &["dlq", "retry", "state", "in", "ingest", "control", "ids", "seen"],
    ..rule(NAME_WHAT, "bad_name", is_name, NAME_PATTERN)
};
const NAME_WHAT: &str = "a name (a-z, 0-9, single `-` between them)";
const NAME_PATTERN: &str = "[a-z0-9]+(?:-[a-z0-9]+)*";

/// A stage, `stage.output` or a source.
pub(crate) static FROM: TextRule = rule(
    "a stage, `stage.output` or a source",
    "bad_name",
    |t| t.split('.').count() <= 2 && t.split('.').all(is_name),
    "[a-z0-9]+(?:-[a-z0-9]+)*(?:\\.[a-z0-9]+(?:-[a-z0-9]+)*)?",
);
pub(crate) static TOPIC: TextRule = rule(
    "the name of a topic (letters, digits, `.`, `_` and `-`)",
    "bad_topic",
    is_topic,
    "(?!\\.{1,2}$)[A-Za-z0-9._-]{1,249}",
);
pub(crate) static FIELD: TextRule =
    rule("a field such as `.order.id`", "bad_path", |t| path::field(t).is_some(), path::FIELD_PATTERN);
pub(crate) static ID: TextRule = TextRule {
    words: &["key", "hash"],
    ..rule(
        "`key`, `hash` or a field such as `.order.id`",
        "bad_path",
        |t| path::field(t).is_some(),
        path::FIELD_PATTERN,
    )
};
pub(crate) static KEY: TextRule = TextRule {
    words: &["hash"],
    ..rule("a field such as `.customer.id`, or `hash`", "bad_path", |t| path::field(t).is_some(), path::FIELD_PATTERN)
};
pub(crate) static START: TextRule = TextRule {
    words: &["earliest", "latest"],
    ..rule(
        "`earliest`, `latest` or a time such as `2026-01-31T12:00:00Z`",
        "bad_time",
        |t| time(t).is_some(),
        TIME_PATTERN,
    )
};
pub(crate) static TIME: TextRule =
    rule("a time such as `2026-01-31T12:00:00Z`", "bad_time", |t| time(t).is_some(), TIME_PATTERN);
const TIME_PATTERN: &str = "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)";

pub(crate) static TIMEOUT: TextRule = rule(
    "a duration such as `200ms`, `30s`, `5m`, `24h` or `30d`",
    "bad_duration",
    |t| units::duration(t).is_some_and(|d| !d.is_zero()),
    "(?!0+[a-z])[0-9]{1,9}(?:ms|s|m|h|d)",
);
pub(crate) static RETENTION: TextRule = TextRule {
    words: &["forever"],
    ..rule(
        "a duration such as `7d`, or `forever`",
        "bad_duration",
        |t| units::duration(t).is_some_and(|d| !d.is_zero()),
        "(?!0+[a-z])[0-9]{1,9}(?:ms|s|m|h|d)",
    )
};
pub(crate) static BACKOFF: TextRule = rule(
    "a range of durations such as `200ms..30s`",
    "bad_duration",
    |t| t.split_once("..").is_some_and(|(a, b)| units::duration(a).is_some() && units::duration(b).is_some()),
    "[0-9]{1,9}(?:ms|s|m|h|d)\\.\\.[0-9]{1,9}(?:ms|s|m|h|d)",
);
pub(crate) static SIZE: TextRule = rule(
    "a size such as `64KiB` or `1MiB`",
    "bad_size",
    |t| units::size(t).is_some(),
    "(?!0+[A-Z])[0-9]{1,9}(?:B|KiB|MiB|GiB)",
);
pub(crate) static RATE: TextRule =
    rule("a rate such as `100/s` or `30/m`", "bad_rate", |t| units::rate(t).is_some(), "(?!0+/)[0-9]{1,9}/[smh]");
pub(crate) static SEPARATOR: TextRule = TextRule {
    words: &["tab"],
    ..rule("one character such as `;`, or `tab`", "bad_separator", |t| separator(t).is_some(), "[\\t !#-~]")
};

pub(crate) static AUTH: TextRule = words("`none`, or a map with `bearer`, `basic` or `hmac`", &["none"], &[]);
pub(crate) static TOLD: TextRule =
    words("`stage`, `done`, `failed`, `cancelled` or `compensated`", crate::callback::WORDS, &[]);
pub(crate) static RESPOND: TextRule = words("`accepted`", &["accepted"], &[]);
pub(crate) static HMAC_ALGORITHM: TextRule = words("`sha256`", &["sha256"], &[]);
pub(crate) static HMAC_ENCODING: TextRule = words("`hex` or `base64`", &["hex", "base64"], &[]);
pub(crate) static OBJECT_EVENT: TextRule =
    words("`created`, `changed` or `deleted`", &["created", "changed", "deleted"], &[]);
pub(crate) static EMIT: TextRule = words("`reference` or `content`", &["reference", "content"], &[]);
pub(crate) static CONTENT_ENCODING: TextRule = words("`text` or `base64`", &["text", "base64"], &[]);
pub(crate) static WATCH: TextRule = words("`notify` or `poll`", &["notify", "poll"], &[]);
pub(crate) static NO_AUTH: TextRule = words("`none`, or a map with the keys of the service", &["none"], &[]);
pub(crate) static SETTLE: TextRule = rule(
    "a duration such as `2s`, or `0s`",
    "bad_duration",
    |t| units::duration(t).is_some(),
    "[0-9]{1,9}(?:ms|s|m|h|d)",
);
pub(crate) static OBJECTS_URL: TextRule = TextRule {
    max: 4_096,
    ..rule(
        "a place such as `file:///srv/uploads`, `s3://bucket/prefix`, `azblob://container` or `gs://bucket`",
        "bad_objects_url",
        crate::objects::is_url,
        "(?:file:|s3://|azblob://|gs://)[\\s\\S]+",
    )
};
/// Not one that the process serves itself.
pub(crate) static URL_PATH: TextRule = rule(
    "a path such as `/orders` or `/in/orders` (letters, digits, `.`, `_`, `~` and `-`; not one that Millstream serves itself)",
    "bad_url_path",
    is_url_path,
    "(?!/(?:api|assets|console|livez|metrics|readyz)(?:/|$))(?:/(?!\\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+",
);

pub(crate) static TABLE: TextRule = TextRule {
    max: 127,
    ..rule(
        "a table such as `events` or `shop.events`, as it is called in the database",
        "bad_table",
        postgres::is_table,
        "[^\\.\"\\u0000]{1,63}(?:\\.[^\\.\"\\u0000]{1,63})?",
    )
};
pub(crate) static COLUMN: TextRule = TextRule {
    max: 63,
    ..rule("a name as it is in the database", "bad_column", postgres::is_column, "[^\"\\u0000]{1,63}")
};

/// The byte of a CSV separator.
pub(crate) fn separator(text: &str) -> Option<u8> {
    match text.as_bytes() {
        b"tab" => Some(b'\t'),
        [byte @ (b'\t' | b' '..=b'~')] if *byte != b'"' => Some(*byte),
        _ => None,
    }
}

/// An RFC 3339 time as milliseconds since 1970.
pub(crate) fn time(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>().ok().filter(|_| text.is_ascii()).map(jiff::Timestamp::as_millisecond)
}

fn is_name(text: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    text.split('-').all(part)
}

fn is_topic(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b".-_".contains(&b);
    (1..=249).contains(&text.len()) && text != "." && text != ".." && text.bytes().all(known)
}

/// First parts of paths that the process serves itself, now or later.
const SERVED: &[&str] = &["api", "assets", "console", "livez", "metrics", "readyz"];

fn is_url_path(text: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._~-".contains(&b);
    let part = |p: &str| !p.is_empty() && p != "." && p != ".." && p.bytes().all(known);
    let Some(rest) = text.strip_prefix('/') else { return false };
    rest.split('/').all(part) && rest.split('/').next().is_some_and(|first| !SERVED.contains(&first))
}
