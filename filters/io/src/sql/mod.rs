//! `sql`: runs a statement for each record.
//!
//! `config.rs` is what may be written, `scan.rs` what a statement's text says by itself, `value.rs` what is bound, `rows.rs`
//! what comes back, `fault.rs` what an error means; `call.rs` is one attempt, `pg.rs` and `lite.rs` the two databases.

mod call;
mod config;
mod fault;
mod lite;
mod pg;
mod pg_read;
mod rows;
mod scan;
mod value;

use std::sync::Arc;

use millstream_filter_api::{Built, CheckContext, Checked, Example, FilterSpec, Issue, Node, Outputs, Page, Reads};

use config::Plan;

/// The filter `sql`.
pub(crate) struct SqlSpec;

impl FilterSpec for SqlSpec {
    fn name(&self) -> &'static str {
        "sql"
    }

    fn page(&self) -> Page {
        Page {
            summary: "runs a statement in PostgreSQL or SQLite for each record",
            description: "\
`sql: { url: \"sqlite:orders.db\", statement: \"delete from carts where id = $1\", args: [.cart] }` runs one statement for each \
record; the payload goes on as it came, or with what the statement gave. One call per key is in flight at a time.

- `url`: `postgres://user:password@host:5432/database`, with `sslmode` as `psql` has it, or `sqlite:FILE` (beside the \
pipeline, made if it is missing; write-ahead log). What a reference brought in is never printed.
- `statement`: one statement, with `$1`, `$2`, … for values, in SQLite too.
- `args`: expressions, one for each placeholder. They are bound, never put into the text.
- `into`: a field that takes the result; null where there is no row. The rest of the payload keeps its text.
- `rows`: `first` (the default): the first row as an object. `all`: a list of them, at most 10,000 rows and 16 MiB.
- `once`: `true`, or `{ keep: 30d }`: the statement has its effect once for each record. The default, but for `select`, \
`values`, `table`, `show` and `explain`; one that calls a function which writes wants it too. `false` leaves it out.
- `init`: a statement or several, run in one transaction when the stage connects first, in each process: `create table \
if not exists …`.
- `timeout`: for the whole call; the default is the stage's `timeout`, which then ends it with code `timeout`. The \
statement is cancelled at the server.
- `connections`: how many each process has open to PostgreSQL at most (default 8). SQLite has one.

**Once.** An attempt that was cut off, by a crash or a lost connection, may have had its effect; the next one would count \
twice. So the id of the call, equal on every attempt for a record, also after a crash and in another process, is written \
to the table `millstream_calls` in the same transaction. Where it is there already, the statement is not run again, and \
`into` takes the result of then. The table is made where it is missing; who may not make tables is told what has to be \
there. Ids are known for `keep`: longer than a record may wait for a retry or as a dead letter. A record that is replayed has \
the same id, and changes nothing that it has changed within that time, and so has a letter of a later filter that was \
edited and sent back; records with equal ids are one, and each filter of each stage has ids of its own. Effects outside of the transaction (another database, `nextval`) are not covered.

Values: integers, floats, booleans, null and text are what they are; times are bound as RFC 3339 text, objects and lists \
as JSON, `.` as the payload's own text, and lists as arrays where PostgreSQL wants one. A number of any size keeps its digits \
in PostgreSQL. Text is taken as it would stand in quotes, by the placeholder's type (`$1::date`). Back come integers exactly, \
`numeric` as text with all its digits (or `::float8`), `json` as what it holds, times, dates and UUIDs as text, bytes as \
`\\x…`, arrays as lists. Another type is to be cast to text.

| What happens | Code and class |
|---|---|
| no connection, a lost one, a server that starts, ends or is full | `sql_connection`, transient |
| deadlock, serialization failure, locked | `sql_busy`, transient |
| no answer within `timeout` | `sql_timeout`, transient |
| table, column, database or right missing; login refused; `init` failed | `sql_not_ready`, transient: the database is at fault, and mended there |
| a constraint (SQLSTATE 23…) | `sql_constraint`, data: a dead letter at once, with the SQLSTATE in the message |
| a value that does not fit its type, what a trigger raises (22…, P0…) | `sql_data`, data |
| a statement that is none (42…), anything else | `sql_statement`, permanent |
| a result that cannot be read, or is too large | `sql_result`, permanent |

Behind PgBouncer the stage wants sessions of its own (`pool_mode = session`). A tombstone passes without a call.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "required": ["url", "statement"],
  "properties": {
    "url": {"type": "string", "description": "postgres://… or sqlite:FILE"},
    "statement": {"type": "string", "description": "one statement, with $1, $2, … for values"},
    "args": {"type": "array", "items": {"type": ["string", "number", "boolean", "null"]}, "description": "expressions, one for each placeholder"},
    "into": {"type": "string", "pattern": "^\\.", "description": "the field that takes the result"},
    "rows": {"enum": ["first", "all"], "default": "first"},
    "once": {"oneOf": [{"type": "boolean"}, {"type": "object", "properties": {"keep": {"type": "string", "default": "30d"}}, "additionalProperties": false}], "description": "one effect for each record"},
    "init": {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}], "description": "run when the stage connects first"},
    "timeout": {"type": "string", "description": "for the whole call; the stage's if there is none"},
    "connections": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 8}
  },
  "additionalProperties": false
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let plan = Arc::new(Plan::check(with, cx)?);
        let kind = match &plan.into {
            None => cx.input.clone(),
            Some(into) => into.kind(cx.input),
        };
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![kind],
            effects: plan.effects,
            reads: Reads::Everything,
            warnings: plan.args.iter().flat_map(|arg| arg.expression.warnings().to_vec()).collect(),
            build: Arc::new(move || Built::Call(Arc::new(call::Sql::new(Arc::clone(&plan))))),
            long: None,
        })
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "The status of an order, kept in a file; an order that is there changes",
        yaml: "\
sql:
  url: \"sqlite:orders.db\"
  init: \"create table if not exists orders (id text primary key, status text, total real)\"
  statement: \"insert into orders values ($1, 'taken in', $2) on conflict (id) do update set status = 'changed' returning status\"
  args: [.order, .quantity * .price]
  into: .stored",
        fields: "{ order: string, quantity: integer, price: number }",
        input: "{\"order\":\"A\",\"quantity\":2,\"price\":1.10}\n{\"order\":\"B\",\"quantity\":1,\"price\":3}\n\
                {\"order\":\"A\",\"quantity\":5,\"price\":1.10}",
        output: "{\"value\":{\"order\":\"A\",\"quantity\":2,\"price\":1.10,\"stored\":{\"status\":\"taken in\"}}}\n\
                 {\"value\":{\"order\":\"B\",\"quantity\":1,\"price\":3,\"stored\":{\"status\":\"taken in\"}}}\n\
                 {\"value\":{\"order\":\"A\",\"quantity\":5,\"price\":1.10,\"stored\":{\"status\":\"changed\"}}}",
    },
    Example {
        title: "A counter that must not go below nothing, and goes down once for each record",
        yaml: "\
sql:
  url: \"sqlite:stock.db\"
  init:
    - \"create table if not exists stock (sku text primary key, n integer not null check (n >= 0))\"
    - \"insert into stock values ('tea', 3) on conflict do nothing\"
  statement: \"update stock set n = n - $2 where sku = $1 returning n\"
  args: [.sku, .quantity]
  into: .left",
        fields: "{ sku: string, quantity: integer }",
        input: "{\"sku\":\"tea\",\"quantity\":2}\n{\"sku\":\"tea\",\"quantity\":2}\n{\"sku\":\"cup\",\"quantity\":1}",
        output: "{\"value\":{\"sku\":\"tea\",\"quantity\":2,\"left\":{\"n\":1}}}\n{\"failed\":\"sql_constraint\"}\n\
                 {\"value\":{\"sku\":\"cup\",\"quantity\":1,\"left\":null}}",
    },
    Example {
        title: "All rows that fit",
        yaml: "\
sql:
  url: \"sqlite:prices.db\"
  statement: \"select column1 as sku, column2 as price from (values ('A', 2.5), ('B', 7)) where column2 >= $1\"
  args: [.above]
  into: .found
  rows: all",
        fields: "{ above: number }",
        input: "{\"above\":3}\n{\"above\":9}",
        output: "{\"value\":{\"above\":3,\"found\":[{\"price\":7,\"sku\":\"B\"}]}}\n{\"value\":{\"above\":9,\"found\":[]}}",
    },
];
