//! The type that expressions are checked against.

use std::collections::BTreeMap;

use millstream_filter_api::Kind;
use vrl::value::kind::{Collection, Field as KindField};

use super::schema::{Enum, Form, Known, Of, ProtobufSchema, Scalar, Types};

/// Messages within messages that are described; deeper ones are any object.
const MAX_DEPTH: usize = 16;
/// Fields that are described in all.
const MAX_FIELDS: usize = 20_000;

impl ProtobufSchema {
    /// What a payload is when it is decoded. Messages are closed, so that a misspelt field is found. A message within itself is any
    /// object.
    pub fn kind(&self) -> Kind {
        Describing { types: self.types(), way: Vec::new(), fields: 0 }.of(self.root())
    }
}

struct Describing<'a> {
    types: &'a Types,
    /// Messages around.
    way: Vec<usize>,
    fields: usize,
}

impl Describing<'_> {
    fn of(&mut self, of: Of) -> Kind {
        match of {
            Of::Scalar(scalar) => kind_of(scalar),
            Of::Enum(at) => symbol(&self.types.enums[at]),
            Of::Message(at) | Of::Group(at) => self.message(at),
            Of::Known(known) => match known {
                Known::Timestamp => Kind::timestamp(),
                Known::Duration => Kind::bytes(),
                Known::Wrapper(scalar) => kind_of(scalar),
                Known::Struct => Kind::object(Collection::any()),
                Known::List => Kind::array(Collection::any()),
                Known::Value => Kind::any(),
            },
        }
    }

    fn message(&mut self, at: usize) -> Kind {
        if self.way.len() >= MAX_DEPTH || self.way.contains(&at) || self.fields > MAX_FIELDS {
            return Kind::object(Collection::any());
        }
        self.way.push(at);
        let mut known = BTreeMap::new();
        let types = self.types;
        for field in &types.messages[at].fields {
            self.fields += 1;
            let one = self.of(field.of);
            let kind = match field.form {
                Form::Implicit | Form::Required => one,
                Form::Optional => one.or_undefined(),
                Form::List { .. } => Kind::array(Collection::from_unknown(one)),
                Form::Map(_) => Kind::object(Collection::from_unknown(one.or_undefined())),
            };
            known.insert(KindField::from(field.name.as_str()), kind);
        }
        self.way.pop();
        Kind::object(Collection::from_parts(known, Kind::undefined()))
    }
}

fn kind_of(scalar: Scalar) -> Kind {
    match scalar {
        Scalar::Double | Scalar::Float => Kind::float(),
        Scalar::Bool => Kind::boolean(),
        Scalar::String | Scalar::Bytes | Scalar::Uint64 { text: true } | Scalar::Fixed64 { text: true } => {
            Kind::bytes()
        }
        _ => Kind::integer(),
    }
}

fn symbol(of: &Enum) -> Kind {
    match of {
        Enum { null: true, .. } => Kind::null(),
        Enum { closed: true, .. } => Kind::bytes(),
        // A number that has no name here.
        _ => Kind::bytes().or_integer(),
    }
}
