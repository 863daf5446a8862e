//! What follows where a server has only accepted: it is asked until it is done. Where it is asked is a checkpoint, so that
//! whoever goes on asks and does not send again.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, LOCATION};
use hyper::http::response::Parts;
use hyper::{Method, Request, StatusCode, Uri};
use millstream_expr::{Expression, Options, Purpose};
use millstream_filter_api::units::show_duration;
use millstream_filter_api::{
    CallContext, Class, Failure, HeadersBuilder, Issue, Keys, Kind, Node, Payload, Record, Value,
};
use url::Url;

use super::answer::{self, Answer};
use super::call::{Http, within};
use super::config::duration;

const KEYS: &[&str] = &["every", "progress", "timeout", "until", "url"];
const EVERY: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(3600);
/// Longer than that nobody keeps a place free.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The form of a checkpoint.
const VERSION: u64 = 1;
/// Longest address.
const MAX_URL: usize = 8 * 1024;

/// `poll:`, checked.
pub(super) struct Poll {
    /// Where to ask, over the first answer; else its `Location`.
    url: Option<Expression>,
    every: Duration,
    /// Whether an answer is the last one; else its status says it.
    until: Option<Expression>,
    timeout: Duration,
    progress: Option<Expression>,
    /// For each request.
    request: Duration,
}

impl Poll {
    /// Checks the section; `request` bounds each request.
    pub(super) fn check(node: &Node, request: Duration, issues: &mut Vec<Issue>) -> Option<Self> {
        if node.as_map().is_none() {
            let message = format!("`poll` is a map such as `{{ every: 2s }}`, or `{{}}`, found {}", node.describe());
            issues.push(Issue::error(node.span, "wrong_type", message));
            return None;
        }
        let keys = Keys::of(node, KEYS, issues);
        let mut compile = |key, purpose| {
            // What a server answers has no type that could be known.
            let compiled = Expression::compile_with(keys.get(key)?, &Kind::any(), Options::new(purpose));
            compiled.map_err(|found| issues.extend(found)).ok()
        };
        let url = compile("url", Purpose::Value);
        let until = compile("until", Purpose::Condition);
        let progress = compile("progress", Purpose::Value);
        let every = keys.get("every").and_then(|node| duration(node, "every", issues));
        let timeout = keys.get("timeout").and_then(|node| {
            let timeout = duration(node, "timeout", issues)?;
            if timeout > LONGEST {
                issues.push(Issue::error(node.span, "bad_duration", "`timeout` of `poll` is at most `7d`"));
            }
            Some(timeout)
        });
        let (every, timeout) = (every.unwrap_or(EVERY), timeout.unwrap_or(TIMEOUT));
        Some(Self { url, every, until, timeout, progress, request })
    }

    /// How long a call may take beyond the stage's `timeout`. The time for the last question comes on top.
    pub(super) fn longest(&self) -> Duration {
        self.timeout + self.request
    }
}

/// What is kept: where to ask, and since when the server is at it.
struct Accepted {
    url: Uri,
    /// ms since 1970: whoever goes on has another monotonic clock.
    since: u64,
}

impl Accepted {
    fn write(&self) -> Bytes {
        serde_json::json!({ "v": VERSION, "url": self.url.to_string(), "since": self.since }).to_string().into()
    }

    fn read(kept: &[u8], base: &Uri) -> Result<Self, Failure> {
        let bad =
            |why: &str| Failure::permanent("http_poll_url", format!("the checkpoint {why}; sent back it begins anew"));
        let kept: serde_json::Value = serde_json::from_slice(kept).map_err(|_| bad("is not of this filter"))?;
        match (kept["v"].as_u64(), kept["url"].as_str(), kept["since"].as_u64()) {
            (Some(VERSION), Some(url), Some(since)) => Ok(Self { url: place(base, url)?, since }),
            (Some(newer), ..) if newer > VERSION => Err(bad("was written by a newer Millstream")),
            _ => Err(bad("is not of this filter")),
        }
    }
}

