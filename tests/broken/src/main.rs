//! A Millstream that is broken on purpose: negative controls of the crash tests. It runs a pipeline as `millstream run`
//! does, or sends dead letters again as `dlq redrive` does, through a log that breaks one promise and meets one
//! fault:
//! - `MILLSTREAM_BREAK`: which promise ([`Break`]);
//! - `MILLSTREAM_FAULT`: what happens ([`Fault`]);
//! - `MILLSTREAM_FAULT_RECORD`: the id at the source of the record in whose commit it happens, `mended` or `parked` ([`Target`]).
//!
//! The break sits at the log port, so that no line of the real program knows of it. Start reading at `member.rs`.
//!
//! With `MILLSTREAM_CLOCK_OFF` (seconds) it is the real program, whole, with a clock that is off.

mod hasty;
mod log;
mod member;
mod redrive;
mod trap;
mod writer;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filter_api::Files;
use millstream_host::intake::Served;
use millstream_host::{Maker, Makers, Opening, RunOptions, Stop};
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Log, LogResult};
use millstream_serve::{Config, Listen, Route, Server};
use millstream_spec::model::{Judge, Pipeline, Source, SourceKind};
use millstream_spec::{Registry, SourceFile};

use crate::hasty::Hasty;
use crate::log::BrokenLog;
use crate::trap::{Fault, Target, Trap};

/// What is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// Nothing: shows that what turns the checker red is the break, not the fault or the way both are built in.
    Nothing,
    /// Positions are committed before the outputs.
    PositionsFirst,
    /// Dedup marks are written outside the transaction, before it.
    MarksFirst,
    /// Dedup marks are written outside the transaction, after it.
    MarksLast,
    /// Outputs are written by a producer that nobody fences.
    NoFencing,
    /// Dead letters are sent again, and jobs that waited are started, outside the transaction that notes them as done,
    /// before it.
    CopiesFirst,
    /// Copies of records that are set aside are written outside the transaction that ends the records, before it.
    ParkedFirst,
    /// Notes of jobs, and replies to them, are written outside the transaction that they belong to, before it.
    NotesFirst,
    /// What is to be told of jobs is written outside the transaction of their statuses, after it.
    CallbacksLast,
    /// Stages behind a replayed one take what it gives for live records: they know them by their ids alone.
    ReplayForgotten,
    /// Every position is said to be past everything, so that partitions that were added wait for nothing.
    AllPassed,
    /// What a source has seen is written outside the transaction of its records, before it.
    SeenFirst,
    /// The same, after it.
    SeenLast,
    /// Records of sources are acknowledged when they are handed over, and written with those that come later.
    HastyAnswers,
    /// What calls keep is acknowledged and not written.
    CheckpointsForgotten,
    /// Rows are removed from their outbox before the commit of their records.
    RemovedFirst,
}

const BREAKS: &[(&str, Break)] = &[
    ("nothing", Break::Nothing),
    ("positions_first", Break::PositionsFirst),
    ("marks_first", Break::MarksFirst),
    ("marks_last", Break::MarksLast),
    ("no_fencing", Break::NoFencing),
    ("copies_first", Break::CopiesFirst),
    ("parked_first", Break::ParkedFirst),
    ("notes_first", Break::NotesFirst),
    ("callbacks_last", Break::CallbacksLast),
    ("replay_forgotten", Break::ReplayForgotten),
    ("all_passed", Break::AllPassed),
    ("seen_first", Break::SeenFirst),
    ("seen_last", Break::SeenLast),
    ("hasty_answers", Break::HastyAnswers),
    ("checkpoints_forgotten", Break::CheckpointsForgotten),
    ("removed_first", Break::RemovedFirst),
];

const FAULTS: &[(&str, Fault)] = &[
    ("die_in_commit", Fault::DieInCommit),
    ("die_after_commit", Fault::DieAfterCommit),
    ("freeze_process", Fault::FreezeProcess),
    ("freeze_replica", Fault::FreezeReplica),
];

/// Of a replica on the embedded log: short, because a test waits for it to pass.
const EMBEDDED_SESSION: Duration = Duration::from_secs(3);

