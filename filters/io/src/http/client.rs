//! The pooled client of one stage.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Uri;
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_rustls::builderstates::WantsSchemes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{self, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolver::{Reach, Resolver};

/// Connections kept for the next call; more than that are closed after use. How many are open at once is bounded by the
/// stage's `concurrency` and replicas.
const MAX_IDLE: usize = 256;
/// Shorter than most servers keep a connection, so that theirs is rarely the side that closes.
const IDLE: Duration = Duration::from_secs(15);

/// One per stage, shared by its replicas: calls to one server share connections.
pub(crate) struct Client {
    inner: legacy::Client<Connector, Full<Bytes>>,
}

impl Client {
    /// For addresses with TLS or for those without. Reads the machine's root certificates for the former.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn new(tls: bool, connect_timeout: Duration, reach: Reach) -> io::Result<Self> {
        let tls = if tls {
            let provider = rustls::crypto::ring::default_provider();
            Some(HttpsConnectorBuilder::new().with_provider_and_native_roots(provider)?)
        } else {
            None
        };
        Ok(Self::over(tls, connect_timeout, reach))
    }

    /// With TLS, checked by these certificates (PEM) instead of the machine's.
    ///
    /// # Errors
    /// There are none in it.
    pub(crate) fn trusting(pem: &[u8], connect_timeout: Duration, reach: Reach) -> io::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        if roots.is_empty() {
            return Err(io::Error::other("there is no certificate in it"));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(io::Error::other)?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self::over(Some(HttpsConnectorBuilder::new().with_tls_config(config)), connect_timeout, reach))
    }

    fn over(tls: Option<HttpsConnectorBuilder<WantsSchemes>>, connect_timeout: Duration, reach: Reach) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new(reach));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(Duration::from_secs(60)));
        // Shared out over the addresses of a name; the bound below counts for all of them and for TLS.
        tcp.set_connect_timeout(Some(connect_timeout));
        let way = match tls {
            Some(tls) => {
                tcp.enforce_http(false);
                Way::Tls(tls.https_only().enable_http1().wrap_connector(tcp))
            }
            None => Way::Plain(tcp),
        };
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .build(Connector { way, limit: connect_timeout });
        Self { inner }
    }

    /// Sends a request. Dropping the future closes its connection.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        self.inner.request(request).await
    }
}

/// Makes connections, TLS included, within a time.
#[derive(Clone)]
struct Connector {
    way: Way,
    limit: Duration,
}

#[derive(Clone)]
enum Way {
    Plain(HttpConnector<Resolver>),
    Tls(HttpsConnector<HttpConnector<Resolver>>),
}

pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Stream = MaybeHttpsStream<TokioIo<TcpStream>>;

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match &mut self.way {
            Way::Plain(way) => way.poll_ready(cx).map_err(Into::into),
            Way::Tls(way) => way.poll_ready(cx),
        }
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let limit = self.limit;
        let connecting: Self::Future = match &mut self.way {
            Way::Plain(way) => {
                let connecting = way.call(uri);
                Box::pin(async move { Ok(MaybeHttpsStream::Http(connecting.await?)) })
            }
            Way::Tls(way) => Box::pin(way.call(uri)),
        };
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => connected,
                Err(_) => Err(format!("no connection within {} ms", limit.as_millis()).into()),
            }
        })
    }
}
