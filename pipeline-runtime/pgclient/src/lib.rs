//! The way to a PostgreSQL server: what a URL says, TLS as far as `sslmode` wants it, and what can be wrong.
//!
//! It must never know: a log, a host, what is asked of the server. The source of rows and the filter `sql` both go this
//! way.
//!
//! Start reading at [`Target::parse`] and [`Tls::new`].

mod tls;
mod trouble;
mod url;

pub use tls::Tls;
pub use trouble::Trouble;
pub use url::{Target, Trust};
