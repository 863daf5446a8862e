//! `source: { http: … }`: a path that takes requests in.

use std::fmt;
use std::time::Duration;

use millstream_codec::Packed;
use millstream_filter_api::{Issue, Node};

use crate::model::Format;
use crate::{read, units};

/// Requests as a source. Every process that runs a reader of it serves it.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSource {
    /// Begins with `/`.
    pub path: String,
    /// Who may send.
    pub auth: HttpAuth,
    /// The header of the idempotency key, in lower case; `None` where requests have none.
    pub id: Option<String>,
    /// Bytes of a body at most.
    pub max_body: usize,
    /// Requests a second in one process; `None` is without bound.
    pub rate: Option<f64>,
    /// The answer waits so long for the job's result; `None` answers when the record is durable.
    pub respond: Option<Duration>,
}

/// Who may send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HttpAuth {
    /// Everybody who reaches the port.
    None,
    /// `authorization: Bearer TOKEN`
    Bearer(Secret),
    /// `authorization: Basic …`
    Basic {
        /// The name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A signature (HMAC-SHA256) of the body in one header.
    Hmac {
        /// The key.
        secret: Secret,
        /// Its name, in lower case.
        header: String,
        /// How the signature is written.
        encoding: Encoding,
        /// What stands before it.
        prefix: String,
    },
    /// Signatures as Standard Webhooks has them: `webhook-id`, `webhook-timestamp`, `webhook-signature`.
    Webhook(Secret),
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Lower or upper case.
    Hex,
    /// With padding.
    Base64,
}

/// A text that is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Of a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, to compare with.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl HttpAuth {
    /// Its name in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Bearer(_) => "bearer",
            Self::Basic { .. } => "basic",
            Self::Hmac { .. } | Self::Webhook(_) => "hmac",
        }
    }
}

/// Larger bodies would not fit the producers.
const MAX_BODY: usize = 16 << 20;
/// What a record has beside its payload, at most: headers, key, framing.
const BESIDE: usize = 64 << 10;

/// Reads `http:`.
pub(crate) fn read(node: &Node, issues: &mut Vec<Issue>) -> HttpSource {
    let max_body = node.get("max_body");
    let size = max_body.and_then(Node::as_text).and_then(units::size);
    if let (Some(at), Some(size)) = (max_body, size)
        && size > MAX_BODY
    {
        let message = format!("`max_body`: at most {} MiB, as a body is one record", MAX_BODY >> 20);
        issues.push(Issue::error(at.span, "out_of_range", message));
    }
    let rate = node.get("rate").and_then(|r| match r.as_text() {
        Some(text) => units::rate(text),
        None => crate::shape::as_whole(r).map(|n| n as f64),
    });
    HttpSource {
        path: read::text(node, "path").unwrap_or("").to_owned(),
        auth: node.get("auth").map_or(HttpAuth::None, |auth| self::auth(auth, issues)),
        id: node.get("id").and_then(|id| header(id, issues)),
        max_body: size.unwrap_or(1 << 20).min(MAX_BODY),
        rate,
        respond: node.get("respond").and_then(|respond| read::duration(respond, "result")),
    }
}

/// Bytes of a record that holds the largest body.
pub(crate) fn max_record(http: &HttpSource) -> usize {
    http.max_body + BESIDE
}

/// `format:` beside `http:`; a request is one record.
pub(crate) fn format(node: Option<&Node>, issues: &mut Vec<Issue>) -> Format {
    match node.map(|n| (n, n.as_text())) {
        None | Some((_, Some("json"))) => Format::Json,
        Some((node, Some("avro"))) => {
            let issue = Issue::error(node.span, "not_supported_yet", "requests of Avro are not supported yet");
            issues.push(issue.help("take them in as `raw`"));
            Format::Json
        }
        Some((node, Some(word))) if Packed::named(word).is_some() => {
            let message = format!("requests of `{word}` are not supported yet");
            issues.push(Issue::error(node.span, "not_supported_yet", message).help("take them in as `raw`"));
            Format::Json
        }
        Some((node, _)) if node.as_text() == Some("protobuf") || node.get("protobuf").is_some() => {
            let issue = Issue::error(node.span, "not_supported_yet", "requests of Protobuf are not supported yet");
            issues.push(issue.help("take them in as `raw`"));
            Format::Json
        }
        Some((_, Some("text"))) => Format::Text,
        Some((_, Some("raw"))) => Format::Raw,
        Some((node, _)) => {
            let issue = Issue::error(node.span, "unknown_word", "a request is one record: `json`, `text` or `raw`");
            issues.push(issue.help("rows in one request can be taken apart in a stage"));
            Format::Json
        }
    }
}

fn auth(node: &Node, issues: &mut Vec<Issue>) -> HttpAuth {
    let secret = |node: &Node, key: &str| Secret(read::text(node, key).unwrap_or("").to_owned());
    if node.get("bearer").is_some() {
        return HttpAuth::Bearer(secret(node, "bearer"));
    }
    if let Some(basic) = node.get("basic") {
        let user = read::text(basic, "user").unwrap_or("").to_owned();
        if let (true, Some(at)) = (user.contains(':'), basic.get("user")) {
            issues.push(Issue::error(at.span, "wrong_text", "a user of basic authentication has no `:` in its name"));
        }
        return HttpAuth::Basic { user, password: secret(basic, "password") };
    }
    let Some(hmac) = node.get("hmac") else { return HttpAuth::None };
    if let Some(at) = hmac.get("secret")
        && let Some(rest) = at.as_text().and_then(|text| text.strip_prefix("whsec_"))
        && !is_base64(rest)
    {
        // The text itself is not shown.
        issues.push(Issue::error(at.span, "bad_secret", "what follows `whsec_` is no base64"));
    }
    if hmac.get("header").is_none() {
        return HttpAuth::Webhook(secret(hmac, "secret"));
    }
    HttpAuth::Hmac {
        secret: secret(hmac, "secret"),
        header: header(hmac, issues).unwrap_or_default(),
        encoding: match read::text(hmac, "encoding") {
            Some("base64") => Encoding::Base64,
            _ => Encoding::Hex,
        },
        prefix: read::text(hmac, "prefix").unwrap_or("").to_owned(),
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'+' || b == b'/';
    !digits.is_empty() && text.len().is_multiple_of(4) && text.len() - digits.len() < 3 && digits.bytes().all(known)
}

/// `header:` of a map, in lower case.
fn header(node: &Node, issues: &mut Vec<Issue>) -> Option<String> {
    let name = node.get("header")?;
    let text = name.as_text()?;
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if text.is_empty() || text.len() > 100 || !text.bytes().all(legal) {
        let issue = Issue::error(name.span, "bad_header", "this is no name of an HTTP header");
        issues.push(issue.help("such as `idempotency-key`"));
        return None;
    }
    Some(text.to_ascii_lowercase())
}
