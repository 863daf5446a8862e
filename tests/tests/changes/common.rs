//! The crash tests' pipeline, changed in its text, and the judge over what became of it.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use millstream_tests::checker::model::{self, Names};
use millstream_tests::checker::workload::{Rows, Workload};
use millstream_tests::checker::{History, Promise, Violation, check, report};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

pub const PATIENCE: Duration = Duration::from_secs(180);
pub const SESSION: Duration = Duration::from_secs(6);

/// A pipeline of a test, and its input.
pub struct Play<'a> {
    pub site: &'a Site,
    pub names: Names,
    workload: Workload,
    step: usize,
    runs: usize,
}

impl<'a> Play<'a> {
    pub fn new(site: &'a Site, name: &str) -> Self {
        let seed = fastrand::u64(..);
        eprintln!("seed {seed}");
        let names = Names { pipeline: name.to_owned() };
        Self { site, names, workload: Workload::new(seed), step: 0, runs: 0 }
    }

    /// The file as it is at first.
    pub fn text(&self) -> String {
        model::yaml(&self.names, "exactly_once")
    }

    /// Adds rows to the source. None of them becomes a letter of the last stage, whose input may change its name.
    pub fn produce(&mut self, rows: usize) {
        let mut rows: Rows = self.workload.rows(rows);
        rows.keyed.retain(|row| !row.contains("\"ref\":\"none\""));
        self.site.produce_rows(&self.names.source(), &rows, self.step);
        self.step += 1;
    }

    /// Starts `run` with more words.
    pub fn run(&mut self, file: &Path, words: &[&str]) -> Process {
        self.start("run", file, words)
    }

    /// Starts a command on the file.
    pub fn start(&mut self, command: &str, file: &Path, words: &[&str]) -> Process {
        self.runs += 1;
        let mut run: Command = self.site.command([command]);
        Process::start(run.arg(file).args(words), self.site.folder(), &format!("{command}-{}", self.runs))
    }

    /// Waits until a topic has this many records.
    pub fn flows(&self, topic: &str, records: usize) {
        assert!(wait_until(PATIENCE, || self.site.read(topic).len() >= records), "{topic} has not {records} records");
    }

    /// Works off all input.
    pub fn finish(&mut self, file: &Path) {
        self.runs += 1;
        self.site.until_idle(&format!("idle-{}", self.runs), file, PATIENCE);
    }

    /// Wants everything that the model wants, each once, in order. `last` are the topics that the last stage has written,
    /// first to last.
    pub fn judge(&self, last: &[String]) {
        self.judge_but(last, |_| false);
    }

    /// The same, but for what is no fault here.
    pub fn judge_but(&self, last: &[String], fine: impl Fn(&Violation) -> bool) {
        let input = self.site.read(&self.names.source());
        let mut expected = model::expect(&self.names, &input);
        expected.readers.clear();
        let book = self.names.of("book");
        assert!(expected.outputs[&book].len() > 100, "too little input");
        let mut history = History::default();
        for topic in self.names.outputs().into_iter().chain(self.names.letters()) {
            let records = match topic == book {
                true => last.iter().flat_map(|t| self.site.read(t)).collect(),
                false => self.site.read(&topic),
            };
            history.topics.insert(topic, records);
        }
        history.topics.insert(self.names.source(), input);
        let mut found = check(&expected, &history, Promise::ExactlyOnce);
        found.retain(|violation| !fine(violation));
        assert!(found.is_empty(), "{}", report(&found));
    }
}

/// The text with a stage before the last one.
pub fn inserted(text: &str) -> String {
    let changed = text.replace(
        "  - name: book\n    from: split.sales\n",
        "  - name: mask\n    from: split.sales\n    filter: where\n    with: .kind != \"never\"\n  - name: book\n",
    );
    assert_ne!(changed, text);
    changed
}
