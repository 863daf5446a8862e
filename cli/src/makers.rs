//! Sources that need a client of their own: the only place where all of them are known.

use millstream_host::{Maker, Makers, Opening};
use millstream_log::LogResult;
use millstream_postgres::Postgres;
use millstream_spec::model::SourceKind;

/// Opens all that there are.
pub struct AllMakers;

impl Makers for AllMakers {
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        match &opening.source.kind {
            SourceKind::Postgres(_) => Postgres.open(opening),
            _ => millstream_objects::open(opening),
        }
    }
}
