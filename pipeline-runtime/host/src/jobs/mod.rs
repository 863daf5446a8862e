//! Jobs: everything that follows from one record at a source, by its root id.
//!
//! A replica that ends a record writes a note of it (`note.rs`) to `<pipeline>.jobs.notes`, in the transaction that releases
//! what came of the record. All notes of a job lie in one partition. One owner per partition (`ledger.rs`, the group
//! `<pipeline>.jobs`) adds them up (`job.rs`, pure) and writes each job's status to the compacted topic `<pipeline>.jobs`
//! together with its position. Whoever asks reads that topic (`store.rs`).
//!
//! Why the sum is right: a stage reads a record only when the transaction that wrote it was committed, so the note of its
//! end lies behind the note of its birth, and a job is never seen at zero before its last record has ended.

mod asked;
mod callback;
mod cancel;
mod document;
mod event;
mod job;
mod ledger;
mod limits;
mod note;
mod payload;
mod percent;
mod plan;
mod replies;
mod state;
mod stopping;
mod store;
mod undo;
mod undo_record;
mod view;

pub(crate) use asked::Allowed;
pub use asked::Asked;
pub use callback::Callback;
pub(crate) use callback::Callbacks;
pub use cancel::cancel;
pub use document::{CallbackDocument, ErrorDocument, JobDocument, ReplyDocument, StageDocument};
pub use job::{Failed, JobStatus, StageCounts};
pub(crate) use ledger::{Ledger, ends, worked_off};
pub(crate) use limits::Limits;
pub(crate) use note::{Note, What, cut};
pub use payload::Payload;
pub use percent::Percent;
pub(crate) use plan::JobsPlan;
pub use plan::check_progress;
pub(crate) use replies::Replies;
pub use state::{JobState, Stopped};
pub(crate) use stopping::Stopping;
pub(crate) use store::given_up;
pub use store::{Filter, find, list, wait};
pub(crate) use undo_record::{UndoPlan, keep};
pub use view::{JobsView, Seen, ViewError};
