//! What a running process serves over HTTP: the paths of `http` sources, how the process stands, and what became of jobs.
//!
//! It must never know: a log, an engine, a file. What comes in is handed to an intake of the host; whether it is taken in
//! is the host's decision, and what is said over HTTP about it is this crate's.
//!
//! Start reading at [`Server::start`], then `router.rs` (which path leads where) and `requests.rs` (the way of a
//! request). `jobs.rs` is the API of jobs, `starting.rs` starts one. `auth.rs`, `signature.rs`, `media.rs`, `events.rs`, `rate.rs` decide and know no connection.

mod access;
mod auth;
mod body;
mod events;
mod health;
mod jobs;
mod media;
mod problem;
mod rate;
mod requests;
mod result;
mod router;
mod server;
mod signature;
mod starting;
mod tls;

pub use server::{Config, Listen, Route, ServeError, Server};
pub use tls::TlsFiles;
