//! The filter traits and the factory behind a filter's name.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use vrl::value::{Kind, Value};

use crate::{CallContext, Issue, Node, Outcome, Reads, Record};

/// A filter as the pipeline language knows it: a name, a page, and a check that turns a configuration into something
/// that can be built once per replica.
pub trait FilterSpec: Send + Sync {
    /// The name in YAML: lower case, `[a-z][a-z0-9_]*`.
    fn name(&self) -> &'static str;

    /// What `millstream filters NAME` prints; the examples in it run as tests.
    fn page(&self) -> Page;

    /// JSON Schema (draft 2020-12) of what may stand under `with:`, as JSON text.
    fn config_schema(&self) -> &'static str;

    /// Checks a configuration against what arrives. Reports every issue, not the first. Does no I/O but `cx.files`.
    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>>;
}

/// What a check may know.
pub struct CheckContext<'a> {
    /// Type of the payload that arrives. [`Kind::any`] when nothing is known.
    pub input: &'a Kind,
    /// The JSON Schema of the pipeline's source, where it gives one as a file: (path as written, text).
    pub source_schema: Option<(&'a str, &'a str)>,
    /// Files beside the pipeline.
    pub files: &'a dyn Files,
    /// How long one record may take, the stage's `timeout`.
    pub timeout: Duration,
}

/// Reads files named in a pipeline, relative to it. A trait, so that checks can run without a disk.
pub trait Files {
    /// The whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// What stands at a path, without reading it.
    fn look(&self, _path: &Path) -> Found {
        Found::Unknown
    }

    /// The path as the process has it, for what is opened later, while the pipeline runs.
    fn place(&self, path: &Path) -> PathBuf {
        path.to_owned()
    }
}

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Something that can be read: a file, a pipe.
    File,
    /// A folder.
    Folder,
    /// Nothing.
    Nothing,
    /// Nobody can say.
    Unknown,
}

/// A configuration that passed its check.
pub struct Checked {
    /// Where records may go on to.
    pub outputs: Outputs,
    /// Type of the payload of each output, in the order of `outputs` (one entry for [`Outputs::Single`]).
    pub types: Vec<Kind>,
    /// Whether running it has effects outside the log (a call, a mail). Replays ask before running such filters.
    pub effects: bool,
    /// What it looks at or changes of a payload; the runtime need not decode the rest. What it gives to others, or writes
    /// in another form, it looks at.
    pub reads: Reads,
    /// Makes one instance; called once per replica.
    pub build: Arc<dyn Fn() -> Built + Send + Sync>,
    /// Remarks that do not stop a run.
    pub warnings: Vec<Issue>,
    /// Of a filter that calls out and keeps [checkpoints](CallContext::save): how long one call may take beyond the
    /// stage's `timeout`. `None`: it keeps none, and the stage's `timeout` is all it has.
    pub long: Option<Duration>,
}

/// The outputs of a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outputs {
    /// One, without a name.
    Single,
    /// Several, by name, in the order of their index in [`Outcome::ForwardTo`].
    Named(Vec<String>),
}

/// An instance of a filter, for one replica.
pub enum Built {
    /// Computes only: run on the replica's own thread, record by record.
    Compute(Box<dyn Compute>),
    /// Calls out: run in tokio, many at once, one per key.
    Call(Arc<dyn Call>),
}

/// A filter that only computes. It must not block, sleep or do I/O: it runs on the thread that keeps the replica alive.
pub trait Compute: Send {
    /// Processes one record in place. A panic is caught: the record becomes a dead letter of class `bug`, and the
    /// instance is built anew.
    fn apply(&mut self, record: &mut Record) -> Outcome;
}

/// A filter that calls out. The runtime bounds how many calls are in flight and ends each at the stage's timeout by
/// dropping the future, which must therefore leave nothing half done that another attempt cannot mend. One that takes
/// minutes or hours says so in [`Checked::long`] and keeps [checkpoints](CallContext::save).
pub trait Call: Send + Sync {
    /// Starts one call.
    fn call(self: Arc<Self>, record: Record, cx: CallContext) -> CallFuture;
}

/// What a call answers: the record as it goes on, and its fate.
pub struct Called {
    /// The record, changed or not.
    pub record: Record,
    /// Its fate.
    pub outcome: Outcome,
}

/// A call in flight.
pub type CallFuture = Pin<Box<dyn Future<Output = Called> + Send>>;

/// A filter's page in the reference.
#[derive(Clone, Debug)]
pub struct Page {
    /// One line, as `millstream filters` lists it.
    pub summary: &'static str,
    /// Markdown: what it does, each option with its default, what fails and with which code.
    pub description: &'static str,
    /// Worked examples; each runs as a test.
    pub examples: &'static [Example],
}

/// One worked example of a page.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it shows.
    pub title: &'static str,
    /// The filter as it stands in a stage's `filters:` list, YAML.
    pub yaml: &'static str,
    /// Types of the input's fields, in the short form of `fields:` (`{ a: integer }`), YAML; empty for none.
    pub fields: &'static str,
    /// JSON lines: payloads that arrive.
    pub input: &'static str,
    /// JSON lines: what happens to each, in order. `{"value": …}` goes on, `{"output": "name", "value": …}` goes on
    /// to a named output, `{"dropped": "reason"}`, `{"failed": "code"}`.
    pub output: &'static str,
}

/// For tests of filters: a record with this payload and nothing else.
impl From<Value> for Record {
    fn from(value: Value) -> Self {
        Self { payload: crate::Payload::from_value(value), ..Self::default() }
    }
}
