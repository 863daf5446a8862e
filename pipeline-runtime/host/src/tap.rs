//! A condition on the records that go in and out of a stage, as the stages see them.

use std::sync::Arc;

use millstream_codec::Coercion;
use millstream_expr::{ExprState, Expression, Purpose};
use millstream_filter_api::{Issue, Kind, Node, NodeKind, Reads, ScalarStyle, Span};
use millstream_log::LogRecord;
use millstream_spec::model::{Input as ModelInput, Output, Pipeline, Stage, Start};

use crate::ids::InputIds;
use crate::input::Input;
use crate::plan::{InputPlan, codec_of, input_plan};

/// Of a dead letter: the topic it was read from.
const LETTER_TOPIC: &str = "millstream.dlq.topic";

/// Decides on records of one topic by an expression.
pub struct RecordFilter {
    /// How its records are decoded.
    plan: InputPlan,
    /// The same for dead letters of other topics than that of `plan`, by the topic they were read from.
    others: Vec<(String, InputPlan)>,
    expression: Expression,
    state: ExprState,
}

impl RecordFilter {
    /// On what a stage reads.
    pub fn on_input(pipeline: &Pipeline, input: &ModelInput, condition: &str) -> Result<Self, Vec<Issue>> {
        Self::new(input_plan(pipeline, input), &input.types, condition)
    }

    /// On what a stage writes.
    pub fn on_output(output: &Output, condition: &str) -> Result<Self, Vec<Issue>> {
        let plan = InputPlan {
            topic: Arc::from(output.topic.as_str()),
            codec: codec_of(&output.format),
            coercion: Coercion::new(&output.types),
            ids: InputIds::Own,
            own_source: false,
            begins_jobs: false,
            reads: Reads::Everything,
            start: Start::Earliest,
        };
        Self::new(plan, &output.types, condition)
    }

    /// On the dead letters of what a stage reads. Of their types nothing is known: that may be why they are there.
    pub fn on_letters(pipeline: &Pipeline, stage: &Stage, condition: &str) -> Result<Self, Vec<Issue>> {
        let any = Kind::any();
        let plan = |input: &ModelInput| InputPlan {
            topic: Arc::from(stage.dlq.as_str()),
            coercion: Coercion::new(&any),
            ..input_plan(pipeline, input)
        };
        // The check has refused a stage without an input.
        let others = stage.inputs[1..].iter().map(|input| (input.topic.clone(), plan(input))).collect();
        Ok(Self { others, ..Self::new(plan(&stage.inputs[0]), &any, condition)? })
    }

    fn new(plan: InputPlan, types: &Kind, condition: &str) -> Result<Self, Vec<Issue>> {
        let kind = NodeKind::Text(condition.to_owned(), ScalarStyle::Plain);
        let node = Node { kind, span: Span { line: 1, col: 1, len: 0 } };
        let expression = Expression::compile(&node, types, Purpose::Condition)?;
        Ok(Self { plan, others: Vec::new(), expression, state: ExprState::new() })
    }

    /// Whether the condition holds. An error is a record that cannot be decoded, or that the condition fails on.
    pub fn passes(&mut self, partition: i32, record: &LogRecord) -> Result<bool, String> {
        let read_from = record.headers.get_str(LETTER_TOPIC);
        let other = self.others.iter().find(|(topic, _)| read_from == Some(topic)).map(|(_, plan)| plan);
        let plan = other.unwrap_or(&self.plan);
        if let Some(raw) = &record.value {
            plan.codec.settle(raw);
        }
        let mut input = Input::new(plan, 0, partition, record.clone());
        let record = input.attempt(plan, 1, 0).map_err(|failure| failure.message.clone())?;
        self.expression.test(&mut self.state, &record).map_err(|failure| failure.to_string())
    }
}
