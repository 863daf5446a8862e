//! A file cut into lines, with the byte each begins at, so that reading can go on there.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};

/// A longer line is cut: the rest is the next "line", so that nothing is lost and memory stays bounded.
pub const MAX_LINE: usize = 4 << 20;

/// Reads lines from a byte on.
pub struct Lines {
    reader: BufReader<File>,
    /// Where the next line begins.
    at: u64,
    /// Line breaks in what was given, with and without the last line.
    breaks: u64,
    breaks_before: u64,
    pending: Vec<u8>,
}

impl Lines {
    /// From byte `at` on.
    pub fn new(mut file: File, at: u64) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self {
            reader: BufReader::with_capacity(256 * 1024, file),
            at,
            breaks: 0,
            breaks_before: 0,
            pending: Vec::new(),
        })
    }

    /// Appends the next line with its line break to `line`. `false`: there is no whole line now; with `last` what is
    /// there without a line break counts as one.
    pub fn read(&mut self, line: &mut Vec<u8>, last: bool) -> std::io::Result<bool> {
        loop {
            let buffer = self.reader.fill_buf()?;
            if buffer.is_empty() {
                if last && !self.pending.is_empty() {
                    break;
                }
                return Ok(false);
            }
            let room = MAX_LINE - self.pending.len();
            let (used, whole) = match buffer.iter().take(room).position(|b| *b == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len().min(room), buffer.len() >= room),
            };
            self.pending.extend_from_slice(&buffer[..used]);
            self.reader.consume(used);
            if whole {
                break;
            }
        }
        self.at += self.pending.len() as u64;
        self.breaks_before = self.breaks;
        self.breaks += u64::from(self.pending.ends_with(b"\n"));
        line.append(&mut self.pending);
        Ok(true)
    }

    /// The byte after the last line given.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Line breaks given since reading began.
    pub fn breaks(&self) -> u64 {
        self.breaks
    }

    /// Those before the last line given.
    pub fn breaks_before(&self) -> u64 {
        self.breaks_before
    }
}

/// The line without its line break.
pub fn trim(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn lines_come_whole_and_with_their_place() -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(b"one\r\ntwo\nthr")?;
        let mut lines = Lines::new(file.reopen()?, 0)?;
        let mut got = Vec::new();
        let mut line = Vec::new();
        while lines.read(&mut line, false)? {
            got.push((trim(&line).to_vec(), lines.at()));
            line.clear();
        }
        assert_eq!(got, [(b"one".to_vec(), 5), (b"two".to_vec(), 9)]);
        file.write_all(b"ee")?;
        assert!(!lines.read(&mut line, false)?, "half a line is none while the file may grow");
        assert!(lines.read(&mut line, true)?);
        assert_eq!(line, b"three");
        let mut again = Lines::new(file.reopen()?, 5)?;
        line.clear();
        assert!(again.read(&mut line, false)?);
        assert_eq!(line, b"two\n");
        Ok(())
    }
}
