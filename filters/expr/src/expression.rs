//! One compiled expression.

use std::sync::Arc;
use std::time::Duration;

use millstream_filter_api::{Issue, Kind, Node, NodeKind, OwnedValuePath, Reads, Record, Severity, Value};
use vrl::compiler::state::{ExternalEnv, LocalEnv};
use vrl::compiler::unused_expression_checker::check_for_unused_results;
use vrl::compiler::{CompileConfig, Compiler, Program, TypeState};
use vrl::diagnostic::{DiagnosticList, Span};
use vrl::parser::ast::{self, RootExpr};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};

use crate::diagnose::{self, CODE};
use crate::failure::ExprFailure;
use crate::fields::{self, Unknown};
use crate::functions::FUNCTIONS;
use crate::metadata::{self, Plan};
use crate::rewrite::{Facts, rewrite};
use crate::state::{ExprState, time_limit};
use crate::target::{Access, RecordTarget};

/// Longest text of an expression, in bytes.
const MAX_SOURCE: usize = 16 * 1024;

const COMPILER_STACK: usize = 256 * 1024 * 1024;

/// What an expression is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Changes the record (`map`).
    Statement,
    /// Decides: must be true or false by its types, and changes nothing.
    Condition,
    /// Gives a value and changes nothing.
    Value,
}

/// How to compile an expression.
#[derive(Clone, Debug)]
pub struct Options {
    /// What it is for.
    pub purpose: Purpose,
    /// Metadata names beside the usual ones, with their types, such as `n` for `%n`. Read-only; their values come from
    /// [`ExprState::set_extra`].
    pub extra: Vec<(&'static str, Kind)>,
    /// Longest run for one record. Looked at between steps of the expression: a single slow function is not cut short.
    pub limit: Duration,
}

impl Options {
    /// No more names, one second a record.
    pub fn new(purpose: Purpose) -> Self {
        Self { purpose, extra: Vec::new(), limit: Duration::from_secs(1) }
    }
}

/// A compiled expression. It can be shared between workers, each with its own [`ExprState`].
#[derive(Debug)]
pub struct Expression {
    program: Program,
    source: String,
    options: Options,
    plan: Plan,
    /// Paths of the payload that a run may change; the whole payload is the empty path.
    touched: Arc<[OwnedValuePath]>,
    /// Paths given to `exists` and read nowhere.
    tested: Vec<OwnedTargetPath>,
    result: Kind,
    target: Kind,
    warnings: Vec<Issue>,
    reads: Reads,
}

impl Expression {
    /// Compiles the text of `node` (or a bare `true`, number or null as that value) for payloads of type `input`.
    ///
    /// # Errors
    /// Every problem at its place in the file: VRL's own diagnoses, fields and metadata that the types do not know,
    /// a condition that is not true or false.
    pub fn compile(node: &Node, input: &Kind, purpose: Purpose) -> Result<Self, Vec<Issue>> {
        Self::compile_with(node, input, Options::new(purpose))
    }

