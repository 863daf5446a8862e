//! Bytes as they stand in a status.

use base64::Engine as _;
use serde::{Deserialize, Serialize};

/// Bytes in a JSON document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payload {
    /// They are text.
    Text(String),
    /// They are not, and stand in Base64.
    Base64(String),
    /// More than a status may hold; they lie in the stage's output topic.
    TooLarge(usize),
}

impl Payload {
    /// More than this is not kept.
    pub const MAX: usize = 256 << 10;

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            _ if bytes.len() > Self::MAX => Self::TooLarge(bytes.len()),
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Base64(base64::engine::general_purpose::STANDARD.encode(bytes)),
        }
    }
}
