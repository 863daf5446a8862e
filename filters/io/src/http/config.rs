//! What stands under `http:`, checked.

use std::collections::HashSet;
use std::sync::OnceLock;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Uri};
use millstream_expr::{Expression, Options, Purpose};
use millstream_filter_api::{CheckContext, Issue, Keys, Node, NodeKind, nearest, units};

use super::answer;
use super::call::IDEMPOTENCY_KEY;
use super::client::Client;
use super::poll::Poll;
use super::resolver::Reach;
use crate::into::{Into, is_resolved};
use crate::secrets::Secrets;

const KEYS: &[&str] =
    &["body", "connect_timeout", "headers", "into", "keep", "max_response", "method", "poll", "timeout", "url"];
const METHODS: [&str; 5] = ["DELETE", "GET", "PATCH", "POST", "PUT"];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_RESPONSE: usize = 1 << 20;
/// More than this, times the calls in flight, is no bound.
const MOST_RESPONSE: usize = 64 << 20;

/// Headers that are not the pipeline's to set, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("accept-encoding", "answers are read as they come, and a compressed one could not be"),
    ("connection", "connections are pooled"),
    ("content-length", "it follows from the body"),
    ("expect", "the body is sent at once"),
    ("host", "it follows from `url`"),
    ("idempotency-key", "each call gets its own, equal on every attempt"),
    ("keep-alive", "connections are pooled"),
    ("proxy-connection", "connections are pooled"),
    ("te", "it belongs to the connection"),
    ("trailer", "it belongs to the connection"),
    ("transfer-encoding", "it belongs to the connection"),
    ("upgrade", "it belongs to the connection"),
];

/// A checked configuration, shared by the replicas of a stage.
pub(super) struct Plan {
    pub uri: Uri,
    pub method: Method,
    pub headers: HeaderMap,
    pub body: Option<Expression>,
    /// Whether the payload is the body where no expression is given.
    pub sends_payload: bool,
    pub taken: Taken,
    /// For the whole call; `None` leaves it to the stage's.
    pub timeout: Option<Duration>,
    pub connect_timeout: Duration,
    pub max_response: usize,
    /// How what the server has accepted is followed to its end.
    pub poll: Option<Poll>,
    /// `POST http://host/path`, for messages.
    pub label: String,
    pub secrets: Secrets,
    client: OnceLock<Result<Client, String>>,
}

/// What becomes of an answer.
pub(super) enum Taken {
    /// It takes the place of the payload.
    Payload,
    /// It goes into a field.
    Field(Into),
    /// It is not looked at.
    Nothing,
}

impl Plan {
    /// The stage's client, made by whoever is first.
    pub(super) fn client(&self) -> Result<&Client, &str> {
        let tls = self.uri.scheme_str() == Some("https");
        let made = self.client.get_or_init(|| {
            Client::new(tls, self.connect_timeout, Reach::Anything)
                .map_err(|e| format!("no root certificates to trust: {e}"))
        });
        made.as_ref().map_err(String::as_str)
    }

    /// Checks a configuration.
    pub(super) fn check(with: &Node, cx: &CheckContext<'_>) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, KEYS, &mut issues);
        let mut secrets = Secrets::default();
        let url = keys.text("url", "https://stock.example.com/reserve", &mut issues);
        let uri = url.and_then(|(node, text)| {
            keep_secret(node, text, &mut secrets);
            uri(node, text).map_err(|issue| issues.push(issue)).ok()
        });
        let method = keys.get("method").map_or(Some(Method::POST), |node| method(node, &mut issues));
        let mut headers = keys.get("headers").map_or_else(HeaderMap::new, |n| headers(n, &mut secrets, &mut issues));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION"))));
        let body = keys.get("body").and_then(|node| {
            let options = Options { limit: cx.timeout.min(Duration::from_secs(1)), ..Options::new(Purpose::Value) };
            Expression::compile_with(node, cx.input, options).map_err(|found| issues.extend(found)).ok()
        });
        let taken = taken(&keys, &mut issues);
        let timeout = keys.get("timeout").and_then(|node| {
            let limit = duration(node, "timeout", &mut issues)?;
            if limit > cx.timeout {
                let stages = units::show_duration(cx.timeout);
                let message = format!("`timeout` is longer than the stage's, which ends the call after {stages}");
                issues.push(Issue::error(node.span, "conflicting_keys", message).help("raise the stage's `timeout`"));
            }
            Some(limit)
        });
        let connect_timeout =
            keys.get("connect_timeout").and_then(|node| duration(node, "connect_timeout", &mut issues));
        let poll = keys.get("poll").map(|node| Poll::check(node, timeout.unwrap_or(cx.timeout), &mut issues));
        let max_response = keys.get("max_response").and_then(|node| size(node, &mut issues));
        let (Some(uri), Some(method), Some(taken), true) = (uri, method, taken, issues.is_empty()) else {
            return Err(issues);
        };
        let from_outside = url.is_some_and(|(node, _)| is_resolved(node));
        let label = format!("{method} {}", if from_outside { "***".to_owned() } else { answer::place(&uri) });
        Ok(Self {
            sends_payload: ![Method::GET, Method::DELETE].contains(&method),
            uri,
            method,
            headers,
            body,
            taken,
            timeout,
            connect_timeout: connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            max_response: max_response.unwrap_or(MAX_RESPONSE),
            poll: poll.flatten(),
            label,
            secrets,
            client: OnceLock::new(),
        })
    }
}

fn keep_secret(node: &Node, text: &str, secrets: &mut Secrets) {
    if is_resolved(node) {
        let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
        secrets.keep(bare);
    }
}

