//! Lines, JSON lines and CSV rows -> drafts of records, in batches. A batch is handed on when it is full, and whenever
//! the next read may have to wait, so that what a person types is sent as it is typed.

use std::cell::RefCell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;

use bytes::Bytes;

use super::fields::Fields;

/// A longer line is a slip (a file without line breaks), and would be held in memory whole.
pub const MAX_LINE: usize = 64 << 20;
const READ_BUFFER: usize = 256 << 10;
const BATCH_RECORDS: usize = 2_000;
const BATCH_BYTES: usize = 1 << 20;

/// How the input is cut, and what of it names a record.
#[derive(Clone, Debug)]
pub struct Shape {
    /// CSV with a header line; else lines.
    pub csv: bool,
    /// Fields of the key.
    pub key: Option<Fields>,
    /// Fields of the message id.
    pub id: Option<Fields>,
    /// Field that is the payload, where the line is not; null or missing is a tombstone.
    pub value: Option<Fields>,
    /// An empty payload is a tombstone.
    pub empty_is_tombstone: bool,
}

impl Shape {
    /// Whether a line has parts, and so must be JSON.
    fn parts(&self) -> bool {
        self.key.is_some() || self.id.is_some() || self.value.is_some()
    }

    fn payload(&self, value: Bytes) -> Option<Bytes> {
        (!value.is_empty() || !self.empty_is_tombstone).then_some(value)
    }
}

/// A record to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The line it stood on, from 1.
    pub line: u64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its message id.
    pub id: Option<String>,
    /// Its payload; none for a tombstone.
    pub value: Option<Bytes>,
}

/// Why reading ended early: all before it was handed on.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// Where; none when the input as a whole failed.
    pub line: Option<u64>,
    /// What is wrong.
    pub what: String,
}

/// Reads all of `input`. `hand_on` takes batches and says whether it wants more.
pub fn read(input: impl Read, shape: &Shape, hand_on: impl FnMut(Vec<Draft>) -> bool) -> Result<(), Broken> {
    let batches = Rc::new(RefCell::new(Batches { pending: Vec::new(), bytes: 0, hand_on, closed: false }));
    let input = HandOnBeforeRead { input, batches: Rc::clone(&batches) };
    let result = if shape.csv { rows(input, shape, &batches) } else { lines(input, shape, &batches) };
    batches.borrow_mut().hand_on();
    result
}

struct Batches<F> {
    pending: Vec<Draft>,
    bytes: usize,
    hand_on: F,
    closed: bool,
}

impl<F: FnMut(Vec<Draft>) -> bool> Batches<F> {
    /// Whether to go on.
    fn push(&mut self, draft: Draft) -> bool {
        self.bytes += draft.value.as_ref().map_or(0, Bytes::len);
        self.pending.push(draft);
        if self.pending.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.hand_on();
        }
        !self.closed
    }

    fn hand_on(&mut self) {
        self.bytes = 0;
        if !self.pending.is_empty() && !self.closed {
            let batch = std::mem::take(&mut self.pending);
            self.closed = !(self.hand_on)(batch);
        }
    }
}

/// Hands the batch on before each read from the source below the buffers.
struct HandOnBeforeRead<R, F> {
    input: R,
    batches: Rc<RefCell<Batches<F>>>,
}

impl<R: Read, F: FnMut(Vec<Draft>) -> bool> Read for HandOnBeforeRead<R, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.batches.borrow_mut().hand_on();
        self.input.read(buffer)
    }
}

type Shared<F> = Rc<RefCell<Batches<F>>>;

fn lines<F: FnMut(Vec<Draft>) -> bool>(input: impl Read, shape: &Shape, batches: &Shared<F>) -> Result<(), Broken> {
    let mut input = BufReader::with_capacity(READ_BUFFER, input);
    let mut buffer = Vec::new();
    for line in 1.. {
        let broken = |what: String| Broken { line: Some(line), what };
        buffer.clear();
        let read = (&mut input).take(MAX_LINE as u64 + 1).read_until(b'\n', &mut buffer).map_err(|e| failed(&e))?;
        if read == 0 {
            break;
        }
        if buffer.last() == Some(&b'\n') {
            buffer.pop();
            if buffer.last() == Some(&b'\r') {
                buffer.pop();
            }
        } else if read > MAX_LINE {
            return Err(broken(format!("longer than {} MiB", MAX_LINE >> 20)));
        }
        let value = Bytes::copy_from_slice(&buffer);
        let draft = if !shape.parts() {
            Draft { line, key: None, id: None, value: shape.payload(value) }
        } else {
            let json = std::str::from_utf8(&buffer).map_err(|e| broken(format!("not UTF-8: {e}")))?;
            // A blank line ends many files, and is no record of JSON lines.
            if json.trim().is_empty() {
                continue;
            }
            named(line, json, value, shape).map_err(|e| broken(not_json(&e)))?
        };
        if !batches.borrow_mut().push(draft) {
            break;
        }
    }
    Ok(())
}

