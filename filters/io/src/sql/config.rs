//! What stands under `sql:`, checked.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millstream_expr::{Expression, Options, Purpose};
use millstream_filter_api::{CheckContext, Found, Issue, Keys, Node, NodeKind, units};
use millstream_pgclient::Target;

use super::lite::Lite;
use super::pg::Pg;
use super::rows::Wanted;
use super::scan::{Scanned, TRANSACTIONS};
use super::value::Arg;
use crate::into::{Into, is_resolved};
use crate::secrets::Secrets;

const KEYS: &[&str] = &["args", "connections", "init", "into", "once", "rows", "statement", "timeout", "url"];
const CONNECTIONS: usize = 8;
const KEEP: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// What stands for a secret in a process that does not run the stage.
const ELSEWHERE: &str = "secret";

/// A checked configuration, shared by the replicas of a stage.
pub(super) struct Plan {
    place: Place,
    connections: usize,
    pub args: Vec<Arg>,
    pub into: Option<Into>,
    /// For the whole call; `None` leaves it to the stage's.
    pub timeout: Option<Duration>,
    pub work: Arc<Work>,
    /// Whether it does more than look.
    pub effects: bool,
    pub secrets: Secrets,
    base: OnceLock<Result<Base, String>>,
}

/// What is done at a database.
pub(super) struct Work {
    pub statement: String,
    pub init: Vec<String>,
    pub wanted: Wanted,
    pub once: Option<Once>,
    /// For everything.
    pub limit: Duration,
}

impl Work {
    /// Whether what comes back is wanted.
    pub(super) fn keeps(&self) -> bool {
        self.wanted != Wanted::Nothing
    }
}

/// The call's id goes into the transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Once {
    /// How long it is known.
    pub keep: Duration,
}

enum Place {
    Postgres(Box<Target>),
    Sqlite(PathBuf),
    /// The URL is a secret of another process.
    Elsewhere,
}

/// The database, as the stage has it open.
pub(super) enum Base {
    Postgres(Box<Pg>),
    Sqlite(Lite),
}

impl Plan {
    /// The stage's connections, made by whoever is first.
    pub(super) fn base(&self) -> Result<&Base, &str> {
        let made = self.base.get_or_init(|| match &self.place {
            Place::Postgres(target) => Pg::new(target, self.connections).map(|pg| Base::Postgres(Box::new(pg))),
            Place::Sqlite(path) => Ok(Base::Sqlite(Lite::new(path.clone()))),
            Place::Elsewhere => Err("the URL is a secret that this process does not have".to_owned()),
        });
        made.as_ref().map_err(String::as_str)
    }

