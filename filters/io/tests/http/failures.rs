//! Servers that fail, hang, break off and talk too much.

use std::net::TcpListener;
use std::time::Duration;

use crate::common::Http;
use millstream_filter_api::{Class, Failure};
use millstream_tests::http_server::{HttpServer, Reply};

async fn failure(reply: Reply, options: &str) -> (Failure, HttpServer) {
    let server = HttpServer::start(move |_| reply.clone());
    let http = Http::new(&format!("http: {{ url: \"{}\", {options} }}", server.url("/x?q=1")));
    (http.failure("{\"n\":1}").await, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_status_decides_whether_another_attempt_is_worth_it() {
    for (status, class) in [
        (301, Class::Permanent),
        (400, Class::Permanent),
        (401, Class::Permanent),
        (404, Class::Permanent),
        (408, Class::Transient),
        (422, Class::Permanent),
        (425, Class::Transient),
        (429, Class::Transient),
        (500, Class::Transient),
        (503, Class::Transient),
    ] {
        let (failure, _server) = failure(Reply::status(status), "").await;
        assert_eq!((failure.class, &*failure.code), (class, "http_status"), "{status}");
        assert!(failure.message.contains(&format!("answered {status}")), "{}", failure.message);
        assert!(!failure.message.contains("q=1"), "the query is not printed: {}", failure.message);
        assert_eq!(failure.retry_after, None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn retry_after_is_carried() {
    for (status, wait) in [(429, Some(7)), (503, Some(7)), (404, None)] {
        let (failure, _server) = failure(Reply::status(status).header("Retry-After", "7"), "").await;
        assert_eq!(failure.retry_after, wait.map(Duration::from_secs), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn redirects_are_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let server = HttpServer::start(move |_| Reply::status(status).header("Location", "/elsewhere"));
        let http = Http::new(&format!("http: {{ url: \"{}\" }}", server.url("/")));
        let failure = http.failure("{\"n\":1}").await;
        assert_eq!((failure.class, server.received().len()), (Class::Permanent, 1));
        assert!(failure.message.contains("redirects are not followed"), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn time_runs_out_and_the_connection_is_released() {
    for reply in [Reply::Hang, Reply::Stall] {
        let (failure, server) = failure(reply, "timeout: 100ms").await;
        assert_eq!((failure.class, &*failure.code), (Class::Transient, "http_timeout"));
        assert!(failure.message.contains("100ms"), "{}", failure.message);
        server.wait_for_abandoned(1);
    }
}

/// What the host does at the stage's timeout, and when a partition is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_dropped_call_releases_its_connection() {
    let server = HttpServer::start(|_| Reply::Hang);
    let http = Http::new(&format!("http: {{ url: \"{}\" }}", server.url("/")));
    let call = http.attempt(http.decode("{\"n\":1}"), "id");
    let seen = async {
        while server.received().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        _ = call => panic!("nobody answered"),
        () = seen => {}
    }
    server.wait_for_abandoned(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_that_breaks_is_transient() {
    let (reset, _server) = failure(Reply::Reset, "").await;
    assert_eq!((reset.class, &*reset.code), (Class::Transient, "http_connection"), "{}", reset.message);
    let refuses = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = Http::new(&format!("http: {{ url: \"http://{refuses}/\" }}")).failure("{\"n\":1}").await;
    assert_eq!((refused.class, &*refused.code), (Class::Transient, "http_connection"), "{}", refused.message);
}

/// The bound counts for TLS too: the system takes the connection, and nobody answers its hello.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_connection_is_made_in_time_or_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}/", silent.local_addr().unwrap());
    let http = Http::new(&format!("http: {{ url: \"{url}\", connect_timeout: 50ms }}"));
    let failure = http.failure("{\"n\":1}").await;
    assert_eq!((failure.class, &*failure.code), (Class::Transient, "http_connection"));
    assert!(failure.message.contains("no connection within 50 ms"), "{}", failure.message);
}

/// Seen red with 64 MiB for every stage, whatever `max_response` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_answer_that_is_too_large_is_given_up() {
    let (endless, server) = failure(Reply::Endless, "max_response: 64KiB").await;
    assert_eq!((endless.class, &*endless.code), (Class::Permanent, "http_response_too_large"));
    server.wait_for_abandoned(1);
    let content = vec![b'1'; 1025];
    let (large, _server) = failure(Reply::Answer(200, Vec::new(), content), "max_response: 1KiB").await;
    assert_eq!(&*large.code, "http_response_too_large");
    let fits = HttpServer::start(|_| Reply::Answer(200, Vec::new(), vec![b'x'; 1024]));
    let http = Http::new(&format!("http: {{ url: \"{}\", max_response: 1KiB }}", fits.url("/")));
    assert_eq!(http.value("{\"n\":1}").await.len(), 1026);
    // With `keep` nobody needs it.
    let server = HttpServer::start(|_| Reply::Endless);
    let http = Http::new(&format!("http: {{ url: \"{}\", keep: true }}", server.url("/")));
    assert_eq!(http.value("{\"n\":1}").await, "{\"n\":1}");
    server.wait_for_abandoned(1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_says_it_is_json_and_is_not_is_refused() {
    let reply = Reply::Answer(200, Vec::new(), b"<html>".to_vec()).header("Content-Type", "application/json");
    let (failure, _server) = failure(reply, "").await;
    assert_eq!((failure.class, &*failure.code), (Class::Permanent, "http_response_invalid"));
}

/// Seen red without the mask.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn no_message_shows_what_a_reference_brought_in() {
    let server = HttpServer::start(|request| {
        let echoed = format!("no access for {}", request.header("authorization").unwrap_or(""));
        Reply::Answer(403, Vec::new(), echoed.into_bytes())
    });
    let url = format!("${{env:URL_{}}}/x", server.authority().replace(['.', ':'], "_"));
    let filter = format!("http: {{ url: \"{url}\", headers: {{ Authorization: \"Bearer ${{env:TOKEN}}\" }} }}");
    let refused = Http::new(&filter).failure("{\"n\":1}").await.message;
    assert!(refused.contains("403") && refused.contains("no access for ***"), "{refused}");
    let address = server.authority();
    drop(server);
    let gone = Http::new(&filter).failure("{\"n\":1}").await;
    for message in [refused, gone.message] {
        assert!(!message.contains("s3cr3t") && !message.contains(&address), "{message}");
    }
}
