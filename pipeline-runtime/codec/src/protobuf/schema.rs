//! A message type, compiled into lists that refer to each other by index: names are resolved once, and messages may contain
//! themselves.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use bytes::Bytes;
use prost_reflect::{Cardinality, EnumDescriptor, Kind, MessageDescriptor, Syntax};
use vrl::value::KeyString;

use super::files::ProtobufFiles;

/// Messages and enums of one type at most.
const MAX_TYPES: usize = 10_000;

/// A compiled message type. Cloning shares it.
#[derive(Clone)]
pub struct ProtobufSchema(Arc<Compiled>);

struct Compiled {
    files: ProtobufFiles,
    name: String,
    path: Vec<i32>,
    described: String,
    types: Types,
    root: Of,
}

/// All that a message type is made of.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Types {
    pub messages: Vec<Message>,
    pub enums: Vec<Enum>,
}

#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    pub name: String,
    /// In the order of their numbers.
    pub fields: Vec<Field>,
    /// Fields that are there in any case: their places.
    pub always: Vec<usize>,
    /// Those that must be.
    pub required: Vec<usize>,
    /// Of which one is set at most.
    pub oneofs: Vec<Vec<usize>>,
}

impl Message {
    /// The place of a field.
    pub fn field(&self, number: u32) -> Option<usize> {
        // Most are numbered from one on, without gaps.
        let guess = number as usize - 1;
        if self.fields.get(guess).is_some_and(|field| field.number == number) {
            return Some(guess);
        }
        self.fields.binary_search_by_key(&number, |field| field.number).ok()
    }
}

#[derive(Debug, PartialEq)]
pub(super) struct Field {
    pub number: u32,
    pub name: KeyString,
    pub of: Of,
    pub form: Form,
    /// The place of its `oneof`.
    pub oneof: Option<usize>,
}

/// How often a field is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Form {
    /// Or not.
    Optional,
    /// Its default is not written.
    Implicit,
    Required,
    List {
        packed: bool,
    },
    /// The field is of the type of its values.
    Map(Scalar),
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Of {
    Scalar(Scalar),
    Enum(usize),
    Message(usize),
    Group(usize),
    Known(Known),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Double,
    Float,
    Int32,
    Int64,
    Uint32,
    /// `text`: values are text.
    Uint64 {
        text: bool,
    },
    Sint32,
    Sint64,
    Fixed32,
    Fixed64 {
        text: bool,
    },
    Sfixed32,
    Sfixed64,
    Bool,
    String,
    Bytes,
}

/// Messages whose values are other than objects of their fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Known {
    Timestamp,
    Duration,
    Wrapper(Scalar),
    Struct,
    Value,
    List,
}

#[derive(Debug, PartialEq)]
pub(super) struct Enum {
    /// In the order of their numbers; of several names the first.
    pub names: Vec<(i32, Bytes)>,
    pub numbers: HashMap<Bytes, i32>,
    /// What is not in it counts as unknown.
    pub closed: bool,
    /// `google.protobuf.NullValue`.
    pub null: bool,
    /// The first one.
    pub default: i32,
}

impl Enum {
    pub fn name(&self, number: i32) -> Option<&Bytes> {
        let at = self.names.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        Some(&self.names[at].1)
    }
}

impl ProtobufSchema {
    pub(super) fn new(files: &ProtobufFiles, message: &MessageDescriptor, wide: bool) -> Result<Self, String> {
        let mut compiler = Compiler { wide, ..Compiler::default() };
        let root = compiler.message(message)?;
        while let Some((at, message)) = compiler.open.pop() {
            compiler.types.messages[at] = compiler.fields(&message)?;
        }
        let types = compiler.types;
        let (name, path) = (message.full_name().to_owned(), path(message));
        let described = described(&types, &name);
        Ok(Self(Arc::new(Compiled { files: files.clone(), name, path, described, types, root })))
    }

    /// Full name of the message.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Where it is in its file: which of the file's messages, and of those in it.
    pub fn path(&self) -> &[i32] {
        &self.0.path
    }

    /// The files it was compiled from.
    pub fn files(&self) -> &ProtobufFiles {
        &self.0.files
    }

