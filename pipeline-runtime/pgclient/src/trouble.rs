//! What can be wrong with a database, in codes and words that say what to do.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

/// Why nothing came now. It is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Stable.
    pub code: &'static str,
    /// For people; without secrets.
    pub message: String,
}

impl Trouble {
    /// With a code and a text for people.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// It did not answer in time.
    pub fn slow(what: &str) -> Self {
        Self::new("postgres_slow", format!("the database did not {what} in time"))
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let Some(db) = error.as_db_error() else {
            let cause = std::error::Error::source(&error).map(|e| format!(": {e}")).unwrap_or_default();
            let text = format!("{error}{cause}");
            // The client has no way to ask for the kind.
            let code = if text.contains("TLS") { "postgres_tls" } else { "postgres_away" };
            return Self::new(code, format!("the database cannot be reached: {text}"));
        };
        let (code, help) = match db.code() {
            c if *c == SqlState::INVALID_PASSWORD || *c == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                ("postgres_login", "; look at user and password of the URL")
            }
            c if *c == SqlState::INVALID_CATALOG_NAME => ("postgres_no_database", ""),
            c if *c == SqlState::UNDEFINED_TABLE || *c == SqlState::INVALID_SCHEMA_NAME => ("postgres_no_table", ""),
            c if *c == SqlState::UNDEFINED_COLUMN => ("postgres_column", ""),
            c if *c == SqlState::INSUFFICIENT_PRIVILEGE => ("postgres_denied", "; grant it to the user of the URL"),
            c if *c == SqlState::QUERY_CANCELED || *c == SqlState::LOCK_NOT_AVAILABLE => ("postgres_slow", ""),
            c if *c == SqlState::READ_ONLY_SQL_TRANSACTION => ("postgres_read_only", "; name the primary in the URL"),
            c if c.code().starts_with("57P") || c.code().starts_with("08") || c.code().starts_with("53") => {
                ("postgres_away", "")
            }
            _ => ("postgres_error", ""),
        };
        Self::new(code, format!("the database says: {} ({}){help}", db.message(), db.code().code()))
    }
}
