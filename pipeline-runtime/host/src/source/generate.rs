//! A generator as a source: an expression that makes payload number `%n`, with randomness that is equal on every run.

use std::time::{Duration, Instant};

use millstream_codec::Codec;
use millstream_expr::{ExprState, Expression, Options, Purpose};
use millstream_filter_api::{Issue, Kind, Node, Record, Value};
use millstream_log::{Class, LogError, LogResult};
use millstream_spec::model::{GenerateSource, Source};

use super::position::SourcePosition;
use super::{Maker, Next, made};
use crate::plan::codec_of;

/// Checks the expression of a `generate` source and gives the type of what it makes.
pub fn check(value: &Node) -> Result<Kind, Vec<Issue>> {
    compile(value).map(|expression| expression.result().clone())
}

fn compile(value: &Node) -> Result<Expression, Vec<Issue>> {
    let mut options = Options::new(Purpose::Value);
    options.extra.push(("n", Kind::integer()));
    Expression::compile_with(value, &Kind::null(), options)
}

/// Makes records one after the other, at most at its rate.
pub struct Generator {
    expression: Expression,
    state: ExprState,
    codec: Codec,
    seed: u64,
    count: Option<u64>,
    rate: Option<f64>,
    position: SourcePosition,
    /// Records are due from here on: number `first + k` at `began + k / rate`.
    began: Instant,
    first: u64,
}

impl Generator {
    /// Goes on after `position`.
    pub fn new(source: &Source, spec: &GenerateSource, position: &SourcePosition) -> LogResult<Self> {
        let expression = compile(&spec.value).map_err(|issues| {
            let words: Vec<String> = issues.iter().map(ToString::to_string).collect();
            LogError::new(Class::Config, "generate_expression", words.join("\n"))
        })?;
        Ok(Self {
            expression,
            state: ExprState::new(),
            codec: codec_of(&source.format),
            seed: spec.seed,
            count: spec.count,
            rate: spec.rate,
            position: SourcePosition { ended: false, ..position.clone() },
            began: Instant::now(),
            first: position.records,
        })
    }

    /// How long until the next record is due.
    fn wait(&self) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let due = (self.position.records - self.first) as f64 / rate;
        Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX).saturating_sub(self.began.elapsed())
    }
}

impl Maker for Generator {
    fn next(&mut self) -> LogResult<Next> {
        let n = self.position.records;
        if self.count.is_some_and(|count| n >= count) {
            return Ok(Next::End);
        }
        let wait = self.wait();
        if !wait.is_zero() {
            return Ok(Next::Wait(wait));
        }
        self.state.set_extra("n", Value::Integer(n as i64));
        // Of the number, not of the one before: a restart in the middle makes the same records.
        self.state.set_seed(self.seed ^ n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let value = self.expression.value(&mut self.state, &Record::default()).map_err(|failure| {
            LogError::new(
                Class::Config,
                "generate_expression",
                format!("record {n} cannot be made: {}; mend `source: generate: value:`", failure.message),
            )
        })?;
        let payload = made::payload(value, &self.codec)
            .map_err(|why| LogError::new(Class::Config, "generate_expression", format!("record {n}: {why}")))?;
        self.position.records += 1;
        Ok(Next::Record(payload, None))
    }

    fn position(&self) -> SourcePosition {
        self.position.clone()
    }

    fn place(&mut self) -> Option<String> {
        None
    }

    fn name(&self, n: u64) -> String {
        // Records of a file are counted from 1, those of a generator from 0, as `%n` is.
        format!("generate#{}", n - 1)
    }
}