    /// As [`Expression::compile`], with more to say.
    pub fn compile_with(node: &Node, input: &Kind, options: Options) -> Result<Self, Vec<Issue>> {
        // VRL's parser recurses before anything can look at how deep a text is nested. On a stack of this size (which
        // costs address space only) the longest text allowed cannot overflow it.
        let compile = || Self::compile_here(node, input, options);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(COMPILER_STACK).spawn_scoped(scope, compile);
            match thread.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(compiled)) => compiled,
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                Err(e) => {
                    let message = format!("no thread to compile the expression on: {e}");
                    Err(vec![Issue::error(node.span, CODE, message)])
                }
            }
        })
    }

    fn compile_here(node: &Node, input: &Kind, options: Options) -> Result<Self, Vec<Issue>> {
        let source = source(node, options.purpose).map_err(|issue| vec![*issue])?;
        let metadata = metadata::kind(&options.extra);
        let state = TypeState {
            local: LocalEnv::default(),
            external: ExternalEnv::new_with_kind(input.clone(), metadata.clone()),
        };
        let parse = || vrl::parser::parse(&source).map_err(|e| syntax(e, node));
        let (rewritten, facts) = rewrite(parse()?, true);
        if facts.too_deep {
            return Err(vec![too_large(node)]);
        }
        let plain = parse()?;
        let unused = check_for_unused_results(&plain);
        let (plain, _) = rewrite(plain, false);
        let unknown = fields::unknown(&facts, input, &metadata);
        let mut issues: Vec<Issue> = unknown.iter().map(|u| unknown_issue(u, node)).collect();
        issues.extend(unassignable(&facts, node));
        let compiled = match Compiler::compile(&FUNCTIONS, plain, &state, config(&options)) {
            Ok(compiled) => compiled,
            Err(errors) => {
                issues.extend(diagnose::issues(&errors, node, &unknown, Severity::Error));
                issues.sort_by_key(|i| i.span);
                return Err(issues);
            }
        };
        let info = compiled.program.final_type_info();
        let result = info.result.kind().union(info.result.returns().clone());
        if options.purpose == Purpose::Condition && !result.is_boolean() && unknown.is_empty() {
            issues.push(not_boolean(node, &source, &result));
        }
        if !issues.is_empty() {
            return Err(issues);
        }
        let mut warnings = diagnose::issues(&compiled.warnings, node, &[], Severity::Warning);
        warnings.extend(diagnose::issues(&unused, node, &[], Severity::Warning));
        let touched = touched(&facts);
        let plan = Plan::new(&facts, &options.extra);
        let statement = options.purpose == Purpose::Statement;
        if statement && touched.is_empty() && !plan.writes() && !compiled.program.info().abortable {
            warnings.push(without_effect(node, &source));
        }
        let program = if facts.rewritten || statement {
            checked(rewritten, statement, &state, &options).map_err(|e| {
                let mut issues = diagnose::issues(&e, node, &[], Severity::Error);
                for issue in &mut issues {
                    issue.help = Some("give a part that assigns a variable a line of its own".to_owned());
                }
                issues
            })?
        } else {
            compiled.program
        };
        let target = info.state.external.target_kind().clone();
        let reads = facts.read_members();
        let read = |path: &OwnedTargetPath| facts.reads.iter().any(|(p, _)| p == path);
        let tested = facts.tests.iter().filter(|p| !read(p)).cloned().collect();
        Ok(Self { program, source, options, plan, touched, tested, result, target, warnings, reads })
    }

    /// Type of the value it gives.
    pub fn result(&self) -> &Kind {
        &self.result
    }

    /// Type of the payload after it ran.
    pub fn target(&self) -> &Kind {
        &self.target
    }

    /// Paths of the payload that a run may change.
    pub fn touched(&self) -> &Arc<[OwnedValuePath]> {
        &self.touched
    }

    /// Whether it reads or changes anything of the payload; `false` when metadata alone decides.
    pub fn reads_payload(&self) -> bool {
        self.reads != Reads::nothing()
    }

    /// What it reads or changes of the payload.
    pub fn reads(&self) -> &Reads {
        &self.reads
    }

    /// Remarks that do not stop a run.
    pub fn warnings(&self) -> &[Issue] {
        &self.warnings
    }

    /// Runs a statement on a record: changes its payload, key and headers.
    ///
    /// # Errors
    /// On failure the decoded payload may be changed in part (key and headers are not): the record is to be given up
    /// or decoded anew. A dead letter carries the bytes as read.
    pub fn run(&self, state: &mut ExprState, record: &mut Record) -> Result<(), ExprFailure> {
        self.plan.fill(state, record);
        if self.touched.is_empty() {
            let payload = record.payload.value().unwrap_or(&Value::Null);
            self.resolve(state, Access::Read(payload), true)?;
        } else if let Some(payload) = record.payload.value_mut(&self.touched) {
            self.resolve(state, Access::Write(payload), true)?;
        } else {
            let mut made = Value::Null;
            self.resolve(state, Access::Write(&mut made), false)?;
            record.payload.replace(made);
        }
        if self.plan.writes() { self.plan.write_back(&state.metadata, record) } else { Ok(()) }
    }

    /// Runs a condition; neither the record nor anything of it is changed or cloned.
    ///
    /// # Errors
    /// The expression failed, or gave something else than true or false (a record that does not fit its types).
    pub fn test(&self, state: &mut ExprState, record: &Record) -> Result<bool, ExprFailure> {
        match self.value(state, record)? {
            Value::Boolean(decision) => Ok(decision),
            other => Err(ExprFailure::failed(format!(
                "the condition gave {}, not true or false",
                if other.is_null() { "null" } else { other.kind_str() }
            ))),
        }
    }

    /// Runs an expression for its value; the record is not changed.
    ///
    /// # Errors
    /// The expression failed.
    pub fn value(&self, state: &mut ExprState, record: &Record) -> Result<Value, ExprFailure> {
        self.plan.fill(state, record);
        self.resolve(state, Access::Read(record.payload.value().unwrap_or(&Value::Null)), true)
    }

    fn resolve(&self, state: &mut ExprState, payload: Access<'_>, present: bool) -> Result<Value, ExprFailure> {
        state.apply_seed();
        let ExprState { runtime, metadata, timezone, .. } = state;
        let mut target = RecordTarget::new(payload, present, metadata, &self.tested);
        let mut control = time_limit(self.options.limit);
        let end = runtime.resolve_with_control(&mut target, &self.program, timezone, &mut control);
        runtime.clear();
        match target.into_fault() {
            Some(fault) => Err(fault),
            None => end.map_err(|end| ExprFailure::from_vrl(end, &self.source)),
        }
    }
}

