//! A table that stays: each row when it is new, and again when it has changed.
//!
//! A cursor alone loses rows: a transaction sets `updated_at` when it begins and commits minutes later, below what was
//! taken meanwhile. So rows are told apart by the transaction that wrote them (`xmin`). A look takes the rows of all
//! transactions from where the last look ended up to the oldest one that is still running: those have ended, so nothing
//! of them can appear later, and none of them was taken before. The cursor only orders what is taken and says which part
//! of the table must be looked at.

use std::collections::VecDeque;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use millstream_host::{Maker, Next, SourcePosition};
use millstream_log::LogResult;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::link::{Link, Table};
use crate::place::{After, Place};
use crate::plan::{Plan, plan};
use crate::row::{BYTES, Taken, fitting};
use crate::table::{self, raw, text};
use millstream_pgclient::Trouble;

/// What a table is asked.
pub(crate) struct Look {
    /// Where the last one ended.
    pub place: Place,
    /// Whether all of that look was taken.
    pub done: bool,
}

/// Rows, and what they are a part of.
pub(crate) struct Found {
    place: Place,
    done: bool,
    rows: Vec<Taken<After>>,
}

/// What a source says of its table.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub table: String,
    pub cursor: String,
    pub key: String,
    pub columns: Option<Vec<String>>,
    pub late: Duration,
}

/// The table's side.
pub(crate) struct Cursor {
    wanted: Wanted,
    batch: usize,
    limit: usize,
    plan: Option<Plan>,
}

impl Cursor {
    pub(crate) fn new(wanted: Wanted, batch: usize) -> Self {
        Self { wanted, batch, limit: batch, plan: None }
    }

    /// A new look: up to the oldest transaction that runs; `None` where nothing can be new.
    async fn begin(&self, client: &Client, plan: &Plan, before: &Place) -> Result<Option<Place>, Trouble> {
        let late = i64::try_from(self.wanted.late.as_secs()).unwrap_or(i64::MAX);
        let floor = before.next_floor.clone();
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&late, Type::INT8), (&floor, Type::TEXT)];
        let rows = client.query_typed(&plan.begin, &parameters[..plan.begin_parameters]).await?;
        let row = rows.first().ok_or_else(|| Trouble::new("postgres_error", "the database gave no snapshot"))?;
        let (oldest, newest): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let (oldest, newest) = (oldest.unsigned_abs(), newest.unsigned_abs());
        if before.to > newest {
            let message = format!(
                "the rows of `{}` were taken up to transaction {}, and this server has come to {newest} only: it is an older \
                 copy; name the right server in the URL",
                self.wanted.table, before.to
            );
            return Err(Trouble::new("postgres_behind", message));
        }
        let next_floor = raw(row, 2)?.map(|text| String::from_utf8_lossy(&text).into_owned());
        Ok((oldest > before.to).then(|| Place {
            identity: plan.identity.clone(),
            from: before.to,
            to: oldest,
            floor,
            next_floor,
            after: None,
        }))
    }

    async fn page(&self, client: &Client, plan: &Plan, place: &Place) -> Result<(Vec<Taken<After>>, bool), Trouble> {
        let (from, to) = (place.from.cast_signed(), place.to.cast_signed());
        let limit = self.limit as i64;
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&from, Type::INT8), (&to, Type::INT8), (&limit, Type::INT8)];
        let mut query = plan.select.clone();
        if let (Some(floor), true) = (&place.floor, plan.has_floor) {
            parameters.push((floor, Type::TEXT));
            query.push_str(&plan.at_least(parameters.len()));
        }
        if let Some(after) = &place.after {
            parameters.extend([(&after.cursor as &(dyn ToSql + Sync), Type::TEXT), (&after.key, Type::TEXT)]);
            query.push_str(&plan.after(parameters.len() - 1));
        }
        query.push_str(&plan.order);
        let rows = client.query_typed_raw(&query, parameters).await?;
        let mut rows = pin!(rows);
        let (mut found, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next().await {
            let row = one(&row?, &self.wanted.table, plan)?;
            bytes += row.size();
            found.push(row);
            if bytes > BYTES {
                return Ok((found, false));
            }
        }
        let all = found.len() < self.limit;
        Ok((found, all))
    }
}

