//! The HTTP server that is called: it answers every request with 200, or with 503 the one key it refuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct State {
    refused_key: Mutex<Option<String>>,
    refused: AtomicU64,
    /// Each answer takes so long, ms.
    takes: AtomicU64,
}

/// Runs until the process ends: its threads only wait for connections.
pub(crate) struct Server {
    at: SocketAddr,
    state: Arc<State>,
}

impl Server {
    /// On a free port.
    pub(crate) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (at, state) = (listener.local_addr()?, Arc::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                // A connection that breaks is the client's affair.
                std::thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        Ok(Self { at, state })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.at)
    }

    /// From now on calls of this key get 503; none with `None`.
    pub(crate) fn refuse(&self, key: Option<String>) {
        *self.state.refused_key.lock().unwrap_or_else(PoisonError::into_inner) = key;
    }

    /// From now on each answer takes so long.
    pub(crate) fn slow(&self, takes: std::time::Duration) {
        self.state.takes.store(takes.as_millis() as u64, Ordering::Relaxed);
    }

    /// Calls that got 503.
    pub(crate) fn refused(&self) -> u64 {
        self.state.refused.load(Ordering::Relaxed)
    }
}

/// One connection: request after request.
fn serve(stream: &TcpStream, state: &State) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    loop {
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some((name, value)) = line.trim_end().split_once(':') else {
                if line.trim_end().is_empty() {
                    break;
                } else {
                    continue;
                };
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let takes = state.takes.load(Ordering::Relaxed);
        if takes > 0 {
            std::thread::sleep(std::time::Duration::from_millis(takes));
        }
        let key = state.refused_key.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let body = String::from_utf8_lossy(&body);
        let refused = key.is_some_and(|key| body.contains(&format!("\"{key}\"")));
        let status = if refused { "503 Service Unavailable" } else { "200 OK" };
        state.refused.fetch_add(u64::from(refused), Ordering::Relaxed);
        let mut out = stream;
        out.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes())?;
    }
}
