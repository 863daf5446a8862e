//! What goes to the host and what it answers.

/// Where a record was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Partition of the stage's inputs.
    pub slot: u32,
    /// Which input topic.
    pub input: u16,
    /// Offset there.
    pub offset: i64,
}

/// Names one started attempt; no two are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub(crate) u64);

/// An attempt to run.
#[derive(Debug)]
pub struct Work<R> {
    /// To be given back with the fate.
    pub ticket: Ticket,
    /// Where the record was read; of a copy, its place in `.retry`.
    pub place: Place,
    /// Where it was first read: of a copy, the place of the record it was made of.
    pub origin: Place,
    /// Counted from 1, over all copies as far as they say. With [`Task::Park`] it is the attempts made so far.
    pub attempt: u32,
    /// What to do with it.
    pub task: Task,
    /// The host's record.
    pub record: R,
}

/// What the host does with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Run the filters.
    Run,
    /// The log refused what came of this record, with this reason: it goes to the dead letters without being run.
    Bury(String),
    /// Write a copy of it to `.retry` and finish it with [`Fate::Parked`] at once, without running it.
    Park(Reason),
    /// Write this copy to `.retry` again as it is, and finish it with [`Fate::Moved`] at once.
    Move,
}

/// Why a record is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It failed. Its copy is due after this many milliseconds.
    Parked {
        /// From now on.
        delay_ms: u64,
    },
    /// An earlier record of its key is set aside; it never ran.
    Behind,
}

/// What a copy stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyKind {
    /// A replica of this stage set its record aside, so its key waits for it.
    Parked,
    /// A dead letter that was sent back: nothing waits for it. Also one that cannot be read.
    SentBack,
    /// A dead letter that held its key and was sent back: it takes the place of the hold, so its key waits for it.
    First,
    /// No record: a dead letter of this origin holds its key.
    Hold,
    /// No record: somebody has decided that the hold of this origin is over.
    Free,
}

/// What the header of a copy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copy<'a> {
    /// Which input its record was first read from.
    pub origin_input: u16,
    /// At which offset.
    pub origin_offset: i64,
    /// Key of the record.
    pub key: Option<&'a [u8]>,
    /// Message id of the record.
    pub id: &'a [u8],
    /// Time of the record.
    pub timestamp: i64,
    /// Bytes it takes in memory.
    pub size: usize,
    /// Attempts made before it was written.
    pub attempts: u32,
    /// Not before this many milliseconds; 0 when it is due.
    pub delay_ms: u64,
    /// What it stands for.
    pub kind: CopyKind,
    /// It goes on though its id has passed meanwhile: somebody wants it so.
    pub forced: bool,
}

/// What became of an attempt.
#[derive(Debug)]
pub enum Fate<R, O> {
    /// It gave outputs (or none).
    Forwarded(O),
    /// It was dropped, for a reason that is counted.
    Dropped(&'static str, O),
    /// It goes to the dead letters.
    DeadLettered(O),
    /// The same, and it holds its key: the mark of that is in the outputs too. Only where [`Engine::may_hold`] allows it.
    ///
    /// [`Engine::may_hold`]: crate::Engine::may_hold
    Held(O),
    /// The answer to [`Task::Move`]: the copy is at the end of `.retry` again.
    Moved(O),
    /// Its copy goes to `.retry`. The answer to [`Task::Park`] and [`Finished::Park`].
    Parked(O),
    /// It may not be tried any more, by its age: it goes to the dead letters, and that says nothing of what it calls.
    Expired {
        /// The letter.
        letter: O,
        /// This attempt was made, and failed; else it was not made.
        failed: bool,
        /// It holds its key, as with [`Fate::Held`].
        holds: bool,
    },
    /// Another attempt may succeed.
    Retry {
        /// The record, for the next attempt.
        record: R,
        /// Not before this many milliseconds.
        after_ms: Option<u64>,
    },
}

/// The engine's answer to a fate.
#[derive(Debug, PartialEq, Eq)]
pub enum Finished<R> {
    /// Taken.
    Taken,
    /// The record is no longer this replica's (R6): forget what it gave.
    Stale,
    /// The key is to be set aside. The ticket stays open; the host finishes it with [`Fate::Parked`].
    Park {
        /// The record, for the copy.
        record: R,
        /// Attempts made.
        attempts: u32,
        /// The next one is due after this many milliseconds.
        delay_ms: u64,
    },
    /// No attempt is left. The ticket stays open; the host finishes it as a dead letter.
    Exhausted {
        /// The record, for the letter.
        record: R,
        /// Attempts made.
        attempts: u32,
    },
}
