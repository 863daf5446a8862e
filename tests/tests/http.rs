//! The filter `http` in a running pipeline, against a server that answers, fails, hangs and resets: what is tried again,
//! what becomes a dead letter, what the server can tell repeats by, and who waits for whom.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use millstream_tests::checker::Seen;
use millstream_tests::http_server::{HttpServer, Received, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;
use serde_json::{Value, json};

/// For what takes seconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(180);
const KEYED: [&str; 5] = ["--create", "--partitions", "2", "--key", ".key"];

/// A stage `reserve` that calls `/reserve`.
fn pipeline(server: &HttpServer, retry: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: orders\ndefaults: {{ topics: {{ partitions: 2 }} }}\nsource:\n  topic: \
         orders.raw\n  format: json\n  fields: {{ id: string, key: string, do: string }}\n  id: .id\nstages:\n  - name: \
         reserve\n    filter: http\n    with: {{ url: \"{}\", into: .stock, timeout: 4s }}\n    timeout: 10s\n    retry: \
         {retry}\n",
        server.url("/reserve")
    )
}

fn order(id: &str, key: &str, to_do: &str) -> String {
    json!({ "id": id, "key": key, "do": to_do }).to_string()
}

/// A field of a request's body.
fn field(request: &Received, name: &str) -> String {
    let body: Value = serde_json::from_str(&request.text()).expect("the body is JSON");
    body[name].as_str().unwrap_or_default().to_owned()
}

/// The requests for each order.
fn by_order(server: &HttpServer) -> BTreeMap<String, Vec<Received>> {
    let mut all: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    for request in server.received() {
        all.entry(field(&request, "id")).or_default().push(request);
    }
    all
}

/// Ids by key, in the order they lie in a topic.
fn ids(records: &[Seen]) -> BTreeMap<&str, Vec<&str>> {
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for record in records {
        let id = record.value["id"].as_str().expect("an id");
        all.entry(record.key.as_deref().expect("a key")).or_default().push(id);
    }
    all
}

/// What a dead letter says of itself.
fn fate(letters: &[Seen], id: &str) -> [String; 4] {
    let found: Vec<&Seen> = letters.iter().filter(|l| l.value["id"] == id).collect();
    assert_eq!(found.len(), 1, "letters of {id}");
    ["code", "class", "attempts", "filter"].map(|name| {
        let name = format!("millstream.dlq.{name}");
        let value = found[0].headers.iter().find(|(n, _)| *n == name).and_then(|(_, v)| v.clone());
        value.unwrap_or_else(|| panic!("no {name} in the letter of {id}"))
    })
}

/// The one idempotency key of all requests for an order.
fn one_key(requests: &[Received]) -> String {
    let keys: HashSet<&str> = requests.iter().map(|r| r.header("idempotency-key").expect("a key")).collect();
    assert_eq!(keys.len(), 1, "one key over all attempts: {keys:?}");
    keys.into_iter().next().expect("one").to_owned()
}

/// Answers by what the order says is to be done.
fn obedient() -> HttpServer {
    let seen: Mutex<HashMap<String, u32>> = Mutex::default();
    HttpServer::start(move |request| {
        let mut seen = seen.lock().expect("no request panics");
        let count = seen.entry(field(request, "id")).or_default();
        *count += 1;
        let first = *count == 1;
        match field(request, "do").as_str() {
            "twice 503" if *count <= 2 => Reply::status(503),
            "always 503" => Reply::status(503),
            "hang once" if first => Reply::Hang,
            "stall once" if first => Reply::Stall,
            "reset once" if first => Reply::Reset,
            "wait a second" if first => Reply::status(429).header("Retry-After", "1"),
            "always hang" => Reply::Hang,
            "422" => Reply::status(422),
            "302" => Reply::status(302).header("Location", "/elsewhere"),
            "talk" => Reply::Endless,
            _ => Reply::json("{\"left\":7}"),
        }
    })
}

/// Seen red with the attempt in the call's id.
#[test]
fn what_fails_is_tried_again_or_set_aside_and_order_is_kept() {
    let server = obedient();
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline(&server, "{ attempts: 3, backoff: 5ms..20ms }"));
    let fates = [
        ("a1", "a", "twice 503"),
        ("a2", "a", "ok"),
        ("b1", "b", "hang once"),
        ("b2", "b", "ok"),
        ("c1", "c", "reset once"),
        ("c2", "c", "stall once"),
        ("d1", "d", "wait a second"),
        ("d2", "d", "ok"),
        ("e1", "e", "always 503"),
        ("e2", "e", "ok"),
        ("f1", "f", "422"),
        ("f2", "f", "302"),
        ("f3", "f", "talk"),
        ("f4", "f", "always hang"),
        ("f5", "f", "ok"),
    ];
    let lines: Vec<String> = fates.iter().map(|(id, key, to_do)| order(id, key, to_do)).collect();
    site.produce("orders.raw", &lines, &KEYED);
    let summary = site.until_idle("run", &file, PATIENCE);
    let stage = &summary["pipelines"][0]["stages"][0];
    assert_eq!((&stage["read"], &stage["forwarded"], &stage["dead_lettered"]), (&json!(15), &json!(10), &json!(5)));

    let outputs = site.read("orders.reserve");
    let passed = ids(&outputs);
    for (key, want) in [
        ("a", vec!["a1", "a2"]),
        ("b", vec!["b1", "b2"]),
        ("c", vec!["c1", "c2"]),
        ("d", vec!["d1", "d2"]),
        ("e", vec!["e2"]),
        ("f", vec!["f5"]),
    ] {
        assert_eq!(passed.get(key), Some(&want), "key {key}");
    }
    assert!(outputs.iter().all(|r| r.value["stock"] == json!({ "left": 7 })));

    let letters = site.read("orders.reserve.dlq");
    assert_eq!(fate(&letters, "e1"), ["http_status", "exhausted", "3", "http"]);
    assert_eq!(fate(&letters, "f1"), ["http_status", "permanent", "1", "http"]);
    assert_eq!(fate(&letters, "f2"), ["http_status", "permanent", "1", "http"]);
    assert_eq!(fate(&letters, "f3"), ["http_response_too_large", "permanent", "1", "http"]);
    assert_eq!(fate(&letters, "f4"), ["http_timeout", "exhausted", "3", "http"]);

    let requests = by_order(&server);
    let attempts = |id: &str| requests[id].len();
    assert_eq!(["a1", "b1", "c1", "c2", "d1", "e1", "f1", "f2", "f4"].map(attempts), [3, 2, 2, 2, 2, 3, 1, 1, 3]);
    let keys: HashSet<String> = requests.values().map(|r| one_key(r)).collect();
    assert_eq!(keys.len(), fates.len(), "each order has a key of its own");
    // A lower bound: the server asked for a second.
    let waited = requests["d1"][1].at - requests["d1"][0].at;
    assert!(waited >= Duration::from_secs(1), "{waited:?}");
    // No order of a key is sent before the one ahead of it has ended.
    let sent: Vec<String> = server.received().iter().map(|r| field(r, "id")).filter(|id| id.starts_with('f')).collect();
    assert_eq!(sent, ["f1", "f2", "f3", "f4", "f4", "f4", "f5"]);
}

/// The server refuses one key until it has answered every order of the others: if they waited for it, nothing would end.
#[test]
fn while_one_key_fails_the_others_go_on() {
    const OTHERS: usize = 200;
    let answered: Mutex<HashSet<String>> = Mutex::default();
    let server = HttpServer::start(move |request| {
        let mut answered = answered.lock().expect("no request panics");
        if field(request, "key") == "stuck" && answered.len() < OTHERS {
            return Reply::status(503);
        }
        if field(request, "key") != "stuck" {
            answered.insert(field(request, "id"));
        }
        Reply::json("{\"left\":7}")
    });
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline(&server, "{ attempts: 1000, backoff: 50ms..50ms }"));
    let mut lines: Vec<String> = (0..3).map(|n| order(&format!("stuck-{n}"), "stuck", "wait")).collect();
    lines.extend((0..OTHERS).map(|n| order(&format!("{n:03}"), &format!("k{}", n % 20), "ok")));
    site.produce("orders.raw", &lines, &KEYED);
    let summary = site.until_idle("run", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["stages"][0]["forwarded"], OTHERS + 3);
    let outputs = site.read("orders.reserve");
    let passed = ids(&outputs);
    assert_eq!(passed["stuck"], ["stuck-0", "stuck-1", "stuck-2"]);
    assert!(passed.values().all(|ids| ids.is_sorted()), "{passed:?}");
    // It did fail, and its next order was not sent before it had passed.
    let sent: Vec<String> =
        server.received().iter().map(|r| field(r, "id")).filter(|id| id.starts_with("stuck")).collect();
    assert!(sent.len() > 3 && sent.is_sorted(), "{sent:?}");
}