/// A row becomes a JSON object of texts: only a pipeline's `fields` or `schema` know which columns are numbers, and
/// `00123` must not lose its zeros here.
fn rows<F: FnMut(Vec<Draft>) -> bool>(input: impl Read, shape: &Shape, batches: &Shared<F>) -> Result<(), Broken> {
    let mut reader = csv::ReaderBuilder::new().buffer_capacity(READ_BUFFER).from_reader(input);
    let header = reader.headers().map_err(|e| csv_error(&e))?.clone();
    for (i, name) in header.iter().enumerate() {
        if header.iter().take(i).any(|before| before == name) {
            return Err(Broken { line: Some(1), what: format!("two columns are named `{name}`") });
        }
    }
    // `"name":` of each column, made once.
    let names: Vec<String> = header.iter().map(|name| format!("{}:", quoted(name))).collect();
    let mut row = csv::StringRecord::new();
    let mut json = String::new();
    while reader.read_record(&mut row).map_err(|e| csv_error(&e))? {
        let line = row.position().map_or(0, csv::Position::line);
        json.clear();
        for (i, (name, cell)) in names.iter().zip(&row).enumerate() {
            json.push(if i == 0 { '{' } else { ',' });
            json.push_str(name);
            json.push_str(&quoted(cell));
        }
        json.push('}');
        let value = Bytes::copy_from_slice(json.as_bytes());
        let draft = named(line, &json, value, shape).map_err(|e| Broken { line: Some(line), what: not_json(&e) })?;
        if !batches.borrow_mut().push(draft) {
            break;
        }
    }
    Ok(())
}

fn named(line: u64, json: &str, value: Bytes, shape: &Shape) -> Result<Draft, serde_json::Error> {
    let key = shape.key.as_ref().map(|f| f.key(json)).transpose()?.flatten().map(Bytes::from);
    let id = shape.id.as_ref().map(|f| f.id(json)).transpose()?.flatten();
    let value = match &shape.value {
        None => Some(value),
        Some(field) => field.key(json)?.map(Bytes::from),
    };
    Ok(Draft { line, key, id, value: value.and_then(|v| shape.payload(v)) })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// serde_json counts lines and columns; a line here has but one line.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    format!("not JSON: {what} at column {}", error.column())
}

fn failed(error: &io::Error) -> Broken {
    Broken { line: None, what: format!("cannot read the input: {error}") }
}