/// An address that an answer gave, as seen from the one that was called; only on the same server.
fn place(base: &Uri, given: &str) -> Result<Uri, Failure> {
    let bad = |why: String| Failure::permanent("http_poll_url", why);
    if given.len() > MAX_URL {
        return Err(bad(format!("the address to ask at has {} bytes, and may have {MAX_URL}", given.len())));
    }
    let base = Url::parse(&base.to_string()).map_err(|e| bad(format!("the stage's `url` cannot be resolved: {e}")))?;
    let mut url = base.join(given).map_err(|e| bad(format!("the address to ask at is none: {e}")))?;
    if (url.scheme(), url.host(), url.port_or_known_default())
        != (base.scheme(), base.host(), base.port_or_known_default())
    {
        let at = |url: &Url| url.origin().ascii_serialization();
        return Err(bad(format!("the address to ask at leads to {}, and not to {}", at(&url), at(&base))));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(bad("the address to ask at has a user name in it".to_owned()));
    }
    url.set_fragment(None);
    url.as_str().parse().map_err(|_| bad("the address to ask at cannot be asked at".to_owned()))
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

impl Http {
    /// Sends the record, unless that was done before, and asks until the server is done.
    pub(super) async fn poll(&self, poll: &Poll, record: &Record, cx: &CallContext) -> Result<Answer, Failure> {
        if let Some(kept) = cx.checkpoint() {
            let accepted = Accepted::read(&kept, &self.plan.uri)?;
            return self.follow(poll, accepted, Duration::ZERO, true, record, cx).await;
        }
        let label = &self.plan.label;
        let (head, answer) = within(poll.request, label, self.ask(self.request(record, cx)?, label)).await?;
        let seen = seen(record, &head.headers, &answer);
        if self.is_last(poll, &head, &seen)? {
            return Ok(answer);
        }
        let accepted = Accepted { url: self.where_to_ask(poll, &head, &seen)?, since: now_ms() };
        cx.save(accepted.write()).await?;
        self.tell(poll, &seen, cx);
        self.follow(poll, accepted, wait(poll, &head.headers), false, record, cx).await
    }

    /// Asks until the server is done. `again`: another attempt has begun it.
    async fn follow(
        &self,
        poll: &Poll,
        accepted: Accepted,
        mut pause: Duration,
        mut again: bool,
        record: &Record,
        cx: &CallContext,
    ) -> Result<Answer, Failure> {
        let gone = Duration::from_millis(now_ms().saturating_sub(accepted.since));
        let end = Instant::now() + poll.timeout.saturating_sub(gone);
        let at = if self.plan.label.ends_with("***") { "***".to_owned() } else { answer::place(&accepted.url) };
        let label = format!("GET {at}");
        loop {
            tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
            let asked = within(poll.request, &label, self.ask(self.question(&accepted.url), &label)).await;
            let trouble = match asked {
                Ok((head, answer)) => {
                    let seen = seen(record, &head.headers, &answer);
                    self.tell(poll, &seen, cx);
                    if self.is_last(poll, &head, &seen)? {
                        return Ok(answer);
                    }
                    if std::mem::take(&mut again) {
                        // Says that the server answers: else nobody would know before it is done.
                        cx.save(accepted.write()).await?;
                    }
                    pause = wait(poll, &head.headers);
                    "it is not done".to_owned()
                }
                Err(failure) if failure.class == Class::Transient => {
                    pause = failure.retry_after.unwrap_or_default().max(poll.every);
                    failure.message
                }
                Err(failure) => return Err(failure),
            };
            if Instant::now() >= end {
                let message = format!("{label}: not done within {}: {trouble}", show_duration(poll.timeout));
                return Err(Failure::permanent("http_poll_timeout", message));
            }
        }
    }

    fn question(&self, url: &Uri) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::default());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = self.plan.headers.clone();
        request.headers_mut().remove(CONTENT_TYPE);
        request
    }

    fn is_last(&self, poll: &Poll, head: &Parts, seen: &Record) -> Result<bool, Failure> {
        match &poll.until {
            Some(until) => Ok(self.with_state(|state| until.test(state, seen))?),
            None => Ok(head.status != StatusCode::ACCEPTED),
        }
    }

    fn where_to_ask(&self, poll: &Poll, head: &Parts, seen: &Record) -> Result<Uri, Failure> {
        let nothing = |what: &str| {
            let message = format!("{}: the answer does not say where to ask: {what}", self.plan.label);
            Failure::permanent("http_poll_url", message)
        };
        let given = match &poll.url {
            None => head.headers.get(LOCATION).and_then(|l| l.to_str().ok()).map(str::to_owned),
            Some(url) => match self.with_state(|state| url.value(state, seen))? {
                Value::Bytes(text) => String::from_utf8(text.to_vec()).ok(),
                Value::String(text) => Some(text.to_string()),
                _ => None,
            },
        };
        let what = if poll.url.is_some() { "`poll.url` gives no text" } else { "it has no header `Location`" };
        place(&self.plan.uri, given.as_deref().map(str::trim).filter(|g| !g.is_empty()).ok_or_else(|| nothing(what))?)
    }

    /// What cannot be told is not told.
    fn tell(&self, poll: &Poll, seen: &Record, cx: &CallContext) {
        let Some(progress) = &poll.progress else { return };
        match self.with_state(|state| progress.value(state, seen)) {
            Ok(Value::Integer(percent)) => cx.progress(percent as f64),
            Ok(Value::Float(percent)) => cx.progress(percent.into_inner()),
            _ => {}
        }
    }
}

