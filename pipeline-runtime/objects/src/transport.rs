//! How opendal reaches a server: over the HTTP client that the rest of Millstream uses, with the machine's roots.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use opendal::{Buffer, Error, ErrorKind, HttpBody, HttpTransport};

/// No connection within this time is a failure.
const CONNECT: Duration = Duration::from_secs(10);
/// The same of a whole answer.
const ANSWER: Duration = Duration::from_secs(60);
/// Of an answer, bytes: more than the largest object that is read, and than a page of a listing.
const MOST: usize = 64 << 20;

/// The client.
pub struct Http(Client<HttpsConnector<HttpConnector>, Full<Bytes>>);

impl Http {
    /// Reads the machine's root certificates.
    ///
    /// # Errors
    /// There are none.
    pub fn new() -> io::Result<Self> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        let provider = rustls::crypto::ring::default_provider();
        let tls = HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?;
        let connector = tls.https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(15))
            .build(connector);
        Ok(Self(client))
    }
}

impl HttpTransport for Http {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let uri = request.uri().clone();
        let failed = |what: String| {
            let server = format!("{}://{}", uri.scheme_str().unwrap_or(""), uri.authority().map_or("", |a| a.as_str()));
            Error::new(ErrorKind::Unexpected, format!("{server}: {what}")).set_temporary()
        };
        let request = request.map(|body| Full::new(body.to_bytes()));
        let answer = async {
            let answer = self.0.request(request).await.map_err(|e| failed(causes(&e)))?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MOST).collect().await.map_err(|e| failed(causes(&*e)))?;
            opendal::Result::Ok((parts, body.to_bytes()))
        };
        let answer = tokio::time::timeout(ANSWER, answer).await;
        let (parts, bytes) = answer.map_err(|_| failed(format!("no answer within {} s", ANSWER.as_secs())))??;
        let size = bytes.len() as u64;
        let body = HttpBody::new(stream::iter([Ok(Buffer::from(bytes))]), Some(size));
        Ok(Response::from_parts(parts, body))
    }
}

/// An error with what lies beneath it: the outermost says next to nothing.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
