//! What an error of a database says of the record and of the next attempt.

use std::error::Error as _;

use millstream_filter_api::{Class, Failure};
use rusqlite::ErrorCode;

/// The code and class of a failure with an SQLSTATE.
pub(super) fn of_state(state: &str) -> (&'static str, Class) {
    match state {
        "40001" | "40P01" | "55P03" | "55006" => ("sql_busy", Class::Transient),
        // Cancelled, and what ends a session that stood still.
        "57014" | "25P03" => ("sql_timeout", Class::Transient),
        // Tables, columns, schemas and rights may be made while the stage waits, as a server may come back.
        "42P01" | "42703" | "3F000" | "3D000" | "42501" | "25006" | "26000" | "0A000" => {
            ("sql_not_ready", Class::Transient)
        }
        _ => match state.get(..2).unwrap_or("") {
            "23" | "44" => ("sql_constraint", Class::Data),
            // What a trigger or function raises by itself is about the row.
            "22" | "P0" | "54" => ("sql_data", Class::Data),
            "40" => ("sql_busy", Class::Transient),
            "08" | "53" | "57" | "58" => ("sql_connection", Class::Transient),
            "28" => ("sql_not_ready", Class::Transient),
            _ => ("sql_statement", Class::Permanent),
        },
    }
}

/// A failure of PostgreSQL, and whether the connection is good for another statement.
pub(super) fn of_postgres(error: &tokio_postgres::Error) -> (Failure, bool) {
    let Some(said) = error.as_db_error() else {
        let cause = error.source().map(|e| format!(": {e}")).unwrap_or_default();
        return (away(format!("the database cannot be reached: {error}{cause}")), false);
    };
    let state = said.code().code();
    let (code, class) = of_state(state);
    let detail = said.detail().map(|d| format!("; {d}")).unwrap_or_default();
    let message = format!("the database says: {}{detail} (SQLSTATE {state})", said.message());
    let good = !matches!(code, "sql_connection" | "sql_timeout" | "sql_not_ready");
    (Failure::new(class, code, message), good)
}

/// A failure of SQLite.
pub(super) fn of_sqlite(error: &rusqlite::Error) -> Failure {
    let (code, said, at_prepare) = match error {
        rusqlite::Error::SqliteFailure(code, said) => (*code, said.clone().unwrap_or_else(|| code.to_string()), false),
        rusqlite::Error::SqlInputError { error, msg, .. } => (*error, msg.clone(), true),
        other => return Failure::permanent("sql_statement", format!("SQLite says: {other}")),
    };
    let (name, class) = match code.code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            ("sql_busy", Class::Transient)
        }
        ErrorCode::OperationInterrupted | ErrorCode::OperationAborted => ("sql_timeout", Class::Transient),
        ErrorCode::ConstraintViolation => ("sql_constraint", Class::Data),
        ErrorCode::TypeMismatch | ErrorCode::TooBig | ErrorCode::ParameterOutOfRange => ("sql_data", Class::Data),
        ErrorCode::SchemaChanged | ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            ("sql_not_ready", Class::Transient)
        }
        ErrorCode::Unknown if said.starts_with("no such table") || said.contains("no such column") => {
            ("sql_not_ready", Class::Transient)
        }
        // What compiled fails on the values it was given.
        ErrorCode::Unknown if !at_prepare && code.extended_code == rusqlite::ffi::SQLITE_ERROR => {
            ("sql_data", Class::Data)
        }
        ErrorCode::Unknown | ErrorCode::ApiMisuse | ErrorCode::AuthorizationForStatementDenied => {
            ("sql_statement", Class::Permanent)
        }
        _ => ("sql_connection", Class::Transient),
    };
    Failure::new(class, name, format!("SQLite says: {said} (code {})", code.extended_code))
}

/// Nobody answers.
pub(super) fn away(message: String) -> Failure {
    Failure::transient("sql_connection", message)
}

/// What came back cannot stand in a payload.
pub(super) fn unreadable(message: String) -> Failure {
    Failure::permanent("sql_result", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_has_its_class() {
        for (state, code, class) in [
            ("23505", "sql_constraint", Class::Data),
            ("23514", "sql_constraint", Class::Data),
            ("44000", "sql_constraint", Class::Data),
            ("22P02", "sql_data", Class::Data),
            ("22003", "sql_data", Class::Data),
            ("P0001", "sql_data", Class::Data),
            ("40001", "sql_busy", Class::Transient),
            ("40P01", "sql_busy", Class::Transient),
            ("55P03", "sql_busy", Class::Transient),
            ("57014", "sql_timeout", Class::Transient),
            ("57P01", "sql_connection", Class::Transient),
            ("57P03", "sql_connection", Class::Transient),
            ("53300", "sql_connection", Class::Transient),
            ("08006", "sql_connection", Class::Transient),
            ("42P01", "sql_not_ready", Class::Transient),
            ("42501", "sql_not_ready", Class::Transient),
            ("28P01", "sql_not_ready", Class::Transient),
            ("42601", "sql_statement", Class::Permanent),
            ("42804", "sql_statement", Class::Permanent),
            ("XX000", "sql_statement", Class::Permanent),
            ("", "sql_statement", Class::Permanent),
        ] {
            assert_eq!(of_state(state), (code, class), "{state}");
        }
    }
}
