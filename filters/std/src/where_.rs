//! `where`: keeps the records that meet a condition.

use std::sync::Arc;

use millstream_expr::{ExprState, Expression, Purpose};
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Node, Outcome, Outputs, Page, Record,
};

use crate::options;

/// The filter `where`.
pub(crate) struct WhereSpec;

impl FilterSpec for WhereSpec {
    fn name(&self) -> &'static str {
        "where"
    }

    fn page(&self) -> Page {
        Page {
            summary: "keeps the records that meet a condition",
            description: "\
`where: <condition>` forwards a record, byte for byte, if the condition is true, and drops it (reason `where`) if it is \
false. The condition must be true or false by the types; a value that may be null is compared (`.price != null`). \
YAML wants quotes around a condition that begins with `%`: `where: '%key == \"a\"'`.

A record on which the condition fails, or gives something else than true or false, becomes a dead letter of class `data` \
(`expression_failed`, `expression_timed_out`, `expression_aborted`), never a silent drop.

A tombstone passes unless the condition uses metadata only; then it is decided as any record.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{"type": ["string", "boolean"], "description": "a VRL condition"}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let condition =
            Arc::new(Expression::compile_with(with, cx.input, options::expression(Purpose::Condition, cx))?);
        Ok(Checked {
            long: None,
            outputs: Outputs::Single,
            types: vec![cx.input.clone()],
            effects: false,
            reads: condition.reads().clone(),
            warnings: condition.warnings().to_vec(),
            build: Arc::new(move || {
                Built::Compute(Box::new(Where { condition: Arc::clone(&condition), state: ExprState::new() }))
            }),
        })
    }
}

struct Where {
    condition: Arc<Expression>,
    state: ExprState,
}

impl Compute for Where {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        if record.payload.is_null() && self.condition.reads_payload() {
            return Outcome::Forward;
        }
        match self.condition.test(&mut self.state, record) {
            Ok(true) => Outcome::Forward,
            Ok(false) => Outcome::Drop("where"),
            Err(failure) => failure.into(),
        }
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "Only positive quantities; a record that cannot be decided is a dead letter",
        yaml: "where: .quantity > 0",
        fields: "{ quantity: integer }",
        input: "{\"quantity\": 2}\n{\"quantity\": -1}\n{\"quantity\": \"two\"}",
        output: "{\"value\": {\"quantity\": 2}}\n{\"dropped\": \"where\"}\n{\"failed\": \"expression_failed\"}",
    },
    Example {
        title: "Null and missing are null",
        yaml: "where: .customer_id != null",
        fields: "{ customer_id: string? }",
        input: "{\"customer_id\":\"17850\"}\n{\"customer_id\":null}\n{}",
        output: "{\"value\":{\"customer_id\":\"17850\"}}\n{\"dropped\":\"where\"}\n{\"dropped\":\"where\"}",
    },
];
