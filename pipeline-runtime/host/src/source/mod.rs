//! Sources that make records: a file, a generator, a clock. Each writes its own topic (`<pipeline>.in`, with a name of its own
//! `<pipeline>.in.<source>`) in transactions that carry its position, so that a restart goes on after the last record
//! that is there and none is written twice.
//!
//! Every process that runs a reader of it joins the group that has the topic's name; the owner of partition 0 is the one
//! that reads. Its position is the metadata committed for that partition.

pub(crate) mod alive;
mod csv_rows;
pub(crate) mod fault;
mod file;
mod generate;
mod lines;
pub(crate) mod made;
mod maker;
mod position;
pub(crate) mod schedule;
pub(crate) mod ticks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::HeadersBuilder;
use millstream_log::{
    Budget, Class, Delivery, Event, Log, LogError, LogRecord, LogResult, Member, MemberConfig, Outgoing, Position,
    Sent, TopicPartition,
};
use millstream_spec::model::{IdRule, Pipeline, Source, SourceKind};

use crate::changes::moved_to;
use crate::clock::wall_ms;
use crate::growth;
use crate::ids::{self, ID_HEADER, InputIds};
use crate::jobs::{self, JobsPlan, Note, What};
use crate::outputs::partition_for;
use crate::plan::codec_of;
use crate::shared::Stop;
use alive::{Sign, Touch};
use fault::FAULT_HEADER;
pub use fault::Fault;
pub use generate::check as check_generator;
pub use maker::{Alive, Maker, Makers, Next, NoMakers, Opening};
pub use position::SourcePosition;
pub use schedule::check as check_schedule;

/// What a source is told by the process.
pub struct SourceContext {
    /// The log.
    pub log: Arc<dyn Log>,
    /// Ends it.
    pub stop: Stop,
    /// Unique in the cluster.
    pub name: String,
    /// Static membership.
    pub instance: Option<String>,
    /// Partitions of the source's topic.
    pub partitions: i32,
    /// Where it says which jobs have begun, if they are tracked.
    pub(crate) jobs: Option<JobsPlan>,
    /// Opens what needs a client of its own.
    pub makers: Arc<dyn Makers>,
    /// Where such clients run.
    pub runtime: tokio::runtime::Handle,
}

/// Records of one transaction, at most.
const TRANSACTION_RECORDS: usize = 2_000;
const TRANSACTION_BYTES: usize = 4 << 20;
/// A transaction is committed this long after its first record, however few there are.
const TRANSACTION_TIME: Duration = Duration::from_millis(100);

/// Runs a source until told to stop. `touch` is of the process, and outlives an error; `others` gives the signs of life
/// of other processes.
pub(crate) fn run(
    cx: &SourceContext,
    pipeline: &Pipeline,
    source: &Source,
    touch: &Touch,
    others: &dyn Fn() -> Vec<Sign>,
) -> LogResult<()> {
    let lead = TopicPartition::new(source.topic.as_str(), 0);
    let mut member = cx.log.join(MemberConfig {
        group: source.topic.clone(),
        lead: source.topic.clone(),
        side: Vec::new(),
        delivery: Delivery::ExactlyOnce,
        name: cx.name.clone(),
        instance: cx.instance.clone(),
        session_timeout: Duration::from_secs(10),
        prefetch_bytes: 64 << 10,
    })?;
    cx.stop.on_stop(member.waker());
    let mut owned: Option<Owner<'_>> = None;
    let mut away = false;
    while !cx.stop.draining() {
        let wait = owned.as_ref().map_or(Duration::from_millis(200), Owner::wait);
        for event in member.poll(Budget { records: 0, bytes: 0 }, wait, &mut Vec::new())? {
            match event {
                Event::Assigned(assignments) => {
                    writes_as_others(cx, source)?;
                    for a in assignments.into_iter().filter(|a| a.partition == lead) {
                        let position = match &a.committed {
                            Some(committed) => position::decode(&committed.metadata)?,
                            None => SourcePosition::default(),
                        };
                        let (position, fresh) = match &source.kind {
                            SourceKind::Schedule(spec) => {
                                (schedule::begin(spec, position.clone(), wall_ms()), position.tick.is_none())
                            }
                            _ => (position, false),
                        };
                        member.start(&[Position {
                            partition: a.partition,
                            offset: a.high,
                            metadata: position.encode(),
                        }])?;
                        owned = Some(Owner { fresh, ..Owner::new(cx, pipeline, source, a.high, position)? });
                    }
                }
                Event::Revoking(partitions) => {
                    if partitions.contains(&lead) {
                        owned = None;
                    }
                    member.release(&partitions)?;
                }
                Event::Lost(partitions) => {
                    if partitions.contains(&lead) {
                        owned = None;
                        member.abort()?;
                    }
                }
                Event::BrokerAway(now, why) => {
                    away = now;
                    tracing::info!(pipeline = %pipeline.name, source = %source.name, away, %why, "the source's broker");
                }
            }
        }
        if away {
            continue;
        }
        let known = touch.contact(wall_ms());
        if let Some(owner) = &mut owned {
            owner.maker.alive(&Alive { known, others });
            owner.transaction(&mut *member, &lead)?;
        }
    }
    member.leave(cx.stop.drain_timeout());
    Ok(())
}

