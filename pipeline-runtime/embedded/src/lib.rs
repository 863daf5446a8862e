//! The embedded log: the log port inside one process, on a folder, with nothing installed.
//!
//! All topics share one append-only set of segment files. A transaction is one frame with a checksum, so it is there
//! whole or not at all; positions of groups are part of the frame, beside the records. Uncommitted records are held by
//! the member that sent them and are never on disk, so no reader can see them. One process owns the folder; others
//! reach it over a socket in the folder.
//!
//! It must never know: a pipeline, a broker's client, tokio.
//!
//! Start reading at [`EmbeddedLog::open`], then `frame` (what is on disk), `core` (how a frame is written), `recover`
//! (what opening does), `fetch` (how records are read), `group` (who owns which partition).

mod assign;
mod bytes_codec;
mod chores;
mod compact;
mod core;
mod draft;
mod errors;
mod fetch;
mod files;
mod frame;
mod group;
mod index;
mod log;
mod member;
mod open;
mod options;
mod reader;
mod record;
mod recover;
mod segment;
mod signal;
mod socket;
mod state;
mod tail;
mod writer;

pub use open::EmbeddedLog;
pub use options::{EmbeddedOptions, Fsync};
