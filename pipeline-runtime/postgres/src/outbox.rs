//! An outbox: rows that are taken once and then removed.
//!
//! All rows that are there and were not taken are taken, in the order of `id`; so a row whose transaction commits late
//! is found whenever it appears, however low its id. What was taken is named in the position that is committed with the
//! records, and removed after that commit; a new owner removes those first, before it reads anything. So a row that is
//! read again was never committed, and a row that was committed is never read again. The records are named by the ids.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use millstream_filter_api::HeadersBuilder;
use millstream_host::{Fault, Maker, Next, SourcePosition};
use millstream_log::LogResult;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::ids::{self, ROOM};
use crate::link::{Link, Table};
use crate::row::{BYTES, Taken, fitting};
use crate::table::{self, Described, column, quoted, raw};
use millstream_pgclient::Trouble;

/// What is to be removed before the next rows are read.
pub(crate) struct Remove {
    /// The table they are in; another one's rows of the same ids stay.
    pub identity: String,
    pub ids: Vec<i64>,
}

/// Rows, and the table they are of.
pub(crate) struct Found {
    identity: String,
    rows: Vec<Taken<i64>>,
}

/// The table's side.
pub(crate) struct Outbox {
    table: String,
    mark: Option<String>,
    batch: usize,
    /// Rows of the next look at most.
    limit: usize,
    plan: Option<Plan>,
}

/// The statements, made of what the table has.
struct Plan {
    identity: String,
    select: String,
    remove: String,
    headers: Vec<String>,
}

impl Outbox {
    pub(crate) fn new(table: &str, mark: Option<&str>, batch: usize) -> Self {
        Self { table: table.to_owned(), mark: mark.map(str::to_owned), batch, limit: batch, plan: None }
    }
}

impl Table for Outbox {
    type Ask = Remove;
    type Answer = Found;

    async fn prepare(&mut self, client: &Client) -> Result<(), Trouble> {
        let described = table::describe(client, &self.table).await?;
        self.plan = Some(plan(&self.table, self.mark.as_deref(), &described)?);
        Ok(())
    }

    async fn round(&mut self, client: &Client, ask: &mut Remove) -> Result<Option<Found>, Trouble> {
        let Some(plan) = &self.plan else { return Ok(None) };
        let (same, any) = (ask.identity == plan.identity, !ask.ids.is_empty());
        if any && !same && !ask.identity.is_empty() {
            tracing::warn!(
                table = %self.table, rows = ask.ids.len(),
                "this is another table than the one that rows were taken from last; those are left there"
            );
            ask.ids.clear();
        }
        if any && same {
            client.execute_typed(&plan.remove, &[(&ask.ids as &(dyn ToSql + Sync), Type::INT8_ARRAY)]).await?;
        }
        let rows = client.query_typed_raw(&plan.select, [((self.limit as i64), Type::INT8)]).await?;
        let mut rows = pin!(rows);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().await {
            let row = one(&row?, &self.table, &plan.headers)?;
            bytes += row.size();
            found.push(row);
            if bytes > BYTES {
                break;
            }
        }
        self.limit = fitting(found.len(), bytes, self.batch);
        if found.iter().any(|row| ask.ids.binary_search(&row.at).is_ok()) {
            let message = format!(
                "rows of `{}` are still there after they were removed: a trigger or a policy keeps them, so that they would \
                 be taken twice",
                self.table
            );
            return Err(Trouble::new("postgres_not_removed", message));
        }
        // They are gone; to remove them again would be harmless.
        ask.ids.clear();
        let ids: Vec<i64> = found.iter().map(|row| row.at).collect();
        let (_, fits) = ids::encode(&ids, ROOM);
        found.truncate(fits);
        Ok((!found.is_empty()).then(|| Found { identity: plan.identity.clone(), rows: found }))
    }
}

/// Bytes of a column as they are, or its text.
fn plain(column: &table::Column) -> String {
    let name = table::column(&column.name);
    if column.base == "bytea" && !column.array { name } else { format!("{name}::text") }
}

