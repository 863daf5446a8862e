//! A client that sends what a test says, byte for byte, and keeps its connection. Plain sockets, so that nothing is
//! mended on the way.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Process, wait_until};

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Headers in order, names as sent.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header, whatever the case of its name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The job of a request that was taken in.
    pub fn job(&self) -> Option<String> {
        self.json()["job"].as_str().filter(|_| self.status == 202).map(str::to_owned)
    }
}

/// A client of one server.
pub struct HttpClient {
    authority: String,
    stream: Option<TcpStream>,
    /// Read and not yet looked at.
    pending: Vec<u8>,
    patience: Duration,
}

impl HttpClient {
    /// Of `host:port`. A single answer is waited for so long.
    pub fn new(authority: &str, patience: Duration) -> Self {
        Self { authority: authority.to_owned(), stream: None, pending: Vec::new(), patience }
    }

    /// Of a process of `millstream run --listen 127.0.0.1:0`, once it says where it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn of(process: &mut Process, patience: Duration) -> Self {
        Self::new(&authority(process, patience), patience)
    }

    /// Posts JSON.
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Answer> {
        let with_type = headers.iter().any(|(name, _)| *name == "content-type");
        let json = [("content-type", "application/json")];
        let headers: Vec<_> = if with_type { headers.to_vec() } else { [&json[..], headers].concat() };
        self.request("POST", path, &headers, body.as_bytes())
    }

    /// One request and its answer. On an error the next request takes a new connection.
    pub fn request(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let mut text =
            format!("{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n", self.authority, body.len());
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        text.push_str("\r\n");
        self.raw(&[text.as_bytes(), body].concat())
    }

    /// Sends bytes and reads one answer.
    pub fn raw(&mut self, bytes: &[u8]) -> io::Result<Answer> {
        let answered = self.send(bytes).and_then(|()| self.answer());
        match &answered {
            Ok(answer) if answer.header("connection").is_none_or(|c| !c.eq_ignore_ascii_case("close")) => {}
            _ => self.close(),
        }
        answered
    }

    /// Sends bytes.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.authority)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.patience))?;
            stream.set_write_timeout(Some(self.patience))?;
            self.stream = Some(stream);
        }
        self.stream.as_mut().map_or(Ok(()), |stream| stream.write_all(bytes))
    }

    /// Reads one answer.
    pub fn answer(&mut self) -> io::Result<Answer> {
        let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
        let head = loop {
            if let Some(end) = self.pending.windows(4).position(|w| w == b"\r\n\r\n") {
                break end + 4;
            }
            self.more()?;
        };
        let text = String::from_utf8_lossy(&self.pending[..head]).into_owned();
        self.pending.drain(..head);
        let mut lines = text.lines();
        let status = lines.next().and_then(|l| l.split(' ').nth(1)).and_then(|s| s.parse().ok());
        let status = status.ok_or_else(|| broken("no status"))?;
        let pair = |line: &str| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
        let headers: Vec<(String, String)> = lines.filter_map(pair).collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length: usize = answer.header("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
        while self.pending.len() < length {
            self.more()?;
        }
        answer.body = self.pending.drain(..length).collect();
        Ok(answer)
    }

    /// Ends the connection.
    pub fn close(&mut self) {
        self.stream = None;
        self.pending.clear();
    }

    fn more(&mut self) -> io::Result<()> {
        let mut buffer = [0; 8192];
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        match stream.read(&mut buffer)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.pending.extend_from_slice(&buffer[..read]);
                Ok(())
            }
        }
    }
}

/// Where a process says that it serves: `host:port`.
///
/// # Panics
/// When it does not in time.
pub fn authority(process: &mut Process, patience: Duration) -> String {
    process.wait_for_stderr("serving at http", patience);
    let said = process.stderr();
    let after = said.split("serving at http").nth(1).and_then(|rest| rest.split_once("://")).map(|(_, rest)| rest);
    after.and_then(|rest| rest.split_whitespace().next()).unwrap_or_default().to_owned()
}

/// Waits until a process is ready for work.
///
/// # Panics
/// When it is not in time.
pub fn wait_ready(client: &mut HttpClient, patience: Duration) {
    let began = Instant::now();
    let mut last = None;
    let ready = wait_until(patience, || {
        last = client.request("GET", "/readyz", &[], &[]).ok();
        last.as_ref().is_some_and(|answer| answer.status == 200)
    });
    assert!(ready, "not ready after {:?}: {last:?}", began.elapsed());
}
