//! Signatures as Standard Webhooks has them: HMAC-SHA256 of id, time and body. Pure.
//!
//! The source `http` checks such signatures by the same rule; this crate and that one know nothing of each other, and the
//! rule is ten lines. Both are held to one worked example.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What bodies are signed with: one key, or several while one is changed for another.
pub(super) struct Keys(Vec<Vec<u8>>);

/// More would not be looked at.
const MOST: usize = 10;

impl Keys {
    /// Reads a text of secrets with blanks between them. What follows `whsec_` is base64; another text is the key itself.
    ///
    /// # Errors
    /// What is wrong with it; never the text.
    pub(super) fn read(text: &str) -> Result<Self, &'static str> {
        let key = |secret: &str| match secret.strip_prefix("whsec_") {
            Some(rest) => STANDARD.decode(rest).map_err(|_| "what follows `whsec_` is no base64"),
            None => Ok(secret.as_bytes().to_vec()),
        };
        let keys = text.split_whitespace().map(key).collect::<Result<Vec<_>, _>>()?;
        match keys.len() {
            _ if keys.iter().any(Vec::is_empty) => Err("a secret is empty"),
            0 => Err("there is no secret"),
            1..=MOST => Ok(Self(keys)),
            _ => Err("there are more than ten secrets"),
        }
    }

    /// The value of `webhook-signature`: one signature for each key, with blanks between them.
    pub(super) fn sign(&self, id: &[u8], at: u64, body: &[u8]) -> String {
        let at = at.to_string();
        let parts = [id, b".", at.as_bytes(), b".", body];
        let all: Vec<String> = self.0.iter().map(|key| format!("v1,{}", STANDARD.encode(hmac(key, &parts)))).collect();
        all.join(" ")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same example stands in the tests of the source `http`. Made with:
    /// `printf 'msg_1.1614265330.{}' | openssl dgst -sha256 -mac hmac -macopt hexkey:… -binary | base64`
    #[test]
    fn a_body_is_signed_with_its_id_and_time_by_each_key() {
        let sign = |secrets: &str| Keys::read(secrets).map(|keys| keys.sign(b"msg_1", 1_614_265_330, b"{}"));
        let one = sign("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(one, EXAMPLE);
        let both = sign("another whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert!(
            both.starts_with("v1,") && both.ends_with(&format!(" {one}")) && both.len() == 2 * one.len() + 1,
            "{both}"
        );
    }

    const EXAMPLE: &str = "v1,ZztYR0IIDCBCUcYzh8ZE+qsQWpIgtHU7R1hpe8htaD4=";

    #[test]
    fn what_is_no_secret_is_said() {
        for bad in ["", "  ", "whsec_", "whsec_%%%", "good whsec_a", &"x ".repeat(11)] {
            assert!(Keys::read(bad).is_err(), "{bad}");
        }
    }
}