fn plan(table: &str, mark: Option<&str>, described: &Described) -> Result<Plan, Trouble> {
    let denied = |what: &str| {
        let message = format!("the user of the URL may not {what} rows of `{table}`; grant it");
        Err(Trouble::new("postgres_denied", message))
    };
    if !described.may_select {
        return denied("SELECT");
    }
    let id = described.names_a_row(table, "id")?;
    if id.array || !["int2", "int4", "int8"].contains(&id.base.as_str()) {
        let message = format!("`id` of `{table}` is {}; it must be `bigint`", id.shown);
        return Err(Trouble::new("postgres_type", message));
    }
    let payload = described.needs(table, "payload")?;
    let known = ["text", "varchar", "bpchar", "json", "jsonb", "bytea", "citext"];
    if payload.array || !known.contains(&payload.base.as_str()) {
        let message =
            format!("`payload` of `{table}` is {}; it must be `jsonb`, `json`, `text` or `bytea`", payload.shown);
        return Err(Trouble::new("postgres_type", message));
    }
    let key = described.columns.iter().find(|c| c.name == "key");
    let (from, id_name) = (quoted(table), column("id"));
    let (untaken, remove) = match mark {
        None if !described.may_delete => return denied("DELETE"),
        None => ("true".to_owned(), format!("DELETE FROM {from} WHERE {id_name} = ANY($1)")),
        Some(mark) => {
            let at = described.needs(table, mark)?;
            let name = column(mark);
            let (untaken, taken) = match at.base.as_str() {
                "bool" if !at.array => (format!("{name} IS NOT TRUE"), "true"),
                "timestamptz" | "timestamp" if !at.array => (format!("{name} IS NULL"), "now()"),
                _ => {
                    let message = format!(
                        "`{mark}` of `{table}` is {}; what marks a row is a `timestamptz` or a `boolean`",
                        at.shown
                    );
                    return Err(Trouble::new("postgres_type", message));
                }
            };
            if !at.may_update {
                return denied(&format!("UPDATE `{mark}` of"));
            }
            let remove = format!("UPDATE {from} SET {name} = {taken} WHERE {id_name} = ANY($1) AND {untaken}");
            (untaken, remove)
        }
    };
    let others: Vec<&table::Column> = described
        .columns
        .iter()
        .filter(|c| !["id", "key", "payload"].contains(&c.name.as_str()) && Some(c.name.as_str()) != mark)
        .collect();
    if let Some(ours) = others.iter().find(|c| c.name.starts_with("millstream.") || c.name == "ce_id") {
        let message = format!("`{table}` has a column `{}`; headers of that name are Millstream's own", ours.name);
        return Err(Trouble::new("postgres_column", message));
    }
    let mut select =
        format!("SELECT {id_name}::bigint, {}, {}", key.map_or_else(|| "NULL::text".to_owned(), plain), plain(payload));
    others.iter().for_each(|c| select.push_str(&format!(", {}", plain(c))));
    select.push_str(&format!(" FROM {from} WHERE {untaken} ORDER BY {id_name} LIMIT $1"));
    let headers = others.iter().map(|c| c.name.clone()).collect();
    Ok(Plan { identity: described.identity.clone(), select, remove, headers })
}

fn one(row: &Row, table: &str, names: &[String]) -> Result<Taken<i64>, Trouble> {
    let at: i64 = row.try_get(0)?;
    let mut headers = Vec::new();
    for (n, name) in names.iter().enumerate() {
        headers.extend(raw(row, 3 + n)?.map(|value| (name.clone(), Bytes::from(value))));
    }
    let payload = raw(row, 2)?;
    let fault = payload
        .is_none()
        .then(|| Fault { code: "postgres_null_payload".to_owned(), message: "the row has no payload".to_owned() });
    Ok(Taken {
        at,
        name: format!("{table}#{at}"),
        key: raw(row, 1)?.map(Bytes::from),
        headers,
        payload: payload.map(Bytes::from).unwrap_or_default(),
        fault,
    })
}

