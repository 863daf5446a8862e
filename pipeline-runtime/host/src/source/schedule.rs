//! A clock as a source: one record a tick. Which ticks, and when, is decided in `ticks.rs`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::DateTime;
use millstream_codec::Codec;
use millstream_expr::{ExprState, Expression, Options, Purpose};
use millstream_filter_api::{Issue, Kind, Node, Record, Value};
use millstream_log::{Class, LogError, LogResult};
use millstream_spec::model::{Overlap, ScheduleSource, Source};

use super::alive::{may_say_more, without_break};
use super::fault::Fault;
use super::position::SourcePosition;
use super::ticks::{Due, Ticker, rfc3339, stem};
use super::{Alive, Maker, Next, made};
use crate::clock::wall_ms;
use crate::control::STALE_MS;
use crate::plan::codec_of;

/// The clock is looked at this often, as it may be set.
const LOOK: Duration = Duration::from_millis(200);
/// Between two questions whether a job has ended: at first, and after many. To answer one all statuses of a partition are
/// read.
const ASK: Duration = Duration::from_millis(500);
const ASK_SELDOM: Duration = Duration::from_secs(5);
/// Who is there says so within this time, also where the log is slow.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clocks of two processes may be this far apart, ms: a report that seems too old may be of somebody who is there.
const CLOCKS_MS: i64 = 30_000;

/// A tick whose value cannot be made.
const CODE: &str = "schedule_expression";

/// Checks the expression of a `schedule` source and gives the type of what it makes.
pub fn check(value: &Node) -> Result<Kind, Vec<Issue>> {
    compile(value).map(|expression| as_json(expression.result().clone()))
}

fn compile(value: &Node) -> Result<Expression, Vec<Issue>> {
    let mut options = Options::new(Purpose::Value);
    options.extra.push(("tick", Kind::timestamp()));
    Expression::compile_with(value, &Kind::null(), options)
}

/// The type once it was written as JSON, which has no times.
fn as_json(mut kind: Kind) -> Kind {
    if kind.contains_timestamp() && !kind.is_any() {
        kind.remove_timestamp();
        kind.add_bytes();
    }
    if let Some(object) = kind.as_object_mut() {
        object.known_mut().values_mut().for_each(|kind| *kind = as_json(kind.clone()));
    }
    if let Some(array) = kind.as_array_mut() {
        array.known_mut().values_mut().for_each(|kind| *kind = as_json(kind.clone()));
    }
    kind
}

/// What a schedule makes of a tick.
pub struct TickValue {
    expression: Option<(Expression, ExprState)>,
    codec: Codec,
}

impl TickValue {
    /// Of this source.
    pub fn new(spec: &ScheduleSource, source: &Source) -> LogResult<Self> {
        let expression = spec.value.as_ref().map(compile).transpose().map_err(|issues| {
            let words: Vec<String> = issues.iter().map(ToString::to_string).collect();
            LogError::new(Class::Config, CODE, words.join("\n"))
        })?;
        let expression = expression.map(|expression| (expression, ExprState::new()));
        Ok(Self { expression, codec: codec_of(&source.format) })
    }

    /// The payload; else what is wrong.
    pub fn make(&mut self, tick: i64) -> Result<Bytes, String> {
        let Some((expression, state)) = &mut self.expression else {
            return made::of_json(plain(tick), &self.codec);
        };
        state.set_extra("tick", DateTime::from_timestamp_millis(tick).map_or(Value::Null, Value::Timestamp));
        let value = expression.value(state, &Record::default()).map_err(|failure| failure.message)?;
        made::payload(value, &self.codec)
    }
}

/// The payload of a tick of which nothing was said.
fn plain(tick: i64) -> Bytes {
    Bytes::from(format!("{{\"tick\":\"{}\"}}", rfc3339(tick)))
}

/// Where a schedule begins: a fresh one has missed nothing.
pub fn begin(spec: &ScheduleSource, position: SourcePosition, now: i64) -> SourcePosition {
    let tick = position.tick.unwrap_or(now);
    SourcePosition { tick: Some(tick), ended: spec.timing.after(tick).is_none(), ..position }
}

/// Whether the job of a tick, by its id, has not ended.
pub type Unfinished<'a> = Box<dyn Fn(&str) -> LogResult<bool> + 'a>;

