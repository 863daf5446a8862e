//! The filter `sql`: counters in a database that are right through `kill -9`, on both logs and in both databases.

use std::path::{Path, PathBuf};

use millstream_test_kafka::{KafkaCluster, Postgres, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use rusqlite::Connection;

use crate::common::{PATIENCE, SESSION};

const RECORDS: usize = 300;
const SKUS: usize = 5;
const FULL: usize = 1000;

/// Where the stock is.
enum Base {
    Postgres(&'static Postgres, String),
    Sqlite(PathBuf),
}

impl Base {
    fn url(&self) -> String {
        match self {
            Self::Postgres(server, database) => server.url("postgres", database),
            Self::Sqlite(path) => format!("sqlite:{}", path.display()),
        }
    }

    /// How many of each are left; nothing while nobody has made the table.
    fn stock(&self) -> Vec<usize> {
        match self {
            Self::Postgres(server, database) => {
                let said = server.try_sql(database, "select n from stock order by sku").unwrap_or_default();
                said.lines().filter_map(|line| line.parse().ok()).collect()
            }
            Self::Sqlite(path) => {
                let Ok(base) = Connection::open(path) else { return Vec::new() };
                let Ok(mut rows) = base.prepare("select n from stock order by sku") else { return Vec::new() };
                rows.query_map([], |row| row.get(0)).map(|all| all.flatten().collect()).unwrap_or_default()
            }
        }
    }

    fn taken(&self) -> usize {
        self.stock().iter().map(|left| FULL.saturating_sub(*left)).sum()
    }
}

/// A statement that is no harmless repeat.
fn pipeline(site: &Site, name: &str, base: &Base, once: &str) -> PathBuf {
    let rows: Vec<String> = (0..SKUS).map(|n| format!("('sku-{n}', {FULL})")).collect();
    let text = format!(
        "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }} }}\nsource: {{ topic: {name}.raw, format: json, id: \
         .id }}\nstages:\n  - name: take\n    filter: sql\n    retry: {{ attempts: 1000, backoff: 50ms..1s }}\n    with:\n      \
         url: \"{}\"\n      once: {once}\n      init:\n        - \"create table if not exists stock (sku text primary \
         key, n integer not null)\"\n        - \"insert into stock values {} on conflict do nothing\"\n      statement: \
         \"update stock set n = n - 1 where sku = $1 returning n\"\n      args: [.sku]\n      into: .left\n",
        base.url(),
        rows.join(", ")
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn produce(site: &Site, name: &str, count: usize) {
    let row = |n: usize| format!("{{\"id\":\"r-{n}\",\"sku\":\"sku-{}\"}}", n % SKUS);
    let rows: Vec<String> = (0..count).map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "3", "--key", ".id"]);
}

fn through_kills(site: &Site, name: &str, base: &Base) {
    let file = pipeline(site, name, base, "true");
    produce(site, name, RECORDS);
    let mut running: Vec<Process> = (0..2).map(|n| site.run(&format!("run-{n}"), &file)).collect();
    for (n, taken) in [RECORDS / 6, RECORDS / 3, RECORDS / 2].into_iter().enumerate() {
        assert!(wait_until(PATIENCE, || base.taken() >= taken), "{} are taken", base.taken());
        running[n % 2].kill();
        running[n % 2] = site.run(&format!("again-{n}"), &file);
    }
    assert!(wait_until(PATIENCE, || base.taken() >= RECORDS), "{} are taken", base.taken());
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    assert_eq!(base.stock(), [FULL - RECORDS / SKUS; SKUS]);
    // Each number of what was left was seen by one record, also where the answer came from a call before.
    let mut seen: Vec<(String, usize)> = site
        .read(&format!("{name}.take"))
        .iter()
        .map(|r| (r.value["sku"].as_str().unwrap_or("").to_owned(), r.value["left"]["n"].as_u64().expect("n") as usize))
        .collect();
    seen.sort();
    let left = |sku: usize| (FULL - RECORDS / SKUS..FULL).map(move |n| (format!("sku-{sku}"), n));
    let wanted: Vec<(String, usize)> = (0..SKUS).flat_map(left).collect();
    assert!(seen == wanted, "{} records, {} wanted", seen.len(), wanted.len());
}

#[test]
fn a_counter_in_postgres_is_right_through_kills_on_the_embedded_log() {
    let Some(server) = Postgres::shared() else { return };
    through_kills(&Site::embedded(), "stock-e", &Base::Postgres(server, server.database()));
}

#[test]
fn a_counter_in_postgres_is_right_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let Some(server) = Postgres::shared() else { return };
    let site = Site::kafka(cluster.bootstrap(), SESSION);
    through_kills(&site, &unique("stock-k"), &Base::Postgres(server, server.database()));
}

#[test]
fn a_counter_in_sqlite_is_right_through_kills() {
    let site = Site::embedded();
    let base = Base::Sqlite(site.folder().join("stock.db"));
    through_kills(&site, "stock-s", &base);
}

/// A worker dies in the commit of a record that has been counted; another goes on.
fn after_a_death_in_the_commit(once: &str) -> usize {
    let (site, name) = (Site::embedded(), "stock-broken");
    let base = Base::Sqlite(site.folder().join("stock.db"));
    let file = pipeline(&site, name, &base, once);
    produce(&site, name, 1);
    let mut broken = site.run_broken("broken", &file, "nothing", "die_in_commit", "r-0");
    broken.wait(PATIENCE);
    assert_eq!(base.taken(), 1, "it died too early");
    site.until_idle("whole", Path::new(&file), PATIENCE);
    base.taken()
}

/// Negative control: without the call's id in the transaction the same run counts twice.
#[test]
fn without_the_calls_id_a_record_counts_twice() {
    assert_eq!(after_a_death_in_the_commit("true"), 1);
    assert_eq!(after_a_death_in_the_commit("false"), 2);
}
