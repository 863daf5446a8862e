//! One letter as text: a JSON line for machines, a few aligned lines for people.

use millstream_host::letters::Letter;
use serde_json::Value;

use crate::codes;
use crate::consume::line::LineWriter;
use crate::terminal::Paint;
use crate::units;

/// A line as `consume` prints it, with the error beside: the headers that tell of it stand there, not among the
/// record's own.
pub fn json(letter: &Letter, out: &mut Vec<u8>) {
    let mut beside = b",\"error\":".to_vec();
    // Texts and numbers always serialize, and writing into memory does not fail.
    let _ = serde_json::to_writer(&mut beside, &letter.error);
    if letter.done {
        beside.extend_from_slice(b",\"done\":true");
    }
    if letter.holds {
        beside.extend_from_slice(b",\"holds_key\":true");
    }
    LineWriter::new(&letter.topic).write_with(letter.partition, &letter.record, &letter.headers, &beside, out);
}

/// What people read.
pub fn text(letter: &Letter, paint: Paint) -> String {
    let e = &letter.error;
    let mut rows: Vec<(&str, String)> = Vec::new();
    let wher = [&e.pipeline, &e.stage, &e.filter].into_iter().filter(|t| !t.is_empty()).cloned().collect::<Vec<_>>();
    rows.push(("where", wher.join(" / ")));
    rows.push(("message", e.message.clone()));
    rows.push(("means", codes::find(&e.code).map(|c| c.text.clone()).unwrap_or_default()));
    let mut when = units::show_moment(e.at);
    if e.attempts > 1 {
        when.push_str(&format!(", after {} attempts", e.attempts));
    }
    if e.redrives > 0 {
        when.push_str(&format!(", sent again {} before", times(e.redrives)));
    }
    if e.edited > 0 {
        when.push_str(&format!(", edited {}", times(e.edited)));
    }
    rows.push(("when", when));
    let record = match (e.partition, e.offset) {
        (Some(partition), Some(offset)) => format!("{} {partition}:{offset}", e.topic),
        _ => e.topic.clone(),
    };
    rows.push(("record", record));
    rows.push(("id", e.id.clone()));
    let mut line = Vec::new();
    LineWriter::new("").write_with(0, &letter.record, &letter.headers, b"", &mut line);
    let shown: Value = serde_json::from_slice(&line).unwrap_or_default();
    let plain = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    rows.push(("key", plain(&shown["key"])));
    for pair in shown["headers"].as_array().into_iter().flatten() {
        rows.push(("header", format!("{}: {}", plain(&pair[0]), plain(&pair[1]))));
    }
    let value = if e.omitted.is_empty() { raw_value(&line) } else { format!("({} left out: too large)", e.omitted) };
    rows.push(("value", value));
    let done = match (letter.done, letter.holds) {
        (true, _) => ", done",
        (_, true) => ", holds its key",
        _ => "",
    };
    let class = if e.class.is_empty() { String::new() } else { format!(" ({})", e.class) };
    let code = if e.code.is_empty() { "no code" } else { &e.code };
    let mut out = format!("{} {}  {}{class}{done}\n", letter.topic, letter.place(), paint.red(code));
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        // Text of others is not to steer the terminal.
        let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        out.push_str(&format!("  {}  {value}\n", paint.cyan(&format!("{name:<7}"))));
    }
    out
}

fn times(n: i64) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// The value as it stands in the line: numbers keep their text.
fn raw_value(line: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Line<'a> {
        #[serde(borrow)]
        value: &'a serde_json::value::RawValue,
    }
    serde_json::from_slice::<Line<'_>>(line).map(|l| l.value.get().to_owned()).unwrap_or_default()
}
