//! One attempt to tell somebody of a job.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use millstream_filter_api::units::show_duration;
use millstream_filter_api::{Call, CallContext, CallFuture, Called, Failure, Outcome, Record};

use super::sign::Keys;
use super::targets::{self, Pattern};
use crate::http::answer::{self, Verdict};
use crate::http::body;
use crate::http::call::{beginning, chain};
use crate::http::client::Client;
use crate::http::resolver::{NotPublic, Reach};

/// The header of a record that has the address.
const URL: &str = "millstream.callback.url";
/// The header of one that is about an address which may not be called: it is counted, and nothing is called.
const REFUSED: &str = "millstream.callback.refused";
/// The reason with which those are dropped.
const NOT_ALLOWED: &str = "callback_refused";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

static ID: HeaderName = HeaderName::from_static("webhook-id");
static TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
static SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// What the replicas of the stage share.
pub(super) struct Plan {
    patterns: Arc<[Pattern]>,
    keys: Keys,
    timeout: Duration,
    /// One for each way to connect: connections of one must not be used for another.
    clients: [OnceLock<Result<Client, String>>; 4],
}

impl Plan {
    pub(super) fn new(patterns: Arc<[Pattern]>, keys: Keys, timeout: Duration) -> Self {
        Self { patterns, keys, timeout, clients: Default::default() }
    }

    fn client(&self, tls: bool, reach: Reach) -> Result<&Client, &str> {
        let which = usize::from(tls) * 2 + usize::from(reach == Reach::Public);
        let make = || {
            let limit = CONNECT_TIMEOUT.min(self.timeout);
            Client::new(tls, limit, reach).map_err(|e| format!("no root certificates to trust: {e}"))
        };
        self.clients[which].get_or_init(make).as_ref().map_err(String::as_str)
    }
}

/// The filter of one replica.
pub(super) struct Webhook {
    plan: Arc<Plan>,
}

impl Webhook {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan }
    }
}

impl Call for Webhook {
    fn call(self: Arc<Self>, record: Record, cx: CallContext) -> CallFuture {
        Box::pin(async move {
            cx.one_of_many();
            if record.headers.get(REFUSED).is_some() {
                cx.no_call();
                return Called { record, outcome: Outcome::Drop(NOT_ALLOWED) };
            }
            let outcome = match self.attempt(&record, &cx).await {
                // It has arrived: nothing more becomes of it.
                Ok(()) => Outcome::Emit(Vec::new()),
                Err(failure) => Outcome::Fail(Box::new(failure)),
            };
            Called { record, outcome }
        })
    }
}

impl Webhook {
    async fn attempt(&self, record: &Record, cx: &CallContext) -> Result<(), Failure> {
        let plan = &*self.plan;
        let (request, reach) = match self.request(record) {
            Ok(made) => made,
            Err(failure) => {
                cx.no_call();
                return Err(failure);
            }
        };
        let label = format!("POST {}", answer::place(request.uri()));
        let exchange = self.exchange(request, reach, &label);
        tokio::time::timeout(plan.timeout, exchange).await.unwrap_or_else(|_| {
            let message = format!("{label} did not answer within {}", show_duration(plan.timeout));
            Err(Failure::transient("http_timeout", message))
        })
    }