fn too_large(node: &Node) -> Issue {
    Issue::error(node.span, CODE, "the expression is too large or nested too deep")
        .help("at most 16 KiB, 100 levels and 12 calls within calls; give parts of it a variable")
}

fn source(node: &Node, purpose: Purpose) -> Result<String, Box<Issue>> {
    let expected = match purpose {
        Purpose::Statement => "an expression, such as `.total = .price * 2`",
        Purpose::Condition => "a condition, such as `.quantity > 0`",
        Purpose::Value => "an expression, such as `.price * 2`",
    };
    let text = match &node.kind {
        NodeKind::Text(text, _) if text.trim().is_empty() => Err("an empty text"),
        NodeKind::Text(text, _) if text.len() > MAX_SOURCE => return Err(Box::new(too_large(node))),
        NodeKind::Text(text, _) => Ok(text.clone()),
        NodeKind::List(_) | NodeKind::Map(_) => Err(node.describe()),
        _ if purpose == Purpose::Statement => Err(node.describe()),
        NodeKind::Null if purpose == Purpose::Condition => Err(node.describe()),
        NodeKind::Null => Ok("null".to_owned()),
        NodeKind::Bool(b) => Ok(b.to_string()),
        NodeKind::Integer(i) => Ok(i.to_string()),
        NodeKind::Float(f) => Ok(format!("{f:?}")),
    };
    text.map_err(|found| Box::new(Issue::error(node.span, "wrong_type", format!("expected {expected}, found {found}"))))
}

fn config(options: &Options) -> CompileConfig {
    let mut config = CompileConfig::default();
    if options.purpose == Purpose::Statement {
        for (path, recursive) in metadata::read_only(&options.extra) {
            config.set_read_only_path(path, recursive);
        }
    } else {
        config.set_read_only();
    }
    config
}

/// The program with checked operators; a statement ends in `null`, so that the last value assigned is not cloned.
fn checked(
    mut program: ast::Program,
    statement: bool,
    state: &TypeState,
    options: &Options,
) -> Result<Program, DiagnosticList> {
    if statement {
        let span = Span::default();
        let null = ast::Expr::Literal(ast::Node::new(span, ast::Literal::Null));
        program.0.push(ast::Node::new(span, RootExpr::Expr(ast::Node::new(span, null))));
    }
    Compiler::compile(&FUNCTIONS, program, state, config(options)).map(|c| c.program)
}