/// A process that was frozen while its topic got more partitions must not place records by the old number.
fn writes_as_others(cx: &SourceContext, source: &Source) -> LogResult<()> {
    let (topic, known) = (&source.topic, cx.partitions);
    match &cx.log.describe(&[topic])?[0] {
        Some(info) if info.partitions != known => {
            Err(growth::stopped(&source.name, topic, known, info.partitions, "this process writes by the old number"))
        }
        _ => Ok(()),
    }
}

/// Whether the source has given all it has, in whatever process.
pub fn finished(log: &dyn Log, source: &Source) -> LogResult<bool> {
    if source.http().is_some() {
        // It has given what was taken in.
        return Ok(true);
    }
    let Some(position) = stands(log, &source.topic)? else { return Ok(false) };
    // A schedule may have got more times since.
    Ok(match (&source.kind, position.tick) {
        (SourceKind::Schedule(spec), Some(tick)) => position.ended && spec.timing.after(tick).is_none(),
        _ => position.ended,
    })
}

/// Where the source that writes a topic stands; `None` where none ever ran, or another one has taken its place.
pub fn stands(log: &dyn Log, topic: &str) -> LogResult<Option<SourcePosition>> {
    let lead = TopicPartition::new(topic, 0);
    match &log.committed(topic, &[lead])?[0] {
        Some(committed) if moved_to(&committed.metadata).is_none() => Ok(Some(position::decode(&committed.metadata)?)),
        _ => Ok(None),
    }
}

/// The source while this process owns it.
struct Owner<'a> {
    source: &'a Source,
    maker: Box<dyn Maker + 'a>,
    writer: RecordWriter,
    jobs: Option<JobsPlan>,
    /// The offset committed beside the position; its value says nothing.
    anchor: i64,
    ended: bool,
    /// Where it stands is to be committed though there is no record: so the next owner goes on there too.
    fresh: bool,
    ask_at: Option<Instant>,
}

impl<'a> Owner<'a> {
    fn new(
        cx: &'a SourceContext,
        pipeline: &'a Pipeline,
        source: &'a Source,
        anchor: i64,
        position: SourcePosition,
    ) -> LogResult<Self> {
        let maker: Box<dyn Maker + 'a> = match &source.kind {
            SourceKind::File(file) => file::open(source, file, &position)?,
            SourceKind::Generate(generate) => Box::new(generate::Generator::new(source, generate, &position)?),
            SourceKind::Schedule(spec) => {
                let unfinished = Box::new(|job: &str| {
                    let status = jobs::find(&*cx.log, pipeline, job.as_bytes())?;
                    // One of which nothing is known any more has ended long ago.
                    Ok(status.is_some_and(|status| !status.state.is_final() || status.open > 0))
                });
                Box::new(schedule::Clockwork::new(&pipeline.name, source, spec, &position, unfinished)?)
            }
            _ => {
                let (log, runtime, stop) = (Arc::clone(&cx.log), cx.runtime.clone(), cx.stop.clone());
                let position = position.clone();
                let maker = cx.makers.open(Opening { log, pipeline, source, position, runtime, stop })?;
                maker.ok_or_else(|| {
                    LogError::new(
                        Class::Fatal,
                        "no_source_to_run",
                        "nothing in this program makes records of this source",
                    )
                })?
            }
        };
        tracing::info!(
            pipeline = %pipeline.name, source = %source.name, records = position.records, "the source runs here"
        );
        let writer = RecordWriter::new(source, cx.partitions);
        // Ids of rows of a file may come again when their jobs are done and forgotten; a tick or a row of a database comes once,
        // and so does what became of an object.
        let once = match source.kind {
            SourceKind::Schedule(_) | SourceKind::Postgres(_) => true,
            SourceKind::Objects(_) => source.id == IdRule::Default,
            _ => false,
        };
        let jobs = cx.jobs.clone().filter(|_| once);
        Ok(Self { source, maker, writer, jobs, anchor, ended: position.ended, fresh: false, ask_at: None })
    }

    fn wait(&self) -> Duration {
        match self.ask_at {
            _ if self.ended => Duration::from_millis(200),
            Some(at) => at.saturating_duration_since(Instant::now()),
            None => Duration::ZERO,
        }
    }

    /// One transaction: what the source gives now, and where it stands then.
    fn transaction(&mut self, member: &mut dyn Member, lead: &TopicPartition) -> LogResult<()> {
        if self.ended || !self.wait().is_zero() {
            return Ok(());
        }
        let began = Instant::now();
        let (mut records, mut notes, mut bytes) = (Vec::new(), Vec::new(), 0);
        self.ask_at = None;
        while records.len() < TRANSACTION_RECORDS && bytes < TRANSACTION_BYTES && began.elapsed() < TRANSACTION_TIME {
            match self.maker.next()? {
                Next::Record(payload, fault) => {
                    bytes += payload.len();
                    let (record, id) = self.writer.write(self.source, payload, fault, &mut *self.maker);
                    if let Some(jobs) = &self.jobs {
                        notes.push(Note::new("", What::Accepted, record.timestamp).write(jobs, ids::root(&id)));
                    }
                    records.push(record);
                }
                Next::Passed => self.fresh = true,
                Next::Wait(wait) => {
                    self.ask_at = Some(Instant::now() + wait);
                    break;
                }
                Next::End => {
                    self.ended = true;
                    break;
                }
            }
        }
        if records.is_empty() && !self.ended && !self.fresh {
            return Ok(());
        }
        self.fresh = false;
        let position = SourcePosition { ended: self.ended, ..self.maker.position() };
        records.append(&mut notes);
        records.append(&mut self.maker.beside());
        member.send(&mut records).map_err(failed)?;
        let position = Position { partition: lead.clone(), offset: self.anchor, metadata: position.encode() };
        member.commit(&[position]).map_err(failed)?;
        self.maker.committed()
    }
}