fn csv_error(error: &csv::Error) -> Broken {
    let line = error.position().map(csv::Position::line);
    let what = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("the row has {len} fields, the header has {expected_len}")
        }
        csv::ErrorKind::Utf8 { err, .. } => format!("not UTF-8 in field {}", err.field() + 1),
        csv::ErrorKind::Io(e) => return failed(e),
        _ => error.to_string(),
    };
    Broken { line, what }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::produce::fields::path;

    fn shape(csv: bool, key: &str, id: &str) -> Shape {
        let fields = |p: &str| Fields::new(path(p).into_iter().collect());
        Shape { csv, key: fields(key), id: fields(id), value: None, empty_is_tombstone: false }
    }

    fn all(input: impl Read, shape: &Shape) -> (Vec<Draft>, Result<(), Broken>) {
        let mut drafts = Vec::new();
        let result = read(input, shape, |batch| {
            drafts.extend(batch);
            true
        });
        (drafts, result)
    }

    fn values(drafts: &[Draft]) -> Vec<&str> {
        drafts.iter().map(|d| d.value.as_deref().map_or("none", |v| std::str::from_utf8(v).unwrap_or("?"))).collect()
    }

    #[test]
    fn without_options_a_line_is_a_payload() {
        let (drafts, result) = all(&b"a\r\n\n{\xff\nlast"[..], &shape(false, "", ""));
        assert_eq!(result, Ok(()));
        let lines: Vec<(u64, &[u8])> = drafts.iter().map(|d| (d.line, d.value.as_deref().unwrap())).collect();
        assert_eq!(lines, [(1, &b"a"[..]), (2, b""), (3, b"{\xff"), (4, b"last")]);
    }

    #[test]
    fn json_lines_give_key_and_id() {
        let (drafts, result) = all(&b"{\"k\":1.0,\"i\":\"x\"}\n\n{\"k\":null}\n"[..], &shape(false, ".k", ".i"));
        assert_eq!(result, Ok(()));
        assert_eq!((drafts[0].key.as_deref(), drafts[0].id.as_deref()), (Some(&b"1.0"[..]), Some("x")));
        assert_eq!((drafts[1].line, drafts[1].key.as_deref(), drafts[1].id.as_deref()), (3, None, None));
    }

    #[test]
    fn tombstones_are_said_by_null_or_by_nothing() {
        let value = |text: &str| Fields::new(vec![path(text).unwrap()]);
        let of_field = Shape { value: value(".v"), ..shape(false, ".k", "") };
        let lines = b"{\"k\":1,\"v\":null}\n{\"k\":2}\n{\"k\":3,\"v\":{\"n\": 1.10}}\n{\"k\":4,\"v\":\"\"}\n";
        let (drafts, result) = all(&lines[..], &of_field);
        assert_eq!((values(&drafts), result), (vec!["none", "none", "{\"n\": 1.10}", ""], Ok(())));
        let empty = Shape { empty_is_tombstone: true, ..of_field };
        assert_eq!(values(&all(&lines[..], &empty).0)[2..], ["{\"n\": 1.10}", "none"]);
        let plain = Shape { empty_is_tombstone: true, ..shape(false, "", "") };
        assert_eq!(values(&all(&b"a\n\r\n b\n"[..], &plain).0), ["a", "none", " b"]);
        let csv = Shape { value: value(".v"), empty_is_tombstone: true, ..shape(true, ".k", "") };
        assert_eq!(values(&all(&b"k,v\n1,\n2,x\n"[..], &csv).0), ["none", "x"]);
    }

    #[test]
    fn a_broken_line_is_named_and_all_before_it_is_handed_on() {
        let (drafts, result) = all(&b"{\"k\":1}\n{\"k\":}\n{\"k\":3}\n"[..], &shape(false, ".k", ""));
        assert_eq!(values(&drafts), ["{\"k\":1}"]);
        assert_eq!(result, Err(Broken { line: Some(2), what: "not JSON: expected value at column 6".to_owned() }));
    }

    #[test]
    fn a_line_without_an_end_is_refused_before_it_fills_the_memory() {
        let (drafts, result) = all(io::repeat(b'x'), &shape(false, "", ""));
        assert!(drafts.is_empty());
        assert_eq!(result, Err(Broken { line: Some(1), what: "longer than 64 MiB".to_owned() }));
    }

    #[test]
    fn csv_rows_are_objects_of_texts() {
        let csv = b"sku,\"unit \"\"price\"\"\",note\n00123,1.10,\"a\nb\"\nC5,,x\n";
        let (drafts, result) = all(&csv[..], &shape(true, ".sku", ""));
        assert_eq!(result, Ok(()));
        let expected = [
            r#"{"sku":"00123","unit \"price\"":"1.10","note":"a\nb"}"#,
            r#"{"sku":"C5","unit \"price\"":"","note":"x"}"#,
        ];
        assert_eq!(values(&drafts), expected);
        assert_eq!(drafts[0].key.as_deref(), Some(&b"00123"[..]));
        assert_eq!((drafts[0].line, drafts[1].line), (2, 4));
    }

    #[test]
    fn a_broken_row_is_named() {
        let (drafts, result) = all(&b"a,b\n1,2\n3\n"[..], &shape(true, "", ""));
        assert_eq!(values(&drafts), [r#"{"a":"1","b":"2"}"#]);
        assert_eq!(result, Err(Broken { line: Some(3), what: "the row has 1 fields, the header has 2".to_owned() }));
        let (_, result) = all(&b"a,a\n1,2\n"[..], &shape(true, "", ""));
        assert_eq!(result, Err(Broken { line: Some(1), what: "two columns are named `a`".to_owned() }));
    }

    /// Gives one piece a read and notes how many drafts had been handed on before each.
    struct Typed<'a> {
        pieces: std::vec::IntoIter<&'static [u8]>,
        handed_on: &'a RefCell<usize>,
        seen: &'a RefCell<Vec<usize>>,
    }

    impl Read for Typed<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.seen.borrow_mut().push(*self.handed_on.borrow());
            let Some(piece) = self.pieces.next() else { return Ok(0) };
            buffer[..piece.len()].copy_from_slice(piece);
            Ok(piece.len())
        }
    }

    #[test]
    fn what_is_typed_is_handed_on_before_the_next_read() {
        for csv in [false, true] {
            let (handed_on, seen) = (RefCell::new(0), RefCell::new(Vec::new()));
            let pieces: Vec<&[u8]> = vec![b"h\n", b"1\n2\n", b"3\n"];
            let input = Typed { pieces: pieces.into_iter(), handed_on: &handed_on, seen: &seen };
            read(input, &shape(csv, "", ""), |batch| {
                *handed_on.borrow_mut() += batch.len();
                true
            })
            .unwrap();
            let header = usize::from(csv);
            assert_eq!(seen.borrow()[..4], [0, 1 - header, 3 - header, 4 - header], "csv: {csv}");
        }
    }

    #[test]
    fn reading_ends_when_nobody_wants_more() {
        assert_eq!(read(io::repeat(b'\n'), &shape(false, "", ""), |_| false), Ok(()));
    }
}
