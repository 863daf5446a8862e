//! Dead letters: the original record, byte for byte, with why it could not be processed in its headers.

use millstream_filter_api::{Headers, HeadersBuilder};
use millstream_log::{Outgoing, TopicPartition};

use crate::input::Input;
use crate::letters::REDRIVE_HEADER;
use crate::plan::StagePlan;

/// The family of headers (language.md, "Dead letters").
pub const PREFIX: &str = "millstream.dlq.";

/// The form of the family; rises when what is there means something else. The first of the headers.
const VERSION: &str = "1";

/// Why a record is a dead letter.
pub struct Reason<'a> {
    /// Name of the filter that failed; empty when none was reached (decoding, the output).
    pub filter: &'a str,
    /// 1 for a permanent failure, the stage's limit for an exhausted one.
    pub attempts: u32,
    /// Stable code.
    pub code: &'a str,
    /// data, permanent, exhausted or bug.
    pub class: &'a str,
    /// For people.
    pub message: &'a str,
    /// Milliseconds since 1970.
    pub at: i64,
    /// How often the log refused this letter itself: 0 keeps everything, 1 leaves out the payload, more also the
    /// record's own headers and key. What is left says where the original is.
    pub refused: u32,
}

/// A message is cut here, so that an error that quotes a payload does not double it.
const MAX_MESSAGE: usize = 2_048;

/// The letter for a record, in partition `partition` of the dead letters. `holds`: its key waits for somebody to decide.
pub fn letter(plan: &StagePlan, input: &Input, partition: i32, reason: &Reason<'_>, holds: bool) -> Outgoing {
    let record = &input.record;
    let whole = reason.refused == 0;
    Outgoing {
        to: TopicPartition::new(std::sync::Arc::clone(&plan.dlq), partition),
        key: if reason.refused < 2 { record.key.clone() } else { None },
        value: if whole { record.value.clone() } else { None },
        headers: headers(plan, input, reason, holds),
        timestamp: record.timestamp,
        tag: 0,
    }
}

fn headers(plan: &StagePlan, input: &Input, reason: &Reason<'_>, holds: bool) -> Headers {
    let record = &input.record;
    let mut out = HeadersBuilder::with_capacity(record.headers.size() + 512);
    if reason.refused < 2 {
        for (name, value) in record.headers.iter() {
            if !name.starts_with(PREFIX) {
                out.push(name, value);
            }
        }
    }
    let redrives = record.headers.get_str(REDRIVE_HEADER).unwrap_or("0");
    let mut name = String::with_capacity(32);
    let mut push = |suffix: &str, value: &[u8]| {
        name.clear();
        name.push_str(PREFIX);
        name.push_str(suffix);
        out.push(&name, Some(value));
    };
    push("version", VERSION.as_bytes());
    push("pipeline", plan.pipeline.as_bytes());
    push("stage", plan.stage.as_bytes());
    push("filter", reason.filter.as_bytes());
    push("topic", input.topic(plan).as_bytes());
    push("partition", input.partition.to_string().as_bytes());
    push("offset", record.offset.to_string().as_bytes());
    push("timestamp", record.timestamp.to_string().as_bytes());
    push("id", &input.id);
    push("attempts", reason.attempts.to_string().as_bytes());
    push("code", reason.code.as_bytes());
    push("message", cut(reason.message).as_bytes());
    push("class", reason.class.as_bytes());
    push("at", reason.at.to_string().as_bytes());
    push("redrives", redrives.as_bytes());
    if holds {
        push("hold", b"key");
    }
    if reason.refused > 0 {
        push("omitted", if reason.refused == 1 { b"payload" } else { b"payload,headers,key" });
    }
    out.finish()
}

/// How often the letter of a record was sent back before; 0 for what is no number.
pub fn redrives(headers: &Headers) -> u32 {
    headers.get_str(REDRIVE_HEADER).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// A message that is not too long.
pub fn cut(message: &str) -> &str {
    let mut end = message.len().min(MAX_MESSAGE);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    &message[..end]
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "é".repeat(2_000);
        assert!(cut(&long).len() <= super::MAX_MESSAGE);
        assert_eq!(cut("short"), "short");
    }
}