    /// Checks a configuration.
    pub(super) fn check(with: &Node, cx: &CheckContext<'_>) -> Result<Self, Vec<Issue>> {
        let mut issues = Vec::new();
        let keys = Keys::of(with, KEYS, &mut issues);
        let mut secrets = Secrets::default();
        let place = keys.text("url", "postgres://user@host/database", &mut issues).and_then(|(node, text)| {
            if is_resolved(node) {
                secrets.keep(text.split_once("://").map_or(text, |(_, rest)| rest));
            }
            place(node, text, cx).map_err(|issue| issues.push(issue)).ok()
        });
        let statement = keys.text("statement", "update orders set status = 'done' where id = $1", &mut issues);
        let scanned = statement.map(|(_, text)| Scanned::of(text));
        if let (Some((node, _)), Some(scanned)) = (statement, &scanned) {
            issues.extend(statement_issue(node, scanned, place.as_ref()));
        }
        let args = args(keys.get("args"), cx, &mut issues);
        if let (Some((node, _)), Some(scanned), Some(args)) = (statement, &scanned, &args) {
            issues.extend(count_issue(keys.get("args").unwrap_or(node), &scanned.places, args.len()));
        }
        let into = keys
            .get("into")
            .and_then(|_| keys.text("into", ".row", &mut issues))
            .and_then(|(node, text)| Into::at(node, text).map_err(|issue| issues.push(issue)).ok());
        let wanted = wanted(&keys, &mut issues);
        let reads = scanned.as_ref().is_some_and(Scanned::reads);
        let once = once(keys.get("once"), reads, &mut issues);
        let init = init(keys.get("init"), &mut issues);
        let timeout = keys.get("timeout").and_then(|node| duration(node, "timeout", &mut issues));
        if let (Some(limit), Some(node)) = (timeout, keys.get("timeout"))
            && limit > cx.timeout
        {
            let stages = units::show_duration(cx.timeout);
            let message = format!("`timeout` is longer than the stage's, which ends the call after {stages}");
            issues.push(Issue::error(node.span, "conflicting_keys", message).help("raise the stage's `timeout`"));
        }
        let connections = keys.get("connections").and_then(|node| match node.kind {
            NodeKind::Integer(n @ 1..=1000) => Some(n as usize),
            _ => {
                let message = "`connections` is a whole number from 1 to 1000";
                issues.push(Issue::error(node.span, "wrong_type", message));
                None
            }
        });
        let (Some(place), Some((_, statement)), Some(args), true) = (place, statement, args, issues.is_empty()) else {
            return Err(issues);
        };
        let work = Work { statement: statement.to_owned(), init, wanted, once, limit: timeout.unwrap_or(cx.timeout) };
        Ok(Self {
            place,
            connections: connections.unwrap_or(CONNECTIONS),
            args,
            into,
            timeout,
            work: Arc::new(work),
            effects: !reads || once.is_some(),
            secrets,
            base: OnceLock::new(),
        })
    }
}

fn place(node: &Node, text: &str, cx: &CheckContext<'_>) -> Result<Place, Issue> {
    let bad = |message: String, help: &str| Issue::error(node.span, "bad_url", message).help(help.to_owned());
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let target = Target::parse(text);
        return target.map(|t| Place::Postgres(Box::new(t))).map_err(|trouble| {
            bad(format!("`url`: {}", trouble.message), "it is written `postgres://user:password@host:5432/database`")
        });
    }
    let Some(path) = text.strip_prefix("sqlite:") else {
        if is_resolved(node) && text == ELSEWHERE {
            return Ok(Place::Elsewhere);
        }
        let message = "`url` is neither `postgres://…` nor `sqlite:FILE`".to_owned();
        return Err(bad(message, "such as `postgres://user@host/database` or `sqlite:orders.db`"));
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.starts_with(':') || path.contains(['?', '\0']) {
        let message = "`url` names no file behind `sqlite:`".to_owned();
        return Err(bad(message, "such as `sqlite:orders.db`, beside the pipeline; parameters are not taken"));
    }
    if cx.files.look(Path::new(path)) == Found::Folder {
        return Err(bad("`url` names a folder".to_owned(), "name a file in it"));
    }
    Ok(Place::Sqlite(cx.files.place(Path::new(path))))
}

fn statement_issue(node: &Node, scanned: &Scanned, place: Option<&Place>) -> Option<Issue> {
    let bad =
        |message: String, help: &str| Some(Issue::error(node.span, "bad_statement", message).help(help.to_owned()));
    match scanned.first.as_str() {
        _ if scanned.several => {
            bad("`statement` is one statement, and something comes behind its `;`".to_owned(), "use a stage for each")
        }
        "" => bad("`statement` has no statement in it".to_owned(), "such as `select name from users where id = $1`"),
        word if TRANSACTIONS.contains(&word) => {
            bad(format!("`{word}` is not a record's to run"), "each call has its own transaction where it needs one")
        }
        _ if scanned.question && matches!(place, Some(Place::Sqlite(_))) => {
            bad("`?` is no placeholder here".to_owned(), "write `$1`, `$2`, …, in SQLite too")
        }
        _ => None,
    }
}

