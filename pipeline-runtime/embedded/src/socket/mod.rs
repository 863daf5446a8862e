//! How other processes use a log that one process owns: over a Unix socket in the folder.
//!
//! A connection is either for calls to the log as a whole, or becomes one member, reader or writer with its first
//! request, and ends with it. Requests and responses take turns, but for a wake-up, which may come while a poll is
//! under way and has no response. A message is a u32 length, a u8 kind and a body; both sides begin with a magic that
//! names the version.

mod client;
mod following;
mod message;
mod path;
mod server;
mod wire;

pub(crate) use client::connect;
pub(crate) use following::FollowingLog;
pub(crate) use server::Server;
