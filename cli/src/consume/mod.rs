//! `millstream consume` beneath its command: where to read, and a record as a line.

pub mod from;
pub mod line;
pub mod wait;