/// The paths of the payload that a program may change, as far as they are certain: an index from the end may mean any
/// element, a deletion moves elements, and `del(…, compact: true)` may remove what stands above.
fn touched(facts: &Facts) -> Arc<[OwnedValuePath]> {
    let mut touched: Vec<OwnedValuePath> = Vec::new();
    let event = |(path, _): &&(OwnedTargetPath, Span)| path.prefix == PathPrefix::Event;
    let from_end = |s: &OwnedSegment| matches!(s, OwnedSegment::Index(i) if *i < 0);
    let writes = facts.writes.iter().filter(event).map(|(p, _)| cut(p, from_end));
    let deleted = facts.deletes.iter().filter(event).map(|(p, _)| {
        let whole = cut(p, OwnedSegment::is_index);
        whole.segments.into_iter().take(1).collect::<Vec<_>>().into()
    });
    for path in writes.chain(deleted) {
        if !touched.contains(&path) {
            touched.push(path);
        }
    }
    touched.into()
}

fn cut(path: &OwnedTargetPath, at: impl Fn(&OwnedSegment) -> bool) -> OwnedValuePath {
    path.path.segments.iter().take_while(|s| !at(s)).cloned().collect::<Vec<_>>().into()
}

fn syntax(error: vrl::parser::Error, node: &Node) -> Vec<Issue> {
    let list = DiagnosticList::from(vec![Box::new(error) as Box<dyn vrl::diagnostic::DiagnosticMessage>]);
    diagnose::issues(&list, node, &[], Severity::Error)
}

fn unknown_issue(unknown: &Unknown, node: &Node) -> Issue {
    let span = node.span_of(unknown.span.start(), unknown.span.end());
    Issue::error(span, unknown.code, unknown.message.clone()).help(unknown.help.clone())
}

/// Assignments that VRL accepts and nobody would ever see.
fn unassignable(facts: &Facts, node: &Node) -> Vec<Issue> {
    let lost = |path: &OwnedTargetPath| match path.path.segments.as_slice() {
        [] => false, // refused by VRL: it holds read-only names
        [OwnedSegment::Field(name)] => metadata_name_is_unknown(name),
        [OwnedSegment::Field(name), OwnedSegment::Field(_)] if name.as_str() == "headers" => false,
        [OwnedSegment::Field(name), ..] => matches!(name.as_str(), "key" | "headers") || metadata_name_is_unknown(name),
        _ => true,
    };
    let written = facts.writes.iter().chain(&facts.deletes);
    let lost = written.filter(|(path, _)| path.prefix == PathPrefix::Metadata && lost(path));
    lost.map(|(path, span)| {
        Issue::error(node.span_of(span.start(), span.end()), "unknown_metadata", format!("`{path}` cannot be assigned"))
            .help("of the metadata, `%key` and `%headers.NAME` can be assigned")
    })
    .collect()
}

fn metadata_name_is_unknown(name: &str) -> bool {
    !matches!(name, "key" | "headers" | "id" | "topic" | "partition" | "offset" | "timestamp" | "attempt")
}

fn not_boolean(node: &Node, source: &str, result: &Kind) -> Issue {
    let span = node.span_of(0, source.trim_end().len());
    let message = format!("a condition must be true or false, and this is of type {result}");
    let help = if result.contains_boolean() {
        "declare its type under the source's `fields` or in its `schema`, or compare it: `… == true`"
    } else {
        "compare it with something, as in `… == \"x\"` or `… > 0`"
    };
    Issue::error(span, CODE, message).help(help)
}

fn without_effect(node: &Node, source: &str) -> Issue {
    Issue::warning(node.span_of(0, source.trim_end().len()), "without_effect", "this expression changes nothing")
        .help("assign what it gives, as in `.field = …`, or the whole payload: `. = …`")
}

#[cfg(test)]
#[path = "expression_tests.rs"]
mod tests;
