//! The mark of a position that another stage has taken over. A process with the pipeline of before, started or still
//! running, finds it where its own finished ranges would be, and stops instead of reading records a second time.

/// The first characters; rises when the form changes. Finished ranges begin with their version, a digit, so programs that
/// do not know the mark refuse it as a newer version.
const MARK: &str = "m1:";

/// The mark for a stage that goes on from here.
pub fn moved(stage: &str) -> String {
    format!("{MARK}{stage}")
}

/// Which stage went on from here, where metadata is a mark.
pub fn moved_to(metadata: &str) -> Option<&str> {
    metadata.strip_prefix(MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is on brokers: this must pass in every later version.
    #[test]
    fn golden() {
        assert_eq!(moved("mask"), "m1:mask");
        assert_eq!(moved_to("m1:mask"), Some("mask"));
        assert_eq!(moved_to("1AgEHogKwgT0B"), None);
        assert_eq!(moved_to(""), None);
    }
}
