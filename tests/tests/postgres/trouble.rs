//! A database that is not as it should be: said with a code, tried again, and never the end of the process.

use std::process::Command;

use millstream_test_kafka::Postgres;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, came, pipeline};

#[test]
fn what_is_wrong_is_said_and_mended_while_it_runs() {
    let Some(mut server) = Postgres::start() else { return };
    let database = server.database();
    server.sql(&database, "CREATE ROLE reader LOGIN");
    let site = Site::embedded();
    let url = server.url("reader", &database);
    let file = pipeline(&site, "shop", &url, "outbox: events, mark: taken");
    let mut run = site.run("run", &file);
    run.wait_for_stderr("postgres_no_table", PATIENCE);
    server.sql(&database, "CREATE TABLE events (id bigint, key text, taken boolean)");
    run.wait_for_stderr("postgres_denied", PATIENCE);
    server.sql(&database, "GRANT SELECT ON events TO reader");
    run.wait_for_stderr("postgres_not_unique", PATIENCE);
    server.sql(&database, "ALTER TABLE events ADD PRIMARY KEY (id)");
    run.wait_for_stderr("postgres_column", PATIENCE);
    server.sql(&database, "ALTER TABLE events ADD payload point");
    run.wait_for_stderr("postgres_type", PATIENCE);
    server.sql(&database, "ALTER TABLE events DROP payload, ADD payload text");
    run.wait_for_stderr("may not UPDATE `taken`", PATIENCE);
    server.sql(
        &database,
        "INSERT INTO events VALUES (7, 'a', false, '{\"n\": 7}'), (9223372036854775807, 'a', NULL, '{\"n\": 9}'),
           (-5, 'a', true, '{\"n\": 5}'), (8, 'b', NULL, NULL), (10, 'b', NULL, 'no json');
         GRANT UPDATE (taken) ON events TO reader",
    );
    let rows = |n: usize| wait_until(PATIENCE, || came(&site, "shop").len() >= n);
    assert!(rows(2), "they never came");
    assert_eq!(came(&site, "shop"), [("a".to_owned(), 7), ("a".to_owned(), 9)]);
    assert!(wait_until(PATIENCE, || site.read("shop.out.dlq").len() == 2), "no payload, and one that is no JSON");
    assert!(wait_until(PATIENCE, || server.sql(&database, "SELECT bool_and(taken) FROM events") == "t"));
    // Away, and there again; the address is known, and nothing of the URL is shown.
    server.kill();
    run.wait_for_stderr("postgres_away", PATIENCE);
    server.restart();
    server.sql(&database, "INSERT INTO events VALUES (11, 'a', NULL, '{\"n\": 11}')");
    assert!(rows(3), "it did not come back");
    assert!(run.ended().is_none() && !run.stderr().contains("postgres://"), "{}", run.stderr());
}

/// An authority, and what it signed for `localhost`; then the server takes TLS.
const CERTIFICATES: &str = "set -e; cd $1
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout ca.key -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout data/server.key -out server.csr
echo 'subjectAltName=DNS:localhost' > names
openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out data/server.crt
chmod 600 data/server.key; chown --reference=data data/server.key data/server.crt";

#[test]
fn certificates_are_checked_as_the_url_wants_it() {
    let Some(server) = Postgres::start() else { return };
    let database = server.database();
    server.sql(
        &database,
        "CREATE TABLE events (id bigint PRIMARY KEY, key text, payload text);
         INSERT INTO events VALUES (1, 'a', '{\"n\": 1}')",
    );
    let site = Site::embedded();
    let url = |host: &str, rest: &str| format!("postgres://postgres@{host}:{}/{database}?{rest}", server.port());
    let run = |name: &str, url: &str| site.run(name, &pipeline(&site, "shop", url, "outbox: events"));
    // What asks for TLS does not go on without.
    run("none", &url("localhost", "sslmode=require")).wait_for_stderr("postgres_tls", PATIENCE);
    let folder = server.folder().display().to_string();
    let made = Command::new("sh").args(["-c", CERTIFICATES, "sh", &folder]).output().expect("sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    server.sql(&database, "ALTER SYSTEM SET ssl = on");
    server.sql(&database, "SELECT pg_reload_conf()");
    let known = format!("sslrootcert={folder}/ca.pem");
    // Nobody this machine trusts, and somebody else's name.
    run("unknown", &url("localhost", "sslmode=verify-full")).wait_for_stderr("postgres_tls", PATIENCE);
    run("name", &url("127.0.0.1", &format!("sslmode=verify-full&{known}"))).wait_for_stderr("postgres_tls", PATIENCE);
    assert_eq!(server.sql(&database, "SELECT count(*) FROM events"), "1");
    for (n, (host, mode)) in [(1, ("localhost", "verify-full")), (2, ("127.0.0.1", "verify-ca"))] {
        let running = run(&format!("known-{n}"), &url(host, &format!("sslmode={mode}&{known}")));
        assert!(wait_until(PATIENCE, || came(&site, "shop").len() == n), "{host} by {mode}");
        drop(running);
        server.sql(&database, &format!("INSERT INTO events VALUES ({n} + 1, 'a', '{{\"n\": {n}}}')"));
    }
}