/// Killed in the middle of a call: the next process sends the same key, so that the server can tell.
#[test]
fn another_process_repeats_a_call_under_the_same_key() {
    let server = obedient();
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline(&server, "{ attempts: 3, backoff: 5ms..20ms }"));
    site.produce("orders.raw", &[order("a1", "a", "hang once")], &KEYED);
    let mut run = site.run("run", &file);
    assert!(wait_until(PATIENCE, || !server.received().is_empty()), "nothing was sent");
    run.kill();
    server.wait_for_abandoned(1);
    site.until_idle("rest", &file, PATIENCE);
    let requests = by_order(&server);
    assert!(requests["a1"].len() >= 2);
    one_key(&requests["a1"]);
    assert_eq!(site.read("orders.reserve").len(), 1);
}

#[test]
fn each_stage_has_keys_of_its_own() {
    let server = HttpServer::start(|_| Reply::json("{\"left\":7}"));
    let site = Site::embedded();
    let mut text = pipeline(&server, "{ attempts: 2 }");
    text.push_str(&format!(
        "  - name: announce\n    filters:\n      - http: {{ url: \"{0}\", keep: true }}\n      - http: {{ url: \"{0}\", \
         method: PUT, keep: true }}\n",
        server.url("/announce")
    ));
    let file = site.write("pipeline.yaml", &text);
    site.produce("orders.raw", &[order("a1", "a", "ok")], &KEYED);
    site.until_idle("run", &file, PATIENCE);
    let received = server.received();
    assert_eq!(received.len(), 3);
    let keys: HashSet<&str> = received.iter().map(|r| r.header("idempotency-key").expect("a key")).collect();
    assert_eq!(keys.len(), 3, "two stages, one of them with two filters that call out");
}

