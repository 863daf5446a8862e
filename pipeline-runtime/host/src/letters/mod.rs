//! Dead letters as people work with them: read, chosen, grouped, mended, sent again.
//!
//! A letter is *open* until it is sent again, edited away or purged. What is done is kept as ranges of offsets per
//! partition in `<pipeline>.control`, and is written in the same transaction as what became of the letter: a crash in
//! the middle neither loses nor doubles.
//!
//! Pure: `letter.rs` and `families.rs` (headers -> [`Letter`]), `select.rs` (which ones), `groups.rs`, `done.rs`,
//! `redrive.rs` and `edit.rs` (what becomes of one). With the log: `marks.rs` and `reading.rs` (who only looks),
//! `worker.rs` (who changes something; start reading there), `back.rs` (how letters come back to their stage), `hold.rs`
//! (which ones hold their keys, and the end of that).

mod back;
mod done;
mod edit;
mod families;
mod groups;
mod hold;
mod letter;
mod marks;
mod payload;
mod place;
mod reading;
mod redrive;
mod select;
mod worker;

pub(crate) use back::announce;
pub use done::Done;
pub use edit::{Edit, EditError, replaced};
pub(crate) use families::REDRIVE_HEADER;
pub use groups::{Group, Groups};
pub use hold::LetterHolds;
pub use letter::{ErrorFields, Letter};
pub use payload::{Decoded, Form};
pub use place::Place;
pub use reading::{Reading, free, read};
pub use redrive::{Destination, HOLDS, HOLDS_NONE, OMITTED, Redrive};
pub use select::{Condition, Fault, Select};
pub use worker::{Pace, Refused, Report, Verdict, work};
