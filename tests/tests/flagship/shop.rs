//! A copy of the flagship in a folder of its own, run through the command line, and what came out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use millstream_tests::checker::{Seen, root};
use millstream_tests::process::Process;
use millstream_tests::site::Site;
use millstream_tests::workspace;
use serde::Deserialize;
use serde_json::Value;

use crate::PATIENCE;

/// Its stages, first to last.
pub const STAGES: [&str; 5] = ["validate", "clean", "price", "split", "orders"];
/// What they write.
pub const OUTPUTS: [&str; 7] = ["validate", "clean", "price", "split.sales", "split.refunds", "split.guests", "orders"];

/// The flagship, in a test's folder.
pub struct Shop {
    site: Site,
    name: String,
}

impl Shop {
    /// A copy with its sample data, under a name that is free on its log.
    pub fn new(site: Site, name: &str) -> Self {
        let shop = Self { site, name: name.to_owned() };
        let from = workspace().join("pipelines/retail-orders");
        for file in ["data/orders.csv", "data/prices.csv", "schemas/order-line.json", "pipeline.yaml"] {
            let to = shop.folder().join(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            fs::copy(from.join(file), to).expect("a copy");
        }
        let text = fs::read_to_string(shop.pipeline()).expect("the pipeline");
        assert!(text.contains("pipeline: retail-orders\n"), "the flagship has another name now");
        fs::write(shop.pipeline(), text.replace("pipeline: retail-orders\n", &format!("pipeline: {name}\n")))
            .expect("the pipeline");
        shop
    }

    /// Where it is.
    pub fn folder(&self) -> PathBuf {
        self.site.folder().join("shop")
    }

    /// The log it works on.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// A topic of it.
    pub fn topic(&self, what: &str) -> String {
        format!("{}.{what}", self.name)
    }

    /// Changes its file. `from` has to be in it.
    pub fn change(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.pipeline()).expect("the pipeline");
        assert!(text.contains(from), "the flagship has no {from:?} any more");
        fs::write(self.pipeline(), text.replacen(from, to, 1)).expect("the pipeline");
    }

    /// Begins a run.
    pub fn start(&self, what: &str) -> Process {
        let path = self.pipeline();
        self.site.start(what, &["run", path.to_str().expect("a path in UTF-8")])
    }

    /// Runs it until all is worked off; the counts of its stages, which hold together.
    pub fn run(&self) -> Vec<Stage> {
        let summary = self.site.until_idle("run", &self.pipeline(), PATIENCE);
        let pipeline = &summary["pipelines"][0];
        assert_eq!(pipeline["name"], self.name.as_str());
        assert_eq!(pipeline["balanced"], true, "{summary}");
        let stages: Vec<Stage> = serde_json::from_value(pipeline["stages"].clone()).expect("the documented counts");
        assert_eq!(stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), STAGES);
        for stage in &stages {
            let ended = stage.forwarded + stage.dropped.values().sum::<u64>() + stage.duplicates + stage.dead_lettered;
            assert_eq!(stage.read, ended + stage.parked + stage.held, "R4 of {stage:?}");
        }
        stages
    }

    /// Everything it wrote.
    pub fn outcome(&self) -> Outcome {
        let read = |what: &str| self.site.read(&self.topic(what));
        let records: BTreeMap<_, _> = OUTPUTS.into_iter().map(|output| (output, read(output))).collect();
        for (output, records) in &records {
            let ids: BTreeSet<&str> = records.iter().map(|r| r.id().expect("an id")).collect();
            assert_eq!(ids.len(), records.len(), "{output}: ids that are there twice");
            assert!(ids.iter().all(|id| root(id).is_some()), "{output}: an id without its root");
        }
        let letters = STAGES.into_iter().map(|stage| (stage, read(&format!("{stage}.dlq")))).collect();
        Outcome { records, letters }
    }

    /// Its file.
    pub fn pipeline(&self) -> PathBuf {
        self.folder().join("pipeline.yaml")
    }
}

/// Counts of a stage in the summary; `seconds` aside.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Stage {
    pub name: String,
    pub read: u64,
    pub forwarded: u64,
    pub dropped: BTreeMap<String, u64>,
    pub duplicates: u64,
    pub dead_lettered: u64,
    pub parked: u64,
    pub held: u64,
    pub retried: u64,
    pub outputs: u64,
}

impl Stage {
    /// The counts of a stage that had nothing to do.
    pub fn nothing(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// The topics of a shop after a run.
pub struct Outcome {
    records: BTreeMap<&'static str, Vec<Seen>>,
    letters: BTreeMap<&'static str, Vec<Seen>>,
}

/// A dead letter without what differs from log to log and run to run (offset and times).
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Letter {
    /// The original payload.
    pub value: String,
    /// The original key.
    pub key: Option<String>,
    /// The documented headers.
    pub headers: BTreeMap<String, String>,
}

impl Outcome {
    /// Of an output, in order per partition.
    pub fn records(&self, output: &str) -> &[Seen] {
        &self.records[output]
    }

    /// Of a stage, in an order of their own.
    pub fn letters(&self, stage: &str) -> Vec<Letter> {
        let stable = [
            "pipeline",
            "stage",
            "filter",
            "topic",
            "partition",
            "id",
            "attempts",
            "code",
            "message",
            "class",
            "redrives",
        ];
        let letter = |r: &Seen| {
            let header = |name: &&str| {
                let value = r.header(&format!("millstream.dlq.{name}")).unwrap_or_else(|| panic!("no {name} in {r:?}"));
                ((*name).to_owned(), value.to_owned())
            };
            for time in ["offset", "timestamp", "at"] {
                let value = r.header(&format!("millstream.dlq.{time}"));
                assert!(value.is_some_and(|v| v.parse::<u64>().is_ok()), "{time} in {r:?}");
            }
            Letter { value: r.value.to_string(), key: r.key.clone(), headers: stable.iter().map(header).collect() }
        };
        let mut letters: Vec<Letter> = self.letters[stage].iter().map(letter).collect();
        letters.sort();
        letters
    }
}

/// The invoice of a record, whatever the stage calls it.
pub fn invoice(value: &Value) -> &str {
    ["InvoiceNo", "invoice", "order"].iter().find_map(|name| value[name].as_str()).unwrap_or_else(|| panic!("{value}"))
}

/// The real orders, read where they are; `None`, after saying so loudly, where they are not.
///
/// # Panics
/// Where `CI` says that they must be there.
pub fn real_orders() -> Option<Vec<u8>> {
    let path: &Path = &workspace().join("../shared/data/online-retail-50k.csv.gz");
    if !path.exists() {
        assert!(
            std::env::var("CI").ok().as_deref() != Some("true"),
            "the real orders are required here and are not at {}",
            path.display()
        );
        // Not by a macro: the test runner keeps what those say of a test that passes.
        let said = format!("\n*** SKIPPED: the test on real orders: there is no {} ***\n", path.display());
        writeln!(std::io::stderr(), "{said}").expect("stderr");
        return None;
    }
    let unpacked = std::process::Command::new("gzip").arg("-dc").arg(path).output().expect("gzip");
    assert!(unpacked.status.success(), "gzip -dc {} failed", path.display());
    Some(unpacked.stdout)
}
