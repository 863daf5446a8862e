//! What a source saw wrong with a record, as a header of it in `<pipeline>.in`: the source alone knows the line of the
//! file and how many fields its header has. The first stage makes the dead letter from it.
//!
//! A fault holds for the payload it was found in and no other. So a letter that is sent back unchanged fails the same
//! way again, and one whose payload was mended is read like any record.

use bytes::Bytes;
use millstream_filter_api::Headers;

use crate::ids::hash128;

/// The header.
pub const FAULT_HEADER: &str = "millstream.source.error";

/// The first word; rises when the form changes.
const VERSION: &str = "1";

/// Why a record of a source cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Stable, as of any dead letter.
    pub code: String,
    /// For people: what is wrong, and where in the source.
    pub message: String,
}

impl Fault {
    /// `1 CODE HASH-OF-PAYLOAD MESSAGE`.
    pub fn encode(&self, payload: &[u8]) -> String {
        format!("{VERSION} {} {:032x} {}", self.code, hash128(&[payload]), self.message)
    }
}

/// What a record's headers say of its payload. `None`: nothing, or of another payload.
pub fn of(headers: &Headers, payload: Option<&Bytes>) -> Option<Fault> {
    let mut words = headers.get_str(FAULT_HEADER)?.splitn(4, ' ');
    let mut word = || words.next();
    let (version, code, hash, message) = (word()?, word()?, word()?, word()?);
    let holds = version == VERSION && u128::from_str_radix(hash, 16) == Ok(hash128(&[payload?]));
    holds.then(|| Fault { code: code.to_owned(), message: message.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_holds_for_its_payload_only() {
        let fault = Fault { code: "invalid_csv".into(), message: "expected 3 fields, found 2".into() };
        let text = fault.encode(b"5");
        assert_eq!(
            text, "1 invalid_csv 4af376c52944990c29b7d476444c7d5a expected 3 fields, found 2",
            "a durable form: change it with its version"
        );
        let headers: Headers = [(FAULT_HEADER, Some(text.as_bytes()))].into_iter().collect();
        assert_eq!(of(&headers, Some(&Bytes::from_static(b"5"))), Some(fault));
        assert_eq!(of(&headers, Some(&Bytes::from_static(b"{}"))), None);
        assert_eq!(of(&headers, None), None);
        for bad in ["2 invalid_csv 0 x", "1", "1 a b", ""] {
            let headers: Headers = [(FAULT_HEADER, Some(bad.as_bytes()))].into_iter().collect();
            assert_eq!(of(&headers, Some(&Bytes::from_static(b"5"))), None, "{bad}");
        }
    }
}
