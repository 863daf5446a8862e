//! Asks a broker over TCP whether it is ready: one metadata request, written by hand so that no client is needed.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Number of brokers of the cluster that this one knows as alive; `None` when it does not answer.
pub(crate) fn brokers_alive(address: SocketAddr) -> Option<usize> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
    stream.set_read_timeout(Some(patience)).ok()?;
    stream.set_write_timeout(Some(patience)).ok()?;
    stream.write_all(&metadata_request()).ok()?;
    // Length, correlation id, throttle time, count of brokers: four big-endian i32.
    let mut head = [0u8; 16];
    stream.read_exact(&mut head).ok()?;
    usize::try_from(i32::from_be_bytes([head[12], head[13], head[14], head[15]])).ok()
}

/// Metadata version 5, the last but a few without tagged fields: an empty list of topics, nothing created.
fn metadata_request() -> Vec<u8> {
    let client = b"millstream-test";
    let mut body = Vec::new();
    body.extend(3i16.to_be_bytes());
    body.extend(5i16.to_be_bytes());
    body.extend(1i32.to_be_bytes());
    body.extend((client.len() as i16).to_be_bytes());
    body.extend(client);
    body.extend(0i32.to_be_bytes());
    body.push(0);
    let mut request = (body.len() as i32).to_be_bytes().to_vec();
    request.extend(body);
    request
}
