//! Issues as people read them: place, message, the line of the file, a mark under the word.

use std::fmt::Write as _;
use std::path::Path;

use millstream_filter_api::{Issue, Severity};

use crate::lines::Lines;

/// Columns of a source line that are shown.
const WIDTH: usize = 120;

/// `file:line:col: error: …` with the line and a mark under it, for each issue, in their order. Plain text.
pub fn render(path: &Path, bytes: &[u8], issues: &[Issue]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = Lines::new(text.strip_prefix('\u{feff}').unwrap_or(&text));
    let mut out = String::new();
    for issue in issues {
        one(&mut out, path, &lines, issue);
    }
    out
}

fn one(out: &mut String, path: &Path, lines: &Lines<'_>, issue: &Issue) {
    let word = match issue.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let span = issue.span;
    // Writing to a string does not fail.
    let _ = writeln!(out, "{}:{}:{}: {word}: {} [{}]", path.display(), span.line, span.col, issue.message, issue.code);
    let line: Vec<char> = lines.line(span.line as usize).chars().collect();
    let col = (span.col.max(1) - 1) as usize;
    if !line.is_empty() && col <= line.len() {
        // Of a very long line, the part around the word.
        let from = if line.len() > WIDTH { col.saturating_sub(WIDTH / 3) } else { 0 };
        let to = line.len().min(from + WIDTH);
        let shown: String =
            line[from..to].iter().map(|c| if c.is_control() && *c != '\t' { ' ' } else { *c }).collect();
        let number = span.line.to_string();
        let gutter = " ".repeat(number.len());
        // Tabs stay tabs, so that the mark stands under the word whatever a tab's width is.
        let before: String = line[from..col].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
        let marks = "^".repeat((span.len.max(1) as usize).min(to.saturating_sub(col).max(1)));
        let _ = writeln!(out, "{number} | {shown}\n{gutter} | {before}{marks}");
    }
    if let Some(help) = &issue.help {
        let _ = writeln!(out, "  help: {help}");
    }
}

#[cfg(test)]
mod tests {
    use millstream_filter_api::Span;

    use super::*;

    fn at(line: u32, col: u32, len: u32) -> Issue {
        Issue::error(Span { line, col, len }, "unknown_key", "`sorce` is not a key").help("did you mean `source`?")
    }

    #[test]
    fn the_word_is_marked() {
        let shown = render(Path::new("a.yaml"), b"pipeline: a\nsorce: 1\n", &[at(2, 1, 5)]);
        assert_eq!(
            shown,
            "a.yaml:2:1: error: `sorce` is not a key [unknown_key]\n2 | sorce: 1\n  | ^^^^^\n  help: did you mean `source`?\n"
        );
    }

    #[test]
    fn odd_places_are_bearable() {
        let long = "x".repeat(5000);
        for (text, issue) in [
            ("a", at(9, 9, 9)),
            ("", at(1, 1, 0)),
            ("\tü: 1", at(1, 2, 1)),
            (long.as_str(), at(1, 4000, 2000)),
            ("a", at(0, 0, 0)),
            ("a", at(1, u32::MAX, u32::MAX)),
        ] {
            let shown = render(Path::new("a"), text.as_bytes(), &[issue]);
            assert!(shown.lines().all(|l| l.chars().count() < 200), "{shown}");
        }
    }
}
