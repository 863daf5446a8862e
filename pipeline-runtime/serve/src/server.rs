//! The server: its address, its connections, its end.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use millstream_host::Stop;
use millstream_host::intake::Served;
use millstream_spec::model::{Format, HttpSource, Secret};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::access::Access;
use crate::router::router;
use crate::tls::{self, TlsFiles};

/// Connections at most; more wait to be accepted.
const CONNECTIONS: usize = 1_024;
/// For the head of a request, and between two requests of a connection.
const HEAD: Duration = Duration::from_secs(30);
/// Bytes of a head at most, and headers in it.
const HEAD_BYTES: usize = 64 << 10;
const HEADERS: usize = 100;
/// For a client to agree on keys.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After a failure to accept, as with too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Where a process serves unless it is said.
const DEFAULT: &str = "127.0.0.1:7447";

/// Where to listen.
#[derive(Clone, Debug)]
pub enum Listen {
    /// The usual address; if it is taken, a free port.
    Usual,
    /// This one: `HOST:PORT`.
    At(String),
}

/// A source that is served.
#[derive(Clone, Debug)]
pub struct Route {
    /// The pipeline, by which its jobs are found.
    pub pipeline: String,
    /// The topic it writes, by which its intake is found.
    pub topic: String,
    /// How bodies are encoded.
    pub format: Format,
    /// Its settings.
    pub source: HttpSource,
    /// Headers of a request that the record gets too, beside those that every record has.
    pub keep: Vec<String>,
}

/// What to serve.
pub struct Config {
    /// Where.
    pub listen: Listen,
    /// Over TLS.
    pub tls: Option<TlsFiles>,
    /// The sources.
    pub routes: Vec<Route>,
    /// Who has it may use the API.
    pub token: Option<Secret>,
    /// Where their intakes are.
    pub served: Served,
    /// Ends it: nothing more is accepted, and what was taken in is answered.
    pub stop: Stop,
}

/// Why nothing is served.
#[derive(Debug)]
pub enum ServeError {
    /// The address is no address.
    Address(String),
    /// It cannot be listened on.
    Listen(String),
    /// Certificate or key.
    Tls(String),
    /// A thread cannot be started.
    Thread(io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(why) | Self::Listen(why) | Self::Tls(why) => f.write_str(why),
            Self::Thread(e) => write!(f, "cannot start the threads of the server: {e}"),
        }
    }
}

impl std::error::Error for ServeError {}

/// A server that runs.
pub struct Server {
    address: SocketAddr,
    is_tls: bool,
    thread: JoinHandle<()>,
}

impl Server {
    /// Listens, and serves on threads of its own.
    pub fn start(config: Config) -> Result<Self, ServeError> {
        let Config { listen, tls, routes, token, served, stop } = config;
        let tls = tls.map(|files| tls::config(&files)).transpose()?;
        let is_tls = tls.is_some();
        let listener = bind(&listen)?;
        let address = listener.local_addr().map_err(|e| ServeError::Listen(e.to_string()))?;
        listener.set_nonblocking(true).map_err(|e| ServeError::Listen(e.to_string()))?;
        let router = router(&served, &routes, Access::at(address, token));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(if routes.is_empty() { 1 } else { 2 })
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        let thread = std::thread::Builder::new().name("server".to_owned()).spawn(move || {
            runtime.block_on(serve(listener, router, tls, &stop));
            runtime.shutdown_timeout(Duration::from_millis(200));
        });
        Ok(Self { address, is_tls, thread: thread.map_err(ServeError::Thread)? })
    }

    /// Where it is reached.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.address)
    }

    /// Whether only this machine reaches it.
    pub fn is_local(&self) -> bool {
        self.address.ip().is_loopback()
    }

    /// Waits until it has ended, after the order to stop.
    pub fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("a bug: the server panicked");
        }
    }
}

fn bind(listen: &Listen) -> Result<TcpListener, ServeError> {
    match listen {
        Listen::Usual => match TcpListener::bind(DEFAULT) {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind("127.0.0.1:0")
                .map_err(|e| ServeError::Listen(format!("cannot listen on {DEFAULT}, nor on a free port: {e}"))),
        },
        Listen::At(address) => {
            let wrong = |why: String| ServeError::Address(format!("`--listen {address}`: {why}"));
            let all: Vec<SocketAddr> = address
                .to_socket_addrs()
                .map_err(|e| wrong(format!("it is no address such as {DEFAULT}: {e}")))?
                .collect();
            TcpListener::bind(all.as_slice())
                .map_err(|e| ServeError::Listen(format!("cannot listen on {address}: {e}")))
        }
    }
}

async fn serve(listener: TcpListener, router: Router, tls: Option<Arc<ServerConfig>>, stop: &Stop) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "nothing is served"),
    };
    let told = Arc::new(Notify::new());
    let waker = Arc::clone(&told);
    stop.on_stop(Arc::new(move || waker.notify_one()));
    let (connections, graceful) = (Arc::new(Semaphore::new(CONNECTIONS)), GracefulShutdown::new());
    while !stop.draining() {
        let accept = async {
            let place = Arc::clone(&connections).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            biased;
            () = told.notified() => continue,
            accepted = accept => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is one small packet, and nobody waits for another.
        let _ = stream.set_nodelay(true);
        let (router, tls, watcher) = (router.clone(), tls.clone(), graceful.watcher());
        tokio::spawn(async move {
            let _place = place;
            match tls {
                None => connection(stream, router, watcher).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, router, watcher).await,
                    Ok(Err(error)) => tracing::debug!(%error, "no TLS"),
                    Err(_) => tracing::debug!("no TLS in time"),
                },
            }
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(stop.drain_timeout(), graceful.shutdown()).await;
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + 'static, router: Router, watcher: Watcher) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended");
    }
}
