//! The lines of a file, counted as YAML counts them: `\n`, `\r\n` and a lone `\r` end one.

use millstream_filter_api::Span;

/// Where each line of a text starts and ends.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' || (*byte == b'\r' && bytes.get(at + 1) != Some(&b'\n')) {
                starts.push(at + 1);
            }
        }
        Self { text, starts }
    }

    /// Line `line`, counted from 1, without its end; empty where there is none.
    pub(crate) fn line(&self, line: usize) -> &'a str {
        let Some(start) = line.checked_sub(1).and_then(|i| self.starts.get(i)) else { return "" };
        let end = self.starts.get(line).copied().unwrap_or(self.text.len());
        self.text.get(*start..end).unwrap_or("").trim_end_matches(['\n', '\r'])
    }

    /// The place of the character at byte `at`.
    pub(crate) fn place(&self, at: usize, len: u32) -> Span {
        let line = self.starts.partition_point(|s| *s <= at).max(1);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let col = self.text.get(start..at).map_or(0, |t| t.chars().count());
        Span { line: line as u32, col: col as u32 + 1, len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_line_ends_are_counted() {
        let lines = Lines::new("a\r\nbü\rc\n");
        let all: Vec<_> = (0..6).map(|n| lines.line(n)).collect();
        assert_eq!(all, ["", "a", "bü", "c", "", ""]);
        assert_eq!(lines.place(0, 1), Span { line: 1, col: 1, len: 1 });
        assert_eq!(lines.place(6, 0), Span { line: 2, col: 3, len: 0 });
        assert_eq!(lines.place(7, 0), Span { line: 3, col: 1, len: 0 });
    }
}
