//! `source: { postgres: … }`: rows of a table of PostgreSQL.

use std::time::Duration;

use millstream_filter_api::{Issue, Kind, Node};

use crate::http::Secret;
use crate::model::Format;
use crate::{read, shape};

/// Rows of a table as a source, read by one process at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSource {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…`
    pub url: Secret,
    /// What is taken from where.
    pub rows: PostgresRows,
    /// Between two looks at a table that had nothing new.
    pub every: Duration,
    /// The channel on which a writer says that there is something new; `None` where only the clock decides.
    pub notify: Option<String>,
    /// Rows of one look at most.
    pub batch: usize,
}

/// What is taken from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresRows {
    /// Rows that are taken once and then removed.
    Outbox {
        /// `events` or `schema.events`.
        table: String,
        /// The column that says of a row that it was taken; `None` deletes it.
        mark: Option<String>,
    },
    /// The rows of a table that stay, each again when it has changed.
    Cursor {
        /// `orders` or `schema.orders`.
        table: String,
        /// The column that rises with each change.
        cursor: String,
        /// The column that names a row.
        key: String,
        /// The columns of a record; `None` is all.
        columns: Option<Vec<String>>,
        /// How long before the end of its transaction a row may have got its cursor.
        late: Duration,
    },
}

impl PostgresSource {
    /// `events` or `schema.events`.
    pub fn table(&self) -> &str {
        match &self.rows {
            PostgresRows::Outbox { table, .. } | PostgresRows::Cursor { table, .. } => table,
        }
    }

    /// What it is, in a line.
    pub fn describe(&self) -> String {
        match &self.rows {
            PostgresRows::Outbox { table, .. } => format!("postgres outbox {table}"),
            PostgresRows::Cursor { table, cursor, .. } => format!("postgres {table} by {cursor}"),
        }
    }

    /// What is taken from where, in a text that is equal for what means the same. Nothing of the URL, of which not even a
    /// hash is kept.
    pub fn mark(&self) -> String {
        format!("{:?}", self.rows)
    }
}

/// Longest time between a row's cursor and its commit that is looked for unless said.
const LATE: Duration = Duration::from_secs(3600);
/// Rows of one look unless said.
const BATCH: usize = 1_000;

/// Reads `postgres:`, and the type of the records it gives.
pub(crate) fn read(node: &Node, issues: &mut Vec<Issue>) -> (PostgresSource, Kind) {
    let text = |key: &str| read::text(node, key).unwrap_or("").to_owned();
    if let Some(url) = node.get("url").filter(|url| url.as_text().is_some_and(|url| !url.is_empty() && !is_url(url))) {
        // The text itself is not shown: there is a password in it.
        let issue = Issue::error(url.span, "bad_url", "this is no URL of PostgreSQL");
        issues.push(issue.help("such as `postgres://USER:PASSWORD@HOST:5432/DATABASE`, best as `${env:DATABASE_URL}`"));
    }
    let mut rows = PostgresRows::Outbox { table: text("outbox"), mark: read::text(node, "mark").map(str::to_owned) };
    if node.get("table").is_some() {
        for key in ["cursor", "key"] {
            if node.get(key).is_none() {
                let message = format!("`table` needs `{key}`");
                issues.push(Issue::error(node.span, "missing_key", message).help(
                    "write `{ table: orders, cursor: updated_at, key: id }`: a column that rises with each change, and \
                     one that names a row",
                ));
            }
        }
        let columns = node.get("columns").and_then(Node::as_list);
        rows = PostgresRows::Cursor {
            table: text("table"),
            cursor: text("cursor"),
            key: text("key"),
            columns: columns.map(|all| all.iter().filter_map(Node::as_text).map(str::to_owned).collect()),
            late: read::duration(node, "late").unwrap_or(LATE),
        };
    }
    let made = match rows {
        PostgresRows::Outbox { .. } => Kind::any(),
        PostgresRows::Cursor { .. } => Kind::any_object(),
    };
    let source = PostgresSource {
        url: Secret::new(text("url")),
        rows,
        every: read::duration(node, "every").unwrap_or(Duration::from_secs(1)),
        notify: read::text(node, "notify").map(str::to_owned),
        batch: node.get("batch").and_then(shape::as_whole).and_then(|n| usize::try_from(n).ok()).unwrap_or(BATCH),
    };
    (source, made)
}

/// `format:` beside `postgres:`; a row is one record.
pub(crate) fn format(node: Option<&Node>, rows: &PostgresRows, issues: &mut Vec<Issue>) -> Format {
    let Some(node) = node else { return Format::Json };
    match (node.as_text(), rows) {
        (Some("json"), _) => Format::Json,
        (Some("text"), PostgresRows::Outbox { .. }) => Format::Text,
        (Some("raw"), PostgresRows::Outbox { .. }) => Format::Raw,
        (_, PostgresRows::Outbox { .. }) => {
            let issue = Issue::error(node.span, "unknown_word", "a payload of an outbox is `json`, `text` or `raw`");
            issues.push(issue.help("rows in one payload can be taken apart in a stage"));
            Format::Json
        }
        (_, PostgresRows::Cursor { .. }) => {
            issues.push(Issue::error(node.span, "unknown_word", "the rows of a table are always `json`"));
            Format::Json
        }
    }
}

/// Whether a text may be a URL of PostgreSQL; it is not shown where it may not.
fn is_url(text: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| text.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

/// `name` or `schema.name`, as they stand in the database.
pub(crate) fn is_table(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.chars().count() <= 63 && !part.contains(['\0', '"']);
    let parts: Vec<&str> = text.split('.').collect();
    parts.len() <= 2 && parts.into_iter().all(part)
}

/// The name of a column or a channel, as it stands in the database.
pub(crate) fn is_column(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= 63 && !text.contains(['\0', '"'])
}
