//! The statements of a table with a cursor, made of what the table has; which type becomes what in JSON.

use crate::cursor::Wanted;
use crate::table::{Column, Described, column, quoted};
use millstream_pgclient::Trouble;

/// What is asked of a table.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub identity: String,
    /// Gives the oldest transaction that runs, the next one, and the lowest cursor that matters after this look. Takes
    /// how late a row may be in seconds, and the lowest cursor of this look.
    pub begin: String,
    /// How many of these two it takes.
    pub begin_parameters: usize,
    /// Gives cursor, key and the columns; takes two transactions and a limit. More conditions may follow.
    pub select: String,
    pub order: String,
    /// The columns' names as JSON.
    pub names: Vec<Vec<u8>>,
    /// Whether the cursor is a time, so that old rows need not be looked at.
    pub has_floor: bool,
    cursor: (String, String),
    key: (String, String),
}

impl Plan {
    /// A further condition; parameter `n` is the lowest cursor.
    pub(crate) fn at_least(&self, n: usize) -> String {
        let (name, kind) = &self.cursor;
        format!(" AND t.{name} >= ${n}::text::{kind}")
    }

    /// A further condition; parameters `n` and the next one are a cursor and a key.
    pub(crate) fn after(&self, n: usize) -> String {
        let ((cursor, cursor_kind), (key, key_kind)) = (&self.cursor, &self.key);
        format!(" AND (t.{cursor}, t.{key}) > (${n}::text::{cursor_kind}, ${}::text::{key_kind})", n + 1)
    }
}

/// The transactions of a snapshot.
const SNAPSHOT: &str = "WITH s AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS oldest, \
     pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS newest)";
/// The transaction that wrote a row: `xmin` has its lower half only, and it is one of the last that were begun. The first
/// three are the server's own.
const WRITER: &str = "(CASE WHEN t.xmin::text::bigint < 3 THEN 0 \
     ELSE s.newest - ((s.newest - t.xmin::text::bigint) & 4294967295) END)";
/// Local times may lie so many seconds from UTC.
const LOCAL: u32 = 86_400;

pub(crate) fn plan(wanted: &Wanted, described: &Described) -> Result<Plan, Trouble> {
    let table = &wanted.table;
    let wrong = |message: String| Err(Trouble::new("postgres_type", message));
    if !described.may_select {
        let message = format!("the user of the URL may not SELECT rows of `{table}`; grant it");
        return Err(Trouble::new("postgres_denied", message));
    }
    let key = described.names_a_row(table, &wanted.key)?;
    let keys = ["int2", "int4", "int8", "uuid", "text", "varchar", "numeric"];
    if key.array || !keys.contains(&key.base.as_str()) {
        return wrong(format!(
            "`{}` of `{table}` is {}; a key is an integer, a `numeric`, a `uuid` or a `text`",
            key.name, key.shown
        ));
    }
    let cursor = described.needs(table, &wanted.cursor)?;
    let now = "(now() AT TIME ZONE 'UTC')";
    let floor = match cursor.base.as_str() {
        _ if cursor.array => None,
        "timestamptz" => Some("now() - $1 * interval '1 second'".to_owned()),
        "timestamp" => Some(format!("{now} - ($1 + {LOCAL}) * interval '1 second'")),
        "date" => Some(format!("({now} - ($1 + 2 * {LOCAL}) * interval '1 second')::date")),
        "int2" | "int4" | "int8" => Some(String::new()),
        _ => None,
    };
    let Some(floor) = floor else {
        return wrong(format!(
            "`{}` of `{table}` is {}; a cursor is a `timestamptz`, a `timestamp`, a `date` or an integer",
            cursor.name, cursor.shown
        ));
    };
    if !cursor.not_null {
        tracing::info!(table = %table, cursor = %cursor.name, "rows whose cursor is null are left out until it is set");
    }
    let (from, c, k) = (quoted(table), column(&cursor.name), column(&key.name));
    let kind = format!("pg_catalog.{}", column(&cursor.base));
    let (begin, shown) = if floor.is_empty() {
        (format!("{SNAPSHOT} SELECT s.oldest, s.newest, NULL::text FROM s"), format!("t.{c}::text"))
    } else {
        let held = format!(
            "SELECT min(t.{c}) FROM {from} t WHERE ($2::text IS NULL OR t.{c} >= $2::text::{kind}) AND {WRITER} >= s.oldest"
        );
        let lowest = format!("to_json(least({floor}, ({held}))) #>> '{{}}'");
        (format!("{SNAPSHOT} SELECT s.oldest, s.newest, {lowest} FROM s"), format!("to_json(t.{c}) #>> '{{}}'"))
    };
    let mut select = format!("{SNAPSHOT} SELECT {shown}, t.{k}::text");
    let mut names = Vec::new();
    let all = described.columns.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    let columns = wanted.columns.as_ref().map_or(all, |some| some.iter().map(String::as_str).collect());
    for name in columns {
        let column = described.needs(table, name)?;
        let Some(json) = as_json(column) else {
            return wrong(format!(
                "`{name}` of `{table}` is {}, which has no JSON here; leave it out with `columns`",
                column.shown
            ));
        };
        select.push_str(&format!(", {json}"));
        names.push(serde_json::Value::from(name).to_string().into_bytes());
    }
    select.push_str(&format!(" FROM {from} t, s WHERE t.{c} IS NOT NULL AND {WRITER} >= $1 AND {WRITER} < $2"));
    Ok(Plan {
        identity: described.identity.clone(),
        begin,
        begin_parameters: if floor.is_empty() { 0 } else { 2 },
        select,
        order: format!(" ORDER BY t.{c}, t.{k} LIMIT $3"),
        names,
        has_floor: !floor.is_empty(),
        cursor: (c, kind),
        key: (k, format!("pg_catalog.{}", column(&key.base))),
    })
}

