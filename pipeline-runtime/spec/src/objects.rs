//! `source: { objects: … }`: a folder or a bucket that is watched.

use std::path::{Path, PathBuf};
use std::time::Duration;

use globset::{Glob, GlobBuilder, GlobMatcher};
use millstream_filter_api::{Issue, Kind, Node, Span};
use vrl::value::kind::{Collection, Field};

use crate::http::Secret;
use crate::{read, units};

/// Objects as a source: one record for each that was created, changed or deleted.
#[derive(Clone, Debug)]
pub struct ObjectsSource {
    /// As written.
    pub url: String,
    /// Where they are.
    pub place: Place,
    /// Which of them, by their names; `None` is all.
    pub matching: Option<Matching>,
    /// What of them makes records.
    pub on: On,
    /// What a record holds beside what is known of the object.
    pub emit: Emit,
    /// An object is taken when it has not changed for so long.
    pub settle: Duration,
    /// Between the end of one listing and the next.
    pub every: Duration,
    /// Whether the file system is asked to say at once that something happened.
    pub notify: bool,
}

/// A pattern of names.
#[derive(Clone, Debug)]
pub struct Matching {
    /// As written.
    pub text: String,
    /// `*` stays within one part of a name, `**` does not.
    pub glob: GlobMatcher,
}

/// Where objects are.
#[derive(Clone, Debug)]
pub enum Place {
    /// A folder with those below it, resolved against the pipeline's folder.
    Folder(PathBuf),
    /// A bucket (or container) of an object store.
    Bucket(Box<Bucket>),
}

/// A bucket, and the part of it that is looked at.
#[derive(Clone, Debug)]
pub struct Bucket {
    /// Whose protocol it speaks.
    pub service: Service,
    /// Its name.
    pub name: String,
    /// What names begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// Where the service is, if not where it is by default.
    pub endpoint: Option<String>,
    /// Of S3.
    pub region: Option<String>,
    /// Of Azure.
    pub account: Option<String>,
    /// By what right.
    pub access: Access,
}

/// The protocol of an object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Amazon S3 and what is compatible with it.
    S3,
    /// Azure Blob Storage.
    Azblob,
    /// Google Cloud Storage.
    Gcs,
}

/// By what right a bucket is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// What the environment, a profile or the machine gives.
    Environment,
    /// Nobody's: the bucket is public.
    Anonymous,
    /// S3: an access key, its secret, and the token of a session.
    Keys(String, Secret, Option<Secret>),
    /// Azure: the key of the account.
    AccountKey(Secret),
    /// Azure: a shared access signature.
    Sas(Secret),
    /// Google: a service account's JSON.
    Credential(Secret),
}

/// What of an object makes a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct On {
    /// It is there, and was not.
    pub created: bool,
    /// It is another than before.
    pub changed: bool,
    /// It is not there any more.
    pub deleted: bool,
}

/// What a record holds beside what is known of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Emit {
    /// Nothing.
    Reference,
    /// What is in it.
    Content {
        /// Bytes at most; a larger object becomes a dead letter.
        max: usize,
        /// Whether it is written as base64; else it must be UTF-8.
        base64: bool,
    },
}

/// Larger contents would not fit the producers once they are JSON.
const MAX_CONTENT: usize = 4 << 20;
/// What a record has beside the content, at most: names, key, headers.
const BESIDE: usize = 64 << 10;

impl ObjectsSource {
    /// Bytes that a payload may have, if it holds content: text grows where it is written as JSON.
    pub fn max_payload(&self) -> Option<usize> {
        match self.emit {
            Emit::Reference => None,
            Emit::Content { max, .. } => Some(2 * max + BESIDE / 2),
        }
    }

    /// The type of its records.
    pub(crate) fn types(&self) -> Kind {
        let text = Kind::bytes;
        let told = || match self.place {
            Place::Folder(_) => text(),
            Place::Bucket(_) => text().or_null(),
        };
        let mut fields: Vec<(&str, Kind)> = vec![
            ("url", text()),
            ("name", text()),
            ("size", Kind::integer()),
            ("modified", told()),
            ("etag", told()),
            ("event", text()),
        ];
        if matches!(self.emit, Emit::Content { .. }) {
            fields.push(("content", if self.on.deleted { text().or_undefined() } else { text() }));
        }
        let known = fields.into_iter().map(|(name, kind)| (Field::from(name), kind)).collect();
        Kind::object(Collection::from_parts(known, Kind::undefined()))
    }

    /// All of it that decides which records it gives, without secrets.
    pub fn mark(&self) -> String {
        let matching = self.matching.as_ref().map(|m| m.text.as_str());
        let place = match &self.place {
            Place::Folder(_) => String::new(),
            Place::Bucket(b) => format!("{:?} {:?} {:?}", b.endpoint, b.region, b.account),
        };
        let times = (self.settle.as_millis(), self.every.as_millis(), self.notify);
        format!("{matching:?} {:?} {:?} {times:?} {place}", self.on, self.emit)
    }
}

