//! The negative controls.

/// How the world is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    Nothing,
    /// Positions are durable before the outputs: a crash between loses them.
    PositionsFirst,
    /// Dedup marks are durable even when the transaction is not.
    MarksOutside,
    /// A replica that lost a partition may still commit.
    NoFence,
    /// The engine is told to keep no order where keys have to be: later records overtake a failing one.
    OvertakeKey,
    /// The same where partitions have to be in order.
    OvertakePartition,
    /// What an aborted transaction wrote is read by the next stage.
    ReadUncommitted,
    /// A new owner begins all inputs at the position of the first.
    MixInputs,
    /// All records seem to be of one time, so that no id leaves the window.
    StoppedClock,
    /// The engine's window is shorter than what was promised.
    ShortWindow,
    /// At-least-once delivery that commits before the outputs are delivered.
    LossyAtLeastOnce,
    /// Records are read without a look at the budget.
    Flood,
    /// A later record of a key that is set aside is run.
    RunBehind,
    /// The engine does not learn that later records of a key were set aside, so the key is free too early.
    FreeEarly,
    /// A new owner does not look which keys are set aside.
    NoScan,
    /// What an aborted transaction had freed stays free.
    NoRollback,
    /// That a copy ended is durable even when the transaction is not.
    CopiesOutside,
    /// Copies are durable even when the transaction is not.
    ParkOutside,
    /// A letter is sent back, and that it was is forgotten.
    SendTwice,
    /// The engine is not told that a letter is to pass dedup.
    ForgetForced,
    /// The engine is told that keys wait for letters that are sent back.
    SentBackAsParked,
    /// Letters that are sent back are run in any order.
    SentBackAnyhow,
    /// A dead letter does not hold its key where it has to.
    NoHold,
    /// A dead letter holds its key, and nothing of that is durable.
    NoMark,
    /// The engine is not told for which of a record's letters it is that a hold is over.
    FreeAny,
    /// Nothing is said of records that were dropped as duplicates.
    UntoldDuplicates,
    /// What is said of records is durable even when the transaction is not.
    NotesOutside,
}
