//! PostgreSQL as a source, end to end with the real server.

mod common;
mod cursor;
mod outbox;
mod trouble;
