//! `route`: sends each record to the first output whose condition it meets.

use std::sync::Arc;

use millstream_expr::{ExprState, Expression, Purpose};
use millstream_filter_api::{
    Built, CheckContext, Checked, Compute, Emission, Example, FilterSpec, Issue, Node, NodeKind, Outcome, Outputs,
    Page, Reads, Record,
};

use crate::options;

/// The filter `route`.
pub(crate) struct RouteSpec;

impl FilterSpec for RouteSpec {
    fn name(&self) -> &'static str {
        "route"
    }

    fn page(&self) -> Page {
        Page {
            summary: "sends each record to the first output whose condition it meets",
            description: "\
`route: { output: <condition>, … }` has one output per key. Conditions are tried in the order of the file; the first that \
is true decides, and the record goes on byte for byte. `true` as the last condition takes the rest; a record that meets \
none is dropped (reason `route`).

A record on which a condition fails before one was true becomes a dead letter of class `data` (`expression_failed`, \
`expression_timed_out`, `expression_aborted`).

A tombstone goes to every output, because nobody can tell where the value that it deletes went. Route has several outputs, \
so it is the last filter of its stage.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "minProperties": 1,
  "description": "name of an output -> VRL condition; the first that is true decides",
  "additionalProperties": {"type": ["string", "boolean"]}
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let pairs = match &with.kind {
            NodeKind::Map(pairs) if !pairs.is_empty() => pairs,
            _ => {
                let found = if with.as_map().is_some() { "an empty map" } else { with.describe() };
                let message = format!("expected a map of outputs and their conditions, found {found}");
                let issue = Issue::error(with.span, "wrong_type", message);
                return Err(vec![issue.help("such as `{ refunds: .quantity < 0, orders: true }`")]);
            }
        };
        let (mut names, mut conditions) = (Vec::new(), Vec::new());
        let (mut issues, mut warnings) = (Vec::new(), Vec::new());
        let mut all_taken: Option<&str> = None;
        for (key, node) in pairs {
            let name = key.as_text().unwrap_or("");
            if let Some(taker) = all_taken {
                let message = format!("no record reaches output `{name}`: `{taker}` before it takes all");
                warnings.push(Issue::warning(key.span, "unreachable_output", message));
            }
            if node.kind == NodeKind::Bool(true) || node.as_text().is_some_and(|t| t.trim() == "true") {
                all_taken = all_taken.or(Some(name));
            }
            match Expression::compile_with(node, cx.input, options::expression(Purpose::Condition, cx)) {
                Ok(condition) => {
                    warnings.extend(condition.warnings().iter().cloned());
                    names.push(name.to_owned());
                    conditions.push(condition);
                }
                Err(found) => issues.extend(found),
            }
        }
        if !issues.is_empty() {
            return Err(issues);
        }
        let conditions: Arc<[Expression]> = conditions.into();
        Ok(Checked {
            long: None,
            types: vec![cx.input.clone(); names.len()],
            outputs: Outputs::Named(names),
            effects: false,
            reads: conditions.iter().map(|c| c.reads().clone()).fold(Reads::nothing(), Reads::and),
            warnings,
            build: Arc::new(move || {
                Built::Compute(Box::new(Route { conditions: Arc::clone(&conditions), state: ExprState::new() }))
            }),
        })
    }
}

struct Route {
    conditions: Arc<[Expression]>,
    state: ExprState,
}

impl Compute for Route {
    fn apply(&mut self, record: &mut Record) -> Outcome {
        if record.payload.is_null() && self.conditions.iter().any(Expression::reads_payload) {
            let outputs = 0..self.conditions.len() as u16;
            return Outcome::Emit(outputs.map(|output| Emission { output, record: record.clone() }).collect());
        }
        for (output, condition) in (0..).zip(self.conditions.iter()) {
            match condition.test(&mut self.state, record) {
                Ok(true) => return Outcome::ForwardTo(output),
                Ok(false) => {}
                Err(failure) => return failure.into(),
            }
        }
        Outcome::Drop("route")
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "Refunds apart from orders",
        yaml: "route: { refunds: .quantity < 0, orders: true }",
        fields: "{ quantity: integer }",
        input: "{\"quantity\": -1}\n{\"quantity\": 3}\n{\"quantity\": null}",
        output: "{\"output\": \"refunds\", \"value\": {\"quantity\": -1}}\n{\"output\": \"orders\", \"value\": {\"quantity\": 3}}\n{\"failed\": \"expression_failed\"}",
    },
    Example {
        title: "What meets no condition is dropped",
        yaml: "route:\n  eu: .region == \"eu\"\n  us: .region == \"us\"",
        fields: "{ region: string }",
        input: "{\"region\":\"us\"}\n{\"region\":\"mars\"}",
        output: "{\"output\":\"us\",\"value\":{\"region\":\"us\"}}\n{\"dropped\":\"route\"}",
    },
];