    /// All that matters of it, the same text from version to version.
    pub fn described(&self) -> &str {
        &self.0.described
    }

    pub(super) fn types(&self) -> &Types {
        &self.0.types
    }

    pub(super) fn root(&self) -> Of {
        self.0.root
    }
}

/// Equal types read and write the same bytes in the same way.
impl PartialEq for ProtobufSchema {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.root == other.0.root && self.0.types == other.0.types
    }
}

impl Eq for ProtobufSchema {}

impl fmt::Debug for ProtobufSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ProtobufSchema").field(&self.0.name).finish()
    }
}

/// A path in a file's description has a number for the kind before each index.
fn path(message: &MessageDescriptor) -> Vec<i32> {
    message.path().iter().skip(1).step_by(2).copied().collect()
}

fn described(types: &Types, name: &str) -> String {
    let mut out = format!("{name}\n");
    for message in &types.messages {
        // Writing to a string does not fail.
        let _ = writeln!(out, "message {}", message.name);
        for field in &message.fields {
            let of = match field.of {
                Of::Message(at) => format!("message {}", types.messages[at].name),
                Of::Group(at) => format!("group {}", types.messages[at].name),
                Of::Enum(at) => {
                    let each = &types.enums[at];
                    let names = each.names.iter().map(|(n, name)| format!("{n} {}", String::from_utf8_lossy(name)));
                    format!("enum {} {}", each.closed, names.collect::<Vec<_>>().join(","))
                }
                other => format!("{other:?}"),
            };
            let _ = writeln!(out, "{} {} {:?} {:?} {of}", field.number, field.name, field.form, field.oneof);
        }
    }
    out
}

#[derive(Default)]
struct Compiler {
    types: Types,
    /// By full name.
    messages: HashMap<String, usize>,
    enums: HashMap<String, usize>,
    /// Messages that are referred to and not described yet.
    open: Vec<(usize, MessageDescriptor)>,
    wide: bool,
}

impl Compiler {
    fn message(&mut self, message: &MessageDescriptor) -> Result<Of, String> {
        if let Some(known) = self.known(message) {
            return Ok(Of::Known(known));
        }
        if let Some(at) = self.messages.get(message.full_name()) {
            return Ok(Of::Message(*at));
        }
        let at = self.types.messages.len();
        self.room()?;
        self.types.messages.push(Message::default());
        self.messages.insert(message.full_name().to_owned(), at);
        self.open.push((at, message.clone()));
        Ok(Of::Message(at))
    }

    fn room(&self) -> Result<(), String> {
        match self.types.messages.len() + self.types.enums.len() < MAX_TYPES {
            true => Ok(()),
            false => Err(format!("of more than {MAX_TYPES} types")),
        }
    }

