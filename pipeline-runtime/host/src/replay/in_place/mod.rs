//! A range of its input goes through a live stage once more, beside the live reading.
//!
//! An order in the control topic ([`Replay`], `order.rs`) makes every process that runs the stage run it a
//! second time, as replicas of a group of its own (`crews.rs`). That group's committed positions are the second cursor:
//! they move in the transactions of the outputs, with the group's fencing, and the live group's never do. Records of it
//! carry the header [`REPLAY_HEADER`] from the moment they are read (`mark.rs`), so that outputs, dead letters and the
//! stages behind tell them from the live ones.
//!
//! Start reading at `order.rs`, then `crews.rs` (a running process obeys), `command.rs` (orders are given) and
//! `progress.rs` (how far it is, and what is cleared away at the end).

mod command;
mod crews;
mod mark;
mod order;
mod progress;
mod shown;

pub use command::{Begin, Look, begin, calling, cancel, look, waiting};
pub(crate) use crews::{Replays, Round};
pub use mark::REPLAY_HEADER;
pub(crate) use mark::{dedup_id, mark_of, with_mark};
pub use order::{Replay, ReplayInput, ReplayState};
pub(crate) use order::{all, readers, running};
pub use progress::Progress;
pub(crate) use progress::still_running;
pub use shown::{ReplayStatus, Slice};
