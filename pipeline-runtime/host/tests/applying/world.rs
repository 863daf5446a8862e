//! A pipeline of two stages, and the same with one more between them, on an embedded log.

use std::fs::File;
use std::io::{self, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Files, FilterSpec, Headers, Issue, Node, Outcome, Outputs, Page, Reads,
    Record,
};
use millstream_host::{NoMakers, RunError, RunOptions, Stop, Summary, run};
use millstream_log::{Budget, End, Isolation, Log, NewTopic, Outgoing, Retention, TopicPartition};
use millstream_spec::model::Pipeline;
use millstream_spec::{Registry, SourceFile, check};

struct Pass;

impl Compute for Pass {
    fn apply(&mut self, _: &mut Record) -> Outcome {
        Outcome::Forward
    }
}

impl FilterSpec for Pass {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn page(&self) -> Page {
        Page { summary: "", description: "", examples: &[] }
    }

    fn config_schema(&self) -> &'static str {
        "{}"
    }

    fn check(&self, _: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![cx.input.clone()],
            effects: false,
            reads: Reads::Everything,
            build: Arc::new(|| Built::Compute(Box::new(Pass))),
            warnings: Vec::new(),
            long: None,
        })
    }
}

struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

const PARTITIONS: i32 = 2;

/// The log and both pipelines.
pub struct World {
    pub log: Arc<dyn Log>,
    pub before: Pipeline,
    pub after: Pipeline,
    /// The first with twice the partitions.
    pub wider: Pipeline,
    /// Last, so that the log is closed before its folder goes.
    folder: tempfile::TempDir,
}

