//! Sources that tell their makers of a commit before it is made.

use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_filter_api::HeadersBuilder;
use millstream_host::{Maker, Makers, Next, Opening, SourcePosition};
use millstream_log::{LogResult, Outgoing};
use millstream_postgres::Postgres;

/// Opens them, hasty or not.
pub(crate) struct Hasty(pub bool);

impl Makers for Hasty {
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        let Some(inner) = Postgres.open(opening)? else { return Ok(None) };
        Ok(Some(if self.0 { Box::new(HastyMaker { inner, ahead: None }) } else { inner }))
    }
}

struct HastyMaker<'a> {
    inner: Box<dyn Maker + 'a>,
    ahead: Option<Next>,
}

impl Maker for HastyMaker<'_> {
    fn next(&mut self) -> LogResult<Next> {
        self.ahead.take().map_or_else(|| self.inner.next(), Ok)
    }

    fn position(&self) -> SourcePosition {
        self.inner.position()
    }

    fn place(&mut self) -> Option<String> {
        self.inner.place()
    }

    fn name(&self, n: u64) -> String {
        self.inner.name(n)
    }

    fn key(&self) -> Option<Bytes> {
        self.inner.key()
    }

    fn headers(&self, headers: &mut HeadersBuilder) {
        self.inner.headers(headers);
    }

    /// Called before the commit; what comes next comes after the removal of what was given.
    fn beside(&mut self) -> Vec<Outgoing> {
        let end = Instant::now() + Duration::from_secs(60);
        if self.ahead.is_none() && self.inner.committed().is_ok() {
            while Instant::now() < end {
                match self.inner.next() {
                    Ok(Next::Wait(_)) => {}
                    other => {
                        self.ahead = other.ok();
                        break;
                    }
                }
            }
        }
        self.inner.beside()
    }
}