/// Bytes of a record that holds the largest payload.
pub(crate) fn max_record(objects: &ObjectsSource) -> Option<usize> {
    objects.max_payload().map(|payload| payload + BESIDE / 2)
}

/// Reads `objects:`.
pub(crate) fn read(node: &Node, pipeline: &Path, issues: &mut Vec<Issue>) -> ObjectsSource {
    let url = read::text(node, "url").unwrap_or("").to_owned();
    let span = node.get("url").map_or(node.span, |n| n.span);
    let place = match place(&url, node, pipeline, issues) {
        Ok(place) => place,
        Err(why) => {
            // What is no URL at all was said by its shape.
            if is_url(&url) {
                issues.push(Issue::error(span, "bad_objects_url", format!("`{url}`: {why}")).help(URL_HELP));
            }
            Place::Folder(PathBuf::new())
        }
    };
    let folder = matches!(place, Place::Folder(_));
    let matching = node.get("match").and_then(|n| matching(n, issues));
    let on =
        node.get("on").and_then(Node::as_list).map_or(On { created: true, changed: true, deleted: false }, |all| {
            let has = |word| all.iter().any(|n| n.as_text() == Some(word));
            On { created: has("created"), changed: has("changed"), deleted: has("deleted") }
        });
    let content = read::text(node, "emit") == Some("content");
    for key in ["max_content", "encoding"] {
        if let (false, Some(at)) = (content, key_span(node, key)) {
            let issue = Issue::error(at, "conflicting_keys", format!("`{key}` has no meaning without `emit: content`"));
            issues.push(issue.help("add `emit: content`, or leave it out"));
        }
    }
    let max = read::text(node, "max_content").and_then(units::size);
    if let (Some(size), Some(at)) = (max, node.get("max_content"))
        && size > MAX_CONTENT
    {
        let message = format!("`max_content`: at most {} MiB, as an object is one record", MAX_CONTENT >> 20);
        let issue = Issue::error(at.span, "out_of_range", message);
        issues.push(issue.help("leave out `emit: content` and let a stage read the object by its `url`"));
    }
    let emit = match content {
        false => Emit::Reference,
        true => Emit::Content {
            max: max.unwrap_or(1 << 20).min(MAX_CONTENT),
            base64: read::text(node, "encoding") == Some("base64"),
        },
    };
    if let (false, Some(at)) = (folder, key_span(node, "watch").filter(|_| read::text(node, "watch") == Some("notify")))
    {
        let issue = Issue::error(at, "conflicting_keys", "`watch: notify` is for folders: a bucket is listed");
        issues.push(issue.help("leave it out; `every` says how often"));
    }
    // An object is written as a whole, a file bit by bit.
    let settle = if folder { Duration::from_secs(2) } else { Duration::ZERO };
    let every = if folder { Duration::from_secs(10) } else { Duration::from_secs(60) };
    ObjectsSource {
        url,
        place,
        matching,
        on,
        emit,
        settle: read::duration(node, "settle").unwrap_or(settle),
        every: read::duration(node, "every").unwrap_or(every),
        notify: folder && read::text(node, "watch") != Some("poll"),
    }
}

const URL_HELP: &str = "such as `file:///srv/uploads`, `file:inbox` beside the pipeline, `s3://bucket/prefix`, `azblob://container/prefix`, `gs://bucket/prefix`";

/// Whether it begins like a place of objects.
pub(crate) fn is_url(text: &str) -> bool {
    let rest = ["file:", "s3://", "azblob://", "gs://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty())
}

fn place(url: &str, node: &Node, pipeline: &Path, issues: &mut Vec<Issue>) -> Result<Place, String> {
    let Some(path) = url.strip_prefix("file:") else { return bucket(url, node, issues) };
    for key in ["endpoint", "region", "account", "auth"] {
        if let Some(at) = key_span(node, key) {
            let issue = Issue::error(at, "conflicting_keys", format!("`{key}` has no meaning for a folder"));
            issues.push(issue.help("leave it out"));
        }
    }
    let path = match path.strip_prefix("//") {
        None => path,
        Some(rest) => match rest.split_once('/') {
            Some(("" | "localhost", _)) => &rest[rest.find('/').unwrap_or(0)..],
            _ => return Err("a folder of another machine; mount it, or write three slashes".to_owned()),
        },
    };
    if path.contains(['?', '#']) {
        return Err("`?` and `#` in a path are written `%3F` and `%23`".to_owned());
    }
    let path = decode(path).ok_or("`%` is followed by two hexadecimal digits, and never by `00`")?;
    Ok(Place::Folder(pipeline.parent().map_or_else(PathBuf::new, Path::to_path_buf).join(path)))
}

fn bucket(url: &str, node: &Node, issues: &mut Vec<Issue>) -> Result<Place, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no place of objects")?;
    let service = match scheme {
        "s3" => Service::S3,
        "azblob" => Service::Azblob,
        "gs" => Service::Gcs,
        _ => return Err("no place of objects".to_owned()),
    };
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._$".contains(c);
    if name.is_empty() || !name.chars().all(fits) {
        return Err("the name of a bucket has letters, digits, `-`, `.` and `_`".to_owned());
    }
    let prefix = prefix.trim_matches('/');
    if prefix.split('/').any(|part| part == "." || part == "..") || prefix.contains("//") {
        return Err("the parts of a prefix are not empty, `.` or `..`".to_owned());
    }
    let said = |key| read::text(node, key).map(str::to_owned);
    let foreign = match service {
        Service::S3 => &["account"][..],
        Service::Azblob => &["region"],
        Service::Gcs => &["region", "account"],
    };
    for key in foreign {
        if let Some(at) = key_span(node, key) {
            let issue = Issue::error(at, "conflicting_keys", format!("`{key}` has no meaning for `{scheme}://`"));
            issues.push(issue.help("leave it out"));
        }
    }
    if let Some(at) = node.get("endpoint").filter(|n| n.as_text().is_some_and(|t| !is_endpoint(t))) {
        let issue = Issue::error(at.span, "bad_objects_url", "`endpoint` is a URL of a server");
        issues.push(issue.help("such as `https://s3.example.com` or `http://localhost:9000`"));
    }
    if service == Service::Azblob && node.get("endpoint").is_none() && node.get("account").is_none() {
        let issue = Issue::error(node.span, "missing_key", "`azblob://` needs `account`, or the `endpoint` of one");
        issues.push(issue.help("the name before `.blob.core.windows.net`"));
    }
    let access = node.get("auth").map_or(Access::Environment, |auth| access(auth, service, issues));
    Ok(Place::Bucket(Box::new(Bucket {
        service,
        name: name.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: said("endpoint"),
        region: said("region"),
        account: said("account"),
        access,
    })))
}