fn uri(node: &Node, text: &str) -> Result<Uri, Issue> {
    let bad =
        |why: &str, help: &str| Err(Issue::error(node.span, "bad_url", format!("`url` {why}")).help(help.to_owned()));
    let shape = "it is written `https://host:port/path`";
    if text.contains(['{', '}']) {
        return bad("is plain text, and has braces", "put what differs from record to record into `body`");
    }
    if text.contains('#') {
        return bad("has a fragment, which is not sent", "leave out `#…`");
    }
    let Ok(uri) = text.parse::<Uri>() else {
        return bad("is no address", "it is written `https://host:port/path`, other characters as `%20`");
    };
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            bad("has a user name in it", "give a header: `Authorization: \"Basic ${env:CREDENTIALS}\"`")
        }
        (Some("http" | "https"), Some(authority)) if authority.host().is_empty() => bad("names no host", shape),
        (Some("http" | "https"), Some(authority)) if bad_port(authority) => bad("has no valid port", shape),
        (Some("http" | "https"), Some(_)) => Ok(uri),
        (Some(_), _) => bad("does not begin with `http://` or `https://`", shape),
        (None, _) => bad("is no whole address", shape),
    }
}

/// `http://a:99999` and `http://a:` parse, and would be called without a port.
fn bad_port(authority: &hyper::http::uri::Authority) -> bool {
    authority.port_u16().is_none() && authority.as_str().len() > authority.host().len()
}

fn method(node: &Node, issues: &mut Vec<Issue>) -> Option<Method> {
    if let Some(method) = node.as_text().filter(|t| METHODS.contains(t)) {
        return method.parse().ok();
    }
    let found = node.as_text().map_or_else(|| node.describe().to_owned(), |t| format!("`{t}`"));
    let message = format!("`method` is one of `{}`, found {found}", METHODS.join("`, `"));
    let issue = Issue::error(node.span, "unknown_value", message);
    let near = node.as_text().and_then(|t| nearest(&t.to_ascii_uppercase(), &METHODS));
    issues.push(match near {
        Some(near) => issue.help(format!("did you mean `{near}`?")),
        None => issue,
    });
    None
}

fn headers(node: &Node, secrets: &mut Secrets, issues: &mut Vec<Issue>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut seen = HashSet::new();
    let Some(pairs) = node.as_map() else {
        let message = format!("`headers` is a map such as `{{ X-Tenant: blue }}`, found {}", node.describe());
        issues.push(Issue::error(node.span, "wrong_type", message));
        return headers;
    };
    for (key, value) in pairs {
        let name = key.as_text().unwrap_or("");
        let bad = |span, why: String| Issue::error(span, "bad_header", why);
        let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
            issues.push(bad(key.span, format!("`{name}` is no name of a header")).help("letters, digits and dashes"));
            continue;
        };
        if let Some((_, why)) = FORBIDDEN.iter().find(|(forbidden, _)| parsed == *forbidden) {
            issues.push(bad(key.span, format!("the header `{name}` cannot be set: {why}")).help("leave it out"));
            continue;
        }
        if !seen.insert(parsed.clone()) {
            issues.push(bad(key.span, format!("the header `{name}` is there twice; case does not count")));
            continue;
        }
        let Some(text) = value.as_text() else {
            // A number has lost how it was written: 007 would be sent as 7.
            let message = format!("the header `{name}` is a text, found {}", value.describe());
            issues.push(Issue::error(value.span, "wrong_type", message).help("quote it: `\"…\"`"));
            continue;
        };
        if is_resolved(value) {
            secrets.keep(text);
        }
        match HeaderValue::from_str(text) {
            Ok(mut value) => {
                value.set_sensitive(true);
                headers.insert(parsed, value);
            }
            // Not the value: it may be a secret.
            Err(_) => issues.push(
                bad(value.span, format!("the value of the header `{name}` has characters that a header cannot have"))
                    .help("printable ASCII, on one line"),
            ),
        }
    }
    debug_assert!(!headers.contains_key(&IDEMPOTENCY_KEY));
    headers
}

fn taken(keys: &Keys<'_>, issues: &mut Vec<Issue>) -> Option<Taken> {
    let keep = match keys.get("keep") {
        None => false,
        Some(Node { kind: NodeKind::Bool(keep), .. }) => *keep,
        Some(node) => {
            let message = format!("`keep` is true or false, found {}", node.describe());
            issues.push(Issue::error(node.span, "wrong_type", message));
            return None;
        }
    };
    let Some(node) = keys.get("into") else { return Some(if keep { Taken::Nothing } else { Taken::Payload }) };
    if keep {
        let message = "`keep` leaves the answer aside, and `into` puts it into a field";
        issues.push(Issue::error(node.span, "conflicting_keys", message).help("give one of them"));
    }
    let (_, text) = keys.text("into", ".answer", issues)?;
    Into::at(node, text).map_err(|issue| issues.push(issue)).ok().map(Taken::Field)
}

pub(super) fn duration(node: &Node, key: &str, issues: &mut Vec<Issue>) -> Option<Duration> {
    let found = node.as_text().and_then(units::duration).filter(|d| !d.is_zero());
    if found.is_none() {
        let message = format!("`{key}` is a duration such as `500ms` or `10s`");
        issues.push(Issue::error(node.span, "bad_duration", message));
    }
    found
}

fn size(node: &Node, issues: &mut Vec<Issue>) -> Option<usize> {
    let found = node.as_text().and_then(units::size).filter(|s| *s <= MOST_RESPONSE);
    if found.is_none() {
        let message = "`max_response` is a size such as `256KiB` or `4MiB`, and at most `64MiB`";
        issues.push(Issue::error(node.span, "bad_size", message));
    }
    found
}
