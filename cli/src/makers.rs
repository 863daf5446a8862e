//! Sources that need a client of their own: the only place where all of them are known.

use millstream_host::{Maker, Makers, Opening};
use millstream_log::LogResult;

/// Opens all that there are.
pub struct AllMakers;

impl Makers for AllMakers {
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        millstream_objects::open(opening)
    }
}