/// Makes records of ticks.
pub struct Clockwork<'a> {
    ticker: Ticker,
    value: TickValue,
    overlap: Overlap,
    /// Whether the job of a tick, by its id, has not ended.
    unfinished: Unfinished<'a>,
    /// The last tick that is done: given, or passed over.
    done: i64,
    /// The last one given.
    given: Option<i64>,
    /// It is in the transaction that is under way.
    uncommitted: bool,
    /// Due, and waiting for the job before it.
    pending: Option<i64>,
    /// When that job was asked for, and how long the next question waits.
    asked: Option<(Instant, Duration)>,
    records: u64,
    /// As this process was last said to run since.
    since: i64,
    settled: bool,
    /// Somebody may yet say that the pipeline ran when it seems that it did not.
    hold: Option<Instant>,
    said_ahead: bool,
}

impl<'a> Clockwork<'a> {
    /// Goes on after `position`. `unfinished` says whether the job of a tick, by its id, has not ended.
    pub fn new(
        pipeline: &str,
        source: &Source,
        spec: &ScheduleSource,
        position: &SourcePosition,
        unfinished: Unfinished<'a>,
    ) -> LogResult<Self> {
        let last = position.tick.unwrap_or_else(wall_ms);
        Ok(Self {
            ticker: Ticker::new(spec, stem(pipeline, &source.name), last, i64::MIN),
            value: TickValue::new(spec, source)?,
            overlap: spec.overlap,
            unfinished,
            done: last,
            given: position.given,
            uncommitted: false,
            pending: None,
            asked: None,
            records: position.records,
            since: i64::MIN,
            settled: false,
            hold: None,
            said_ahead: false,
        })
    }

