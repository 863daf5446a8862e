//! PostgreSQL as a source: `source: { postgres: … }`.
//!
//! Start reading at [`Postgres`]. `outbox.rs` takes rows and removes them, `cursor.rs` follows a table that stays;
//! `link.rs` is the task that talks to the server, `table.rs` what a table has. The way there is the crate
//! `millstream-pgclient`.

mod cursor;
mod ids;
mod link;
mod outbox;
mod place;
mod plan;
mod row;
mod table;

use std::time::Duration;

use millstream_host::{Maker, Makers, Opening, SourcePosition};
use millstream_log::{Class, LogError, LogResult};
use millstream_spec::model::{PostgresRows, SourceKind};

use cursor::{Cursor, CursorMaker, Wanted};
use link::{Link, Looks};
use outbox::{Outbox, OutboxMaker};

/// Times before this much are not told apart: the server has none so old.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Opens sources that are tables of PostgreSQL.
pub struct Postgres;

impl Makers for Postgres {
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        let SourceKind::Postgres(source) = &opening.source.kind else { return Ok(None) };
        let looks = Looks {
            who: format!("{}/{}", opening.pipeline.name, opening.source.name),
            url: source.url.clone(),
            every: source.every,
            notify: source.notify.clone(),
        };
        match &source.rows {
            PostgresRows::Outbox { table, mark } => {
                let outbox = Outbox::new(table, mark.as_deref(), source.batch);
                let link = Link::start(&opening.runtime, looks, outbox);
                Ok(Some(Box::new(OutboxMaker::new(link, &opening.position)?)))
            }
            PostgresRows::Cursor { table, cursor, key, columns, late } => {
                let wanted = Wanted {
                    table: table.clone(),
                    cursor: cursor.clone(),
                    key: key.clone(),
                    columns: columns.clone(),
                    late: (*late).min(LONGEST),
                };
                let link = Link::start(&opening.runtime, looks, Cursor::new(wanted, source.batch));
                Ok(Some(Box::new(CursorMaker::new(link, &opening.position)?)))
            }
        }
    }
}

fn unreadable(position: &SourcePosition) -> LogError {
    let mark = position.mark.as_deref().unwrap_or("");
    let message = format!("the committed position of the source is {mark:?}, which this version cannot read");
    LogError::new(Class::Fatal, "source_position_unreadable", message)
}