impl Table for Cursor {
    type Ask = Look;
    type Answer = Found;

    async fn prepare(&mut self, client: &Client) -> Result<(), Trouble> {
        let described = table::describe(client, &self.wanted.table).await?;
        self.plan = Some(plan(&self.wanted, &described)?);
        Ok(())
    }

    async fn round(&mut self, client: &Client, ask: &mut Look) -> Result<Option<Found>, Trouble> {
        let Some(plan) = &self.plan else { return Ok(None) };
        if ask.place.identity != plan.identity {
            if !ask.place.identity.is_empty() {
                tracing::warn!(
                    table = %self.wanted.table,
                    "this is another table than the one that rows were taken from last; it is read from its beginning"
                );
            }
            *ask = Look { place: Place { identity: plan.identity.clone(), ..Place::default() }, done: true };
        }
        loop {
            if ask.done {
                let Some(place) = self.begin(client, plan, &ask.place).await? else { return Ok(None) };
                *ask = Look { place, done: false };
            }
            let (rows, all) = self.page(client, plan, &ask.place).await?;
            ask.done = all;
            if let Some(last) = rows.last() {
                let bytes = rows.iter().map(Taken::size).sum();
                let (place, done) = (ask.place.clone(), all);
                ask.place.after = Some(last.at.clone());
                self.limit = fitting(rows.len(), bytes, self.batch);
                return Ok(Some(Found { place, done, rows }));
            }
        }
    }
}

fn one(row: &Row, table: &str, plan: &Plan) -> Result<Taken<After>, Trouble> {
    let at = After { cursor: text(row, 0)?, key: text(row, 1)? };
    if at.key.len() > MAX_KEY {
        let message = format!("a key of `{table}` has {} bytes; it may have {MAX_KEY}", at.key.len());
        return Err(Trouble::new("postgres_key", message));
    }
    let mut payload = Vec::new();
    for (n, name) in plan.names.iter().enumerate() {
        payload.extend_from_slice(if n == 0 { b"{" } else { b"," });
        payload.extend_from_slice(name);
        payload.push(b':');
        payload.extend_from_slice(&raw(row, 2 + n)?.unwrap_or_else(|| b"null".to_vec()));
    }
    payload.push(b'}');
    Ok(Taken {
        name: format!("{table}#{}@{}", at.key, at.cursor),
        key: Some(Bytes::from(at.key.clone())),
        headers: Vec::new(),
        payload: Bytes::from(payload),
        fault: None,
        at,
    })
}

/// Bytes of a key at most: it is a part of the position.
const MAX_KEY: usize = 300;

/// The maker's side.
pub(crate) struct CursorMaker {
    link: Link<Cursor>,
    records: u64,
    place: Place,
    done: bool,
    rows: VecDeque<Taken<After>>,
    last: Option<Taken<After>>,
    asked: bool,
}

impl CursorMaker {
    pub(crate) fn new(link: Link<Cursor>, position: &SourcePosition) -> LogResult<Self> {
        let place = match position.mark.as_deref().map(Place::decode) {
            None => Place::default(),
            Some(Some(place)) => place,
            Some(None) => return Err(crate::unreadable(position)),
        };
        let records = position.records;
        Ok(Self { link, records, place, done: false, rows: VecDeque::new(), last: None, asked: false })
    }
}

impl Maker for CursorMaker {
    fn next(&mut self) -> LogResult<Next> {
        if let Some(row) = self.rows.pop_front() {
            self.place.after = Some(row.at.clone());
            self.records += 1;
            let next = Next::Record(row.payload.clone(), None);
            self.last = Some(row);
            return Ok(next);
        }
        if !self.asked {
            self.link.ask(Look { place: self.place.clone(), done: self.done })?;
            self.asked = true;
        }
        if let Some(found) = self.link.answer()? {
            (self.asked, self.place, self.done) = (false, found.place, found.done);
            self.rows = found.rows.into();
            return self.next();
        }
        Ok(Next::Wait(Duration::ZERO))
    }

    fn position(&self) -> SourcePosition {
        SourcePosition { records: self.records, mark: Some(self.place.encode()), ..SourcePosition::default() }
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
}
