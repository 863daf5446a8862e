//! The port of sources: what makes records, whatever it reads them from. Files, generators and clocks are here; what needs a
//! client of its own stands in a crate of its own, and the command line hands it in as [`Makers`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_filter_api::HeadersBuilder;
use millstream_log::{Log, LogResult, Outgoing};
use millstream_spec::model::{Pipeline, Source};

use super::alive::{Known, Sign};
use super::fault::Fault;
use super::position::SourcePosition;
use crate::shared::Stop;

/// What makes records, one after the other. It is dropped when its process no longer owns the source, and after any error:
/// the next one goes on from the position that was committed last.
pub trait Maker {
    /// The next record. It returns within about a second, whatever it waits for; an error stops the source with a code, and
    /// one of a class that passes has it opened again after a while.
    fn next(&mut self) -> LogResult<Next>;

    /// Where it stands after the last record it gave.
    fn position(&self) -> SourcePosition;

    /// Where the last record it gave stands, for people.
    fn place(&mut self) -> Option<String>;

    /// What record number `n`, the last one given, is called when the pipeline gives no rule: equal on every run.
    fn name(&self, n: u64) -> String;

    /// The time of the last record it gave, ms since 1970; `None` is when it is written.
    fn time(&self) -> Option<i64> {
        None
    }

    /// The key of the last record it gave, where the pipeline gives no rule.
    fn key(&self) -> Option<Bytes> {
        None
    }

    /// Adds the headers of the last record it gave.
    fn headers(&self, _: &mut HeadersBuilder) {}

    /// What is written in the transaction of the records given since it was asked last, beside them: what it must know
    /// again and a position has no room for.
    fn beside(&mut self) -> Vec<Outgoing> {
        Vec::new()
    }

    /// All it gave so far is committed, with its position. An error is treated like one of [`Maker::next`].
    fn committed(&mut self) -> LogResult<()> {
        Ok(())
    }

    /// Hears since when the pipeline has been running, before each transaction.
    fn alive(&mut self, _: &Alive<'_>) {}
}

/// One thing a source gives.
pub enum Next {
    /// A record's payload, and what is wrong with it.
    Record(Bytes, Option<Fault>),
    /// No record, and the position has moved.
    Passed,
    /// Nothing now; ask again after this long.
    Wait(Duration),
    /// Nothing any more.
    End,
}

/// Since when the pipeline has been running.
pub struct Alive<'a> {
    /// Here.
    pub(crate) known: Known,
    /// What the other processes said that run a reader of the source.
    pub(crate) others: &'a dyn Fn() -> Vec<Sign>,
}

/// Opens sources that need a client of their own.
pub trait Makers: Send + Sync {
    /// The maker of a source, `None` for a kind that it does not know.
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>>;
}

/// A source to open.
pub struct Opening<'a> {
    /// The log, for what the maker wrote beside its records.
    pub log: Arc<dyn Log>,
    /// Of which pipeline.
    pub pipeline: &'a Pipeline,
    /// The source.
    pub source: &'a Source,
    /// Where it goes on.
    pub position: SourcePosition,
    /// Where it may run its client; the maker is called on a thread of its own, outside of it.
    pub runtime: tokio::runtime::Handle,
    /// Tells that the process ends.
    pub stop: Stop,
}

/// No source that needs a client.
pub struct NoMakers;

impl Makers for NoMakers {
    fn open<'a>(&self, _: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        Ok(None)
    }
}
