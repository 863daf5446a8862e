//! What an expression sees as `.` and `%`.

use std::cell::{Cell, RefCell};

use millstream_filter_api::Value;
use vrl::compiler::{SecretTarget, Target};
use vrl::path::{OwnedSegment, OwnedTargetPath, OwnedValuePath, PathPrefix};

use crate::failure::ExprFailure;

/// The payload of a record, readable or writable.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    /// For conditions: the payload is not cloned, and a write is refused. (The compiler refuses it before.)
    Read(&'a Value),
    Write(&'a mut Value),
}

/// A record as VRL sees it.
#[derive(Debug)]
pub(crate) struct RecordTarget<'a> {
    payload: Access<'a>,
    metadata: &'a mut Value,
    /// Paths whose being there is asked for, and nothing else.
    tested: &'a [OwnedTargetPath],
    /// Whether there is a payload: a field may be assigned where there is none, and not to one that is `null`.
    present: bool,
    /// VRL looks at the root before it runs a program; that is no reading.
    begun: Cell<bool>,
    /// VRL drops the errors of reads and writes: the first one stands here, and counts more than what it led to.
    fault: RefCell<Option<ExprFailure>>,
}

impl<'a> RecordTarget<'a> {
    pub(crate) fn new(
        payload: Access<'a>,
        present: bool,
        metadata: &'a mut Value,
        tested: &'a [OwnedTargetPath],
    ) -> Self {
        Self { payload, metadata, tested, present, begun: Cell::new(false), fault: RefCell::new(None) }
    }

    /// What was wrong with the first read or write that could not be.
    pub(crate) fn into_fault(self) -> Option<ExprFailure> {
        self.fault.into_inner()
    }

    fn note(&self, fault: ExprFailure) {
        self.fault.borrow_mut().get_or_insert(fault);
    }

    /// The root is never an absent `null`, but where nothing was decoded.
    fn fits(&self, payload: &Value, path: &[OwnedSegment]) -> Result<(), ExprFailure> {
        if payload.is_null() && self.present {
            return Err(ExprFailure::failed("the payload is null and has no fields to assign"));
        }
        room_for(payload, path).map_err(ExprFailure::failed)
    }
    fn root(&self, prefix: PathPrefix) -> &Value {
        match (prefix, &self.payload) {
            (PathPrefix::Metadata, _) => self.metadata,
            (PathPrefix::Event, Access::Read(value)) => value,
            (PathPrefix::Event, Access::Write(value)) => value,
        }
    }

    fn root_mut(&mut self, prefix: PathPrefix) -> Result<&mut Value, String> {
        match (prefix, &mut self.payload) {
            (PathPrefix::Metadata, _) => Ok(self.metadata),
            (PathPrefix::Event, Access::Write(value)) => Ok(value),
            (PathPrefix::Event, Access::Read(_)) => Err("the payload is read-only here".to_owned()),
        }
    }
}

impl Target for RecordTarget<'_> {
    fn target_insert(&mut self, path: &OwnedTargetPath, value: Value) -> Result<(), String> {
        if path.path.is_root() {
            *self.root_mut(path.prefix)? = value;
            return Ok(());
        }
        if let (PathPrefix::Event, Access::Write(payload)) = (path.prefix, &self.payload)
            && let Err(fault) = self.fits(payload, &path.path.segments)
        {
            let message = fault.message.clone();
            self.note(fault);
            return Err(message);
        }
        self.root_mut(path.prefix)?.insert(&path.path, value);
        Ok(())
    }

    fn target_get(&self, path: &OwnedTargetPath) -> Result<Option<&Value>, String> {
        let found = self.root(path.prefix).get(&path.path);
        if self.begun.replace(true)
            && path.prefix == PathPrefix::Event
            && let Some(value) = found
            && beyond_range(value)
            && !self.tested.contains(path)
        {
            self.note(ExprFailure::out_of_range(&path.to_string()));
        }
        Ok(found)
    }

    fn target_get_mut(&mut self, path: &OwnedTargetPath) -> Result<Option<&mut Value>, String> {
        Ok(self.root_mut(path.prefix)?.get_mut(&path.path))
    }

    fn target_remove(&mut self, path: &OwnedTargetPath, compact: bool) -> Result<Option<Value>, String> {
        Ok(self.root_mut(path.prefix)?.remove(&path.path, compact))
    }
}

/// Whether a number in it is beyond a float: infinite is what such a number decodes to. To look through a container
/// costs less than the copy that VRL makes of what it reads.
fn beyond_range(value: &Value) -> bool {
    match value {
        Value::Float(f) => f.is_infinite(),
        Value::Array(items) => items.iter().any(beyond_range),
        Value::Object(members) => members.values().any(beyond_range),
        _ => false,
    }
}

/// Whether a value can be put at `path`: to insert would replace a number, a text or an array on the way by an object
/// without a word. What is missing or null on the way below the root is made.
///
/// # Errors
/// What stands in the way, in words.
pub fn room_for(value: &Value, path: &[OwnedSegment]) -> Result<(), String> {
    let mut at = value;
    for (i, segment) in path.iter().enumerate() {
        let next = match (segment, at) {
            (_, Value::Null) => return Ok(()),
            (OwnedSegment::Field(name), Value::Object(members)) => members.get(name.as_str()),
            (OwnedSegment::Index(_), Value::Array(_)) => at.get(&OwnedValuePath::from(vec![segment.clone()])),
            (OwnedSegment::Field(_), other) => return Err(in_the_way(&path[..i], other, "fields")),
            (OwnedSegment::Index(_), other) => return Err(in_the_way(&path[..i], other, "elements")),
        };
        match next {
            Some(next) => at = next,
            None => return Ok(()),
        }
    }
    Ok(())
}

#[cold]
fn in_the_way(path: &[OwnedSegment], found: &Value, parts: &str) -> String {
    let place = match path {
        [] => "the payload".to_owned(),
        path => format!("`{}`", OwnedTargetPath::event(path.to_vec().into())),
    };
    format!("{place} is of type {} and has no {parts} to assign", found.kind_str())
}

/// Pipelines keep secrets out of expressions.
impl SecretTarget for RecordTarget<'_> {
    fn get_secret(&self, _: &str) -> Option<&str> {
        None
    }

    fn insert_secret(&mut self, _: &str, _: &str) {}

    fn remove_secret(&mut self, _: &str) {}
}