/// The maker's side.
pub(crate) struct OutboxMaker {
    link: Link<Outbox>,
    records: u64,
    identity: String,
    /// Given, and perhaps not removed yet; they rise.
    taken: Vec<i64>,
    rows: VecDeque<Taken<i64>>,
    last: Option<Taken<i64>>,
    /// Some of what was given is not committed.
    open: bool,
    asked: bool,
}

/// The first word of a position; rises when the form changes.
const VERSION: &str = "o1";

impl OutboxMaker {
    pub(crate) fn new(link: Link<Outbox>, position: &SourcePosition) -> LogResult<Self> {
        let (identity, taken) = match position.mark.as_deref().map(read) {
            None => (String::new(), Vec::new()),
            Some(Some(read)) => read,
            Some(None) => return Err(crate::unreadable(position)),
        };
        let records = position.records;
        Ok(Self { link, records, identity, taken, rows: VecDeque::new(), last: None, open: false, asked: false })
    }
}

/// `o1 SYSTEM/DATABASE/TABLE IDS`. The position of a table with a cursor says nothing of an outbox.
fn read(mark: &str) -> Option<(String, Vec<i64>)> {
    if mark.starts_with("c1 ") {
        return Some((String::new(), Vec::new()));
    }
    let mut words = mark.split(' ');
    if words.next() != Some(VERSION) {
        return None;
    }
    Some((words.next()?.to_owned(), ids::decode(words.next()?)?)).filter(|_| words.next().is_none())
}

impl Maker for OutboxMaker {
    fn next(&mut self) -> LogResult<Next> {
        if let Some(row) = self.rows.pop_front() {
            self.taken.push(row.at);
            (self.records, self.open) = (self.records + 1, true);
            let next = Next::Record(row.payload.clone(), row.fault.clone());
            self.last = Some(row);
            return Ok(next);
        }
        if self.open {
            // What is in hand is committed first.
            return Ok(Next::Wait(Duration::ZERO));
        }
        if !self.asked {
            self.link.ask(Remove { identity: self.identity.clone(), ids: self.taken.clone() })?;
            self.asked = true;
        }
        if let Some(found) = self.link.answer()? {
            // The answer came after the removal.
            self.taken.clear();
            (self.asked, self.identity) = (false, found.identity);
            self.rows = found.rows.into();
            return self.next();
        }
        Ok(Next::Wait(Duration::ZERO))
    }

    fn position(&self) -> SourcePosition {
        let mark = format!("{VERSION} {} {}", self.identity, ids::encode(&self.taken, usize::MAX).0);
        SourcePosition { records: self.records, mark: Some(mark), ..SourcePosition::default() }
    }

    fn place(&mut self) -> Option<String> {
        self.last.as_ref().map(|row| format!("row {}", row.name))
    }

    fn name(&self, _: u64) -> String {
        self.last.as_ref().map(|row| row.name.clone()).unwrap_or_default()
    }

    fn key(&self) -> Option<Bytes> {
        self.last.as_ref()?.key.clone()
    }

    fn headers(&self, headers: &mut HeadersBuilder) {
        let all = self.last.iter().flat_map(|row| &row.headers);
        all.for_each(|(name, value)| headers.push(name, Some(value)));
    }

    fn committed(&mut self) -> LogResult<()> {
        self.open = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_names_what_is_to_be_removed() {
        assert_eq!(read("o1 7/8/9 17+3,5"), Some(("7/8/9".into(), vec![17, 18, 19, 20, 25])), "a durable form");
        assert_eq!(read("o1 7/8/9 "), Some(("7/8/9".into(), Vec::new())));
        assert_eq!(read("c1 whatever"), Some((String::new(), Vec::new())));
        for bad in ["", "o2 7/8/9 1", "o1", "o1 7/8/9", "o1 7/8/9 x", "o1 7/8/9 1 2"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