    /// Whether the job of the last tick given has not ended; `None` where that is not known now.
    fn before_is_unfinished(&mut self) -> LogResult<Option<bool>> {
        let Some(given) = self.given.filter(|_| self.overlap != Overlap::Allow) else { return Ok(Some(false)) };
        // Who waits for a job of hours need not ask for it all the time.
        if self.overlap == Overlap::Queue && self.asked.is_some_and(|(at, wait)| at.elapsed() < wait) {
            return Ok(None);
        }
        let wait = self.asked.map_or(ASK, |(_, wait)| (wait * 2).min(ASK_SELDOM));
        self.asked = Some((Instant::now(), wait));
        match (self.unfinished)(&self.ticker.id(given)) {
            Ok(unfinished) => Ok(Some(unfinished)),
            Err(error) if error.class == Class::Retry => {
                tracing::debug!(%error, "whether the job of the tick before has ended is not known");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A clock that was far ahead when it gave the last tick leaves a schedule that waits.
    fn say_ahead(&mut self, now: i64) {
        let ahead = self.ticker.last() - now;
        if ahead > 60_000 && !self.said_ahead {
            self.said_ahead = true;
            tracing::warn!(
                last = %rfc3339(self.ticker.last()),
                "the last tick given lies ahead of this machine's clock; nothing comes until the clock is there"
            );
        }
    }
}

impl Maker for Clockwork<'_> {
    fn next(&mut self) -> LogResult<Next> {
        // A job is known when its record is committed: each tick has a transaction of its own.
        if std::mem::take(&mut self.uncommitted) || self.hold.is_some() {
            return Ok(Next::Wait(LOOK));
        }
        let now = wall_ms();
        let tick = match self.pending.take().map_or_else(|| self.ticker.next(now), Due::Now) {
            Due::Now(tick) => tick,
            Due::Later(ms) => {
                self.say_ahead(now);
                return Ok(Next::Wait(LOOK.min(Duration::from_millis(ms.unsigned_abs()))));
            }
            Due::Never => return Ok(Next::End),
        };
        match (self.overlap, self.before_is_unfinished()?) {
            (Overlap::Allow, _) | (_, Some(false)) => {}
            (Overlap::Skip, Some(true)) => {
                tracing::info!(tick = %rfc3339(tick), "the job of the tick before is unfinished; this one is left out");
                self.done = tick;
                return Ok(Next::Passed);
            }
            (Overlap::Queue, Some(true)) | (_, None) => {
                self.pending = Some(tick);
                return Ok(Next::Wait(LOOK));
            }
        }
        (self.done, self.given, self.asked) = (tick, Some(tick), None);
        self.uncommitted = self.overlap != Overlap::Allow;
        self.records += 1;
        Ok(match self.value.make(tick) {
            Ok(payload) => Next::Record(payload, None),
            Err(why) => {
                let message = format!("the value of a tick cannot be made: {why}");
                Next::Record(plain(tick), Some(Fault { code: CODE.to_owned(), message }))
            }
        })
    }

    fn position(&self) -> SourcePosition {
        // One that waits is still to be given, by whoever goes on.
        let tick = Some(if self.pending.is_some() { self.done } else { self.ticker.last() });
        SourcePosition { records: self.records, tick, given: self.given, ..SourcePosition::default() }
    }

    fn place(&mut self) -> Option<String> {
        Some(format!("tick {}", rfc3339(self.ticker.last())))
    }

    fn name(&self, _: u64) -> String {
        self.ticker.id(self.ticker.last())
    }

    fn time(&self) -> Option<i64> {
        Some(self.ticker.last())
    }

    fn alive(&mut self, alive: &Alive<'_>) {
        if alive.known.since != self.since {
            self.since = alive.known.since;
            self.ticker.runs_since(self.since);
            (self.settled, self.hold) = (false, None);
        }
        if self.settled {
            return;
        }
        let mut waits = false;
        if self.ticker.undecided() && alive.known.began {
            let signs = (alive.others)();
            self.ticker.runs_since(without_break(self.ticker.since(), &signs));
            waits =
                self.ticker.undecided() && may_say_more(self.ticker.since(), wall_ms(), STALE_MS + CLOCKS_MS, &signs);
        }
        let until = *self.hold.get_or_insert_with(|| Instant::now() + PATIENCE);
        if !waits || Instant::now() >= until {
            (self.settled, self.hold) = (true, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::alive::{Sign, Touch};
    use millstream_spec::model::{Format, IdRule, Missed, Overlap, SourceKind, Timing, TopicSettings};

    fn clockwork(last: i64) -> Clockwork<'static> {
        let spec = |missed| ScheduleSource {
            timing: Timing::Every(100),
            value: None,
            missed,
            jitter: Duration::ZERO,
            overlap: Overlap::Allow,
        };
        let source = Source {
            name: "source".into(),
            named: false,
            kind: SourceKind::Schedule(spec(Missed::Once)),
            format: Format::Json,
            id: IdRule::Default,
            key: None,
            types: Kind::any(),
            typed: false,
            schema: None,
            topic: "p.in".into(),
            inlet: "p.in".into(),
            id_prefix: None,
            topic_settings: TopicSettings {
                partitions: 1,
                partitions_said: false,
                retention: None,
                replication: None,
                max_record_bytes: None,
            },
        };
        let position = SourcePosition { tick: Some(last), ..SourcePosition::default() };
        Clockwork::new("p", &source, &spec(Missed::Once), &position, Box::new(|_| Ok(false))).unwrap()
    }

    fn tell(clock: &mut Clockwork, touch: &Touch, signs: &[Sign]) {
        clock.alive(&Alive { known: touch.contact(wall_ms()), others: &|| signs.to_vec() });
    }

    /// The tick that it gives first.
    fn first(clock: &mut Clockwork) -> Option<i64> {
        matches!(clock.next(), Ok(Next::Record(..))).then(|| clock.ticker.last())
    }

    #[test]
    fn a_takeover_by_a_new_process_is_no_outage() {
        let now = wall_ms();
        let last = now / 100 * 100 - 5_000;
        let touch = Touch::new(now - 1_000);
        let mut alone = clockwork(last);
        tell(&mut alone, &touch, &[]);
        assert!(first(&mut alone).is_some_and(|tick| tick > last + 3_000 && tick < now - 900), "one for the outage");
        let mut after_another = clockwork(last);
        tell(&mut after_another, &touch, &[(now - 60_000, now - 500)]);
        assert_eq!(first(&mut after_another), Some(last + 100), "somebody was there all the time");
        let mut cut_off = clockwork(last);
        let broken = Touch::new(now - 100_000);
        tell(&mut cut_off, &broken, &[(now - 60_000, now - 500)]);
        assert_ne!(first(&mut cut_off), Some(last + 100), "who was cut off knows of no others");
    }

    #[test]
    fn who_may_still_say_that_it_was_there_is_waited_for() {
        let now = wall_ms();
        let last = now / 100 * 100 - 5_000;
        let touch = Touch::new(now - 1_000);
        let mut clock = clockwork(last);
        tell(&mut clock, &touch, &[(now - 60_000, now - 2_000)]);
        assert_eq!(first(&mut clock), None, "it spoke before this process began");
        tell(&mut clock, &touch, &[(now - 60_000, now)]);
        assert_eq!(first(&mut clock), Some(last + 100));
    }
}
