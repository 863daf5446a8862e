//! An HTTP server that does what a test says: answers, hangs, breaks off. Plain sockets, so that nothing is mended on
//! the way.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::process::wait_until;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// Counted from 0: requests with one number came over one connection.
    pub connection: usize,
    /// When it was read.
    pub at: Instant,
}

impl Received {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// An answer with its headers and content.
    Answer(u16, Vec<(String, String)>, Vec<u8>),
    /// Nothing, until the client goes away.
    Hang,
    /// A head that promises more than comes; then nothing, until the client goes away.
    Stall,
    /// Content without an end.
    Endless,
    /// The connection ends with a reset.
    Reset,
}

impl Reply {
    /// An answer without headers.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, Vec::new(), Vec::new())
    }

    /// 200 with JSON.
    pub fn json(text: &str) -> Self {
        let kind = ("Content-Type".to_owned(), "application/json".to_owned());
        Self::Answer(200, vec![kind], text.as_bytes().to_vec())
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Answer(_, headers, _) = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }
}

type Behaviour = dyn Fn(&Received) -> Reply + Send + Sync;

/// The server; it ends when it is dropped.
pub struct HttpServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    behaviour: Box<Behaviour>,
    received: Mutex<Vec<Received>>,
    connections: Mutex<Vec<TcpStream>>,
    /// Connections that the client ended while it waited for an answer.
    abandoned: AtomicUsize,
    ended: AtomicBool,
}

impl HttpServer {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Panics
    /// When there is none.
    pub fn start(behaviour: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no free port: {e}"));
        let address = listener.local_addr().unwrap_or_else(|e| panic!("no address: {e}"));
        let shared = Arc::new(Shared {
            behaviour: Box::new(behaviour),
            received: Mutex::default(),
            connections: Mutex::default(),
            abandoned: AtomicUsize::new(0),
            ended: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        let listener = std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Ok(copy) = stream.try_clone() {
                    lock(&serving.connections).push(copy);
                }
                let serving = Arc::clone(&serving);
                // The connection is the client's affair: it ends when the client ends it.
                std::thread::spawn(move || serving.serve(stream, number).unwrap_or(()));
            }
        });
        Self { address, shared, listener: Some(listener) }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// `host:port`.
    pub fn authority(&self) -> String {
        self.address.to_string()
    }

    /// What has come so far.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// Waits until the client has ended this many connections while it waited for an answer.
    ///
    /// # Panics
    /// When it does not within a minute.
    pub fn wait_for_abandoned(&self, count: usize) {
        let abandoned = || self.shared.abandoned.load(Ordering::SeqCst);
        let done = wait_until(Duration::from_secs(60), || abandoned() >= count);
        assert!(done, "{} of {count} connections were ended by the client", abandoned());
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        // Wakes the listener; if it is gone already, so much the better.
        let _ = TcpStream::connect(self.address);
        // Then nobody listens any more.
        let _ = self.listener.take().map(JoinHandle::join);
        for connection in lock(&self.shared.connections).iter() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, connection: usize) -> std::io::Result<()> {
        let mut pending = Vec::new();
        while let Some(request) = read(&mut stream, &mut pending, connection)? {
            lock(&self.received).push(request.clone());
            match (self.behaviour)(&request) {
                Reply::Answer(status, headers, content) => {
                    let mut head =
                        format!("HTTP/1.1 {status} As-The-Test-Says\r\nContent-Length: {}\r\n", content.len());
                    for (name, value) in headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    head.push_str("\r\n");
                    stream.write_all(&[head.as_bytes(), &content].concat())?;
                }
                Reply::Hang => return self.wait_for_end(&mut stream),
                Reply::Stall => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"half\":")?;
                    return self.wait_for_end(&mut stream);
                }
                Reply::Endless => {
                    stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
                    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
                    while stream.write_all(&chunk).is_ok() {}
                    self.abandoned.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
                Reply::Reset => {
                    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                    // The copies hold the socket open; only the last one's end is the reset.
                    lock(&self.connections).clear();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn wait_for_end(&self, stream: &mut TcpStream) -> std::io::Result<()> {
        let mut rest = [0; 64];
        while matches!(stream.read(&mut rest), Ok(n) if n > 0) {}
        self.abandoned.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The next request of a connection; `None` at its end.
fn read(stream: &mut TcpStream, pending: &mut Vec<u8>, connection: usize) -> std::io::Result<Option<Received>> {
    let mut more = |pending: &mut Vec<u8>| {
        let mut part = [0; 8192];
        let n = stream.read(&mut part)?;
        pending.extend_from_slice(&part[..n]);
        std::io::Result::Ok(n > 0)
    };
    let head_end = loop {
        if let Some(at) = pending.windows(4).position(|w| w == b"\r\n\r\n") {
            break at;
        }
        if !more(pending)? {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&pending[..head_end]).into_owned();
    pending.drain(..head_end + 4);
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or("").split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let header = |l: &str| l.split_once(':').map(|(n, v)| (n.trim().to_owned(), v.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(header).collect();
    let mut received = Received { method, path, headers, body: Vec::new(), connection, at: Instant::now() };
    let length = received.header("content-length").and_then(|v| v.parse().ok()).unwrap_or(0);
    while pending.len() < length {
        if !more(pending)? {
            return Ok(None);
        }
    }
    received.body = pending.drain(..length).collect();
    Ok(Some(received))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
