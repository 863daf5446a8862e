//! Records that wait for an event of another topic (`wait_for` of a stage): an approval, a payment.
//!
//! Two stages before this one have keyed the records and the events by what is equal in both, so that those of one correlation
//! lie in one partition of `<stage>-records` and `<stage>-events`. The owner of that partition in the group of `<stage>-wait` makes
//! them meet. [`meet`] decides, pure: who waits, who goes on with which event, what is over. [`worker`] does the rest: what
//! goes on, the dead letters, the notes of jobs, what waits from now on (`<stage>-wait.state`, compacted; `entry.rs`) and the
//! positions are one transaction.
//!
//! Payloads are in memory only while they are written: what waits lies in the topic it was read from, is read again there at its
//! offset, and goes from there when nothing before it waits any more.

mod barrier;
mod carry;
mod entry;
mod fetch;
mod meet;
#[cfg(test)]
mod meet_tests;
mod worker;
mod write;

pub(crate) use worker::run;