/// A source cannot go on after a failed transaction with what it has in hand: it joins again and goes on from its
/// committed position.
fn failed(sent: Sent) -> LogError {
    match sent {
        Sent::Failed(e) => e,
        Sent::Refused(records) => LogError::new(
            Class::Config,
            "source_record_refused",
            format!(
                "the log refuses a record of the source: {}; raise `max_record` of the source's topic or leave it out",
                records.first().map_or("no reason given", |(_, why)| why)
            ),
        ),
    }
}

/// Names, keys and places the records of a source.
struct RecordWriter {
    topic: Arc<str>,
    codec: Codec,
    coercion: Coercion,
    ids: InputIds,
    partitions: i32,
    headers: HeadersBuilder,
}

impl RecordWriter {
    fn new(source: &Source, partitions: i32) -> Self {
        Self {
            topic: Arc::from(source.topic.as_str()),
            codec: codec_of(&source.format),
            coercion: Coercion::new(&source.types),
            ids: InputIds::Source(source.id.clone()),
            partitions,
            headers: HeadersBuilder::default(),
        }
    }

    /// The record and its id. What cannot be decoded is written all the same, with the reason in a header: the first stage makes a dead letter
    /// of it, bytes and all.
    fn write(
        &mut self,
        source: &Source,
        payload: Bytes,
        fault: Option<Fault>,
        maker: &mut dyn Maker,
    ) -> (Outgoing, Bytes) {
        let decoded = match fault {
            Some(fault) => Err(fault),
            None => self
                .codec
                .decode(payload.clone(), &self.coercion)
                .map_err(|e| Fault { code: e.code.to_owned(), message: e.message }),
        };
        let fault = decoded.as_ref().err().map(|fault| {
            let at = maker.place().map_or_else(String::new, |place| format!(", at {place}"));
            Fault { code: fault.code.clone(), message: format!("{}{at}", fault.message) }.encode(&payload)
        });
        let decoded = decoded.ok();
        // Once for the rules, once before our own.
        maker.headers(&mut self.headers);
        let headers = self.headers.finish();
        let key = match (&source.key, &decoded) {
            (Some(rule), Some(decoded)) => ids::of_output_key(Some(rule), None, decoded, Some(&payload), &headers),
            (Some(_), None) => None,
            (None, _) => maker.key(),
        };
        let mut record = LogRecord {
            offset: 0,
            timestamp: maker.time().unwrap_or_else(wall_ms),
            key,
            value: Some(payload),
            headers,
        };
        let id = ids::of_input(&self.ids, &record, decoded.as_ref(), || {
            let name = maker.name(maker.position().records);
            Bytes::from(source.id_prefix.as_ref().map_or_else(|| name.clone(), |prefix| format!("{prefix}/{name}")))
        });
        maker.headers(&mut self.headers);
        self.headers.push(ID_HEADER, Some(&id));
        if let Some(fault) = &fault {
            self.headers.push(FAULT_HEADER, Some(fault.as_bytes()));
        }
        record.headers = self.headers.finish();
        let outgoing = Outgoing {
            to: TopicPartition::new(Arc::clone(&self.topic), partition_for(record.key.as_ref(), &id, self.partitions)),
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp: record.timestamp,
            tag: 0,
        };
        (outgoing, id)
    }
}