fn access(auth: &Node, service: Service, issues: &mut Vec<Issue>) -> Access {
    if auth.as_text() == Some("none") {
        return Access::Anonymous;
    }
    let secret = |key| read::text(auth, key).map(|text| Secret::new(text.to_owned()));
    let (wanted, example) = match service {
        Service::S3 => (&["access_key", "secret_key", "session_token"][..], "{ access_key: …, secret_key: … }"),
        Service::Azblob => (&["account_key", "sas"][..], "{ account_key: … } or { sas: … }"),
        Service::Gcs => (&["credential"][..], "{ credential: … }, a service account's JSON"),
    };
    let keys = auth.as_map().unwrap_or(&[]).iter().map(|(key, _)| key);
    if let Some(key) = keys.into_iter().find(|key| key.as_text().is_some_and(|k| !wanted.contains(&k))) {
        let message = format!("`{}` is no right of this service", key.as_text().unwrap_or(""));
        issues.push(Issue::error(key.span, "conflicting_keys", message).help(format!("here it is `auth: {example}`")));
    }
    match service {
        Service::S3 => match (read::text(auth, "access_key"), secret("secret_key")) {
            (Some(key), Some(secret_key)) => Access::Keys(key.to_owned(), secret_key, secret("session_token")),
            _ => {
                let issue = Issue::error(auth.span, "missing_key", "`auth` of S3 has `access_key` and `secret_key`");
                issues.push(issue.help("or `auth: none`; without `auth` the environment is asked"));
                Access::Environment
            }
        },
        Service::Azblob => {
            let key = secret("account_key").map(Access::AccountKey);
            key.or_else(|| secret("sas").map(Access::Sas)).unwrap_or(Access::Environment)
        }
        Service::Gcs => secret("credential").map_or(Access::Environment, Access::Credential),
    }
}

fn is_endpoint(text: &str) -> bool {
    let rest = ["http://", "https://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@', ' ']))
}

/// Whether a pattern can be read.
fn matching(node: &Node, issues: &mut Vec<Issue>) -> Option<Matching> {
    let text = node.as_text().filter(|t| !t.is_empty())?;
    if text.starts_with('/') {
        let issue = Issue::error(node.span, "bad_pattern", "names of objects begin without `/`");
        issues.push(issue.help("a pattern is compared with the name below `url`, such as `**/*.jpg`"));
        return None;
    }
    match GlobBuilder::new(text).literal_separator(true).backslash_escape(true).build() {
        Ok(glob) => Some(Matching { text: text.to_owned(), glob: Glob::compile_matcher(&glob) }),
        Err(error) => {
            let message = format!("`{}` is no pattern: {}", crate::tree::shorten(text), error.kind());
            let issue = Issue::error(node.span, "bad_pattern", message);
            issues.push(issue.help("such as `**/*.jpg`, `2026-??-*.csv` or `{orders,returns}/*.json`"));
            None
        }
    }
}

fn key_span(node: &Node, name: &str) -> Option<Span> {
    node.as_map()?.iter().map(|(k, _)| k).find(|k| k.as_text() == Some(name)).map(|k| k.span)
}

/// A path with `%XX` taken for the byte.
fn decode(text: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let byte = u8::try_from(digit()? * 16 + digit()?).ok()?;
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStringExt;
        Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
    }
    #[cfg(not(unix))]
    String::from_utf8(bytes).ok().map(PathBuf::from)
}
