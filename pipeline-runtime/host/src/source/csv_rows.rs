//! Where a CSV row ends: line breaks inside quotes belong to it (RFC 4180, section 2). And whether its quotes pair.

use super::lines::{Lines, MAX_LINE};

/// Reads rows, each with its raw bytes.
pub struct Rows {
    lines: Lines,
    separator: u8,
    /// Lines read that are not yet a whole row.
    row: Vec<u8>,
    quotes: Scan,
    at: u64,
    /// Line breaks before the last row given.
    breaks: u64,
}

/// A row as it stands in the file.
pub struct Row {
    /// With its line breaks.
    pub bytes: Vec<u8>,
    /// What is wrong with its quotes.
    pub broken: Option<&'static str>,
}

/// How far the quotes of a row were followed.
#[derive(Clone, Copy)]
struct Scan {
    at: Quotes,
    /// A closed quote was followed by more text of the same field.
    stray: bool,
}

/// What a byte means where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    /// At the beginning of a field: a quote opens it.
    FieldStart,
    /// In a field that is not quoted: a quote is just a character.
    Plain,
    /// In a quoted field.
    Quoted,
    /// After a quote in a quoted field: another one is a character, anything else ends it.
    MaybeClosed,
}

impl Rows {
    /// Rows from where `lines` stands.
    pub fn new(lines: Lines, separator: u8) -> Self {
        let at = lines.at();
        Self { lines, separator, row: Vec::new(), quotes: Scan::START, at, breaks: 0 }
    }

    /// The next row with its line breaks; `None` when there is no whole one now. With `last`, what is there at the
    /// end of the file is a row, even inside quotes.
    pub fn read(&mut self, last: bool) -> std::io::Result<Option<Row>> {
        if self.row.is_empty() {
            self.breaks = self.lines.breaks();
        }
        loop {
            let before = self.row.len();
            if !self.lines.read(&mut self.row, last)? {
                if !last || self.row.is_empty() {
                    return Ok(None);
                }
                break;
            }
            self.quotes.follow(&self.row[before..], self.separator);
            // A quote that never closes would swallow the file: past the bound the row is given as it is, broken.
            if self.quotes.at != Quotes::Quoted || self.row.len() > MAX_LINE {
                break;
            }
        }
        let broken = std::mem::replace(&mut self.quotes, Scan::START).broken();
        self.at = self.lines.at();
        Ok(Some(Row { bytes: std::mem::take(&mut self.row), broken }))
    }

    /// The byte after the last row given.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Line breaks between where reading began and the last row given.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }
}

impl Scan {
    const START: Self = Self { at: Quotes::FieldStart, stray: false };

    fn follow(&mut self, bytes: &[u8], separator: u8) {
        for byte in bytes {
            self.at = match (self.at, *byte) {
                (Quotes::FieldStart, b'"') => Quotes::Quoted,
                (Quotes::Quoted, b'"') => Quotes::MaybeClosed,
                (Quotes::Quoted, _) | (Quotes::MaybeClosed, b'"') => Quotes::Quoted,
                (_, b) if b == separator || b == b'\n' => Quotes::FieldStart,
                (Quotes::MaybeClosed, b) => {
                    self.stray |= b != b'\r';
                    Quotes::Plain
                }
                _ => Quotes::Plain,
            };
        }
    }

    fn broken(self) -> Option<&'static str> {
        match self {
            Self { at: Quotes::Quoted, .. } => Some("a quote is opened and never closed"),
            Self { stray: true, .. } => Some("text follows a closing quote (a quote inside quotes is written twice)"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn rows(text: &str) -> std::io::Result<Vec<String>> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(text.as_bytes())?;
        let mut rows = Rows::new(Lines::new(file.reopen()?, 0)?, b',');
        let mut all = Vec::new();
        while let Some(row) = rows.read(true)? {
            all.push(String::from_utf8_lossy(&row.bytes).into_owned());
        }
        Ok(all)
    }

    #[test]
    fn quoted_line_breaks_belong_to_the_row() -> std::io::Result<()> {
        assert_eq!(rows("a,\"b\nc\",d\ne\n")?, ["a,\"b\nc\",d\n", "e\n"]);
        assert_eq!(rows("a,\"say \"\"hi\"\"\",d\ne")?, ["a,\"say \"\"hi\"\"\",d\n", "e"]);
        Ok(())
    }

    #[test]
    fn a_quote_inside_a_plain_field_opens_nothing() -> std::io::Result<()> {
        assert_eq!(rows("1,5\" PLATE,x\n2,b,y\n")?, ["1,5\" PLATE,x\n", "2,b,y\n"]);
        Ok(())
    }

    #[test]
    fn quotes_that_do_not_pair_are_seen() -> std::io::Result<()> {
        let broken = |text: &str| -> std::io::Result<Option<&'static str>> {
            let mut file = tempfile::NamedTempFile::new()?;
            file.write_all(text.as_bytes())?;
            Ok(Rows::new(Lines::new(file.reopen()?, 0)?, b',').read(true)?.and_then(|row| row.broken))
        };
        assert!(broken("a,\"b\nc\n")?.is_some_and(|why| why.contains("never closed")));
        assert!(broken("a,\"b\" c,d\n")?.is_some_and(|why| why.contains("closing quote")));
        for whole in ["a,\"b\"\r\n", "a,\"b\"", "a,\"\"\n", "\"say \"\"hi\"\"\",5\" PLATE\n", "a,b\n"] {
            assert_eq!(broken(whole)?, None, "{whole}");
        }
        Ok(())
    }
}
