//! What differs, for people and for machines. Both are written as they come: there may be millions.

use std::io::{self, Write};
use std::ops::ControlFlow;

use millstream_host::replay::diff::{Count, Item, Place, Sink};
use serde_json::value::RawValue;

use super::fields::differences;
use crate::consume::line::{optional, payload, text};
use crate::terminal::{Paint, grouped, table};

/// Of each kind people are shown this many.
const SHOWN: u64 = 20;

/// Writes one or the other.
pub struct Report<W: Write> {
    out: W,
    json: bool,
    paint: Paint,
    /// Which list of the document is open.
    list: usize,
    /// Entries of it so far.
    entries: u64,
    /// Why nothing more can be written.
    pub failed: Option<io::Error>,
}

const LISTS: [&str; 3] = ["added", "removed", "changed"];

impl<W: Write> Report<W> {
    /// Nothing yet.
    pub fn new(out: W, json: bool, paint: Paint) -> Self {
        Self { out, json, paint, list: 0, entries: 0, failed: None }
    }

    /// Ends it; for people with a table.
    pub fn finish(mut self, counts: &[Count]) -> io::Result<()> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if self.json {
            self.open(LISTS.len())?;
        } else {
            self.more()?;
            self.out.write_all(count_table(counts).as_bytes())?;
        }
        self.out.flush()
    }

    /// Closes lists up to this one, and opens it.
    fn open(&mut self, list: usize) -> io::Result<()> {
        if self.entries == 0 && self.list == 0 && self.json {
            write!(self.out, "{{\"{}\":[", LISTS[0])?;
        }
        while self.list < list {
            self.list += 1;
            self.entries = 0;
            match LISTS.get(self.list) {
                Some(name) => write!(self.out, "],\"{name}\":[")?,
                None => self.out.write_all(b"]}\n")?,
            }
        }
        Ok(())
    }

    /// Says how many of a kind are not shown.
    fn more(&mut self) -> io::Result<()> {
        if self.entries > SHOWN {
            let left = grouped(self.entries - SHOWN);
            writeln!(self.out, "  … and {left} more {}; `-o json` has them all", LISTS[self.list])?;
        }
        Ok(())
    }

    fn entry(&mut self, list: usize, place: &Place, live: Option<&Item>, new: Option<&Item>) -> io::Result<()> {
        let Some(item) = new.or(live) else { return Ok(()) };
        let mut line = Vec::new();
        if self.json {
            self.open(list)?;
            if self.entries > 0 {
                line.push(b',');
            }
            json_entry(place, item, live.zip(new), &mut line);
        } else {
            if self.list != list {
                self.more()?;
                (self.list, self.entries) = (list, 0);
            }
            if self.entries < SHOWN {
                self.text_entry(list, place, item, live.zip(new), &mut line);
            }
        }
        self.entries += 1;
        self.out.write_all(&line)
    }

    fn text_entry(&self, list: usize, place: &Place, item: &Item, both: Option<(&Item, &Item)>, out: &mut Vec<u8>) {
        let sign = match list {
            0 => self.paint.cyan("+"),
            1 => self.paint.red("-"),
            _ => self.paint.yellow("~"),
        };
        let id = String::from_utf8_lossy(&item.id);
        out.extend_from_slice(format!("{sign} {}  {id}", place.name).as_bytes());
        match both {
            None => {
                out.extend_from_slice(b"  ");
                payload(item.value.as_deref(), out);
            }
            Some((live, new)) => {
                for (name, sides) in differences(live, new) {
                    let side = |s: &Option<Box<RawValue>>| s.as_ref().map_or("nothing", |v| v.get()).to_owned();
                    out.extend_from_slice(
                        format!("\n    {name}: {} -> {}", side(&sides.live), side(&sides.new)).as_bytes(),
                    );
                }
            }
        }
        out.push(b'\n');
    }

    fn told(&mut self, list: usize, place: &Place, live: Option<&Item>, new: Option<&Item>) -> ControlFlow<()> {
        match self.entry(list, place, live, new) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                self.failed = Some(error);
                ControlFlow::Break(())
            }
        }
    }
}

impl<W: Write> Sink for Report<W> {
    fn added(&mut self, place: &Place, new: &Item) -> ControlFlow<()> {
        self.told(0, place, None, Some(new))
    }

    fn removed(&mut self, place: &Place, live: &Item) -> ControlFlow<()> {
        self.told(1, place, Some(live), None)
    }

    fn changed(&mut self, place: &Place, live: &Item, new: &Item) -> ControlFlow<()> {
        self.told(2, place, Some(live), Some(new))
    }
}

/// `id` and `stage`; of what is on one side alone the record, of the rest the fields.
fn json_entry(place: &Place, item: &Item, both: Option<(&Item, &Item)>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    optional(Some(&item.id), out);
    out.extend_from_slice(b",\"stage\":");
    text(&place.name, out);
    if let Some((live, new)) = both {
        out.extend_from_slice(b",\"fields\":");
        // Texts always serialize, and writing into memory does not fail.
        let _ = serde_json::to_writer(&mut *out, &differences(live, new));
    } else {
        out.extend_from_slice(b",\"key\":");
        optional(item.key.as_deref(), out);
        out.extend_from_slice(b",\"headers\":[");
        for (i, (name, value)) in item.headers.iter().enumerate() {
            out.extend_from_slice(if i == 0 { b"[" } else { b",[" });
            text(name, out);
            out.push(b',');
            optional(value.as_deref(), out);
            out.push(b']');
        }
        out.extend_from_slice(b"],\"value\":");
        payload(item.value.as_deref(), out);
        if let Some([code, class, filter]) = &item.error {
            let error = serde_json::json!({ "code": code, "class": class, "filter": filter });
            out.extend_from_slice(format!(",\"error\":{error}").as_bytes());
        }
    }
    out.push(b'}');
}

fn count_table(counts: &[Count]) -> String {
    let head = ["output", "live", "beside", "equal", "added", "removed", "changed"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for count in counts {
        let numbers = [count.live, count.new, count.same, count.added, count.removed, count.changed];
        rows.push(std::iter::once(count.place.clone()).chain(numbers.map(grouped)).collect());
    }
    table(&rows, 1..head.len())
}
