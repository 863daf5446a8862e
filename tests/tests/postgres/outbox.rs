//! Rows of an outbox while writers commit late, the server is killed in mid-poll, and so are the processes that read it.

use millstream_test_kafka::{KafkaCluster, Postgres, unique};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, came, holds, pipeline, rows, wrong};

/// A trigger writes down what was committed, as the outbox itself is emptied.
const TABLES: &str = "CREATE TABLE events (id bigserial PRIMARY KEY, key text, payload jsonb NOT NULL, tenant text);
    CREATE TABLE written (key text, n bigint);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN INSERT INTO written VALUES (NEW.key, (NEW.payload->>'n')::bigint); RETURN NULL; END$$;
    CREATE TRIGGER note AFTER INSERT ON events FOR EACH ROW EXECUTE FUNCTION note();
    CREATE ROLE reader LOGIN; GRANT SELECT, DELETE ON events TO reader;";

/// Each row in a transaction of its own, so that a server that dies takes no more than one.
fn write(server: &Postgres, database: &str, writer: usize, from: usize, to: usize) {
    let insert = "INSERT INTO events (key, payload, tenant) VALUES";
    for n in from..to {
        let row = format!("{insert} ('w{writer}-{}', '{{\"n\": {n}}}', 'acme')", n % 3);
        // What fails as the server dies was written or not: the trigger knows.
        let _ = server.try_sql(database, &row);
    }
}

/// The outbox is filled, emptied and watched.
fn through_kills(site: &Site, name: &str, workers: usize) {
    let Some(mut server) = Postgres::start() else { return };
    let database = server.database();
    server.sql(&database, TABLES);
    let file = pipeline(site, name, &server.url("reader", &database), "outbox: events, batch: 40");
    let mut running: Vec<Process> = (0..workers).map(|n| site.run(&format!("worker-{n}"), &file)).collect();
    server.sql(
        &database,
        "INSERT INTO events (key, payload) SELECT 'bulk', jsonb_build_object('n', n) FROM generate_series(0, 1999) n",
    );
    // Its ids are lower than all that come now.
    let mut late = server.session(&database);
    late.run("BEGIN; INSERT INTO events (key, payload) VALUES ('late', '{\"n\": 1}'), ('late', '{\"n\": 2}')");
    std::thread::scope(|scope| {
        let (server, database) = (&server, database.as_str());
        for writer in 0..3 {
            scope.spawn(move || write(server, database, writer, 0, 12));
        }
    });
    holds(&server, &database, "SELECT count(*) = 0 FROM events");
    late.run("COMMIT");
    // The server dies while it is read.
    server.sql(
        &database,
        "INSERT INTO events (key, payload) SELECT 'more', jsonb_build_object('n', n) FROM generate_series(0, 2999) n",
    );
    assert!(wait_until(PATIENCE, || server.try_sql(&database, "SELECT count(*) < 2900 FROM events") == Ok("t".into())));
    server.kill();
    server.restart();
    let mut late = server.session(&database);
    late.run("BEGIN; INSERT INTO events (key, payload) VALUES ('late', '{\"n\": 3}')");
    // The one that reads dies, and all others.
    server.sql(
        &database,
        "INSERT INTO events (key, payload) SELECT 'again', jsonb_build_object('n', n) FROM generate_series(0, 2999) n",
    );
    let few = "SELECT count(*) < 2900 FROM events WHERE key = 'again'";
    assert!(wait_until(PATIENCE, || server.try_sql(&database, few) == Ok("t".into())));
    running.iter_mut().for_each(Process::kill);
    drop(running);
    let mut last = site.run("last", &file);
    write(&server, &database, 0, 12, 20);
    late.run("COMMIT");
    holds(&server, &database, "SELECT count(*) = 0 FROM events");
    // What is removed was committed before; the stage may be behind.
    let written = rows(&server.sql(&database, "SELECT key, n FROM written"));
    assert!(written.len() > 8_000, "{} rows", written.len());
    let all = wait_until(PATIENCE, || came(site, name).len() >= written.len());
    last.kill();
    let found = wrong(&came(site, name), &written);
    assert!(all && found.is_empty(), "{found:?}");
    let taken = site.read(&format!("{name}.in"));
    assert_eq!(taken.len(), written.len(), "each row is taken once");
    let of = |key: &str| taken.iter().find(|r| r.key.as_deref() == Some(key)).expect("a row").headers.clone();
    let header = |key: &str, name: &str| of(key).into_iter().find(|(n, _)| n == name).and_then(|(_, value)| value);
    assert_eq!(header("w0-0", "tenant").as_deref(), Some("acme"));
    assert_eq!(header("bulk", "tenant"), None, "null is no header");
    assert_eq!(header("bulk", "ce_id").as_deref(), Some("events#1"));
}

#[test]
fn each_row_comes_once_on_the_embedded_log() {
    through_kills(&Site::embedded(), "shop", 1);
}

#[test]
fn each_row_comes_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("outbox"), 2);
}

/// Negative control: a worker that removes rows before the commit dies between both.
fn control(site: &Site, name: &str, breaks: &str) -> Vec<String> {
    use std::os::unix::process::ExitStatusExt;

    let Some(server) = Postgres::shared() else { return Vec::new() };
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE events (id bigserial PRIMARY KEY, key text, payload jsonb NOT NULL);
         INSERT INTO events (key, payload) SELECT 'k' || n % 5, jsonb_build_object('n', n) FROM generate_series(1, 50) n",
    );
    let written = rows(&server.sql(&database, "SELECT key, payload->>'n' FROM events"));
    let file = pipeline(site, name, &server.url("postgres", &database), "outbox: events, batch: 25");
    let mut worker = site.run_broken("worker", &file, breaks, "die_in_commit", "events#7");
    let status = worker.wait(PATIENCE);
    assert_eq!(status.signal(), Some(9), "it ended otherwise:\n{}", tail(&worker.stderr()));
    let mut last = site.run("last", &file);
    server.sql(&database, "INSERT INTO events (key, payload) VALUES ('last', '{\"n\": 1}')");
    let end = || came(site, name).iter().any(|(key, _)| key == "last");
    assert!(wait_until(PATIENCE, end), "the last row never came");
    last.kill();
    let mut found = came(site, name);
    found.retain(|(key, _)| key != "last");
    wrong(&found, &written)
}

#[test]
fn rows_that_are_removed_before_the_commit_are_lost() {
    if Postgres::shared().is_none() {
        return;
    }
    assert_eq!(control(&Site::embedded(), "broken", "removed_first"), ["25 rows are lost"]);
    assert!(control(&Site::embedded(), "whole", "nothing").is_empty());
}
