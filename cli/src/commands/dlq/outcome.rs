//! What came of work on letters: counted, said, and the exit status.

use std::collections::BTreeMap;
use std::time::Duration;

use millstream_host::Stop;
use millstream_host::letters::Report;
use serde::Serialize;

use crate::args::Output;
use crate::commands::{print, print_json};
use crate::failure::{Failure, Outcome};
use crate::signals;

/// What `-o json` prints.
#[derive(Debug, Default, Serialize)]
pub struct Document {
    /// Where letters went, if they went somewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Letters that are done now.
    pub letters: u64,
    /// Letters that stay, by reason.
    pub left: BTreeMap<String, u64>,
    /// Letters that stay because the log refuses what becomes of them, or an expression failed.
    pub refused: Vec<Refusal>,
    /// Whether nothing was written.
    pub dry_run: bool,
}

/// A letter that could not be done.
#[derive(Debug, Serialize)]
pub struct Refusal {
    /// Where it lies.
    pub topic: String,
    /// Where it lies.
    pub partition: i32,
    /// Where it lies.
    pub offset: i64,
    /// Why.
    pub why: String,
}

impl Document {
    /// So many letters stay as they are, and why.
    pub fn leave(&mut self, why: &str, count: u64) {
        *self.left.entry(why.to_owned()).or_default() += count;
    }

    /// Adds what was done in one topic.
    pub fn add(&mut self, topic: &str, report: Report) -> bool {
        self.letters += report.finished;
        for (why, count) in report.left {
            self.leave(why, count);
        }
        self.refused.extend(report.refused.into_iter().map(|r| Refusal {
            topic: topic.to_owned(),
            partition: r.partition,
            offset: r.offset,
            why: r.why,
        }));
        report.stopped
    }

    /// Prints it. `did` is such as "sent to `mended`". What could not be done is a failure.
    pub fn say(&self, did: &str, stopped: bool, output: Output) -> Outcome {
        match output {
            Output::Json => print_json(self)?,
            Output::Text => print(&self.text(did))?,
        }
        if let Some(first) = self.refused.first() {
            let Refusal { topic, partition, offset, why } = first;
            let n = self.refused.len();
            let first = format!("{n} letters stay as they are, the first at {topic} {partition}:{offset}: {why}");
            return Err(Failure::failed(first));
        }
        if stopped {
            return Err(Failure::failed("stopped before the end").help("the same command goes on with the rest"));
        }
        Ok(())
    }

    fn text(&self, did: &str) -> String {
        let letters = |n: u64| if n == 1 { "1 letter".to_owned() } else { format!("{n} letters") };
        let would = if self.dry_run { "would be " } else { "" };
        let mut text = format!("{} {would}{did}\n", letters(self.letters));
        for (why, count) in &self.left {
            text.push_str(&format!("{} left: {why}\n", letters(*count)));
        }
        text
    }
}

/// Ends the command at Ctrl-C: what is begun is finished, what is not stays.
pub fn stop() -> Result<Stop, Failure> {
    let stop = Stop::new(Duration::from_secs(5));
    let told = stop.clone();
    signals::listen(move |times| {
        if times > 1 {
            std::process::exit(1);
        }
        told.drain();
    })
    .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))?;
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read() {
        let mut document = Document { letters: 1, ..Document::default() };
        assert_eq!(document.text("purged"), "1 letter purged\n");
        document.dry_run = true;
        document.left.insert("sent as often as allowed".into(), 2);
        assert_eq!(document.text("purged"), "1 letter would be purged\n2 letters left: sent as often as allowed\n");
    }
}
