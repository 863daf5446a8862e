//! What the record that begins a job asks for by its headers, and whether it is allowed. Pure.

use millstream_filter_api::Headers;
use millstream_spec::model::{JobReply, Jobs, Pipeline};
use serde::{Deserialize, Serialize};

use super::payload::Payload;

/// What somebody wants to be told of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The topic for the reply, as it was written.
    pub reply: String,
    /// What the reply carries as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Payload>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Whether it was looked at.
    #[serde(default, skip_serializing_if = "is_false")]
    pub judged: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// Bytes of a correlation id at most: it is kept with the job.
const MAX_CORRELATION: usize = 1 << 10;
/// Characters of a topic's name at most, on any Kafka.
const MAX_TOPIC: usize = 249;

impl Asked {
    /// What these headers ask for; nothing where none does.
    pub(crate) fn of(reply: &JobReply, headers: &Headers) -> Option<Self> {
        let to = headers.get(&reply.to).flatten().filter(|to| !to.is_empty())?;
        let correlation = reply.correlation.as_ref().and_then(|name| headers.get(name).flatten());
        let mut refused = None;
        let (to, cut) = match std::str::from_utf8(to) {
            Ok(to) => (to, to.len() > MAX_TOPIC),
            Err(_) => ("", true),
        };
        if cut {
            refused = Some(format!("`{}` does not name a topic", reply.to));
        } else if let Some(long) = correlation.filter(|c| c.len() > MAX_CORRELATION) {
            refused = Some(format!("the correlation id has {} bytes, and {MAX_CORRELATION} may be", long.len()));
        }
        let reply = to[..to.floor_char_boundary(MAX_TOPIC)].to_owned();
        let correlation = correlation.filter(|c| c.len() <= MAX_CORRELATION).map(Payload::of);
        Some(Self { reply, correlation, refused, judged: false })
    }
}

/// Who may be replied to.
pub(crate) struct Allowed {
    patterns: Vec<wildmatch::WildMatch>,
    /// Topics that the pipeline reads or owns begin with this, or are one of these.
    prefix: String,
    read: Vec<String>,
}

impl Allowed {
    /// As a pipeline says; nobody where it has no replies.
    pub fn of(pipeline: &Pipeline, jobs: &Jobs) -> Self {
        let patterns = jobs.reply.iter().flat_map(|reply| &reply.allow).map(|p| wildmatch::WildMatch::new(p)).collect();
        let outputs = pipeline.stages.iter().flat_map(|s| &s.outputs).map(|o| &o.topic);
        let inputs = pipeline.stages.iter().flat_map(|s| &s.inputs).map(|i| &i.topic);
        let read = pipeline.sources.iter().map(|s| &s.topic).chain(outputs).chain(inputs).cloned().collect();
        Self { patterns, prefix: format!("{}.", pipeline.name), read }
    }

    /// Looks at what a job asks for, once.
    pub fn judge(&self, pipeline: &str, job: &[u8], asked: &mut Asked) {
        if std::mem::replace(&mut asked.judged, true) {
            return;
        }
        if asked.refused.is_none() {
            asked.refused = self.refuse(&asked.reply);
        }
        if let Some(why) = &asked.refused {
            let job = String::from_utf8_lossy(job);
            tracing::warn!(%pipeline, %job, topic = %asked.reply, %why, "no reply to this job is sent");
        }
    }

    /// Why a topic gets no reply, if it gets none. A reply in what the pipeline reads would begin a job, without end.
    pub fn refuse(&self, topic: &str) -> Option<String> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if topic.is_empty() || matches!(topic, "." | "..") || !topic.bytes().all(legal) {
            return Some("this is no name of a topic".to_owned());
        }
        if topic.starts_with(&self.prefix) || self.read.iter().any(|read| read == topic) {
            return Some("the pipeline reads or writes this topic itself".to_owned());
        }
        if topic.starts_with("__") {
            return Some("this is a topic of the brokers".to_owned());
        }
        let allowed = self.patterns.iter().any(|pattern| pattern.matches(topic));
        (!allowed).then(|| "`jobs: { reply: { allow } }` has no pattern for this topic".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> JobReply {
        JobReply { to: "reply_to".into(), correlation: Some("cid".into()), allow: vec!["replies.*".into()] }
    }

    fn asked(pairs: &[(&str, &[u8])]) -> Option<Asked> {
        Asked::of(&rule(), &pairs.iter().map(|(name, value)| (*name, Some(*value))).collect())
    }

    #[test]
    fn headers_ask_and_what_they_do_wrong_is_a_reason() {
        assert_eq!(asked(&[]), None);
        assert_eq!(asked(&[("reply_to", b"")]), None);
        assert_eq!(asked(&[("cid", b"7")]), None);
        let plain = asked(&[("reply_to", b"replies.web"), ("cid", b"7")]).unwrap();
        assert_eq!((plain.reply.as_str(), plain.refused), ("replies.web", None));
        assert_eq!(plain.correlation, Some(Payload::Text("7".into())));
        let binary = asked(&[("reply_to", b"replies.web"), ("cid", b"\xff\x00")]).unwrap();
        assert_eq!(binary.correlation, Some(Payload::Base64("/wA=".into())));
        for bad in [b"\xff".as_slice(), "ä".repeat(200).as_bytes()] {
            let asked = asked(&[("reply_to", bad)]).unwrap();
            assert!(asked.refused.is_some() && asked.reply.len() <= MAX_TOPIC, "{asked:?}");
        }
        let long = asked(&[("reply_to", b"replies.web"), ("cid", &[b'x'; 1025])]).unwrap();
        assert!(long.refused.unwrap().contains("1025 bytes") && long.correlation.is_none());
    }

    #[test]
    fn replies_go_where_they_may() {
        let allowed = Allowed {
            patterns: vec![wildmatch::WildMatch::new("replies.*"), wildmatch::WildMatch::new("orders*")],
            prefix: "orders.".into(),
            read: vec!["orders-raw".into()],
        };
        for right in ["replies.web", "replies.", "orders-done"] {
            assert_eq!(allowed.refuse(right), None, "{right}");
        }
        for wrong in ["", ".", "..", "a b", "replies.ä", "orders.in", "orders.jobs.notes", "orders-raw", "other"] {
            assert!(allowed.refuse(wrong).is_some(), "{wrong}");
        }
        let all = Allowed { patterns: vec![wildmatch::WildMatch::new("*")], ..allowed };
        assert!(all.refuse("__consumer_offsets").is_some() && all.refuse("anything").is_none());
    }
}
