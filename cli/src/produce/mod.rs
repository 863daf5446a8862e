//! `millstream produce` beneath its command: lines and rows -> records -> a log.

pub mod fields;
pub mod input;
pub mod sender;
