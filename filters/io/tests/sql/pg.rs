//! PostgreSQL: what is bound, what comes back, what fails and how, that an effect comes once, and that nothing goes on at
//! the server when nobody waits for it.

use std::time::{Duration, Instant};

use millstream_filter_api::{Class, Outcome};
use millstream_test_kafka::Postgres;

use crate::common::{Http as Sql, text};

const PATIENCE: Duration = Duration::from_secs(150);

fn sql(url: &str, rest: &str) -> Sql {
    let fields = "{ n: integer?, s: string?, f: number?, b: boolean?, o: any, l: any }";
    Sql::with(fields, &format!("sql: {{ url: \"{url}\", {rest} }}"))
}

/// Off the runtime's thread, as it blocks.
fn ask(server: &Postgres, database: &str, question: &str) -> String {
    tokio::task::block_in_place(|| server.sql(database, question))
}

async fn becomes(server: &Postgres, database: &str, question: &str, wanted: &str) {
    let end = Instant::now() + PATIENCE;
    let mut said = String::new();
    while Instant::now() < end {
        said = ask(server, database, question);
        if said == wanted {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{question} is {said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn values_go_and_come_as_what_they_are() {
    let Some(server) = Postgres::shared() else { return };
    let url = server.url("postgres", &server.database());
    for (value, cast, expression, back) in [
        ("{\"n\":9223372036854775807}", "int8", ".n", "9223372036854775807"),
        ("{\"n\":-7}", "int2", ".n", "-7"),
        ("{\"f\":2}", "int4", ".f", "2"),
        ("{\"f\":1.10}", "float8", ".f", "1.1"),
        ("{\"f\":0.1}", "float4", ".f", "0.1"),
        ("{\"o\":123456789012345678901234567890.10}", "numeric", ".o", "\"123456789012345678901234567890.10\""),
        ("{\"n\":5}", "numeric(10,2)", ".n", "\"5.00\""),
        ("{\"s\":\"it's; drop table t\"}", "text", ".s", "\"it's; drop table t\""),
        ("{\"b\":true}", "bool", ".b", "true"),
        ("{}", "int4", ".n", "null"),
        ("{\"o\":{\"a\":[1,null]}}", "jsonb", ".o", "{\"a\":[1,null]}"),
        ("{\"o\":{\"a\":1}}", "text", ".o", "\"{\\\"a\\\":1}\""),
        ("{\"l\":[1,2,null]}", "int4[]", ".l", "[1,2,null]"),
        ("{\"l\":[\"a\\\"b\",\"{}\"]}", "text[]", ".l", "[\"a\\\"b\",\"{}\"]"),
        ("{\"l\":[[1,2],[3,4]]}", "int8[]", ".l", "[[1,2],[3,4]]"),
        ("{\"l\":[]}", "text[]", ".l", "[]"),
        ("{\"s\":\"2026-01-02T03:04:05.25+01:00\"}", "timestamptz", ".s", "\"2026-01-02T02:04:05.250Z\""),
        ("{\"s\":\"2026-01-02 03:04:05\"}", "timestamp", ".s", "\"2026-01-02T03:04:05\""),
        ("{\"s\":\"infinity\"}", "timestamp", ".s", "\"infinity\""),
        ("{\"s\":\"1999-12-31\"}", "date", ".s", "\"1999-12-31\""),
        ("{\"s\":\"23:59:59.5\"}", "time", ".s", "\"23:59:59.500\""),
        ("{\"s\":\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"}", "uuid", ".s", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
        ("{\"s\":\"a\\u0000b\"}", "bytea", ".s", "\"\\\\x610062\""),
        ("{\"f\":1.5}", "float8", "'t''2026-01-02T03:04:05Z'' == null'", "false"),
    ] {
        let cast = if back == "false" { "bool" } else { cast };
        let filter = format!("statement: \"select $1::{cast} as v\", args: [{expression}], into: .back");
        let out = sql(&url, &filter).value(value).await;
        let wanted = format!("\"back\":{{\"v\":{back}}}}}");
        assert!(out.replace("\"back\": ", "\"back\":").ends_with(&wanted), "{cast}: {out} is not {wanted}");
    }
    let all =
        sql(&url, "statement: \"select n from generate_series(1, 3) n\", into: .back, rows: all").value("{}").await;
    assert!(all.contains("[{\"n\":1},{\"n\":2},{\"n\":3}]"), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_their_class() {
    let Some(server) = Postgres::shared() else { return };
    let database = server.database();
    let url = server.url("postgres", &database);
    ask(
        server,
        &database,
        "create table t (k text primary key, n int not null check (n < 9)); create role nobody login",
    );
    ask(server, &database, "insert into t values ('there', 1)");
    for (statement, code, class, word) in [
        ("insert into t values ($1, 1)", "sql_constraint", Class::Data, "SQLSTATE 23505"),
        ("insert into t values ($1 || 'x', 9)", "sql_constraint", Class::Data, "SQLSTATE 23514"),
        ("select $1::int", "sql_data", Class::Data, "SQLSTATE 22P02"),
        ("select 1 / (length($1) - 5)", "sql_data", Class::Data, "SQLSTATE 22012"),
        ("selct $1", "sql_statement", Class::Permanent, "SQLSTATE 42601"),
        ("select $1 from nowhere", "sql_not_ready", Class::Transient, "SQLSTATE 42P01"),
        ("select $1, nothing from t", "sql_not_ready", Class::Transient, "SQLSTATE 42703"),
    ] {
        let failure = sql(&url, &format!("statement: \"{statement}\", args: [.s]")).failure("{\"s\":\"there\"}").await;
        assert_eq!((failure.code.as_ref(), failure.class), (code, class), "{statement}: {failure:?}");
        assert!(failure.message.contains(word), "{failure:?}");
    }
    let odd = sql(&url, "statement: \"select '1 day'::interval as age\", into: .x").failure("{}").await;
    assert!(odd.code == "sql_result" && odd.message.contains("`age`"), "{odd:?}");
    let refused = sql(&server.url("nobody", &server.database()), "statement: \"delete from t\"").failure("{}").await;
    assert_eq!((refused.code.as_ref(), refused.class), ("sql_not_ready", Class::Transient), "{refused:?}");
    assert!(refused.message.contains("once: false"), "{refused:?}");
    let secret = sql("postgres://u:${env:TOKEN}@127.0.0.1:1/d", "statement: \"select 1\"").failure("{}").await;
    assert_eq!((secret.code.as_ref(), secret.class), ("sql_connection", Class::Transient), "{secret:?}");
    assert!(!secret.message.contains("s3cr3t"), "{secret:?}");
    // The connection that a statement failed on is good for the next one, and nothing is left of what failed.
    let one = "statement: \"insert into t values ($1, 1)\", args: [.s], connections: 1";
    let reused = sql(&url, one);
    assert_eq!(reused.failure("{\"s\":\"there\"}").await.code, "sql_constraint");
    reused.value("{\"s\":\"new\"}").await;
    assert_eq!(ask(server, &database, "select count(*) from t"), "2");
    assert_eq!(ask(server, &database, "select count(*) from millstream_calls"), "1");
}

/// Negative control: without the call's id in the transaction (`once: false`) the second attempt counts again.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_has_its_effect_once() {
    let Some(server) = Postgres::shared() else { return };
    for (once, counted) in [("true", "1"), ("false", "2")] {
        let database = server.database();
        let url = server.url("postgres", &database);
        let rest = format!(
            "init: [ \"create table if not exists t (n int)\", \"insert into t select 0 where not exists (select from \
             t)\" ], statement: \"update t set n = n + 1 returning n\", into: .n, once: {once}"
        );
        let counters = [sql(&url, &rest), sql(&url, &rest)];
        // Both at once, in two processes as it were.
        let attempt = |counter| async move {
            let counter: &Sql = counter;
            counter.attempt(counter.decode("{}"), "call-1").await
        };
        let (first, second) = tokio::join!(attempt(&counters[0]), attempt(&counters[1]));
        assert!(matches!((&first.1, &second.1), (Outcome::Forward, Outcome::Forward)), "{first:?} {second:?}");
        assert_eq!(ask(server, &database, "select n from t"), counted);
        assert_eq!(text(&first.0) == text(&second.0), counted == "1");
    }
}

/// Seen red with a connection that is only dropped: the statement goes on, and holds its locks.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_waits_for_is_cancelled_at_the_server() {
    let Some(server) = Postgres::shared() else { return };
    let database = server.database();
    let url = server.url("postgres", &database);
    ask(server, &database, "create table t (n int); insert into t values (0)");
    let slow = sql(&url, "statement: \"update t set n = n + 1 where pg_sleep(19) is not null\", connections: 1");
    let cut = tokio::time::timeout(Duration::from_secs(1), slow.attempt(slow.decode("{}"), "id")).await;
    assert!(cut.is_err(), "it ended by itself");
    let running = "select count(*) from pg_stat_activity where datname = current_database() and query like '%pg_sleep(19)%' \
                   and pid <> pg_backend_pid()";
    let begun = Instant::now();
    becomes(server, &database, running, "0").await;
    assert!(begun.elapsed() < Duration::from_secs(15), "it was not cancelled");
    let quick = sql(&url, "statement: \"update t set n = n + 1\"");
    quick.attempt(quick.decode("{}"), "id").await;
    assert_eq!(ask(server, &database, "select n from t"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_is_used_again() {
    let Some(mut server) = tokio::task::block_in_place(Postgres::start) else { return };
    let database = tokio::task::block_in_place(|| server.database());
    let counter = sql(
        &server.url("postgres", &database),
        "init: \"create table if not exists t (n int)\", statement: \"insert into t values ($1)\", args: [.n], timeout: 10s",
    );
    counter.value("{\"n\":0}").await;
    tokio::task::block_in_place(|| server.kill());
    // Its last process may answer for a moment.
    let mut rows = 1;
    let failure = loop {
        match counter.attempt(counter.decode("{\"n\":1}"), &format!("call-{rows}")).await.1 {
            Outcome::Fail(failure) => break failure,
            _ => rows += 1,
        }
    };
    assert_eq!((failure.code.as_ref(), failure.class), ("sql_connection", Class::Transient), "{failure:?}");
    tokio::task::block_in_place(|| server.restart());
    let (_, outcome) = counter.attempt(counter.decode("{\"n\":1}"), &format!("call-{rows}")).await;
    assert!(matches!(outcome, Outcome::Forward), "{outcome:?}");
    assert_eq!(ask(&server, &database, "select count(*) from t"), (rows + 1).to_string());
}
