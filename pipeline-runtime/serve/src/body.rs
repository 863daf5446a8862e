//! A body, read up to a bound and within a time.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// Between two pieces of a body, and for all of it.
const PIECE: Duration = Duration::from_secs(10);
const WHOLE: Duration = Duration::from_secs(60);
/// Bodies are counted in these.
const UNIT: usize = 1 << 10;

/// Room for the bodies of all requests of a process.
#[derive(Clone)]
pub(crate) struct Room(Arc<Semaphore>);

impl Room {
    /// For so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        Arc::clone(&self.0).try_acquire_many_owned(units).map_err(|_| {
            let detail = "this process has no room for more bodies now; nothing was taken in";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(1)
        })
    }
}

/// Reads a body of at most `max` bytes. The room it takes is free again when the second is dropped.
pub(crate) async fn read(body: Body, max: usize, room: &Room) -> Result<(Bytes, Vec<OwnedSemaphorePermit>), Problem> {
    let too_large = || {
        let detail = format!("a body has at most {max} bytes here");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    };
    // Said ahead: nothing of it is read.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    let slow = |_| {
        let (whole, piece) = (WHOLE.as_secs(), PIECE.as_secs());
        let detail = format!("a body has {whole} s to come, and {piece} s for each piece of it");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail)
    };
    let whole = async {
        let (mut body, mut bytes, mut held) = (body, BytesMut::new(), Vec::new());
        loop {
            let Some(frame) = tokio::time::timeout(PIECE, body.frame()).await.map_err(slow)? else { break };
            let frame = frame.map_err(|e| {
                Problem::new(StatusCode::BAD_REQUEST, "body_broken", format!("the body broke off: {e}"))
            })?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > max {
                return Err(too_large());
            }
            let (before, after) = (bytes.len().div_ceil(UNIT), (bytes.len() + data.len()).div_ceil(UNIT));
            if after > before {
                held.push(room.take((after - before) * UNIT)?);
            }
            bytes.extend_from_slice(&data);
        }
        Ok((bytes.freeze(), held))
    };
    tokio::time::timeout(WHOLE, whole).await.map_err(slow)?
}
