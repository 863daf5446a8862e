//! Reading what one schema has written as the values of another, by the rules of the Avro specification: fields are matched by
//! name or alias, those that nobody asks for are passed over, those that were not written have their default, numbers are
//! widened. What matches is found once for each pair of schemas, and is a plan that data are read by.

use std::collections::HashMap;

use bytes::Bytes;
use millstream_filter_api::Value;
use vrl::value::KeyString;

use super::decode::{Fault, Read, Reader, Why};
use super::schema::{AvroSchema, Field, Id, Type};

/// How data of one schema are read as values of another.
#[derive(Debug)]
pub(crate) struct Resolution {
    writer: AvroSchema,
    steps: Vec<Step>,
    root: StepId,
}

type StepId = usize;

#[derive(Debug)]
enum Step {
    /// The same bytes mean the same: read by the reader's type.
    As(Type),
    /// A number that becomes a float; of 32 bits where the reader's is.
    Widen {
        from: Base,
        narrow: bool,
    },
    /// The reader's symbol for each of the writer's, and why there is none.
    Enum(Vec<Result<Bytes, String>>),
    Array(StepId),
    Map(StepId),
    /// Fields as they were written, and those that were not.
    Record {
        fields: Vec<Taken>,
        defaults: Vec<(KeyString, Value)>,
    },
    /// One for each branch of the writer's.
    Union(Vec<StepId>),
    /// No such datum can be read.
    Never(String),
}

#[derive(Debug)]
enum Taken {
    Into(KeyString, StepId),
    Skip(Id),
}

/// What a type is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum,
    Array,
    Map,
    Record,
    Union,
}

impl Resolution {
    /// Matches what was written with what is wanted.
    pub(crate) fn new(writer: &AvroSchema, reader: &AvroSchema) -> Self {
        let mut resolver = Resolver { writer, reader, steps: Vec::new(), known: HashMap::new() };
        let root = resolver.step(writer.root(), reader.root());
        Self { steps: resolver.steps, root, writer: writer.clone() }
    }

    /// Decodes one datum of the writer's schema.
    pub(super) fn read(&self, raw: &Bytes) -> Read<Value> {
        let mut reader = Reader::new(self.writer.types(), raw);
        let value = self.value(&mut reader, self.root);
        reader.end(value)
    }

    /// Why data cannot be read, whatever is in them; where that hangs on the datum nothing is said.
    pub(crate) fn misfits(&self) -> Vec<String> {
        let (mut told, mut seen) = (Vec::new(), vec![false; self.steps.len()]);
        self.look(self.root, &mut String::new(), &mut seen, &mut told);
        told
    }

    fn look(&self, step: StepId, path: &mut String, seen: &mut [bool], told: &mut Vec<String>) {
        if std::mem::replace(&mut seen[step], true) {
            return;
        }
        let length = path.len();
        match &self.steps[step] {
            Step::Never(why) if path.is_empty() => told.push(why.clone()),
            Step::Never(why) => told.push(format!("`{path}`: {why}")),
            Step::Array(items) => {
                path.push_str("[]");
                self.look(*items, path, seen, told);
            }
            Step::Record { fields, .. } => {
                for field in fields {
                    let Taken::Into(name, step) = field else { continue };
                    path.push('.');
                    path.push_str(name);
                    self.look(*step, path, seen, told);
                    path.truncate(length);
                }
            }
            Step::Map(values) => self.look(*values, path, seen, told),
            Step::Union(branches) if branches.iter().all(|b| matches!(self.steps[*b], Step::Never(_))) => {
                branches.iter().take(1).for_each(|branch| self.look(*branch, path, seen, told));
            }
            Step::Union(_) | Step::As(_) | Step::Widen { .. } | Step::Enum(_) => {}
        }
        path.truncate(length);
    }

