//! What people see: colour, tables, and the one line of progress that log lines pass by.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use serde::Deserialize;

/// When to colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Whether to colour a stream that is a terminal or not.
    pub fn on(self, terminal: bool) -> bool {
        self.decide(terminal, std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()))
    }

    fn decide(self, terminal: bool, no_color: bool) -> bool {
        match self {
            Self::Auto => terminal && !no_color,
            Self::Always => true,
            Self::Never => false,
        }
    }

    /// Whether to colour stderr.
    pub fn on_stderr(self) -> bool {
        self.on(io::stderr().is_terminal())
    }

    /// Whether to colour stdout.
    pub fn on_stdout(self) -> bool {
        self.on(io::stdout().is_terminal())
    }
}

/// Paints words, or leaves them.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// With or without colour.
    pub fn new(on: bool) -> Self {
        Self { on }
    }

    /// For errors.
    pub fn red(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// For warnings.
    pub fn yellow(self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    /// For advice.
    pub fn cyan(self, text: &str) -> String {
        self.wrap("36", text)
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Rows in columns two blanks apart; the columns `numbers` to the right, all others to the left.
pub fn table(rows: &[Vec<String>], numbers: Range<usize>) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (c, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[c] - cell.chars().count());
            let gap = if c == 0 { "" } else { "  " };
            let (before, after) = if numbers.contains(&c) { (pad.as_str(), "") } else { ("", pad.as_str()) };
            line.extend([gap, before, cell, after]);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `1234567` as `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Stderr with at most one line of progress at its bottom. Log lines go above it. Cloning shares it.
#[derive(Clone, Default)]
pub struct Screen {
    progress: Arc<Mutex<String>>,
}

impl Screen {
    /// Shows this line instead of the one before; empty takes it away.
    pub fn progress(&self, line: &str) {
        let mut shown = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown == line {
            return;
        }
        // Without wrapping: only the last row of a wrapped line could be cleared. A terminal that went away is no
        // reason to end a run.
        let _ = write!(io::stderr().lock(), "\r\x1b[K\x1b[?7l{line}\x1b[?7h");
        line.clone_into(&mut shown);
    }

    fn print(&self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stderr = io::stderr().lock();
        if shown.is_empty() {
            return stderr.write_all(bytes);
        }
        stderr.write_all(b"\r\x1b[K")?;
        stderr.write_all(bytes)?;
        write!(stderr, "\x1b[?7l{shown}\x1b[?7h")
    }
}

/// Log lines pass through here whole: the subscriber formats an event and writes it at once. A line that nobody can read
/// any more is dropped: told of the error, the subscriber would print it to the same stderr, and that panics.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.print(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_only_where_it_is_wanted() {
        assert!(Color::Auto.decide(true, false));
        assert!(!Color::Auto.decide(true, true));
        assert!(!Color::Auto.decide(false, false));
        assert!(Color::Always.decide(false, true));
        assert!(!Color::Never.decide(true, false));
        assert_eq!(Paint::new(false).red("x"), "x");
        assert_eq!(Paint::new(true).red("x"), "\x1b[1;31mx\x1b[0m");
    }

    #[test]
    fn columns_line_up() {
        let rows = [["stage", "read"], ["clean", "7"], ["ü", "1000"]];
        let rows: Vec<Vec<String>> = rows.iter().map(|r| r.iter().map(|c| (*c).to_owned()).collect()).collect();
        assert_eq!(table(&rows, 1..2), "stage  read\nclean     7\nü      1000\n");
    }

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