/// The expression whose text is the JSON of a column; `None` for a type that has none.
fn as_json(of: &Column) -> Option<String> {
    let name = format!("t.{}", column(&of.name));
    let text = ["text", "varchar", "bpchar", "name", "citext", "uuid", "inet", "cidr", "macaddr", "macaddr8", "xml"];
    let measure = ["interval", "time", "timetz", "numeric", "money", "bit", "varbit", "int4range", "int8range"];
    let more = ["numrange", "tsrange", "tstzrange", "daterange", "tsvector", "hstore", "ltree"];
    let base = of.base.as_str();
    let as_text = of.enumeration || [&text[..], &measure, &more].iter().any(|all| all.contains(&base));
    let plain = ["bool", "int2", "int4", "int8", "float4", "float8", "timestamptz", "timestamp", "date"];
    match (base, of.array) {
        ("bytea", false) => Some(format!("to_json(translate(encode({name}, 'base64'), E'\\n', ''))::text")),
        ("json" | "jsonb", false) => Some(format!("{name}::text")),
        ("json" | "jsonb", true) => Some(format!("to_json({name})::text")),
        _ if plain.contains(&base) => Some(format!("to_json({name})::text")),
        // Digits of a `numeric` beyond a float's would be lost in a number.
        (_, false) if as_text => Some(format!("to_json({name}::text)::text")),
        (_, true) if as_text => Some(format!("to_json({name}::text[])::text")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn col(name: &str, base: &str) -> Column {
        Column {
            name: name.into(),
            base: base.into(),
            shown: base.into(),
            array: false,
            enumeration: false,
            not_null: true,
            unique: name == "id",
            may_update: false,
        }
    }

    fn planned(columns: Vec<Column>) -> Result<Plan, Trouble> {
        let described = Described { identity: "1/2/3".into(), columns, may_select: true, may_delete: false };
        let wanted = Wanted {
            table: "shop.orders".into(),
            cursor: "at".into(),
            key: "id".into(),
            columns: None,
            late: Duration::from_secs(60),
        };
        plan(&wanted, &described)
    }

    #[test]
    fn names_are_quoted_and_types_decide() {
        let found = planned(vec![col("id", "int8"), col("at", "timestamptz"), col("a\"b", "numeric")]).expect("a plan");
        assert!(found.select.contains("\"shop\".\"orders\" t, s") && found.select.contains("t.\"a\"\"b\"::text"));
        assert_eq!(found.names[2], b"\"a\\\"b\"");
        assert!(found.has_floor && found.begin_parameters == 2);
        let counted = planned(vec![col("id", "uuid"), col("at", "int8")]).expect("a plan");
        assert!(!counted.has_floor && counted.begin_parameters == 0);
        assert_eq!(
            counted.after(4),
            " AND (t.\"at\", t.\"id\") > ($4::text::pg_catalog.\"int8\", $5::text::pg_catalog.\"uuid\")"
        );
    }

    #[test]
    fn what_cannot_be_told_is_refused_by_name() {
        let code = |columns| planned(columns).map(|_| ()).map_err(|t| (t.code, t.message));
        let point = code(vec![col("id", "int8"), col("at", "timestamptz"), col("where", "point")]).unwrap_err();
        assert!(point.0 == "postgres_type" && point.1.contains("`where` of `shop.orders` is point"), "{point:?}");
        let text = code(vec![col("id", "int8"), col("at", "text")]).unwrap_err();
        assert!(text.0 == "postgres_type" && text.1.contains("a cursor is"), "{text:?}");
        assert_eq!(code(vec![col("id", "int8")]).unwrap_err().0, "postgres_column");
        let loose = Column { unique: false, ..col("id", "int8") };
        assert_eq!(code(vec![loose, col("at", "date")]).unwrap_err().0, "postgres_not_unique");
    }
}
