//! SQLite: what is bound, what comes back, what fails and how, and that an effect comes once.

use millstream_filter_api::{Class, Outcome, Payload, Record};
use rusqlite::Connection;

use crate::common::{Http as Sql, folder, text};

/// A filter on a file of its own, whose table `t` has a column without a type.
fn sql(file: &str, rest: &str) -> Sql {
    let init = "create table if not exists t (k text primary key, v check (v <> 'bad'), n integer not null default 0)";
    let filter = format!("sql: {{ url: \"sqlite:{file}\", init: \"{init}\", {rest} }}");
    Sql::with("{ n: integer?, s: string?, f: number?, b: boolean?, o: any, l: any }", &filter)
}

fn database(file: &str) -> Connection {
    Connection::open(folder().join(file)).unwrap()
}

fn count(file: &str) -> i64 {
    database(file).query_row("select coalesce(sum(n), 0) from t", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn values_go_and_come_as_what_they_are() {
    for (value, expression, back, kind) in [
        ("{\"n\":9223372036854775807}", ".n", "9223372036854775807", "integer"),
        ("{\"f\":1.10}", ".f", "1.1", "real"),
        ("{\"f\":2}", ".f", "2.0", "real"),
        ("{\"s\":\"it's; drop table t\"}", ".s", "\"it's; drop table t\"", "text"),
        ("{\"s\":\"\"}", ".s", "\"\"", "text"),
        ("{\"b\":true}", ".b", "1", "integer"),
        ("{}", ".n", "null", "null"),
        ("{\"o\":{\"a\":[1,null]}}", ".o", "\"{\\\"a\\\":[1,null]}\"", "text"),
        ("{}", "'t\\'2026-01-02T03:04:05.5Z\\''", "\"2026-01-02T03:04:05.500+00:00\"", "text"),
        ("{}", "7", "7", "integer"),
    ] {
        let expression = expression.replace("\\'", "''");
        let filter = format!("statement: \"select $1 as v, typeof($1) as t\", args: [{expression}], into: .back");
        let out = sql("values.db", &filter).value(value).await;
        let wanted = format!("\"back\":{{\"t\":\"{kind}\",\"v\":{back}}}}}");
        assert!(out.replace("\"back\": ", "\"back\":").ends_with(&wanted), "{out} is not {wanted}");
    }
    // The whole payload is its own text, and the rest of it stays as it came.
    let whole = sql("values.db", "statement: \"select $1 as v\", args: [.], into: .back");
    let out = whole.value("{ \"n\" : 1, \"z\":123456789012345678901234567890 }").await;
    assert!(
        out.contains("{\\\"n\\\" : 1, \\\"z\\\":123456789012345678901234567890 }")
            || out.contains("123456789012345678901234567890 }\""),
        "{out}"
    );
    assert!(out.starts_with("{ \"n\" : 1, \"z\":123456789012345678901234567890"), "{out}");
    let blob = sql("values.db", "statement: \"select x'00ff' as v\", into: .back").value("{}").await;
    assert!(blob.contains("\"\\\\x00ff\""), "{blob}");
}

#[tokio::test]
async fn failures_have_their_class() {
    for (statement, payload, code, class) in [
        ("insert into t values ($1, 'bad', 0)", "{\"s\":\"a\"}", "sql_constraint", Class::Data),
        ("insert into t values ($1, 'x', null)", "{\"s\":\"a\"}", "sql_constraint", Class::Data),
        ("select json_extract($1, '$.a')", "{\"s\":\"{\"}", "sql_data", Class::Data),
        ("select abs(-9223372036854775807 - 1), $1", "{}", "sql_data", Class::Data),
        ("selct $1", "{}", "sql_statement", Class::Permanent),
        ("select $1 from nowhere", "{}", "sql_not_ready", Class::Transient),
        ("update t set missing = $1", "{}", "sql_not_ready", Class::Transient),
    ] {
        let failure = sql("failures.db", &format!("statement: \"{statement}\", args: [.s]")).failure(payload).await;
        assert_eq!((failure.code.as_ref(), failure.class), (code, class), "{statement}: {failure:?}");
    }
    let twice = sql("failures.db", "statement: \"select 1 as a, 2 as a\", into: .x").failure("{}").await;
    assert_eq!(twice.code, "sql_result", "{twice:?}");
    let none = Sql::new("sql: { url: \"sqlite:no/such/folder.db\", statement: \"select 1\" }").failure("{}").await;
    assert_eq!((none.code.as_ref(), none.class), ("sql_connection", Class::Transient), "{none:?}");
    assert_eq!(sql("failures.db", "statement: \"select 1\", into: .x").failure("[1]").await.code, "not_an_object");
    // What failed has left nothing behind.
    let left: i64 =
        database("failures.db").query_row("select count(*) from millstream_calls", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn a_locked_file_is_waited_for_and_then_tried_again() {
    let filter = "statement: \"insert into t (k) values ($1)\", args: [.s], timeout: 300ms";
    let waits = sql("locked.db", filter);
    waits.value("{\"s\":\"a\"}").await;
    let other = database("locked.db");
    other.execute_batch("begin immediate").unwrap();
    let failure = waits.failure("{\"s\":\"b\"}").await;
    assert_eq!(failure.class, Class::Transient, "{failure:?}");
    assert!(["sql_busy", "sql_timeout"].contains(&failure.code.as_ref()), "{failure:?}");
    other.execute_batch("commit").unwrap();
    let (_, outcome) = waits.attempt(waits.decode("{\"s\":\"b\"}"), "another").await;
    assert!(matches!(outcome, Outcome::Forward), "{outcome:?}");
}

/// Negative control: without the call's id in the transaction (`once: false`) the second attempt counts again.
#[tokio::test]
async fn the_same_call_has_its_effect_once() {
    let statement =
        "statement: \"insert into t values ('a', 'x', 1) on conflict do update set n = n + 1 returning n\", into: .n";
    for (file, once, counted) in [("once.db", "true", 1), ("twice.db", "false", 2), ("kept.db", "{ keep: 1h }", 1)] {
        let counter = sql(file, &format!("{statement}, once: {once}"));
        let first = counter.attempt(counter.decode("{}"), "call-1").await;
        // Another process, as it were.
        let again = sql(file, &format!("{statement}, once: {once}"));
        let second = again.attempt(again.decode("{}"), "call-1").await;
        assert!(matches!((&first.1, &second.1), (Outcome::Forward, Outcome::Forward)), "{first:?} {second:?}");
        assert_eq!((count(file), text(&first.0) == text(&second.0)), (counted, counted == 1), "{file}");
        again.attempt(again.decode("{}"), "call-2").await;
        assert_eq!(count(file), counted + 1);
    }
}

#[tokio::test]
async fn an_attempt_that_is_cut_off_stops_and_leaves_nothing_half_done() {
    // Counts far, so that it is running when it is cut off.
    let slow = "insert into t select 'a', count(*), 1 from (with recursive c(x) as \
                (select 1 union all select x + 1 from c where x < $1) select x from c)";
    let long = sql("cut.db", &format!("statement: \"{slow}\", args: [.n], timeout: 200ms"));
    let failure = long.failure("{\"n\":2000000000}").await;
    assert_eq!(failure.code, "sql_timeout", "{failure:?}");
    // The same call is tried again, at once: the connection is free, as the other was interrupted.
    let short = sql("cut.db", &format!("statement: \"{slow}\", args: [.n]"));
    short.value("{\"n\":10}").await;
    short.value("{\"n\":10}").await;
    assert_eq!(count("cut.db"), 1);
}

#[tokio::test]
async fn old_calls_are_forgotten() {
    let filter = "statement: \"insert into t (k, n) values ($1, 1)\", args: [.s], once: { keep: 1h }";
    sql("old.db", filter).value("{\"s\":\"a\"}").await;
    database("old.db").execute_batch("update millstream_calls set called_at = called_at - 3601").unwrap();
    let new = sql("old.db", filter);
    new.attempt(new.decode("{\"s\":\"b\"}"), "new").await;
    let left: Vec<String> = database("old.db")
        .prepare("select call_id from millstream_calls")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    assert_eq!(left, ["new"]);
}

#[tokio::test]
async fn a_tombstone_passes_without_a_call() {
    let none = sql("no/folder.db", "statement: \"delete from t\"");
    let (record, outcome) = none.attempt(Record { payload: Payload::null(), ..Record::default() }, "id").await;
    assert!(matches!(outcome, Outcome::Forward) && text(&record) == "none");
    assert!(!none.answers(Record { payload: Payload::null(), ..Record::default() }).await);
}
