//! What a table has: its columns and their types, what we may do with it, and which table it is at all.

use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Row};

use millstream_pgclient::Trouble;

/// A table as it stands in the database.
#[derive(Clone, Debug)]
pub(crate) struct Described {
    /// This table of this database of this server, and no other: `SYSTEM/DATABASE/TABLE`, numbers.
    pub identity: String,
    /// In its order.
    pub columns: Vec<Column>,
    /// Whether rows may be read.
    pub may_select: bool,
    /// Whether rows may be deleted.
    pub may_delete: bool,
}

/// A column.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub name: String,
    /// Of a domain, what it is made of: `int8`, `text`; of an array, of its elements.
    pub base: String,
    /// As people write it: `character varying(20)`.
    pub shown: String,
    /// Whether it is an array.
    pub array: bool,
    /// Whether it is an enumeration.
    pub enumeration: bool,
    /// Whether it is never null.
    pub not_null: bool,
    /// Whether no two rows have the same.
    pub unique: bool,
    pub may_update: bool,
}

/// An identifier as it stands in SQL.
pub(crate) fn quoted(name: &str) -> String {
    name.split('.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect::<Vec<_>>().join(".")
}

/// The name of a column as it stands in SQL; a dot in it is a part of it.
pub(crate) fn column(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The bytes of any column, as the server sent them.
pub(crate) struct Raw(pub Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// The bytes of a column of a row; `None` is null.
pub(crate) fn raw(row: &Row, at: usize) -> Result<Option<Vec<u8>>, Trouble> {
    Ok(row.try_get::<_, Option<Raw>>(at)?.map(|raw| raw.0))
}

/// The text of a column of a row.
pub(crate) fn text(row: &Row, at: usize) -> Result<String, Trouble> {
    Ok(String::from_utf8_lossy(&raw(row, at)?.unwrap_or_default()).into_owned())
}

const TABLE: &str = "SELECT c.oid::text, (SELECT system_identifier FROM pg_catalog.pg_control_system())::text, \
     (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::text, \
     has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'), \
     has_table_privilege(c.oid, 'DELETE') \
     FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1)";

const COLUMNS: &str = "SELECT a.attname::text, coalesce(e.typname, b.typname)::text, \
     format_type(a.atttypid, a.atttypmod), e.oid IS NOT NULL, coalesce(e.typtype, b.typtype) = 'e', a.attnotnull, \
     EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid \
       AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum), \
     has_column_privilege(a.attrelid, a.attnum, 'UPDATE') \
     FROM pg_catalog.pg_attribute a \
     JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     JOIN pg_catalog.pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END \
     LEFT JOIN pg_catalog.pg_type e ON b.typcategory = 'A' AND e.oid = b.typelem \
     WHERE a.attrelid = $1::text::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// Looks at a table.
pub(crate) async fn describe(client: &Client, table: &str) -> Result<Described, Trouble> {
    let name = quoted(table);
    let found = client.query_typed(TABLE, &[(&name, Type::TEXT)]).await?;
    let Some(row) = found.first() else {
        let message = format!("there is no table `{table}` in this database that the user of the URL can see");
        return Err(Trouble::new("postgres_no_table", message));
    };
    let oid = text(row, 0)?;
    let identity = format!("{}/{}/{oid}", text(row, 1)?, text(row, 2)?);
    let columns = client.query_typed(COLUMNS, &[(&oid, Type::TEXT)]).await?;
    let columns = columns.iter().map(one).collect::<Result<Vec<_>, Trouble>>()?;
    Ok(Described { identity, columns, may_select: row.try_get(3)?, may_delete: row.try_get(4)? })
}

fn one(row: &Row) -> Result<Column, Trouble> {
    Ok(Column {
        name: text(row, 0)?,
        base: text(row, 1)?,
        shown: text(row, 2)?,
        array: row.try_get(3)?,
        enumeration: row.try_get(4)?,
        not_null: row.try_get(5)?,
        unique: row.try_get(6)?,
        may_update: row.try_get(7)?,
    })
}

impl Described {
    /// A column that must be there.
    pub(crate) fn needs(&self, table: &str, name: &str) -> Result<&Column, Trouble> {
        self.columns.iter().find(|c| c.name == name).ok_or_else(|| {
            let all: Vec<&str> = self.columns.iter().map(|c| c.name.as_str()).collect();
            let message = format!("`{table}` has no column `{name}`; it has {}", all.join(", "));
            Trouble::new("postgres_column", message)
        })
    }

    /// A column that names a row.
    pub(crate) fn names_a_row(&self, table: &str, name: &str) -> Result<&Column, Trouble> {
        let column = self.needs(table, name)?;
        if column.not_null && column.unique {
            return Ok(column);
        }
        let message = format!(
            "`{name}` of `{table}` names no row: it needs NOT NULL and a unique index of its own, as a primary key has"
        );
        Err(Trouble::new("postgres_not_unique", message))
    }
}
