//! PostgreSQL as a source and behind the filter `sql`, end to end with the real server.

mod common;
mod cursor;
mod outbox;
mod stored;
mod trouble;
