//! What must not be printed.

use millstream_filter_api::{Failure, Outcome};

/// Texts that came from outside the file, through `${env:…}` or `${file:…}`.
#[derive(Default)]
pub(crate) struct Secrets {
    /// The longest first, so that no part of one is left.
    words: Vec<String>,
}

/// Shorter ones are ordinary words.
const SHORTEST: usize = 4;

impl Secrets {
    /// Keeps a text and its parts: a server may send back any of them.
    pub(crate) fn keep(&mut self, text: &str) {
        let parts = text.split(|c: char| c.is_whitespace() || "/?&=:,;@".contains(c));
        for word in parts.chain([text]).filter(|w| w.len() >= SHORTEST) {
            if !self.words.iter().any(|w| w == word) {
                self.words.push(word.to_owned());
            }
        }
        self.words.sort_by_key(|w| std::cmp::Reverse(w.len()));
    }

    /// The same text with `***` in their place.
    pub(crate) fn mask(&self, mut text: String) -> String {
        for word in &self.words {
            if text.contains(word.as_str()) {
                text = text.replace(word.as_str(), "***");
            }
        }
        text
    }

    /// What an attempt came to; a failure tells nothing that must not be printed.
    pub(crate) fn outcome(&self, attempted: Result<(), Failure>) -> Outcome {
        match attempted {
            Ok(()) => Outcome::Forward,
            Err(failure) => Outcome::Fail(Box::new(Failure { message: self.mask(failure.message), ..failure })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_and_its_parts_are_masked() {
        let mut secrets = Secrets::default();
        secrets.keep("Bearer s3cr3t-token");
        secrets.keep("http://host/x?key=abcdef");
        let said = "401: no such token s3cr3t-token (Bearer s3cr3t-token), key abcdef; ok";
        assert_eq!(secrets.mask(said.to_owned()), "401: no such token *** (***), key ***; ok");
    }
}
