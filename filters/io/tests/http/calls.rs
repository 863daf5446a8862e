//! What is sent, and what an answer becomes.

use std::collections::HashSet;

use crate::common::{Http, text};
use millstream_filter_api::{Outcome, Payload, Record};
use millstream_tests::http_server::{HttpServer, Reply};

#[tokio::test]
async fn the_payload_is_sent_byte_for_byte_with_its_headers() {
    let server = HttpServer::start(|_| Reply::json("{}"));
    let http = Http::new(&format!(
        "http: {{ url: \"{}\", headers: {{ Authorization: \"Bearer ${{env:TOKEN}}\", X-Tenant: blue }} }}",
        server.url("/orders?dry=1")
    ));
    let payload = "{ \"n\" : 1, \"z\":123456789012345678901234567890, \"p\":1.10 }";
    http.attempt(http.decode(payload), "3f9a").await;
    let got = server.received().remove(0);
    assert_eq!((got.method.as_str(), got.path.as_str(), got.text().as_str()), ("POST", "/orders?dry=1", payload));
    assert_eq!(got.header("idempotency-key"), Some("3f9a"));
    assert_eq!(got.header("content-type"), Some("application/json"));
    assert_eq!(got.header("authorization"), Some("Bearer s3cr3t-token"));
    assert_eq!(got.header("x-tenant"), Some("blue"));
    assert_eq!(got.header("host"), Some(server.authority().as_str()));
    assert!(got.header("user-agent").is_some_and(|u| u.starts_with("millstream/")));
}

#[tokio::test]
async fn a_body_is_what_the_expression_gives_and_a_get_has_none() {
    let server = HttpServer::start(|_| Reply::status(204));
    let url = server.url("/");
    for (options, body, kind) in [
        ("body: .n + 1", "8", Some("application/json")),
        ("body: '{ \"of\": .sku, \"key\": %key }'", "{\"key\":null,\"of\":\"A\"}", Some("application/json")),
        ("body: .sku", "A", Some("text/plain; charset=utf-8")),
        ("body: .sku, headers: { content-type: text/csv }", "A", Some("text/csv")),
        ("body: 'null'", "", None),
        ("method: GET", "", None),
        ("method: DELETE", "", None),
        ("method: DELETE, body: .n", "7", Some("application/json")),
        ("method: PUT", "{\"n\":7,\"sku\":\"A\"}", Some("application/json")),
    ] {
        let http =
            Http::with("{ n: integer, sku: string }", &format!("http: {{ url: \"{url}\", keep: true, {options} }}"));
        assert_eq!(http.value("{\"n\":7,\"sku\":\"A\"}").await, "{\"n\":7,\"sku\":\"A\"}");
        let got = server.received().pop().unwrap();
        assert_eq!((got.text().as_str(), got.header("content-type")), (body, kind), "{options}");
    }
}

#[tokio::test]
async fn an_answer_replaces_the_payload_or_goes_into_a_field() {
    let server = HttpServer::start(|request| match request.path.as_str() {
        "/json" => Reply::json("{ \"big\": 123456789012345678901234567890 }"),
        "/plain" => Reply::Answer(200, Vec::new(), b"hello".to_vec()),
        "/number" => Reply::Answer(201, Vec::new(), b"1.50".to_vec()),
        _ => Reply::status(204),
    });
    let payload = "{ \"n\" : 1.10 }";
    for (path, replaced, inserted) in [
        ("/json", "{ \"big\": 123456789012345678901234567890 }", "{ \"n\" : 1.10,\"r\" : {\"big\":"),
        ("/plain", "\"hello\"", "{ \"n\" : 1.10,\"r\" : \"hello\" }"),
        ("/number", "1.50", "{ \"n\" : 1.10,\"r\" : 1.5 }"),
        ("/none", "null", "{ \"n\" : 1.10,\"r\" : null }"),
    ] {
        let url = server.url(path);
        assert_eq!(Http::with("{ n: number }", &format!("http: {{ url: \"{url}\" }}")).value(payload).await, replaced);
        let http = Http::with("{ n: number }", &format!("http: {{ url: \"{url}\", into: .r }}"));
        let value = http.value(payload).await;
        assert!(value.starts_with(inserted), "{path}: {value}");
    }
}

#[tokio::test]
async fn a_tombstone_passes_and_a_payload_without_fields_is_refused_before_the_call() {
    let server = HttpServer::start(|_| Reply::json("{}"));
    let http = Http::new(&format!("http: {{ url: \"{}\", into: .r }}", server.url("/")));
    let (record, outcome) = http.attempt(Record { payload: Payload::null(), ..Record::default() }, "id").await;
    assert!(matches!(outcome, Outcome::Forward) && text(&record) == "none");
    assert_eq!(http.failure("[1]").await.code, "not_an_object");
    assert!(!http.answers(Record { payload: Payload::null(), ..Record::default() }).await);
    assert!(!http.answers(http.decode("[1]")).await);
    assert!(server.received().is_empty());
    assert!(http.answers(http.decode("{}")).await);
}

/// Seen red with a client made anew for every call: each came over a connection of its own.
#[tokio::test]
async fn calls_share_connections_also_after_a_failure() {
    let server = HttpServer::start(|request| match request.text().as_str() {
        "{\"n\":3}" => Reply::Answer(500, Vec::new(), vec![b'x'; 10_000]),
        "{\"n\":4}" => Reply::Answer(404, Vec::new(), b"no".to_vec()),
        _ => Reply::json("{}"),
    });
    let http = Http::new(&format!("http: {{ url: \"{}\" }}", server.url("/")));
    for n in 0..10 {
        http.attempt(http.decode(&format!("{{\"n\":{n}}}")), "id").await;
    }
    let connections: HashSet<usize> = server.received().iter().map(|r| r.connection).collect();
    assert_eq!((server.received().len(), connections.len()), (10, 1));
}