/// A stop does not wait for a server that hangs, and what was not answered is sent again.
#[test]
fn a_stop_in_the_middle_of_a_call_loses_nothing() {
    let server = obedient();
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline(&server, "{ attempts: 3, backoff: 5ms..20ms }"));
    site.produce("orders.raw", &[order("a1", "a", "hang once"), order("a2", "a", "ok")], &KEYED);
    let mut run = site.run("run", &file);
    assert!(wait_until(PATIENCE, || !server.received().is_empty()), "nothing was sent");
    run.signal("TERM");
    run.succeed(PATIENCE);
    site.until_idle("rest", &file, PATIENCE);
    assert_eq!(ids(&site.read("orders.reserve")), BTreeMap::from([("a", vec!["a1", "a2"])]));
}

#[test]
fn check_finds_what_is_wrong_without_showing_a_secret() {
    let site = Site::embedded();
    let text = "apiVersion: millstream/v1\npipeline: orders\nsource: { topic: orders.raw, format: json }\nstages:\n  \
                - name: reserve\n    filter: http\n    with:\n      url: ftp://stock/reserve\n      method: Post\n      \
                headers: { Host: a, Authorization: \"${env:TOKEN}\" }\n";
    let file = site.write("pipeline.yaml", text);
    let out = site.command(["check"]).arg(&file).env("TOKEN", "s3cr3t\u{7}token").output().expect("check runs");
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(2), "{said}");
    for wanted in ["pipeline.yaml:8:12", "bad_url", "did you mean `POST`?", "`Host` cannot be set", "`Authorization`"] {
        assert!(said.contains(wanted), "no {wanted:?} in {said}");
    }
    assert!(!said.contains("s3cr3t"), "{said}");
}