fn args(node: Option<&Node>, cx: &CheckContext<'_>, issues: &mut Vec<Issue>) -> Option<Vec<Arg>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let Some(items) = node.as_list() else {
        let message = format!("`args` is a list of expressions such as `[.id, .price * 2]`, found {}", node.describe());
        issues.push(Issue::error(node.span, "wrong_type", message));
        return None;
    };
    let mut compiled = Vec::new();
    for item in items {
        let options = Options { limit: cx.timeout.min(Duration::from_secs(1)), ..Options::new(Purpose::Value) };
        match Expression::compile_with(item, cx.input, options) {
            Ok(expression) => compiled.push(Arg::new(expression, item)),
            Err(found) => issues.extend(found),
        }
    }
    // What did not compile has been told; a count would be wrong.
    (compiled.len() == items.len()).then_some(compiled)
}

fn count_issue(node: &Node, places: &[usize], args: usize) -> Option<Issue> {
    if let Some(beyond) = places.iter().find(|n| **n > args || **n == 0) {
        let message = format!("`${beyond}` has no expression: `args` has {args}");
        return Some(Issue::error(node.span, "sql_placeholders", message).help("one for each of `$1`, `$2`, …"));
    }
    let unused = (1..=args).find(|n| !places.contains(n))?;
    let message = format!("the statement has no `${unused}` for the {unused}. of `args`");
    Some(Issue::error(node.span, "sql_placeholders", message).help("one for each of `$1`, `$2`, …"))
}

fn wanted(keys: &Keys<'_>, issues: &mut Vec<Issue>) -> Wanted {
    let into = keys.get("into").is_some();
    let Some(node) = keys.get("rows") else { return if into { Wanted::First } else { Wanted::Nothing } };
    if !into {
        let message = "`rows` says what goes into the field of `into`, and there is none";
        issues.push(Issue::error(node.span, "conflicting_keys", message).help("such as `into: .row`"));
    }
    match node.as_text() {
        Some("first") => Wanted::First,
        Some("all") => Wanted::All,
        _ => {
            issues.push(Issue::error(node.span, "unknown_value", "`rows` is `first` or `all`"));
            Wanted::First
        }
    }
}

fn once(node: Option<&Node>, reads: bool, issues: &mut Vec<Issue>) -> Option<Once> {
    let Some(node) = node else { return (!reads).then_some(Once { keep: KEEP }) };
    match &node.kind {
        NodeKind::Bool(false) => None,
        NodeKind::Bool(true) => Some(Once { keep: KEEP }),
        NodeKind::Map(_) => {
            let keys = Keys::of(node, &["keep"], issues);
            let keep = keys.get("keep").map(|node| duration(node, "keep", issues));
            Some(Once { keep: keep.flatten().unwrap_or(KEEP) })
        }
        _ => {
            let message = format!("`once` is true, false or `{{ keep: 30d }}`, found {}", node.describe());
            issues.push(Issue::error(node.span, "wrong_type", message));
            None
        }
    }
}

fn init(node: Option<&Node>, issues: &mut Vec<Issue>) -> Vec<String> {
    let Some(node) = node else { return Vec::new() };
    let items = node.as_list().unwrap_or(std::slice::from_ref(node));
    let mut all = Vec::new();
    for item in items {
        match item.as_text().filter(|text| !text.trim().is_empty()) {
            Some(text) => all.push(text.to_owned()),
            None => {
                let message = "`init` is a statement or a list of them, such as `[ \"create table if not exists …\" ]`";
                issues.push(Issue::error(item.span, "wrong_type", message));
            }
        }
    }
    all
}

fn duration(node: &Node, key: &str, issues: &mut Vec<Issue>) -> Option<Duration> {
    let found = node.as_text().and_then(units::duration).filter(|d| !d.is_zero());
    if found.is_none() {
        let message = format!("`{key}` is a duration such as `500ms` or `10s`");
        issues.push(Issue::error(node.span, "bad_duration", message));
    }
    found
}
