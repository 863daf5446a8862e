//! A table that is followed by a cursor, while transactions commit below it and servers and processes are killed.

use std::collections::BTreeMap;

use millstream_test_kafka::{KafkaCluster, Postgres, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::common::{PATIENCE, SESSION, came, pipeline, rows};

/// As people write it: the cursor is the time at which the transaction began.
const TABLE: &str =
    "CREATE TABLE orders (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0, updated_at timestamptz, total
      numeric, tags text[], raw bytea, more jsonb);
    CREATE INDEX ON orders (updated_at, id);
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS
      $$BEGIN NEW.updated_at = now(); NEW.n = coalesce(OLD.n, 0) + 1; RETURN NEW; END$$;
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE ROLE reader LOGIN; GRANT SELECT ON orders TO reader;";

/// What is wrong: last versions that never came, versions that came twice or after a newer one.
fn wrong(came: &[(String, i64)], last: &[(String, i64)]) -> Vec<String> {
    let mut seen: BTreeMap<&str, i64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (key, n) in came {
        match seen.insert(key, *n) {
            Some(before) if before == *n => wrong.push(format!("version {n} of {key} came twice")),
            Some(before) if before > *n => wrong.push(format!("version {n} of {key} came after {before}")),
            _ => {}
        }
    }
    let lost = last.iter().filter(|(key, n)| seen.get(key.as_str()) != Some(n)).count();
    if lost > 0 {
        wrong.push(format!("the last versions of {lost} rows are lost"));
    }
    wrong
}

/// The naive way: all above the highest cursor so far. Shows that the writers below would be missed by it.
#[derive(Default)]
struct Naive {
    highest: String,
    came: Vec<(String, i64)>,
}

impl Naive {
    fn poll(&mut self, server: &Postgres, database: &str) {
        let above = match self.highest.as_str() {
            "" => String::new(),
            highest => format!("WHERE updated_at > '{highest}'"),
        };
        let found =
            server.sql(database, &format!("SELECT id, n, updated_at FROM orders {above} ORDER BY updated_at, id"));
        for line in found.lines() {
            let (row, at) = line.rsplit_once('|').expect("a time");
            self.came.extend(rows(row));
            self.highest = at.to_owned();
        }
    }
}

fn through_kills(site: &Site, name: &str, workers: usize) {
    let Some(mut server) = Postgres::start() else { return };
    let database = server.database();
    server.sql(&database, TABLE);
    let url = server.url("reader", &database);
    let file = pipeline(site, name, &url, "table: orders, cursor: updated_at, key: id, batch: 70");
    let mut running: Vec<Process> = (0..workers).map(|n| site.run(&format!("worker-{n}"), &file)).collect();
    server.sql(&database, "INSERT INTO orders (id) SELECT generate_series(1, 600)");
    let has = |n: usize| {
        assert!(wait_until(PATIENCE, || came(site, name).len() >= n), "{} of {n} came", came(site, name).len());
    };
    has(600);
    let mut naive = Naive::default();
    naive.poll(&server, &database);
    // Two begin, one with its cursor set before the others', one that writes only when the others are done.
    let (mut early, mut idle) = (server.session(&database), server.session(&database));
    idle.run("BEGIN; SELECT now()");
    early.run("BEGIN; UPDATE orders SET total = 1.5 WHERE id BETWEEN 1 AND 50");
    server.sql(&database, "UPDATE orders SET total = 2 WHERE id BETWEEN 100 AND 200");
    naive.poll(&server, &database);
    idle.run("UPDATE orders SET total = 3 WHERE id BETWEEN 51 AND 99; COMMIT");
    early.run("SAVEPOINT a; UPDATE orders SET total = 4 WHERE id = 201; RELEASE a; COMMIT");
    naive.poll(&server, &database);
    let lasts = |server: &Postgres| rows(&server.sql(&database, "SELECT id, n FROM orders"));
    let missed = wrong(&naive.came, &lasts(&server));
    assert_eq!(missed, ["the last versions of 100 rows are lost"], "the writers are hostile enough");
    has(801);
    assert_eq!(wrong(&came(site, name), &lasts(&server)), Vec::<String>::new());
    // The server dies in the middle of a look, and so do all that read it.
    server.sql(&database, "INSERT INTO orders (id) SELECT generate_series(1001, 4000)");
    has(900);
    server.kill();
    server.restart();
    let mut late = server.session(&database);
    late.run("BEGIN; UPDATE orders SET total = 5 WHERE id <= 10");
    server.sql(&database, "UPDATE orders SET total = 6 WHERE id BETWEEN 20 AND 30");
    has(2_000);
    running.iter_mut().for_each(Process::kill);
    drop(running);
    server.sql(
        &database,
        "UPDATE orders SET updated_at = updated_at, total = 'NaN', tags = '{a,null}', raw = '\\x00ff', more = '{\"a\": 1}'
           WHERE id = 4000; DELETE FROM orders WHERE id = 600",
    );
    let mut last = site.run("last", &file);
    late.run("COMMIT");
    let whole = wait_until(PATIENCE, || wrong(&came(site, name), &lasts(&server)).is_empty());
    last.kill();
    assert!(whole, "{:?}", wrong(&came(site, name), &lasts(&server)));
    let taken = site.read(&format!("{name}.in"));
    let row = taken.iter().rfind(|r| r.key.as_deref() == Some("4000")).expect("a row");
    let value = &row.value;
    assert_eq!(
        (&value["id"], &value["total"], &value["raw"]),
        (&4000.into(), &"NaN".into(), &"AP8=".into()),
        "{value}"
    );
    assert!(value["tags"][1].is_null() && value["more"]["a"] == 1, "{value}");
    assert!(value["updated_at"].as_str().is_some_and(|at| at.ends_with("+00:00") && at.contains('T')), "{value}");
    let id = row.headers.iter().find(|(name, _)| name == "ce_id").and_then(|(_, id)| id.clone());
    assert_eq!(id, Some(format!("orders#4000@{}", value["updated_at"].as_str().unwrap_or_default())));
}

#[test]
fn each_version_comes_once_on_the_embedded_log() {
    through_kills(&Site::embedded(), "shop", 1);
}

#[test]
fn each_version_comes_once_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("cursor"), 2);
}