    fn request(&self, record: &Record) -> Result<(Request<Full<bytes::Bytes>>, Reach), Failure> {
        let plan = &*self.plan;
        let url = record.headers.get_str(URL).unwrap_or_default();
        // Once more: the list may be another one by now, and a letter that is sent back may have been edited.
        let (uri, reach) = targets::allowed(&plan.patterns, url).map_err(|why| {
            let place = url.parse::<Uri>().map_or_else(|_| "the address".to_owned(), |uri| answer::place(&uri));
            Failure::permanent("callback_not_allowed", format!("{place} {why}"))
        })?;
        let content = body::of_payload(&record.payload)?.map(|(content, _)| content).unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let id = &record.meta.id;
        let value = |bytes: &[u8]| {
            HeaderValue::from_bytes(bytes)
                .map_err(|_| Failure::permanent("callback_invalid", "the record's id cannot stand in a header"))
        };
        let headers = [
            (&ID, value(id)?),
            (&TIMESTAMP, HeaderValue::from(now)),
            (&SIGNATURE, value(plan.keys.sign(id, now, &content).as_bytes())?),
            (&CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (&USER_AGENT, HeaderValue::from_static(concat!("millstream/", env!("CARGO_PKG_VERSION")))),
        ];
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        headers.into_iter().for_each(|(name, value)| drop(request.headers_mut().insert(name, value)));
        Ok((request, reach))
    }

    async fn exchange(&self, request: Request<Full<bytes::Bytes>>, reach: Reach, label: &str) -> Result<(), Failure> {
        let unreachable = |why: &str| Failure::transient("http_connection", format!("{label}: {why}"));
        let tls = request.uri().scheme_str() == Some("https");
        let client = self.plan.client(tls, reach).map_err(unreachable)?;
        let response = client.send(request).await.map_err(|e| match is_refused(&e) {
            true => Failure::permanent("callback_not_allowed", format!("{label}: {NotPublic}")),
            false => unreachable(&chain(&e)),
        })?;
        let (head, content) = response.into_parts();
        let beginning = beginning(content).await;
        let message = || format!("{label} {}", answer::describe(head.status, &beginning));
        match answer::verdict(head.status) {
            Verdict::Success => Ok(()),
            Verdict::Permanent => Err(Failure::permanent("http_status", message())),
            Verdict::Transient => {
                let wait = answer::retry_after(&head.headers, SystemTime::now());
                Err(Failure::transient("http_status", message()).retry_after(wait))
            }
        }
    }
}

/// Whether the connection was not made because of what the name resolves to.
fn is_refused(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<NotPublic>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use bytes::Bytes;
    use millstream_codec::{Codec, Coercion};
    use millstream_filter_api::{HeadersBuilder, Meta};
    use millstream_tests::http_server::{HttpServer, Reply};

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(patterns: &[&str]) -> Arc<Webhook> {
        let patterns: Vec<Pattern> = patterns.iter().map(|p| Pattern::read(p).unwrap()).collect();
        let keys = Keys::read(SECRET).unwrap();
        Arc::new(Webhook::new(Arc::new(Plan::new(patterns.into(), keys, Duration::from_secs(20)))))
    }

    fn record(url: &str) -> Record {
        let mut headers = HeadersBuilder::default();
        headers.push(URL, Some(url.as_bytes()));
        let payload = Codec::Json.decode(Bytes::from_static(b"{\"n\": 1.10}"), &Coercion::none()).unwrap();
        let meta = Meta { id: Bytes::from_static(b"msg_7"), ..Meta::default() };
        Record { payload, meta, headers: headers.finish(), ..Record::default() }
    }

    async fn outcome(webhook: &Arc<Webhook>, record: Record) -> Outcome {
        Arc::clone(webhook).call(record, CallContext::new(Arc::from("c"), 1)).await.outcome
    }

    fn failure(outcome: Outcome) -> Failure {
        match outcome {
            Outcome::Fail(failure) => *failure,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_body_arrives_signed_and_answers_decide() {
        use millstream_filter_api::Class::{Permanent, Transient};
        let server = HttpServer::start(|request| match request.path.as_str() {
            "/ok" => Reply::status(204),
            "/later" => Reply::status(429).header("Retry-After", "7"),
            "/gone" => Reply::status(410),
            "/moved" => Reply::status(307).header("Location", "/ok"),
            "/reset" => Reply::Reset,
            _ => Reply::status(503),
        });
        let webhook = webhook(&[&server.url("/")]);
        let arrived = outcome(&webhook, record(&server.url("/ok"))).await;
        assert!(matches!(&arrived, Outcome::Emit(none) if none.is_empty()), "{arrived:?}");
        let request = &server.received()[0];
        let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
        assert_eq!((request.text().as_str(), header("webhook-id").as_str()), ("{\"n\": 1.10}", "msg_7"));
        let at: u64 = header("webhook-timestamp").parse().unwrap();
        assert_eq!(header("webhook-signature"), Keys::read(SECRET).unwrap().sign(b"msg_7", at, &request.body));
        for (path, class, code) in [
            ("/later", Transient, "http_status"),
            ("/gone", Permanent, "http_status"),
            ("/moved", Permanent, "http_status"),
            ("/else", Transient, "http_status"),
            ("/reset", Transient, "http_connection"),
        ] {
            let failure = failure(outcome(&webhook, record(&server.url(path))).await);
            assert_eq!((failure.class, &*failure.code), (class, code), "{path}: {}", failure.message);
            assert_eq!(failure.retry_after.is_some(), path == "/later");
        }
        assert_eq!(server.received().iter().filter(|r| r.path == "/ok").count(), 1, "no redirect is followed");
    }

    /// Each of these is an address of this machine; nothing is even connected to.
    #[tokio::test]
    async fn a_wildcard_reaches_nothing_of_this_network() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let webhook = webhook(&[&format!("https://*:{port}/")]);
        // What some resolvers take for an address of this machine, and others for nothing.
        let odd = ["LocalHost.", "127.1", "2130706433", "0x7f.1", "0"];
        for host in ["localhost", "127.0.0.1", "[::1]"].iter().chain(&odd) {
            let failure = failure(outcome(&webhook, record(&format!("https://{host}:{port}/"))).await);
            let right =
                failure.code == "callback_not_allowed" || odd.contains(host) && failure.code == "http_connection";
            assert!(right, "{host}: {failure:?}");
        }
        let mut accepted = listener.accept();
        assert!(accepted.is_err(), "{:?}", accepted.as_mut().map(|(stream, _)| stream.read(&mut [0; 8])));
        // What is spelled out is a permission, also beside a wildcard, and for itself alone.
        let server = HttpServer::start(|_| Reply::status(200));
        let both = self::webhook(&["https://*/", &server.url("/in/")]);
        assert!(matches!(outcome(&both, record(&server.url("/in/1"))).await, Outcome::Emit(_)));
        assert_eq!(failure(outcome(&both, record(&server.url("/out"))).await).code, "callback_not_allowed");
        assert_eq!(server.received().len(), 1);
    }

    #[tokio::test]
    async fn what_is_refused_is_dropped_and_what_is_no_address_is_a_letter() {
        let webhook = webhook(&["https://*/"]);
        let mut refused = record("ftp://x");
        refused.headers = refused.headers.with(REFUSED, Some(b"why"));
        assert!(matches!(outcome(&webhook, refused).await, Outcome::Drop("callback_refused")));
        for bad in ["", "ftp://x", "nonsense", "https://user@x/"] {
            assert_eq!(failure(outcome(&webhook, record(bad)).await).code, "callback_not_allowed", "{bad}");
        }
    }
}