/// An answer as expressions see it: its content, its headers, and of the record what it is called.
fn seen(record: &Record, headers: &HeaderMap, answer: &Answer) -> Record {
    let payload = match answer {
        Answer::Empty => Payload::from_value(Value::Null),
        Answer::Json(json) => json.clone(),
        Answer::Text(text) => Payload::from_value(Value::Bytes(text.clone())),
    };
    let mut own = HeadersBuilder::with_capacity(headers.len() * 48);
    for (name, value) in headers {
        own.push(name.as_str(), Some(value.as_bytes()));
    }
    Record {
        key: record.key.clone(),
        payload,
        headers: own.finish(),
        timestamp: record.timestamp,
        meta: record.meta.clone(),
    }
}

fn wait(poll: &Poll, headers: &HeaderMap) -> Duration {
    answer::retry_after(headers, SystemTime::now()).unwrap_or_default().max(poll.every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_stays_on_the_server() {
        let base = Uri::from_static("https://stock.example/v1/reports?x=1");
        for (given, at) in [
            ("/jobs/7", "https://stock.example/jobs/7"),
            ("7", "https://stock.example/v1/7"),
            ("?job=7", "https://stock.example/v1/reports?job=7"),
            ("https://stock.example:443/7#x", "https://stock.example/7"),
            ("//STOCK.example/a/../7", "https://stock.example/7"),
            ("/a b", "https://stock.example/a%20b"),
        ] {
            assert_eq!(place(&base, given).expect(given).to_string(), at, "{given}");
        }
        for given in [
            "http://stock.example/7",
            "https://stock.example:8443/7",
            "https://stock.example.evil/7",
            "//169.254.169.254/latest/meta-data",
            "https://user@stock.example/7",
            "\\\\evil\\x",
            "file:///etc/passwd",
            "https://[",
            "javascript:1",
        ] {
            assert_eq!(place(&base, given).expect_err(given).code, "http_poll_url", "{given}");
        }
        assert_eq!(place(&base, &"x".repeat(MAX_URL + 1)).unwrap_err().code, "http_poll_url");
    }

    /// A durable form: change it with its version.
    #[test]
    fn a_checkpoint_of_this_form_is_read_and_a_newer_one_is_refused() {
        let base = Uri::from_static("http://a:1/x");
        let read = |text: &str| Accepted::read(text.as_bytes(), &base).map(|a| (a.url.to_string(), a.since));
        let golden = r#"{"v":1,"url":"http://a:1/jobs/7","since":5}"#;
        assert_eq!(read(golden).unwrap(), ("http://a:1/jobs/7".to_owned(), 5));
        let again = Accepted::read(golden.as_bytes(), &base).unwrap().write();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&again).unwrap(),
            serde_json::from_str::<serde_json::Value>(golden).unwrap()
        );
        for bad in ["", "{}", r#"{"v":2,"at":"x"}"#, r#"{"v":1,"url":"http://b/","since":5}"#] {
            assert_eq!(read(bad).unwrap_err().code, "http_poll_url", "{bad}");
        }
    }
}
