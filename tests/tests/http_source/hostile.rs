//! Requests that are wrong, broken or meant to hurt: each gets its answer, and nothing of it comes in.

use millstream_tests::http_client::{Answer, HttpClient};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{ANSWER, PATIENCE, order, root, serve};

const PIPELINE: &str = "pipeline: shop
sources:
  keyed: { http: { path: /keyed, auth: { bearer: \"${env:ORDERS_TOKEN:-t0p-s3cret}\" }, id: { header: idempotency-key }, max_body: 2KiB }, fields: { n: integer, by: string, key: string } }
  plain: { http: { path: /plain, auth: { basic: { user: shop, password: t0p-s3cret } }, rate: 1000/s } }
  text: { http: { path: /text, auth: none }, format: text }
  slow: { http: { path: /slow, auth: none, rate: 1/m } }
stages:
  - { name: keyed-orders, from: keyed, filter: where, with: 'true' }
  - { name: others, from: [plain, slow], filter: where, with: 'true' }
  - { name: texts, from: text, filter: where, with: 'true' }
";

const BEARER: (&str, &str) = ("authorization", "Bearer t0p-s3cret");
const BASIC: (&str, &str) = ("authorization", "Basic c2hvcDp0MHAtczNjcmV0");

fn says(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    assert_eq!(answer.json()["status"], status);
}

#[test]
fn what_is_wrong_is_said_and_leaves_nothing() {
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", PIPELINE);
    let (mut process, at) = serve(&site, "serves", &file);
    let mut client = HttpClient::new(&at, ANSWER);
    let good = order(1, "x");
    let mut post =
        |path: &str, headers: &[(&str, &str)], body: &str| client.post(path, headers, body).expect("an answer");
    let key = |key: &'static str| [BEARER, ("idempotency-key", key)];

    // Who sends.
    let answer = post("/keyed", &[("idempotency-key", "a")], &good);
    says(&answer, 401, "unauthorized");
    assert!(answer.header("www-authenticate").is_some_and(|w| w.starts_with("Bearer")), "{answer:?}");
    says(&post("/keyed", &[("authorization", "Bearer wrong"), ("idempotency-key", "a")], &good), 401, "unauthorized");
    says(&post("/plain", &[BEARER], "{}"), 401, "unauthorized");
    // Where and how.
    says(&post("/nowhere", &[], &good), 404, "nothing_here");
    says(&post("/keyed/", &key("a"), &good), 404, "nothing_here");
    says(&post("/api/v1/jobs/x", &[], ""), 405, "method_not_allowed");
    says(&post("/api/v1/pipelines/x", &[], ""), 404, "nothing_here");
    // The key.
    says(&post("/keyed", &[BEARER], &good), 400, "bad_idempotency_key");
    says(&post("/keyed", &key(""), &good), 400, "bad_idempotency_key");
    let long = "k".repeat(256);
    says(&post("/keyed", &[BEARER, ("idempotency-key", &long)], &good), 400, "bad_idempotency_key");
    says(
        &post("/keyed", &[BEARER, ("idempotency-key", "a"), ("Idempotency-Key", "b")], &good),
        400,
        "bad_idempotency_key",
    );
    says(&post("/keyed", &[BEARER, ("idempotency-key", "k\u{e4}")], &good), 400, "bad_idempotency_key");
    // The body.
    says(
        &post("/keyed", &[BEARER, ("idempotency-key", "a"), ("content-type", "text/plain")], &good),
        415,
        "unsupported_media_type",
    );
    says(
        &post("/keyed", &[BEARER, ("idempotency-key", "a"), ("content-encoding", "gzip")], &good),
        415,
        "unsupported_media_type",
    );
    for broken in ["", "{", "{\"n\":1}x", "\u{0}", "nul"] {
        says(&post("/keyed", &key("a"), broken), 400, "undecodable");
    }
    says(&post("/keyed", &key("a"), &"[".repeat(2000)), 400, "undecodable");
    for (body, field) in
        [("{\"n\":\"1\",\"by\":\"x\",\"key\":\"k\"}", ".n"), ("{\"n\":1,\"by\":\"x\"}", ".key"), ("7", ".")]
    {
        let answer = post("/keyed", &key("a"), body);
        says(&answer, 422, "schema_violation");
        assert_eq!(answer.json()["field"], field);
    }
    says(&post("/keyed", &key("a"), &" ".repeat(2049)), 413, "body_too_large");
    let taken = post("/keyed", &key("a"), &good);
    assert_eq!(taken.status, 202, "after all of that the key is free: {taken:?}");
    says(&post("/keyed", &key("a"), &order(2, "x")), 409, "id_conflict");
    // The rate.
    assert_eq!(post("/slow", &[], "{}").status, 202);
    let answer = post("/slow", &[], "{}");
    says(&answer, 429, "too_many_requests");
    assert!(answer.header("retry-after").and_then(|r| r.parse::<u64>().ok()).is_some_and(|r| (1..=60).contains(&r)));
    let answer = client.request("GET", "/keyed", &[BEARER], &[]).expect("an answer");
    says(&answer, 405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));

    raw(&at);
    // Text is text.
    let bytes = client.request("POST", "/text", &[], &[0xff, 0xfe]).expect("an answer");
    says(&bytes, 400, "undecodable");
    let texts = client.request("POST", "/text", &[("content-type", "text/plain; charset=utf-8")], "grün".as_bytes());
    assert_eq!(texts.expect("an answer").status, 202);
    assert_eq!(client.post("/plain", &[BASIC, ("traceparent", "00-x-y-01")], "{}").expect("an answer").status, 202);

    assert!(wait_until(PATIENCE, || site.read("shop.texts").len() == 1 && site.read("shop.others").len() == 2));
    process.signal("TERM");
    process.succeed(PATIENCE);
    let (keyed, others) = (site.read("shop.in.keyed"), site.read("shop.others"));
    assert_eq!((keyed.len(), Some(root(&keyed[0]))), (1, taken.job()), "{keyed:?}");
    assert!(
        others.iter().any(|r| r.headers.iter().any(|(n, v)| n == "traceparent" && v.as_deref() == Some("00-x-y-01")))
    );
    assert!(others.iter().all(|r| r.headers.iter().all(|(n, _)| n != "authorization")));
    assert!(!process.stderr().contains("t0p-s3cret"), "a secret is printed nowhere");
    for words in [
        &["plan", "pipeline.yaml"][..],
        &["graph", "pipeline.yaml"],
        &["status", "pipeline.yaml", "-o", "json"],
        &["consume", "shop.control", "--until-end"],
    ] {
        let mut command = site.start("look", words);
        command.succeed(PATIENCE);
        assert!(!(command.stdout() + &command.stderr()).contains("s3cret"), "{words:?}");
    }
}

/// What no client library would send.
fn raw(at: &str) {
    let mut client = HttpClient::new(at, ANSWER);
    let head = |more: &str| {
        format!(
            "POST /keyed HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t0p-s3cret\r\ncontent-type: application/json\r\n{more}"
        )
    };
    // Too many headers, and too large ones; the connection may end before all is sent.
    let many: String = (0..500).map(|n| format!("x-{n}: y\r\n")).collect();
    let large = format!("x-large: {}\r\n", "y".repeat(1 << 20));
    for bomb in [many, large] {
        client.close();
        match client.raw((head(&bomb) + "\r\n").as_bytes()) {
            Ok(answer) => assert!(matches!(answer.status, 400 | 431), "{answer:?}"),
            Err(error) => assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "it is not kept waiting"),
        }
    }
    client.close();
    let not_http = client.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
    assert!(not_http.map_or(true, |answer| answer.status == 400));
    // More than was allowed, without saying so ahead.
    client.close();
    let chunk = format!("400\r\n{}\r\n", " ".repeat(0x400));
    let chunked = head("idempotency-key: c\r\ntransfer-encoding: chunked\r\n\r\n") + &chunk.repeat(3) + "0\r\n\r\n";
    says(&client.raw(chunked.as_bytes()).expect("an answer"), 413, "body_too_large");
    // More than was allowed, said ahead: nothing of it is sent.
    client.close();
    let ahead = head("idempotency-key: c\r\ncontent-length: 99999999\r\n\r\n");
    says(&client.raw(ahead.as_bytes()).expect("an answer"), 413, "body_too_large");
    // Two requests at once are answered in their order.
    client.close();
    let one = head("idempotency-key: c\r\ncontent-length: 1\r\n\r\n") + "{";
    client.send((one.clone() + &one).as_bytes()).expect("sent");
    says(&client.answer().expect("an answer"), 400, "undecodable");
    says(&client.answer().expect("an answer"), 400, "undecodable");
    // A body that breaks off: its key is free afterwards, as the caller shows.
    client.close();
    let cut = head("idempotency-key: a\r\ncontent-length: 100\r\n\r\n") + "{\"n\":1";
    client.send(cut.as_bytes()).expect("sent");
    client.close();
    // A length that is none.
    for length in ["-1", "1, 2", "9999999999999999999999"] {
        client.close();
        let answer = client.raw(head(&format!("content-length: {length}\r\n\r\n")).as_bytes());
        assert!(answer.map_or(true, |a| a.status == 400), "{length}");
    }
}