    fn value(&self, reader: &mut Reader<'_>, step: StepId) -> Read<Value> {
        Ok(match &self.steps[step] {
            Step::As(leaf) => reader.leaf(leaf)?,
            Step::Widen { from, narrow } => {
                let whole = if *from == Base::Int { reader.int()?.into() } else { reader.long()? };
                let float = if *narrow { f64::from(whole as f32) } else { whole as f64 };
                Value::from_f64_or_zero(float)
            }
            Step::Enum(symbols) => {
                let index = reader.long()?;
                match usize::try_from(index).ok().and_then(|index| symbols.get(index)) {
                    Some(Ok(symbol)) => Value::Bytes(symbol.clone()),
                    Some(Err(why)) => return unfit(why),
                    None => return reader.fault(format_args!("the enum has no symbol {index}")),
                }
            }
            Step::Array(items) => {
                reader.enter()?;
                let mut array = Vec::new();
                reader.blocks(|reader| {
                    let item = self.value(reader, *items).map_err(|f| f.below(|| format!("[{}]", array.len())))?;
                    array.push(item);
                    Ok(())
                })?;
                reader.leave();
                Value::Array(array)
            }
            Step::Map(values) => {
                reader.enter()?;
                let mut object = vrl::value::ObjectMap::new();
                reader.blocks(|reader| {
                    let key = String::from_utf8_lossy(&reader.text()?).into_owned();
                    let value = self.value(reader, *values).map_err(|f| f.below(|| format!(".{key}")))?;
                    object.insert(key.into(), value);
                    Ok(())
                })?;
                reader.leave();
                Value::Object(object)
            }
            Step::Record { fields, defaults } => {
                reader.enter()?;
                let mut object = vrl::value::ObjectMap::new();
                for field in fields {
                    match field {
                        Taken::Into(name, step) => {
                            let value = self.value(reader, *step).map_err(|f| f.below(|| format!(".{name}")))?;
                            object.insert(name.clone(), value);
                        }
                        Taken::Skip(id) => skip(reader, *id)?,
                    }
                }
                object.extend(defaults.iter().cloned());
                reader.leave();
                Value::Object(object)
            }
            Step::Union(branches) => {
                let index = reader.long()?;
                match usize::try_from(index).ok().and_then(|index| branches.get(index)) {
                    Some(branch) => self.value(reader, *branch)?,
                    None => return reader.fault(format_args!("the union has no branch {index}")),
                }
            }
            Step::Never(why) => return unfit(why),
        })
    }
}

#[cold]
fn unfit<T>(why: &str) -> Read<T> {
    Err(Fault { what: why.to_owned(), path: Vec::new(), why: Why::Unfit })
}

/// Passes over a datum. What no value could hold is no fault here: nobody asks for it.
fn skip(reader: &mut Reader<'_>, id: Id) -> Read<()> {
    let types = reader.types;
    match &types[id] {
        Type::Union(branches) => {
            let index = reader.long()?;
            match usize::try_from(index).ok().and_then(|index| branches.get(index)) {
                Some(branch) => skip(reader, *branch)?,
                None => return reader.fault(format_args!("the union has no branch {index}")),
            }
        }
        Type::Array(items) => {
            reader.enter()?;
            reader.blocks(|reader| skip(reader, *items))?;
            reader.leave();
        }
        Type::Map(values) => {
            reader.enter()?;
            reader.blocks(|reader| {
                reader.bytes()?;
                skip(reader, *values)
            })?;
            reader.leave();
        }
        Type::Record(fields) => {
            reader.enter()?;
            for field in fields {
                skip(reader, field.of)?;
            }
            reader.leave();
        }
        leaf => match base(leaf) {
            Base::Null => {}
            Base::Boolean => drop(reader.take(1)?),
            Base::Int | Base::Long | Base::Enum => drop(reader.long()?),
            Base::Float => drop(reader.take(4)?),
            Base::Double => drop(reader.take(8)?),
            Base::Bytes | Base::String => drop(reader.bytes()?),
            Base::Fixed(size) => drop(reader.take(size)?),
            Base::Array | Base::Map | Base::Record | Base::Union => debug_assert!(false, "passed over above"),
        },
    }
    Ok(())
}

struct Resolver<'a> {
    writer: &'a AvroSchema,
    reader: &'a AvroSchema,
    steps: Vec<Step>,
    /// Types may contain themselves.
    known: HashMap<(Id, Id), StepId>,
}

