//! `millstream dlq` from end to end, on both logs: letters are looked at, mended, sent again and purged; a `redrive` that
//! is killed in the middle and called again sends each letter once.

mod back;
mod back_crash;
mod crash;
mod foreign;
mod letters;
mod verbs;
