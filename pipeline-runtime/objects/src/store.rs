//! What a place of objects must be able to do, whichever it is.

use bytes::Bytes;

use crate::decide::State;

/// An object in a listing.
pub struct Found {
    /// Below the place.
    pub name: Vec<u8>,
    /// As it is.
    pub state: State,
}

/// A folder or a bucket.
pub trait Store {
    /// URL of the place, with a slash at its end.
    fn base(&self) -> &str;

    /// Begins to list all objects.
    fn begin(&mut self) -> Result<(), StoreError>;

    /// Some more objects, in no order; none is the end. May leave out what it said in [`Store::incomplete`].
    fn page(&mut self) -> Result<Vec<Found>, StoreError>;

    /// Whether the listing left out what may be there: then nothing it does not have is taken for deleted.
    fn incomplete(&self) -> bool;

    /// Whether an object that a listing did not have is there after all.
    fn there(&mut self, name: &[u8]) -> bool;

    /// What is in an object that looks like `state`.
    fn read(&mut self, name: &[u8], state: &State) -> Result<Bytes, ReadError>;
}

/// Why a place cannot be looked at now. It is tried again.
#[derive(Debug)]
pub struct StoreError {
    /// Stable: `objects_missing`, `objects_denied`, `objects_unreachable`.
    pub code: &'static str,
    /// What happened, and what to do.
    pub message: String,
}

/// Why an object cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// It is another by now, or gone: the next listing knows.
    Changed,
    /// This one cannot; others may.
    Object(String),
    /// None can now.
    Store(StoreError),
}

impl StoreError {
    /// An error.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
