//! `map`: changes a record with an expression.

use std::sync::Arc;

use millstream_expr::{ExprState, Expression, Purpose};
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Example, FilterSpec, Issue, Node, Outcome, Outputs, Page, Record,
};

use crate::options;

/// The filter `map`.
pub(crate) struct MapSpec;

impl FilterSpec for MapSpec {
    fn name(&self) -> &'static str {
        "map"
    }

    fn page(&self) -> Page {
        Page {
            summary: "changes each record with an expression",
            description: "\
`map: <statements>` runs VRL statements on each record. `.` is the decoded payload: assign fields (`.total = …`), delete \
them (`del(.field)`), or replace the whole (`. = { … }`). `%key` and `%headers.NAME` can be assigned too, with text or \
null.

What the statements do not touch keeps its text: the digits of numbers, the order of members, white space. Assigning the \
payload from a new object keeps the text of members whose value is the same.

A record on which an expression fails becomes a dead letter of class `data`: `expression_failed` (a function that failed, \
an integer that overflows 64 bits, a value that does not fit its declared type, a field assigned to what is no object), \
`expression_aborted` (the statement `abort`), `expression_timed_out` (longer than the stage's `timeout`, and than one \
second), `number_out_of_range` (it reads a number beyond 1.8e308). The change of one record is all or nothing.

Assigning replaces nothing on its way: `.a.b = 1` makes `.a` an object where it is missing or null, and fails where it \
is a number, a text or an array. An integer beyond 64 bits is computed with as the nearest float.

A tombstone passes unless the statements use metadata only; then they run on it as on any record.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{"type": "string", "minLength": 1, "description": "VRL statements"}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let expression =
            Arc::new(Expression::compile_with(with, cx.input, options::expression(Purpose::Statement, cx))?);
        Ok(Checked {
            long: None,
            outputs: Outputs::Single,
            types: vec![expression.target().clone()],
            effects: false,
            reads: expression.reads().clone(),
            warnings: expression.warnings().to_vec(),
            build: Arc::new(move || {
                Built::Compute(Box::new(Map { expression: Arc::clone(&expression), state: ExprState::new() }))
            }),
        })
    }
}

struct Map {
    expression: Arc<Expression>,
    state: ExprState,
}

impl Compute for Map {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        if record.payload.is_null() && self.expression.reads_payload() {
            return Outcome::Forward;
        }
        match self.expression.run(&mut self.state, record) {
            Ok(()) => Outcome::Forward,
            Err(failure) => failure.into(),
        }
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "A computed field; the rest keeps its text",
        yaml: "map: .total = .quantity * .unit_price",
        fields: "{ quantity: integer, unit_price: number }",
        input: r#"{"quantity": 4, "unit_price": 2.50, "note": "as it was"}"#,
        output: r#"{"value": {"quantity": 4, "unit_price": 2.50, "note": "as it was", "total": 10.0}}"#,
    },
    Example {
        title: "Several statements, a condition, a deletion",
        yaml: "map: |\n  .sku = upcase(.sku)\n  if .quantity < 0 { .kind = \"refund\" }\n  del(.internal)",
        fields: "{ sku: string, quantity: integer }",
        input: "{\"sku\":\"a1\",\"quantity\":-1,\"internal\":7}\n{\"sku\":\"b2\",\"quantity\":1}",
        output: "{\"value\":{\"sku\":\"A1\",\"quantity\":-1,\"kind\":\"refund\"}}\n{\"value\":{\"sku\":\"B2\",\"quantity\":1}}",
    },
    Example {
        title: "What does not fit its type, or overflows, is a dead letter",
        yaml: "map: .double = .n * 2",
        fields: "{ n: integer }",
        input: "{\"n\":21}\n{\"n\":\"21\"}\n{\"n\":9223372036854775807}",
        output: "{\"value\":{\"n\":21,\"double\":42}}\n{\"failed\":\"expression_failed\"}\n{\"failed\":\"expression_failed\"}",
    },
];