fn main() -> ExitCode {
    if let Some(off) = std::env::var("MILLSTREAM_CLOCK_OFF").ok().and_then(|off| off.parse::<i64>().ok()) {
        millstream_host::set_clock_off(off * 1_000);
        return millstream::main_with(millstream::built_in_filters());
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// `run FILE` or `redrive FILE --stage NAME [--to TOPIC]`, and `(--data-dir FOLDER | --brokers B [--kafka KEY=VALUE]…)`
fn run() -> Result<(), String> {
    let (mut file, mut folder) = (None, None);
    let (mut stage, mut to) = (None, None);
    let mut config = KafkaConfig { brokers: String::new(), properties: Vec::new() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "run" | "redrive" => {}
            "--stage" => stage = arguments.next(),
            "--to" => to = arguments.next(),
            "--data-dir" => folder = Some(arguments.next().ok_or("--data-dir needs a value")?),
            "--brokers" => config.brokers = arguments.next().ok_or("--brokers needs a value")?,
            "--kafka" => {
                let pair = arguments.next().ok_or("--kafka needs a value")?;
                let (key, value) = pair.split_once('=').ok_or("--kafka needs KEY=VALUE")?;
                config.properties.push((key.to_owned(), value.to_owned()));
            }
            path => file = Some(PathBuf::from(path)),
        }
    }
    let pipeline = load(&file.ok_or("a pipeline file is missing")?)?;
    let (breaks, fault) = (chosen("MILLSTREAM_BREAK", BREAKS)?, chosen("MILLSTREAM_FAULT", FAULTS)?);
    let target = match std::env::var("MILLSTREAM_FAULT_RECORD").map_err(|e| format!("MILLSTREAM_FAULT_RECORD: {e}"))? {
        word if word == "mended" => Target::Mended,
        word if word == "parked" => Target::Parked,
        word if word == "reply" => Target::Reply,
        word if word == "callback" => Target::Callback,
        record => Target::Record(record),
    };
    let session = folder.is_some().then_some(EMBEDDED_SESSION);
    let real: Arc<dyn Log> = match folder {
        Some(folder) => EmbeddedLog::open(folder, EmbeddedOptions::default()).map_err(|e| e.to_string())?,
        None => Arc::new(KafkaLog::new(config).map_err(|e| e.to_string())?),
    };
    let log = Arc::new(BrokenLog::new(real, breaks, Trap::new(fault, target), session));
    if let Some(stage) = stage {
        return redrive::redrive(&*log, &pipeline, &stage, to.as_deref());
    }
    let stop = Stop::new(Duration::from_secs(10));
    let served = Served::new(Box::new(|_| Ok(Arc::new(|_| None))));
    let route = |source: &Source| {
        let http = source.http()?.clone();
        Some(Route {
            pipeline: pipeline.name.clone(),
            topic: source.topic.clone(),
            format: source.format.clone(),
            source: http,
            keep: Vec::new(),
        })
    };
    let routes: Vec<Route> = pipeline.sources.iter().filter_map(route).collect();
    let server = (!routes.is_empty()).then(|| {
        let listen = Listen::At("127.0.0.1:0".to_owned());
        Server::start(Config { listen, tls: None, routes, token: None, served: served.clone(), stop: stop.clone() })
    });
    let server = server.transpose().map_err(|e| e.to_string())?;
    if let Some(server) = &server {
        eprintln!("serving at {}", server.url());
    }
    let options = RunOptions {
        until_idle: false,
        feed: true,
        create_source: false,
        apply: false,
        accept_gap: false,
        stages: None,
        instance: None,
        served: server.is_some().then_some(served),
        makers: Arc::new(All { hasty: breaks == Break::RemovedFirst }),
        stop,
        progress: None,
    };
    millstream_host::run(log, &[pipeline], &options).map(drop).map_err(|e| e.to_string())
}

/// What a variable of the environment chooses.
fn chosen<T: Copy>(variable: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let value = std::env::var(variable).unwrap_or_default();
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{variable} is `{value}`, which is none of {}", names.join(", "))
    })
}

fn load(path: &Path) -> Result<Pipeline, String> {
    let bytes = std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let files = [SourceFile { path: path.to_owned(), bytes }];
    let registry =
        Registry::new(millstream_filters_std::registry().into_iter().chain(millstream_filters_io::registry()))
            .with_callback(|node| {
                millstream_filters_io::callbacks(node).map(|(call, judge)| (call, Judge::new(judge)))
            });
    let nothing_beside = |_: &SourceFile| -> Box<dyn Files> { Box::new(Nothing) };
    let mut verdicts = millstream_spec::check_all(&files, &registry, &nothing_beside, &|_| None);
    match verdicts.pop() {
        Some(Ok((pipeline, _))) => Ok(pipeline),
        Some(Err(issues)) => Err(millstream_spec::render(path, &files[0].bytes, &issues)),
        None => Err("no verdict".into()),
    }
}

/// As the real program, or with makers that are told of a commit before it is made.
struct All {
    hasty: bool,
}

impl Makers for All {
    fn open<'a>(&self, opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
        match &opening.source.kind {
            SourceKind::Postgres(_) => Hasty(self.hasty).open(opening),
            _ => millstream_objects::open(opening),
        }
    }
}

/// The crash tests' pipeline names no files.
struct Nothing;

impl Files for Nothing {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        Err(std::io::Error::other(format!("no files here: {}", path.display())))
    }
}
