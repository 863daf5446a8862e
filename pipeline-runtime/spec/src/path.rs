//! Paths to fields, as in `key: .customer.id`.

use millstream_filter_api::OwnedValuePath;

/// A path `.a.b[0]."c d"`. `None` for anything else, `.` alone included.
pub fn field(text: &str) -> Option<OwnedValuePath> {
    if !is_path(text) {
        return None;
    }
    vrl::path::parse_value_path(text).ok().filter(|p| !p.is_root())
}

/// The grammar of a path, narrower than VRL's parser, which takes `a b` too. The JSON Schema has it as
/// [`FIELD_PATTERN`].
fn is_path(text: &str) -> bool {
    let mut rest = text;
    if !rest.starts_with('.') || rest.starts_with(".[") {
        return false;
    }
    while !rest.is_empty() {
        rest = if let Some(after) = rest.strip_prefix(".\"") {
            match after.find('"') {
                Some(end) if end > 0 && !after[..end].contains('\\') => &after[end + 1..],
                _ => return false,
            }
        } else if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '@')).unwrap_or(after.len());
            if end == 0 {
                return false;
            }
            &after[end..]
        } else if let Some(after) = rest.strip_prefix('[') {
            match after.find(']') {
                Some(end) if (1..=6).contains(&end) && after[..end].bytes().all(|b| b.is_ascii_digit()) => {
                    &after[end + 1..]
                }
                _ => return false,
            }
        } else {
            return false;
        };
    }
    !text.is_empty()
}

/// What [`field`] takes, as a regular expression.
pub(crate) const FIELD_PATTERN: &str =
    r#"\.(?:[A-Za-z0-9_@]+|"[^"\\]+")(?:\[[0-9]{1,6}\])*(?:\.(?:[A-Za-z0-9_@]+|"[^"\\]+")(?:\[[0-9]{1,6}\])*)*"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for text in [".a", ".a.b", ".a[0]", ".a[0].b[12]", ".\"a b\".c", ".@timestamp", ".order_id", ".a1"] {
            let path = field(text);
            assert!(path.is_some(), "{text}");
        }
        assert_eq!(field(".a.b[2]").map(|p| p.to_string()), Some("a.b[2]".into()));
        for text in [
            "", ".", "a", "a.b", ".a.", "..a", ".a b", ".[0]", ".a[x]", ".a[-1]", ".a[", ".\"a", "%key", ".a = 1",
            ".a ?? .b",
        ] {
            assert_eq!(field(text), None, "{text}");
        }
    }
}