impl Resolver<'_> {
    fn step(&mut self, w: Id, r: Id) -> StepId {
        if let Some(known) = self.known.get(&(w, r)) {
            return *known;
        }
        let id = self.steps.len();
        self.steps.push(Step::Never(String::new()));
        self.known.insert((w, r), id);
        self.steps[id] = self.make(w, r);
        id
    }

    fn make(&mut self, w: Id, r: Id) -> Step {
        let (writer, reader) = (self.writer, self.reader);
        match (&writer.types()[w], &reader.types()[r]) {
            (Type::Union(branches), _) => Step::Union(branches.iter().map(|branch| self.step(*branch, r)).collect()),
            (_, Type::Union(branches)) => {
                let exact = branches.iter().find(|branch| self.matches(w, **branch, true));
                let chosen = exact.or_else(|| branches.iter().find(|branch| self.matches(w, **branch, false)));
                match chosen {
                    // Of the same data: no step between.
                    Some(branch) => self.make(w, *branch),
                    None => Step::Never(format!("no branch of the reader's union takes {}", self.told(w))),
                }
            }
            (from, to) if !self.matches(w, r, false) => {
                let kinds = (base(from), base(to));
                match kinds.0 == kinds.1 && matches!(kinds.0, Base::Record | Base::Enum | Base::Fixed(_)) {
                    true => Step::Never(format!(
                        "{} was written, and the reader's is `{}`; an alias would say that they are one",
                        self.told(w),
                        name_of(reader, r)
                    )),
                    false => Step::Never(format!("{} was written, and the reader wants {:?}", self.told(w), kinds.1)),
                }
            }
            (Type::Array(w), Type::Array(r)) => Step::Array(self.step(*w, *r)),
            (Type::Map(w), Type::Map(r)) => Step::Map(self.step(*w, *r)),
            (Type::Record(written), Type::Record(wanted)) => self.record(r, written, wanted),
            (Type::Enum(written), Type::Enum(wanted)) => {
                let default = reader.names().symbols.get(&r);
                let symbol = |symbol: &Bytes| match (wanted.contains(symbol), default) {
                    (true, _) => Ok(symbol.clone()),
                    (false, Some(default)) => Ok(default.clone()),
                    (false, None) => {
                        let symbol = String::from_utf8_lossy(symbol);
                        Err(format!("`{symbol}` is no symbol of the reader's enum, which has no default"))
                    }
                };
                Step::Enum(written.iter().map(symbol).collect())
            }
            (from, to) => match logical_misfit(from, to) {
                Some(why) => Step::Never(why),
                None => match (base(from), base(to)) {
                    (whole @ (Base::Int | Base::Long), float @ (Base::Float | Base::Double)) => {
                        Step::Widen { from: whole, narrow: float == Base::Float }
                    }
                    // The value is the same, and the bytes are those of the writer's.
                    (Base::Float, Base::Double) => Step::As(Type::Float),
                    _ => Step::As(to.clone()),
                },
            },
        }
    }

    fn record(&mut self, r: Id, written: &[Field], wanted: &[Field]) -> Step {
        let reader = self.reader;
        let aliases = |n: usize| reader.names().fields.get(&(r, n)).map_or(&[][..], Vec::as_slice);
        // The field that is of that name, before one that was.
        let place = |name: &str| {
            let own = wanted.iter().position(|field| field.name.as_str() == name);
            own.or_else(|| (0..wanted.len()).find(|n| aliases(*n).iter().any(|alias| alias == name)))
        };
        let mut found = vec![false; wanted.len()];
        let mut fields = Vec::with_capacity(written.len());
        for field in written {
            fields.push(match place(&field.name).filter(|n| !found[*n]) {
                Some(n) => {
                    found[n] = true;
                    Taken::Into(wanted[n].name.clone(), self.step(field.of, wanted[n].of))
                }
                None => Taken::Skip(field.of),
            });
        }
        let mut defaults = Vec::new();
        for (field, _) in wanted.iter().zip(&found).filter(|(_, found)| !**found) {
            let read = field.default.as_ref().map(|datum| Reader::new(reader.types(), datum).value(field.of));
            match read {
                Some(Ok(value)) => defaults.push((field.name.clone(), value)),
                Some(Err(fault)) => return Step::Never(format!("the default of `{}`: {}", field.name, fault.tell())),
                None => {
                    return Step::Never(format!(
                        "the field `{}` was not written, and the reader's has no default",
                        field.name
                    ));
                }
            }
        }
        Step::Record { fields, defaults }
    }

    /// Whether data of the one may be data of the other, without what is inside. `exact`: without widening.
    fn matches(&self, w: Id, r: Id, exact: bool) -> bool {
        match (base(&self.writer.types()[w]), base(&self.reader.types()[r])) {
            (Base::Fixed(a), Base::Fixed(b)) => a == b && self.same_name(w, r),
            (Base::Record, Base::Record) | (Base::Enum, Base::Enum) => self.same_name(w, r),
            (a, b) if a == b => true,
            _ if exact => false,
            (Base::Int, Base::Long | Base::Float | Base::Double) => true,
            (Base::Long, Base::Float | Base::Double) => true,
            (Base::Float, Base::Double) => true,
            (Base::String, Base::Bytes) | (Base::Bytes, Base::String) => true,
            _ => false,
        }
    }

    /// By the name without its namespace, or an alias of the reader's.
    fn same_name(&self, w: Id, r: Id) -> bool {
        let written = name_of(self.writer, w);
        let last = |name: &str| name.rsplit('.').next().unwrap_or("").to_owned();
        let names = self.reader.names().types.get(&r);
        names.is_some_and(|names| names.iter().any(|name| name == written || last(name) == last(written)))
    }

    fn told(&self, w: Id) -> String {
        match base(&self.writer.types()[w]) {
            of @ (Base::Record | Base::Enum | Base::Fixed(_)) => format!("{of:?} `{}`", name_of(self.writer, w)),
            of => format!("{of:?}"),
        }
    }
}

