//! Servers that only accept, and are asked until they are done.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::{CallContext, Class, Failure, Keeper, Outcome, Saving};
use millstream_tests::http_server::{HttpServer, Received, Reply};

use crate::common::{Http, text};

/// What the runtime would hear and keep.
#[derive(Debug, Default)]
struct Memory {
    kept: Mutex<Option<Bytes>>,
    saves: AtomicUsize,
    percents: Mutex<Vec<f64>>,
}

impl Keeper for Memory {
    fn progress(&self, percent: f64) {
        self.percents.lock().unwrap().push(percent);
    }

    fn last(&self, _: &str) -> Option<Bytes> {
        self.kept.lock().unwrap().clone()
    }

    fn save(&self, _: &Arc<str>, state: Bytes) -> Saving {
        *self.kept.lock().unwrap() = Some(state);
        self.saves.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A server that accepts, and answers the questions in this order; the last answer from then on.
fn server(accepts: Reply, answers: Vec<Reply>) -> HttpServer {
    let asked = AtomicUsize::new(0);
    HttpServer::start(move |request| match request.method.as_str() {
        "POST" => accepts.clone(),
        _ => answers[asked.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)].clone(),
    })
}

fn accepted(location: &str) -> Reply {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let headers = vec![header("Location", location), header("Content-Type", "application/json")];
    Reply::Answer(202, headers, b"{\"state\":\"queued\"}".to_vec())
}

fn running(percent: u32) -> Reply {
    Reply::json(&format!("{{\"state\":\"running\",\"percent\":{percent}}}"))
}

fn done() -> Reply {
    Reply::json("{\"state\":\"done\",\"n\":1.10}")
}

const UNTIL: &str = "every: 10ms, until: .state == \"done\", progress: .percent";

async fn attempt(server: &HttpServer, poll: &str, memory: &Arc<Memory>) -> Result<String, Failure> {
    let more = "headers: { Authorization: \"Bearer ${env:TOKEN}\" }, timeout: 5s";
    let http = Http::new(&format!("http: {{ url: \"{}\", {more}, poll: {{ {poll} }} }}", server.url("/reports?q=1")));
    let cx = CallContext::new(Arc::from("id"), 1).with_keeper(Arc::clone(memory) as Arc<dyn Keeper>);
    match http.attempt_in(http.decode("{\"n\":1}"), cx).await {
        (record, Outcome::Forward) => Ok(text(&record)),
        (_, Outcome::Fail(failure)) => Err(*failure),
        (_, other) => panic!("{other:?}"),
    }
}

fn methods(server: &HttpServer) -> String {
    server.received().iter().map(|r: &Received| r.method.chars().next().unwrap_or('?')).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_is_sent_once_and_asked_for_until_it_is_done() {
    let answers = vec![running(10), Reply::status(503), running(60), Reply::Reset, done()];
    let server = server(accepted("/jobs/7?k=2"), answers);
    let memory = Arc::new(Memory::default());
    assert_eq!(attempt(&server, UNTIL, &memory).await.unwrap(), "{\"state\":\"done\",\"n\":1.10}");
    assert_eq!(methods(&server), "PGGGGG");
    assert_eq!(*memory.percents.lock().unwrap(), [10.0, 60.0]);
    assert_eq!(memory.saves.load(Ordering::SeqCst), 1);
    let all = server.received();
    assert_eq!((all[1].path.as_str(), all[1].body.len()), ("/jobs/7?k=2", 0));
    assert_eq!(all[1].header("authorization"), Some("Bearer s3cr3t-token"));
    assert_eq!((all[1].header("idempotency-key"), all[1].header("content-type")), (None, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_attempt_after_it_asks_and_does_not_send() {
    let first = server(accepted("/jobs/7"), vec![Reply::status(410)]);
    let memory = Arc::new(Memory::default());
    let failure = attempt(&first, UNTIL, &memory).await.unwrap_err();
    assert_eq!((failure.class, &*failure.code), (Class::Permanent, "http_status"));
    assert!(failure.message.contains("GET http://") && failure.message.contains("/jobs/7"), "{}", failure.message);
    let next = server(Reply::status(500), vec![running(60), done()]);
    // The next process has the same file; here the server has another port.
    let kept = String::from_utf8(memory.kept.lock().unwrap().clone().unwrap().to_vec()).unwrap();
    *memory.kept.lock().unwrap() = Some(kept.replace(&first.authority(), &next.authority()).into());
    assert!(attempt(&next, UNTIL, &memory).await.unwrap().contains("done"));
    assert_eq!(methods(&next), "GG");
    assert_eq!(memory.saves.load(Ordering::SeqCst), 2, "it says that it was answered");
    *memory.kept.lock().unwrap() = Some(kept.into());
    let elsewhere = attempt(&next, UNTIL, &memory).await.unwrap_err();
    assert_eq!((elsewhere.class, &*elsewhere.code, methods(&next).len()), (Class::Permanent, "http_poll_url", 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_a_condition_the_status_says_it() {
    for (answers, asked) in [(vec![Reply::status(202), Reply::status(204)], "PGG"), (vec![done()], "PG")] {
        let server = server(accepted("jobs/7"), answers);
        attempt(&server, "every: 10ms", &Arc::default()).await.unwrap();
        assert_eq!(methods(&server), asked);
        assert_eq!(server.received()[1].path, "/jobs/7");
    }
    let memory = Arc::new(Memory::default());
    let server = server(Reply::json("{\"at\":\"/x\"}"), vec![done()]);
    assert_eq!(attempt(&server, "", &memory).await.unwrap(), "{\"at\":\"/x\"}");
    assert_eq!((methods(&server), memory.saves.load(Ordering::SeqCst)), ("P".to_owned(), 0), "done at once");
    assert!(
        attempt(&server, "every: 10ms, url: .at, until: .state == \"done\"", &memory).await.unwrap().contains("done")
    );
    assert_eq!(server.received().last().unwrap().path, "/x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn where_to_ask_is_said_and_on_this_server() {
    for (accepts, poll, words) in [
        (Reply::status(202), "", "no header `Location`"),
        (accepted(""), "", "no header `Location`"),
        (accepted("http://169.254.169.254/meta"), "", "leads to http://169.254.169.254"),
        (accepted("//other.example/x"), "", "leads to http://other.example"),
        (accepted("/x"), "url: .at", "gives no text"),
        (accepted("http://["), "", "is none"),
    ] {
        let server = server(accepts, vec![done()]);
        let failure = attempt(&server, poll, &Arc::default()).await.unwrap_err();
        assert_eq!((failure.class, &*failure.code), (Class::Permanent, "http_poll_url"), "{words}");
        assert!(failure.message.contains(words), "{words}: {}", failure.message);
        assert_eq!(methods(&server), "P");
    }
    let failed = server(accepted("/x"), vec![running(1)]);
    let failure = attempt(&failed, "until: to_int!(.state) == 1", &Arc::default()).await.unwrap_err();
    assert_eq!((failure.class, &*failure.code), (Class::Data, "expression_failed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn it_ends_when_its_time_is_over_however_long_nobody_asked() {
    for answer in [running(1), Reply::status(503)] {
        let server = server(accepted("/x"), vec![answer]);
        let memory = Arc::new(Memory::default());
        let failure =
            attempt(&server, "every: 10ms, until: .state == \"done\", timeout: 200ms", &memory).await.unwrap_err();
        assert_eq!((failure.class, &*failure.code), (Class::Permanent, "http_poll_timeout"));
        assert!(failure.message.contains("not done within 200ms"), "{}", failure.message);
        // Who goes on when the time is over asks once.
        let asked = methods(&server).len();
        let failure = attempt(&server, "until: .state == \"done\", timeout: 200ms", &memory).await.unwrap_err();
        assert_eq!((&*failure.code, methods(&server).len()), ("http_poll_timeout", asked + 1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_server_may_ask_for_patience() {
    let server = server(accepted("/x"), vec![running(1).header("Retry-After", "1"), done()]);
    let began = Instant::now();
    attempt(&server, UNTIL, &Arc::default()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}
