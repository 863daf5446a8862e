//! A request, and what becomes of it: answered at once, asked for, followed, waited for, cancelled; at any process.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_client::{Answer, HttpClient, authority, wait_ready};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

use crate::{PATIENCE, SESSION, said};

/// Two sources, one of which answers with results. Orders for tea are good, for stones bad; cups hang.
fn pipeline(site: &Site, name: &str, url: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {{ result: bill }}\ndefaults: {{ topics: {{ partitions: 2 }} }}\n\
         sources:\n  orders: {{ http: {{ path: /orders, auth: none, id: {{ header: idempotency-key }} }} }}\n  \
         now: {{ http: {{ path: /now, auth: none, respond: {{ result: 3m }} }} }}\n  \
         soon: {{ http: {{ path: /soon, auth: none, respond: {{ result: 300ms }} }} }}\n\
         stages:\n  - name: bill\n    from: [orders, now, soon]\n    filter: http\n    timeout: 5m\n    \
         with: {{ url: \"{url}\", timeout: 5m }}\n  - name: mail\n    filter: map\n    with: .sent = true\n"
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn start(site: &Site, label: &str, file: &PathBuf) -> Process {
    let mut command = site.command(["run", "--listen", "127.0.0.1:0", "--drain-timeout", "3s"]);
    Process::start(command.arg(file), site.folder(), label)
}

/// The words of the events of a job, up to the last one.
fn events(authority: &str, job: &str) -> Vec<String> {
    let mut stream = TcpStream::connect(authority).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let request = format!("GET /api/v1/jobs/{job}/events HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let lines = BufReader::new(stream).lines().map(|line| line.expect("a line"));
    lines.filter_map(|line| line.strip_prefix("event: ").map(str::to_owned)).collect()
}

fn round_trip(site: &Site, name: &str) {
    let server = HttpServer::start(|request| match request.text() {
        body if body.contains("cup") => Reply::Hang,
        body if body.contains("stone") => Reply::status(422),
        _ => Reply::json("{\"total\": 700}"),
    });
    let file = pipeline(site, name, &server.url("/bill"));
    let mut running = [start(site, "run-0", &file), start(site, "run-1", &file)];
    let at = [authority(&mut running[0], PATIENCE), authority(&mut running[1], PATIENCE)];
    let [mut here, mut there] = [0, 1].map(|n| HttpClient::new(&at[n], PATIENCE));
    for client in [&mut here, &mut there] {
        wait_ready(client, PATIENCE);
    }
    let get = |client: &mut HttpClient, path: &str, headers: &[(&str, &str)]| -> Answer {
        client.request("GET", path, headers, b"").expect("an answer")
    };

    // Asked at the other process, waited for to its end, and not told twice.
    let posted = here.post("/orders", &[("idempotency-key", "one")], "{\"sku\": \"tea\"}").expect("an answer");
    let job = posted.job().expect("a job");
    let path = posted.header("location").expect("an address").to_owned();
    assert_eq!(path, format!("/api/v1/jobs/{job}"));
    let done = get(&mut there, &format!("{path}?wait=60s"), &[]);
    let document = done.json();
    assert_eq!((done.status, &document["state"], &document["job"]), (200, &"done".into(), &job.clone().into()));
    assert_eq!(document["result"]["total"], 700, "{document}");
    let tag = done.header("etag").expect("a tag").to_owned();
    assert_eq!(get(&mut there, &path, &[("if-none-match", &tag)]).status, 304);
    // Each process reads the statuses for itself: this one may be a moment behind.
    let other = wait_until(PATIENCE, || get(&mut here, &path, &[("if-none-match", "\"x\"")]).json()["state"] == "done");
    assert!(other, "the other process never knows");
    assert_eq!(events(&at[1], &job).last().map(String::as_str), Some("done"));

    // Answered with the result, or why there is none.
    let now = there.post("/now", &[], "{\"sku\": \"tea\"}").expect("an answer");
    assert_eq!((now.status, now.json()["total"].as_u64()), (200, Some(700)), "{now:?}");
    assert_eq!(now.header("content-type"), Some("application/json"));
    let bad = here.post("/now", &[], "{\"sku\": \"stone\"}").expect("an answer");
    assert_eq!((bad.status, &bad.json()["code"]), (500, &"job_failed".into()), "{bad:?}");
    let late = here.post("/soon", &[], "{\"sku\": \"cup\"}").expect("an answer");
    let job = late.job().unwrap_or_else(|| panic!("{late:?}"));

    // Cancelled at the other process: the call for it is ended, and who follows it is told.
    let followed = {
        let (at, job) = (at[0].clone(), job.clone());
        std::thread::spawn(move || events(&at, &job))
    };
    let path = format!("/api/v1/jobs/{job}");
    let cancelled = there.request("DELETE", &path, &[], b"").expect("an answer");
    assert_eq!((cancelled.status, &cancelled.json()["state"]), (202, &"cancelled".into()), "{cancelled:?}");
    server.wait_for_abandoned(1);
    assert_eq!(followed.join().expect("no panic").last().map(String::as_str), Some("cancelled"));
    let again = here.request("DELETE", &path, &[], b"").expect("an answer");
    assert_eq!((again.status, &again.json()["code"]), (409, &"job_ended".into()), "{again:?}");

    ordered(site, name, &mut here, &mut there);

    // What is no question gets a clear answer.
    let unknown = get(&mut here, "/api/v1/jobs/nobody", &[]);
    assert_eq!((unknown.status, &unknown.json()["code"]), (404, &"unknown_job".into()));
    let query = get(&mut here, &format!("{path}?wait=soon"), &[]);
    assert_eq!((query.status, &query.json()["field"]), (400, &"wait".into()));
    let method = here.request("PUT", &path, &[], b"").expect("an answer");
    assert_eq!((method.status, method.header("allow")), (405, Some("GET, DELETE")));

    // Who waits when the process ends is answered, and the process ends in time.
    let hanging = here.post("/soon", &[], "{\"sku\": \"cup\"}").expect("an answer").job().expect("a job");
    let waiting = {
        let mut client = HttpClient::new(&at[0], PATIENCE);
        std::thread::spawn(move || client.request("GET", &format!("/api/v1/jobs/{hanging}?wait=60s"), &[], b""))
    };
    server.wait_for_abandoned(1);
    running[0].signal("TERM");
    running[0].succeed(PATIENCE);
    // Its connection may have come too late to be taken.
    if let Ok(Ok(answer)) = waiting.join() {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    running[1].signal("TERM");
    running[1].succeed(PATIENCE);
}

/// Jobs that are started over the API, now and later.
fn ordered(site: &Site, name: &str, here: &mut HttpClient, there: &mut HttpClient) {
    const JSON: &[(&str, &str)] = &[("content-type", "application/json")];
    let at = format!("/api/v1/pipelines/{name}/jobs");
    let mut order = |body: &str| here.request("POST", &at, JSON, body.as_bytes()).expect("an answer");
    let mut state = |job: &str, wanted: &str| {
        let mut last = None;
        wait_until(PATIENCE, || {
            let answer = there.request("GET", &format!("/api/v1/jobs/{job}"), &[], b"").expect("an answer");
            last = Some(answer.json());
            last.as_ref().is_some_and(|document| document["state"] == wanted)
        });
        let document = last.expect("an answer");
        assert_eq!(document["state"], wanted, "{document}");
        document
    };
    let now = order(r#"{"value": {"sku": "tea"}, "source": "orders", "id": "by-hand"}"#);
    assert_eq!((now.status, now.json()), (202, serde_json::json!({ "job": "by-hand" })));
    assert_eq!(now.header("location"), Some("/api/v1/jobs/by-hand"));
    assert_eq!(state("by-hand", "done")["result"]["total"], 700);
    let soon = order(r#"{"value": {"sku": "tea"}, "source": "orders", "id": "soon", "after": "1s"}"#);
    assert!(soon.status == 202 && soon.json()["at"].is_string(), "{soon:?}");
    state("soon", "done");

    let later = order(r#"{"value": {"sku": "tea"}, "source": "orders", "id": "later", "at": "2100-01-01T00:00:00Z"}"#);
    assert_eq!((later.status, &later.json()["at"]), (202, &"2100-01-01T00:00:00Z".into()), "{later:?}");
    assert_eq!(state("later", "scheduled")["starts"], "2100-01-01T00:00:00Z");
    let command = |words: &[&str]| site.command(words.iter().copied()).output().expect("it starts");
    let listed = command(&["jobs", "ls", name, "--state", "scheduled", "-o", "json"]);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&listed.stdout).expect("JSON")["count"], 1);
    let other = order(r#"{"value": {"sku": "cup"}, "source": "orders", "id": "later", "after": "9h"}"#);
    assert_eq!((other.status, &other.json()["code"]), (409, &"job_waits".into()), "{other:?}");
    let taken = command(&["trigger", name, "--cancel", "later"]);
    assert!(taken.status.success(), "{}", said(&taken));
    state("later", "cancelled");

    for (body, status, code) in [
        (r#"{"source": "nowhere"}"#, 422, "unknown_source"),
        ("{}", 422, "ambiguous_source"),
        (r#"{"source": "orders"}"#, 422, "trigger_no_value"),
        (r#"{"source": "orders", "value": 1, "at": "soon"}"#, 422, "bad_order"),
        ("[", 400, "bad_order"),
    ] {
        let refused = order(body);
        assert_eq!((refused.status, &refused.json()["code"]), (status, &code.into()), "{body}: {refused:?}");
    }
    let form = here.request("POST", &at, &[("content-type", "text/plain")], b"{}").expect("an answer");
    assert_eq!((form.status, &form.json()["code"]), (415, &"unsupported_media_type".into()));
    let nobody = here.request("POST", "/api/v1/pipelines/nobody/jobs", JSON, b"{}").expect("an answer");
    assert_eq!((nobody.status, &nobody.json()["code"]), (404, &"unknown_pipeline".into()));
    let read = here.request("GET", &at, &[], b"").expect("an answer");
    assert_eq!((read.status, read.header("allow")), (405, Some("POST")));
}

#[test]
fn a_request_is_followed_to_its_end_on_the_embedded_log() {
    round_trip(&Site::embedded(), "jobs-api");
}

#[test]
fn a_request_is_followed_to_its_end_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    round_trip(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-api"));
}

#[test]
fn others_than_this_machine_want_a_token() {
    for (token, given, wanted) in [("", "", 403), ("abc", "Bearer abd", 401), ("abc", "Bearer abc", 404)] {
        let site = Site::embedded();
        let file = pipeline(&site, "jobs-token", "http://127.0.0.1:1/");
        let mut command = site.command(["run", "--listen", "0.0.0.0:0"]);
        let mut process = Process::start(command.arg(&file).env("MILLSTREAM_TOKEN", token), site.folder(), "run");
        let at = authority(&mut process, PATIENCE).replace("0.0.0.0", "127.0.0.1");
        let mut client = HttpClient::new(&at, PATIENCE);
        wait_ready(&mut client, PATIENCE);
        let headers: Vec<(&str, &str)> = [("authorization", given)].into_iter().filter(|h| !h.1.is_empty()).collect();
        let answer = client.request("GET", "/api/v1/jobs/x", &headers, b"").expect("an answer");
        assert_eq!(answer.status, wanted, "{token} {given}: {answer:?}");
    }
}