    fn known(&self, message: &MessageDescriptor) -> Option<Known> {
        Some(match message.full_name().strip_prefix("google.protobuf.")? {
            "Timestamp" => Known::Timestamp,
            "Duration" => Known::Duration,
            "Struct" => Known::Struct,
            "Value" => Known::Value,
            "ListValue" => Known::List,
            "DoubleValue" => Known::Wrapper(Scalar::Double),
            "FloatValue" => Known::Wrapper(Scalar::Float),
            "Int64Value" => Known::Wrapper(Scalar::Int64),
            "UInt64Value" => Known::Wrapper(Scalar::Uint64 { text: self.wide }),
            "Int32Value" => Known::Wrapper(Scalar::Int32),
            "UInt32Value" => Known::Wrapper(Scalar::Uint32),
            "BoolValue" => Known::Wrapper(Scalar::Bool),
            "StringValue" => Known::Wrapper(Scalar::String),
            "BytesValue" => Known::Wrapper(Scalar::Bytes),
            _ => return None,
        })
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Result<Message, String> {
        let mut compiled = Message { name: message.full_name().to_owned(), ..Message::default() };
        for field in message.fields() {
            let form = match field.cardinality() {
                _ if field.is_map() => Form::Optional,
                Cardinality::Repeated => Form::List { packed: field.is_packed() },
                Cardinality::Required => Form::Required,
                Cardinality::Optional if field.supports_presence() => Form::Optional,
                Cardinality::Optional => Form::Implicit,
            };
            let (of, form) = match field.kind() {
                Kind::Message(entry) if field.is_map() => {
                    let Of::Scalar(key) = self.of(&entry.map_entry_key_field().kind(), false)? else {
                        return Err(format!("with a map `{}` whose keys are none", field.full_name()));
                    };
                    (self.of(&entry.map_entry_value_field().kind(), false)?, Form::Map(key))
                }
                kind => (self.of(&kind, field.is_group())?, form),
            };
            // An `optional` of proto3 is a `oneof` of one, which says nothing.
            let oneof = field.containing_oneof().filter(|oneof| oneof.fields().len() > 1);
            let oneof = oneof.and_then(|oneof| message.oneofs().position(|other| other == oneof));
            let name = field.name().into();
            compiled.fields.push(Field { number: field.number(), name, of, form, oneof });
        }
        for extension in message.extensions() {
            let form = match extension.cardinality() {
                Cardinality::Repeated => Form::List { packed: extension.is_packed() },
                _ => Form::Optional,
            };
            let of = self.of(&extension.kind(), extension.is_group())?;
            let name = format!("[{}]", extension.full_name()).into();
            compiled.fields.push(Field { number: extension.number(), name, of, form, oneof: None });
        }
        compiled.fields.sort_by_key(|field| field.number);
        compiled.oneofs = vec![Vec::new(); message.oneofs().len()];
        for (at, field) in compiled.fields.iter().enumerate() {
            match field.form {
                Form::Implicit | Form::List { .. } | Form::Map(_) => compiled.always.push(at),
                Form::Required => compiled.required.push(at),
                Form::Optional => {}
            }
            if let Some(oneof) = field.oneof {
                compiled.oneofs[oneof].push(at);
            }
        }
        Ok(compiled)
    }

    fn of(&mut self, kind: &Kind, group: bool) -> Result<Of, String> {
        let text = self.wide;
        Ok(Of::Scalar(match kind {
            Kind::Message(message) if group => match self.message(message)? {
                Of::Message(at) => return Ok(Of::Group(at)),
                other => return Ok(other),
            },
            Kind::Message(message) => return self.message(message),
            Kind::Enum(of) => return self.named(of).map(Of::Enum),
            Kind::Double => Scalar::Double,
            Kind::Float => Scalar::Float,
            Kind::Int32 => Scalar::Int32,
            Kind::Int64 => Scalar::Int64,
            Kind::Uint32 => Scalar::Uint32,
            Kind::Uint64 => Scalar::Uint64 { text },
            Kind::Sint32 => Scalar::Sint32,
            Kind::Sint64 => Scalar::Sint64,
            Kind::Fixed32 => Scalar::Fixed32,
            Kind::Fixed64 => Scalar::Fixed64 { text },
            Kind::Sfixed32 => Scalar::Sfixed32,
            Kind::Sfixed64 => Scalar::Sfixed64,
            Kind::Bool => Scalar::Bool,
            Kind::String => Scalar::String,
            Kind::Bytes => Scalar::Bytes,
        }))
    }

    fn named(&mut self, of: &EnumDescriptor) -> Result<usize, String> {
        if let Some(at) = self.enums.get(of.full_name()) {
            return Ok(*at);
        }
        self.room()?;
        let mut names: Vec<(i32, Bytes)> = Vec::new();
        let mut numbers = HashMap::new();
        for value in &of.enum_descriptor_proto().value {
            let name = Bytes::copy_from_slice(value.name().as_bytes());
            numbers.insert(name.clone(), value.number());
            names.push((value.number(), name));
        }
        let default = of.default_value().number();
        // Stable, so that of several names the first is kept.
        names.sort_by_key(|(number, _)| *number);
        names.dedup_by_key(|(number, _)| *number);
        let null = of.full_name() == "google.protobuf.NullValue";
        let closed = of.parent_file().syntax() == Syntax::Proto2;
        let at = self.types.enums.len();
        self.types.enums.push(Enum { names, numbers, closed, null, default });
        self.enums.insert(of.full_name().to_owned(), at);
        Ok(at)
    }
}
