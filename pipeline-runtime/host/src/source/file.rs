//! A file as a source: CSV rows, JSON lines or lines of text, once or followed as the file grows.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use csv::ByteRecord;
use millstream_codec::CsvTyping;
use millstream_log::{Class, LogError, LogResult};
use millstream_spec::model::{FileLines, FileSource, Source};

use super::csv_rows::{Row, Rows};
use super::fault::Fault;
use super::lines::{Lines, trim};
use super::position::SourcePosition;
use super::{Maker, Next};

/// How often a followed file is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Opens the file and goes to where the source stands.
pub fn open(source: &Source, spec: &FileSource, position: &SourcePosition) -> LogResult<Box<dyn Maker>> {
    let error = |e: io::Error| {
        LogError::new(
            Class::Config,
            "source_file_unreadable",
            format!("cannot read `{}`: {e}; mend the path under `source: file:`", spec.path.display()),
        )
    };
    let length = std::fs::metadata(&spec.path).map_err(error)?.len();
    if length < position.bytes {
        return Err(LogError::new(
            Class::Config,
            "source_file_changed",
            format!(
                "`{}` has {length} bytes and {} were read before: it is another file; give the pipeline another name to \
                 read it from the beginning",
                spec.path.display(),
                position.bytes
            ),
        ));
    }
    let open = |at: u64| File::open(&spec.path).and_then(|file| Lines::new(file, at)).map_err(error);
    let mut begin = position.bytes;
    let cut = match spec.lines {
        FileLines::Csv { separator } => {
            let mut head = Rows::new(open(0)?, separator);
            let header = head.read(true).map_err(error)?.map(|row| row.bytes).unwrap_or_default();
            let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&header);
            let bad =
                |why: String| LogError::new(Class::Config, "csv_header", format!("`{}`: {why}", spec.path.display()));
            let names = parse_row(trim(header), separator).map_err(bad)?;
            let typing = CsvTyping::new(&names, &source.types).map_err(|e| bad(e.message))?;
            begin = position.bytes.max(head.at());
            Cut::Csv(Rows::new(open(begin)?, separator), typing, separator)
        }
        FileLines::Jsonl | FileLines::Text => Cut::Lines(open(position.bytes)?),
    };
    let file_name = spec.path.file_name().map_or_else(|| spec.written.clone(), |n| n.to_string_lossy().into_owned());
    Ok(Box::new(FileMaker {
        cut,
        file_name,
        path: spec.path.clone(),
        begin,
        first_line: None,
        follow: spec.follow,
        skip_blank: spec.lines != FileLines::Text,
        position: SourcePosition { ended: false, ..position.clone() },
    }))
}

struct FileMaker {
    cut: Cut,
    file_name: String,
    path: PathBuf,
    /// The byte where this process began to read.
    begin: u64,
    /// The number of the line there, once somebody asked.
    first_line: Option<u64>,
    follow: bool,
    skip_blank: bool,
    position: SourcePosition,
}

enum Cut {
    Csv(Rows, CsvTyping, u8),
    Lines(Lines),
}

impl Maker for FileMaker {
    fn next(&mut self) -> LogResult<Next> {
        let last = !self.follow;
        loop {
            let made = match &mut self.cut {
                Cut::Csv(rows, typing, separator) => {
                    let row = rows.read(last).map_err(|e| read_failed(&self.file_name, &e))?;
                    self.position.bytes = rows.at();
                    row.map(|row| row_payload(&row, typing, *separator))
                }
                Cut::Lines(lines) => {
                    let mut line = Vec::new();
                    let got = lines.read(&mut line, last).map_err(|e| read_failed(&self.file_name, &e))?;
                    self.position.bytes = lines.at();
                    line.truncate(trim(&line).len());
                    got.then(|| (Bytes::from(line), None))
                }
            };
            match made {
                Some((payload, _)) if self.skip_blank && payload.is_empty() => {}
                Some((payload, fault)) => {
                    self.position.records += 1;
                    return Ok(Next::Record(payload, fault));
                }
                None if self.follow => return Ok(Next::Wait(LOOK)),
                None => return Ok(Next::End),
            }
        }
    }

    fn place(&mut self) -> Option<String> {
        let breaks = match &self.cut {
            Cut::Csv(rows, ..) => rows.breaks(),
            Cut::Lines(lines) => lines.breaks_before(),
        };
        // Counted only when something is wrong: a position knows bytes and records, not lines.
        let first = match self.first_line {
            Some(line) => line,
            None => *self.first_line.insert(1 + line_breaks(&self.path, self.begin).ok()?),
        };
        Some(format!("line {} of `{}`", first + breaks, self.file_name))
    }

    fn position(&self) -> SourcePosition {
        self.position.clone()
    }

    fn name(&self, n: u64) -> String {
        format!("{}#{n}", self.file_name)
    }
}

/// The JSON of a row; of one that is none the bytes as they stand, and why.
fn row_payload(row: &Row, typing: &CsvTyping, separator: u8) -> (Bytes, Option<Fault>) {
    let bytes = trim(&row.bytes);
    let fault =
        |code: &str, message: String| (Bytes::copy_from_slice(bytes), Some(Fault { code: code.to_owned(), message }));
    if let Some(broken) = row.broken {
        return fault("invalid_csv", broken.to_owned());
    }
    match parse_row(bytes, separator).map(|fields| typing.to_json(&fields)) {
        Ok(Ok(json)) => (Bytes::from(json), None),
        Ok(Err(e)) => fault(e.code, e.message),
        Err(message) => fault("invalid_csv", message),
    }
}

/// Line breaks before byte `end` of a file.
fn line_breaks(path: &std::path::Path, end: u64) -> io::Result<u64> {
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?.take(end));
    let mut breaks = 0;
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(breaks);
        }
        breaks += buffer.iter().filter(|b| **b == b'\n').count() as u64;
        let used = buffer.len();
        reader.consume(used);
    }
}

fn read_failed(name: &str, e: &io::Error) -> LogError {
    LogError::new(Class::Retry, "source_file_unreadable", format!("reading `{name}` failed: {e}"))
}

fn parse_row(row: &[u8], separator: u8) -> Result<ByteRecord, String> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .delimiter(separator)
        .buffer_capacity(row.len().max(16))
        .from_reader(row);
    let mut record = ByteRecord::new();
    match reader.read_byte_record(&mut record) {
        Ok(true) => Ok(record),
        Ok(false) => Err("empty row".to_owned()),
        Err(e) => Err(e.to_string()),
    }
}
