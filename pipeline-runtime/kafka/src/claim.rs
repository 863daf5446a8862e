//! What a commit's metadata carries beside the member's own: who owns the partition.
//!
//! Format, version 1: `1;<transactional id>;<the member's metadata>`. The id is empty after a clean hand-over, and in
//! at-least-once mode, where there is no transaction to end. Text of another form is somebody else's and passes as it
//! is, without a claim.

/// Taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claimed {
    /// The owner's transactional id; `None` when handed over cleanly.
    pub(crate) owner: Option<String>,
    /// What the committer wrote.
    pub(crate) metadata: String,
}

/// Bytes of metadata that a broker with default settings takes (`offset.metadata.max.bytes`).
const BROKER_LIMIT: usize = 4096;

/// Puts owner and metadata together.
pub(crate) fn write(owner: Option<&str>, metadata: &str) -> String {
    format!("1;{};{metadata}", owner.unwrap_or_default())
}

/// Takes them apart.
pub(crate) fn read(text: &str) -> Claimed {
    match text.strip_prefix("1;").and_then(|rest| rest.split_once(';')) {
        Some((owner, metadata)) => {
            Claimed { owner: (!owner.is_empty()).then(|| owner.to_owned()), metadata: metadata.to_owned() }
        }
        None => Claimed { owner: None, metadata: text.to_owned() },
    }
}

/// Bytes left for the member's own metadata beside this owner.
pub(crate) fn room(owner: &str) -> usize {
    BROKER_LIMIT.saturating_sub(write(Some(owner), "").len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Negative control: splitting at the last `;` fails it on metadata with one.
        #[test]
        fn what_is_written_is_read(owner in proptest::option::of("[a-z0-9.-]{1,40}"), metadata in "[ -~]{0,100}") {
            let text = write(owner.as_deref(), &metadata);
            prop_assert_eq!(read(&text), Claimed { owner, metadata });
        }
    }

    #[test]
    fn the_format_stays() {
        assert_eq!(write(Some("p.s.1f.0"), "7,9-12"), "1;p.s.1f.0;7,9-12");
        assert_eq!(write(None, "x;y"), "1;;x;y");
        assert_eq!(read("1;;x;y"), Claimed { owner: None, metadata: "x;y".into() });
        assert_eq!(read("of another client"), Claimed { owner: None, metadata: "of another client".into() });
        assert_eq!(room("abc"), 4096 - 6);
        // A later version goes on whole to who reads positions, and is refused there as one.
        assert_eq!(read("2;p.s.1f.0;1AgE"), Claimed { owner: None, metadata: "2;p.s.1f.0;1AgE".into() });
    }
}