impl World {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let log = EmbeddedLog::open(folder.path(), EmbeddedOptions::default()).expect("a log");
        log.create(&[NewTopic {
            name: "jobs".to_owned(),
            partitions: PARTITIONS,
            retention: Retention::Kept,
            replication: None,
            max_record_bytes: None,
            settings: Vec::new(),
        }])
        .expect("a topic");
        let before = pipeline(JOBS, &["clean", "book"], PARTITIONS);
        let after = pipeline(JOBS, &["clean", "mask", "book"], PARTITIONS);
        let wider = pipeline(JOBS, &["clean", "book"], 2 * PARTITIONS);
        Self { log, before, after, wider, folder }
    }

    /// The first that reads a file, whose source has a name or not; `follow` it, or read what is there.
    pub fn of_file(&self, name: Option<&str>, follow: bool) -> Pipeline {
        let source = format!("{{ file: {{ path: {}, follow: {follow} }} }}", self.file().display());
        let source = match name {
            None => format!("source: {source}"),
            Some(name) => format!("sources: {{ {name}: {source} }}"),
        };
        pipeline(&source, &["clean", "book"], PARTITIONS)
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("jobs.txt")
    }

    /// Adds lines to the file.
    pub fn append(&self, numbers: Range<u32>) {
        let mut file = File::options().create(true).append(true).open(self.file()).expect("a file");
        file.write_all((Self::texts(numbers).join("\n") + "\n").as_bytes()).expect("written");
    }

    /// Runs until a topic has so many records, and then until all that is there is worked off.
    pub fn feed(&self, pipeline: &Pipeline, topic: &str, records: usize) -> Result<(), RunError> {
        let stop = Self::stop();
        let options = RunOptions { until_idle: false, stop: stop.clone(), ..Self::options() };
        std::thread::scope(|scope| {
            let run = scope.spawn(|| run(Arc::clone(&self.log), std::slice::from_ref(pipeline), &options));
            let deadline = Instant::now() + Duration::from_secs(60);
            while self.texts_in(topic).len() < records && !run.is_finished() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(5));
            }
            stop.drain();
            run.join().expect("no panic")
        })?;
        let options = RunOptions { feed: false, ..Self::options() };
        run(Arc::clone(&self.log), std::slice::from_ref(pipeline), &options).map(drop)
    }

    pub fn stop() -> Stop {
        Stop::new(Duration::from_secs(10))
    }

    pub fn texts(numbers: Range<u32>) -> Vec<String> {
        let mut all: Vec<String> = numbers.map(|n| format!("job {n:04}")).collect();
        all.sort();
        all
    }

    pub fn write(&self, numbers: Range<u32>) {
        let mut writer = self.log.writer().expect("a writer");
        let record = |(n, text): (usize, String)| Outgoing {
            to: TopicPartition::new("jobs", n as i32 % PARTITIONS),
            key: None,
            value: Some(Bytes::from(text)),
            headers: Headers::new(),
            timestamp: 1_000,
            tag: 0,
        };
        writer.send(&mut Self::texts(numbers).into_iter().enumerate().map(record).collect()).expect("written");
        writer.flush(Duration::from_secs(5)).expect("durable");
    }

    /// Runs until all is worked off; one stage alone, or all.
    pub fn run(&self, pipeline: &Pipeline, stage: Option<&str>) -> Result<Summary, RunError> {
        self.run_on(Arc::clone(&self.log), pipeline, stage)
    }

    pub fn run_on(&self, log: Arc<dyn Log>, pipeline: &Pipeline, stage: Option<&str>) -> Result<Summary, RunError> {
        let stages = stage.map(|stage| [format!("{}.{stage}", pipeline.name)].into());
        run(log, std::slice::from_ref(pipeline), &RunOptions { stages, ..Self::options() })
    }

    fn options() -> RunOptions {
        RunOptions {
            until_idle: true,
            feed: true,
            create_source: false,
            accept_gap: false,
            apply: false,
            stages: None,
            instance: None,
            served: None,
            makers: Arc::new(NoMakers),
            stop: Self::stop(),
            progress: None,
        }
    }

    /// What the last stage has written, sorted.
    pub fn booked(&self) -> Vec<String> {
        self.texts_in("p.book")
    }

    /// What is in a topic, sorted; nothing where it does not exist.
    pub fn texts_in(&self, topic: &str) -> Vec<String> {
        let count = self.log.describe(&[topic]).expect("described")[0].as_ref().map_or(0, |info| info.partitions);
        let places: Vec<TopicPartition> = (0..count).map(|p| TopicPartition::new(topic, p)).collect();
        let mut left: i64 = self.log.ends(&places, End::High).expect("ends").iter().sum();
        let mut reader = self.log.reader(Isolation::Committed).expect("a reader");
        reader.assign(&places.into_iter().map(|p| (p, 0)).collect::<Vec<_>>()).expect("assigned");
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut found = Vec::new();
        while left > 0 && Instant::now() < deadline {
            let budget = Budget { records: 100, bytes: 1 << 20 };
            for batch in reader.poll(budget, Duration::from_millis(50)).expect("read") {
                left -= batch.records.len() as i64;
                let text = |value: &Bytes| String::from_utf8_lossy(value).into_owned();
                found.extend(batch.records.iter().filter_map(|r| r.value.as_ref().map(text)));
            }
        }
        found.sort();
        found
    }
}

const JOBS: &str = "source: { topic: jobs, format: text }";

fn pipeline(source: &str, stages: &[&str], partitions: i32) -> Pipeline {
    let stages: String = stages.iter().map(|name| format!("  - {{ name: {name}, filter: pass }}\n")).collect();
    let yaml = format!(
        "apiVersion: millstream/v1\npipeline: p\ndefaults: {{ topics: {{ partitions: {partitions} }} }}\n{source}\nstages:\n{stages}"
    );
    let file = SourceFile { path: PathBuf::from("p.yaml"), bytes: yaml.into_bytes() };
    let registry = Registry::new([Arc::new(Pass) as Arc<dyn FilterSpec>]);
    check(&file, &registry, &NoFiles, &|_| None).unwrap_or_else(|issues| panic!("{issues:#?}")).0
}
