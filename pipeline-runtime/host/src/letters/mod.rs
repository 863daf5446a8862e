//! Dead letters as people work with them: read, chosen, grouped, mended, sent again.
//!
//! A letter is *open* until it is sent again, edited away or purged. What is done is kept as ranges of offsets per
//! partition in `<pipeline>.control`, and is written in the same transaction as what became of the letter: a crash in
//! the middle neither loses nor doubles.
//!
//! Pure: `letter.rs` and `families.rs` (headers -> [`Letter`]), `select.rs` (which ones), `groups.rs`, `done.rs`,
//! `redrive.rs` and `edit.rs` (what becomes of one). With the log: `marks.rs` and `reading.rs` (who only looks),
//! `worker.rs` (who changes something; start reading there), `back.rs` (how letters come back to their stage).

mod back;
mod done;
mod edit;
mod families;
mod groups;
mod letter;
mod marks;
mod payload;
mod place;
mod reading;
mod redrive;
mod select;
mod worker;

pub use done::Done;
pub use edit::{Edit, EditError, replaced};
pub use groups::{Group, Groups};
pub use letter::{ErrorFields, Letter};
pub use payload::{Decoded, Form};
pub use place::Place;
pub use reading::{Reading, free, read};
pub use redrive::{Destination, OMITTED, Redrive};
pub use select::{Condition, Fault, Select};
pub use worker::{Pace, Refused, Report, Verdict, work};
