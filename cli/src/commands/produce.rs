//! `millstream produce TOPIC`: lines, JSON lines or CSV rows -> records.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use clap::Args;
use millstream_filter_api::OwnedValuePath;
use millstream_log::{Log, NewTopic, Retention};
use serde::Serialize;

use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::patience::{LIMIT, Patience};
use crate::payloads::{PayloadArgs, Payloads};
use crate::produce::fields::{self, Fields};
use crate::produce::input::{self, Broken, Draft, Shape};
use crate::produce::sender::{Drafter, Sender};
use crate::{settings, signals, topic, units};

/// Batches that may wait for the log.
const BATCHES_AHEAD: usize = 4;

/// Write lines, JSON lines or CSV rows to a topic
///
/// Without options a line is a payload. With --key, --id or --value lines are JSON; blank ones are passed over. With --csv
/// each row becomes a JSON object of texts, named by the header line.
#[derive(Args, Debug)]
pub struct ProduceArgs {
    /// Topic to write to
    topic: String,
    /// Read this file instead of stdin
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Read CSV with a header line
    #[arg(long)]
    csv: bool,
    /// Field that is the record's key, such as .customer_id; several make a JSON array; null or missing is no key
    #[arg(long, value_name = "FIELD", value_parser = fields::path)]
    key: Vec<OwnedValuePath>,
    /// Field that is the message id; several are joined by `/`; null or missing is no id. It becomes the header ce_id,
    /// and the topic's name the header ce_source
    #[arg(long, value_name = "FIELD", value_parser = fields::path)]
    id: Vec<OwnedValuePath>,
    /// Field that is the payload, instead of the whole line; null or missing is a tombstone
    #[arg(long, value_name = "FIELD", value_parser = fields::path)]
    value: Option<OwnedValuePath>,
    /// Write a tombstone (a record without payload) where the payload is empty
    #[arg(short = 'Z', long)]
    tombstone: bool,
    /// Payloads, which are JSON, are written so
    #[command(flatten)]
    schema: PayloadArgs,
    /// Register the schema in the schema registry where it is not (as TOPIC-value)
    #[arg(long, requires = "schema")]
    register: bool,
    /// Write data alone, though the settings name a schema registry
    #[arg(long, requires = "schema", conflicts_with = "register")]
    bare: bool,
    /// Header of every record; repeats
    #[arg(long, value_name = "NAME=VALUE", value_parser = settings::pair)]
    header: Vec<(String, String)>,
    /// Make the topic if it does not exist
    #[arg(long)]
    create: bool,
    /// Partitions of a topic that is made
    #[arg(long, value_name = "N", default_value_t = 12, requires = "create", value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// How the count is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Document<'a> {
    topic: &'a str,
    /// Durable for sure.
    records: u64,
}

/// Runs the command.
pub fn run(args: ProduceArgs, cx: &Context) -> Outcome {
    if let Some((name, _)) = args.header.iter().find(|(name, _)| name == "ce_id" && !args.id.is_empty()) {
        return Err(Failure::wrong(format!("`--id` sets the header `{name}`, and `--header` sets it too")));
    }
    if args.tombstone && args.value.is_none() && (args.csv || !args.key.is_empty() || !args.id.is_empty()) {
        return Err(Failure::wrong("`--tombstone` is for empty payloads, and a line that is JSON is never empty")
            .help("`--value FIELD` takes the payload from a field, and null in it is a tombstone"));
    }
    topic::named(&args.topic)?;
    let schema = Payloads::to_write(&args.schema, &args.topic, args.bare, args.register, cx)?;
    let input = open_input(&args)?;
    let log = cx.open_log()?;
    // Until the input is read no signal is listened to: Ctrl-C ends the wait at once.
    let patience = Patience::start(&*log, Some(LIMIT));
    patience.ask(|| false, || log.describe(&[&args.topic]))?;
    let partitions = partitions(&*log, &args)?;
    let writer = log.writer().map_err(|e| Failure::log(&e))?;
    let shape = Shape {
        csv: args.csv,
        key: Fields::new(args.key),
        id: Fields::new(args.id),
        value: Fields::new(args.value.into_iter().collect()),
        empty_is_tombstone: args.tombstone,
    };
    let drafter = Drafter::new(&args.topic, partitions, args.header);
    let mut sender = Sender::new(writer);

    let (events, from) = sync_channel(BATCHES_AHEAD);
    read_aside(input, shape, events.clone())?;
    signals::listen(move |times| {
        if times > 1 {
            std::process::exit(1);
        }
        // A full channel is emptied soon, and a closed one has nobody to tell.
        let _ = events.send(Event::Signal);
    })
    .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))?;

    let ended = send_all(&from, drafter, schema.as_ref(), &mut sender);
    // What was accepted before an error is made durable, so that what is said about it is true.
    let flushed = sender.flush();
    let said = match args.output {
        Output::Text => print(&format!("{} records to {}\n", sender.durable(), args.topic)),
        Output::Json => print_json(&Document { topic: &args.topic, records: sender.durable() }),
    };
    ended.map_err(|e| e.help(format!("{} records before that are in `{}`", sender.durable(), args.topic)))?;
    flushed.and(said)
}

