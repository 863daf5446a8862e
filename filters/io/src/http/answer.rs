//! What an answer means: decisions without I/O.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use hyper::{StatusCode, Uri};
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{Failure, Payload};

/// Longest wait that a server may ask for: what is a day away is not what its author meant.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// What a status says of the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is done.
    Success,
    /// Another attempt may succeed.
    Transient,
    /// None will.
    Permanent,
}

/// 2xx; the server's own trouble and "later"; the rest, redirects among it.
pub(crate) fn verdict(status: StatusCode) -> Verdict {
    match status.as_u16() {
        200..=299 => Verdict::Success,
        408 | 425 | 429 | 500..=599 => Verdict::Transient,
        _ => Verdict::Permanent,
    }
}

/// How long the server asks to wait: seconds, or a date. What is neither, and what has passed, asks for nothing.
pub(crate) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).ok()?,
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// The content of an answer.
#[derive(Debug)]
pub(super) enum Answer {
    /// Nothing.
    Empty,
    /// JSON: its text and its value.
    Json(Payload),
    /// Anything else.
    Text(Bytes),
}

/// Reads a body: JSON if the header says so or it parses, else text.
pub(super) fn read(headers: &HeaderMap, body: Bytes) -> Result<Answer, Failure> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok()).map(|v| v.trim().to_ascii_lowercase());
    if let Some(encoding) = text(CONTENT_ENCODING).filter(|e| !e.is_empty() && e != "identity") {
        let message = format!("the answer is encoded as `{encoding}`, which was not asked for");
        return Err(invalid(message));
    }
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Answer::Empty);
    }
    match Codec::Json.decode(body.clone(), &Coercion::none()) {
        Ok(payload) => Ok(Answer::Json(payload)),
        Err(e) if text(CONTENT_TYPE).is_some_and(|t| is_json(&t)) => {
            Err(invalid(format!("the answer says it is JSON, and is not: {}", e.message)))
        }
        Err(_) => Ok(Answer::Text(body)),
    }
}

pub(super) fn invalid(message: String) -> Failure {
    Failure::permanent("http_response_invalid", message)
}

/// `application/json`, `application/problem+json; charset=utf-8`.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}

/// A status as people read it, with what the answer began with.
pub(crate) fn describe(status: StatusCode, beginning: &[u8]) -> String {
    /// Characters of an answer in a message.
    const SHOWN: usize = 200;
    let reason = status.canonical_reason().map_or(String::new(), |r| format!(" {r}"));
    let mut said = format!("answered {}{reason}", status.as_u16());
    if status.is_redirection() {
        said.push_str(" (redirects are not followed)");
    }
    let text = String::from_utf8_lossy(beginning);
    let words: Vec<&str> =
        text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|w| !w.is_empty()).collect();
    let line = words.join(" ");
    if !line.is_empty() {
        let cut: String = line.chars().take(SHOWN).collect();
        let more = if cut.len() < line.len() { "…" } else { "" };
        said.push_str(&format!(": {cut}{more}"));
    }
    said
}

/// The address without its query, which may carry what is nobody's business.
pub(crate) fn place(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |a| a.as_str());
    format!("{}://{authority}{}", uri.scheme_str().unwrap_or("http"), uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn each_status_has_its_verdict() {
        let all = [(200, Verdict::Success), (204, Verdict::Success), (299, Verdict::Success)].into_iter();
        let later = [408, 425, 429, 500, 501, 503, 599].map(|s| (s, Verdict::Transient));
        let never = [300, 301, 304, 307, 400, 401, 404, 409, 410, 422, 426, 428, 600].map(|s| (s, Verdict::Permanent));
        for (status, want) in all.chain(later).chain(never) {
            assert_eq!(verdict(StatusCode::from_u16(status).unwrap()), want, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let wait = |text: &'static str| retry_after(&headers(&[("retry-after", text)]), now).map(|d| d.as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("0"), Some(0));
        assert_eq!(wait("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sunday, 06-Nov-94 08:50:37 GMT"), Some(60));
        assert_eq!(wait("Sun, 06 Nov 1994 08:49:00 GMT"), None);
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("-1"), None);
        assert_eq!(wait("99999999999"), Some(86_400));
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn a_body_is_json_if_it_says_so_or_parses() {
        let read = |kind: &'static str, body: &'static str| read(&headers(&[("content-type", kind)]), body.into());
        assert!(matches!(read("text/plain", "{\"a\":1}"), Ok(Answer::Json(_))));
        assert!(matches!(read("application/json; charset=utf-8", "[1]"), Ok(Answer::Json(_))));
        assert!(matches!(read("text/plain", "hello"), Ok(Answer::Text(_))));
        assert!(matches!(read("application/json", " \n"), Ok(Answer::Empty)));
        for kind in ["application/json", "Application/Problem+JSON; charset=utf-8", "text/json"] {
            assert_eq!(read(kind, "hello").unwrap_err().code, "http_response_invalid", "{kind}");
        }
        let squeezed = super::read(&headers(&[("content-encoding", "gzip")]), "x".into());
        assert_eq!(squeezed.unwrap_err().code, "http_response_invalid");
    }

    #[test]
    fn messages_are_one_short_line_without_the_query() {
        let said = describe(StatusCode::NOT_FOUND, b"no such\r\n\x1b[31msku\xff");
        assert_eq!(said, "answered 404 Not Found: no such [31msku\u{fffd}");
        assert!(describe(StatusCode::BAD_REQUEST, "é".repeat(500).as_bytes()).chars().count() < 250);
        assert!(describe(StatusCode::FOUND, b"").contains("not followed"));
        assert_eq!(place(&Uri::from_static("http://a:1/x/y?token=1")), "http://a:1/x/y");
    }
}
