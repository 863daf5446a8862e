//! `pipelines/order-fulfilment`: what becomes of an order is the same for its job, in the table, at the services and in the
//! mails.

use std::collections::BTreeMap;

use millstream_tests::http_client::{HttpClient, authority, wait_ready};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use millstream_tests::workspace;
use rusqlite::Connection;
use serde_json::Value;

use crate::PATIENCE;
use crate::undone::effects;

/// Orders by id and what is ordered: the depot has no stones, and nobody pays for air.
const ORDERS: [(&str, &str); 5] =
    [("o-1", "tea"), ("o-2", "stones"), ("o-3", "air"), ("o-4", "cup"), ("o-5", "stones")];

#[test]
fn orders_are_fulfilled_or_undone() {
    let site = Site::embedded();
    let server = HttpServer::start(|request| match request.path.as_str() {
        "/ship" if request.text().contains("stones") => Reply::status(422),
        "/charge" if request.text().contains("air") => Reply::status(422),
        path => Reply::json(&format!("{{\"by\":\"{path}\"}}")),
    });
    let file = workspace().join("pipelines/order-fulfilment");
    let table = site.folder().join("orders.db");
    let run = |name: &str| {
        let mut command = site.command(["run", "--listen", "127.0.0.1:0"]);
        for service in ["STOCK", "BANK", "DEPOT"] {
            command.env(service, server.url(""));
        }
        command.env("DATABASE_URL", format!("sqlite:{}", table.display()));
        Process::start(command.arg(&file), site.folder(), name)
    };
    let mut first = run("first");
    let mut client = HttpClient::new(&authority(&mut first, PATIENCE), PATIENCE);
    wait_ready(&mut client, PATIENCE);
    let mut jobs = BTreeMap::new();
    for (id, sku) in ORDERS {
        let headers =
            [("authorization", "Bearer only-to-try"), ("content-type", "application/json"), ("idempotency-key", id)];
        let body = format!("{{\"order\":\"{id}\",\"sku\":\"{sku}\",\"quantity\":2,\"mail\":\"{id}@example.com\"}}");
        let taken = client.request("POST", "/orders", &headers, body.as_bytes()).expect("an answer");
        jobs.insert(id, taken.json()["job"].as_str().expect("a job").to_owned());
    }
    // What was taken in is finished by another process.
    let called = |path: &str| server.received().iter().any(|r| r.path == path);
    assert!(wait_until(PATIENCE, || called("/charge")), "nothing is charged");
    first.kill();
    let mut second = run("second");
    let mut client = HttpClient::new(&authority(&mut second, PATIENCE), PATIENCE);
    wait_ready(&mut client, PATIENCE);
    let mut state = |job: &str| {
        let mut state = Value::Null;
        wait_until(PATIENCE, || {
            let answer = client.request("GET", &format!("/api/v1/jobs/{job}"), &[], b"").expect("an answer");
            state = answer.json()["state"].clone();
            state == "done" || state == "compensated"
        });
        state.as_str().unwrap_or_default().to_owned()
    };
    let states: BTreeMap<&str, String> = jobs.iter().map(|(id, job)| (*id, state(job))).collect();
    for (id, sku) in ORDERS {
        let good = !["stones", "air"].contains(&sku);
        assert_eq!(states[id], if good { "done" } else { "compensated" }, "{id}");
    }

    let rows = Connection::open(&table).expect("the table");
    let mut rows = rows.prepare("select id, status from orders").expect("the table");
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
    let stored: BTreeMap<String, String> = rows.collect::<Result<_, _>>().expect("rows");
    let word = |state: &str| if state == "done" { "shipped" } else { "undone" };
    let wanted = states.iter().map(|(id, state)| ((*id).to_owned(), word(state).to_owned())).collect();
    assert_eq!(stored, wanted);

    let effects = effects(&server);
    for (id, sku) in ORDERS {
        let called: Vec<&str> = effects[id].iter().map(|(path, _, _)| path.as_str()).collect();
        let wanted: &[&str] = match sku {
            "stones" => &["/reserve", "/charge", "/ship", "/refund", "/release"],
            "air" => &["/reserve", "/charge", "/release"],
            _ => &["/reserve", "/charge", "/ship"],
        };
        assert_eq!(called, wanted, "{id}");
    }
    // A compensation has the record as its stage left it.
    let undone = server.received().into_iter().find(|r| r.path == "/refund").expect("refunded").text();
    assert!(undone.contains("\"charge\"") && undone.contains("\"reservation\""), "{undone}");
    let mails = site.read("order-fulfilment.mails");
    let mut mails: Vec<&str> = mails.iter().filter_map(|mail| mail.value["subject"].as_str()).collect();
    mails.sort_unstable();
    assert_eq!(mails, ["Order o-1", "Order o-4"], "one for each order that is on its way");
    second.signal("TERM");
    second.succeed(PATIENCE);
}