fn open_input(args: &ProduceArgs) -> Result<Box<dyn Read + Send>, Failure> {
    match &args.file {
        Some(path) => {
            let file =
                File::open(path).map_err(|e| Failure::wrong(format!("cannot read `{}`: {e}", path.display())))?;
            Ok(Box::new(file))
        }
        None => {
            if io::stdin().is_terminal() {
                tracing::warn!("reading lines from the terminal; end with Ctrl-D");
            }
            Ok(Box::new(io::stdin()))
        }
    }
}

fn partitions(log: &dyn Log, args: &ProduceArgs) -> Result<i32, Failure> {
    if let Some(info) = topic::find(log, &args.topic)? {
        return Ok(info.partitions);
    }
    if !args.create {
        return match topic::existing(log, &args.topic) {
            Ok(info) => Ok(info.partitions),
            Err(missing) => Err(match missing.message().and_then(|m| m.help.clone()) {
                Some(help) if help.contains('?') => missing.help(format!("{help} `--create` makes a new one")),
                _ => missing.help("`--create` makes it, with `--partitions N`"),
            }),
        };
    }
    let new = NewTopic {
        name: args.topic.clone(),
        partitions: args.partitions,
        retention: Retention::Kept,
        replication: None,
        max_record_bytes: None,
        settings: Vec::new(),
    };
    log.create(&[new]).map_err(|e| Failure::log(&e))?;
    // Asked again, because another process may have been first, with another count.
    topic::existing(log, &args.topic).map(|info| info.partitions)
}

/// Payloads become data of a schema. What comes before one that does not fit is left to be sent, and it is said why.
fn encode(schema: &Payloads, drafts: &mut Vec<Draft>) -> Result<(), String> {
    for n in 0..drafts.len() {
        let Some(json) = drafts[n].value.take() else { continue };
        match schema.payload(json) {
            Ok(datum) => drafts[n].value = Some(datum),
            Err(why) => {
                let line = drafts[n].line;
                drafts.truncate(n);
                return Err(format!("line {line}: {why}"));
            }
        }
    }
    Ok(())
}

/// What the sending thread is told.
enum Event {
    Batch(Vec<Draft>),
    End(Result<(), Broken>),
    Signal,
}

/// Reads on a thread of its own: the end of a wait on stdin is nobody's to order, a signal must not wait for it.
fn read_aside(input: Box<dyn Read + Send>, shape: Shape, events: SyncSender<Event>) -> Outcome {
    let body = move || {
        let result = input::read(input, &shape, |batch| events.send(Event::Batch(batch)).is_ok());
        // Nobody listens any more when the log failed.
        let _ = events.send(Event::End(result));
    };
    std::thread::Builder::new()
        .name("input".to_owned())
        .spawn(body)
        .map(drop)
        .map_err(|e| Failure::failed(format!("cannot start a thread: {e}")))
}

fn send_all(events: &Receiver<Event>, mut drafter: Drafter, schema: Option<&Payloads>, sender: &mut Sender) -> Outcome {
    loop {
        let event = match events.try_recv() {
            // Nothing more now: a person may be typing, and wants to see each line arrive.
            Err(TryRecvError::Empty) => {
                sender.flush()?;
                events.recv().map_err(|_| Failure::failed("the input ended without a word"))?
            }
            Err(TryRecvError::Disconnected) => return Err(Failure::failed("the input ended without a word")),
            Ok(event) => event,
        };
        match event {
            Event::Batch(mut drafts) => {
                let now = units::now();
                let wrong = schema.and_then(|schema| encode(schema, &mut drafts).err());
                sender.send(drafts.into_iter().map(|draft| drafter.record(draft, now)).collect())?;
                if let Some(wrong) = wrong {
                    return Err(Failure::failed(wrong));
                }
            }
            Event::End(Ok(())) => return Ok(()),
            Event::End(Err(Broken { line: Some(line), what })) => {
                return Err(Failure::failed(format!("line {line}: {what}")));
            }
            Event::End(Err(Broken { line: None, what })) => return Err(Failure::failed(what)),
            // On a terminal Ctrl-C is the way to end; in the middle of a file it is not the end of the file.
            Event::Signal if io::stdin().is_terminal() => return Ok(()),
            Event::Signal => return Err(Failure::failed("interrupted before the end of the input")),
        }
    }
}