fn name_of(schema: &AvroSchema, id: Id) -> &str {
    schema.names().types.get(&id).and_then(|names| names.first()).map_or("", String::as_str)
}

/// Bytes that mean something else to the reader: the numbers are in other units.
fn logical_misfit(from: &Type, to: &Type) -> Option<String> {
    let units = |of: &Type| match of {
        Type::Decimal { scale, .. } => Some(format!("a decimal with {scale} digits behind the point")),
        Type::Date => Some("a date".to_owned()),
        Type::Time { per_second } => Some(format!("a time in 1/{per_second} s")),
        Type::Timestamp { per_second } => Some(format!("a timestamp in 1/{per_second} s")),
        Type::LocalTimestamp { per_second } => Some(format!("a local timestamp in 1/{per_second} s")),
        Type::Duration => Some("a duration".to_owned()),
        Type::Uuid { fixed: true } => Some("a UUID".to_owned()),
        _ => None,
    };
    let (from, to) = (units(from)?, units(to)?);
    (from != to).then(|| format!("{from} was written, and the reader wants {to}"))
}

fn base(of: &Type) -> Base {
    match of {
        Type::Null => Base::Null,
        Type::Boolean => Base::Boolean,
        Type::Int | Type::Date | Type::Time { per_second: 1_000 } => Base::Int,
        Type::Long | Type::Time { .. } | Type::Timestamp { .. } | Type::LocalTimestamp { .. } => Base::Long,
        Type::Float => Base::Float,
        Type::Double => Base::Double,
        Type::Bytes | Type::Decimal { size: None, .. } => Base::Bytes,
        Type::String | Type::Uuid { fixed: false } => Base::String,
        Type::Fixed(size) | Type::Decimal { size: Some(size), .. } => Base::Fixed(*size),
        Type::Uuid { fixed: true } => Base::Fixed(16),
        Type::Duration => Base::Fixed(12),
        Type::Enum(_) => Base::Enum,
        Type::Array(_) => Base::Array,
        Type::Map(_) => Base::Map,
        Type::Record(_) => Base::Record,
        Type::Union(_) => Base::Union,
    }
}
