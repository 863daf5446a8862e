//! The type that expressions are checked against.

use std::collections::BTreeMap;

use millstream_filter_api::Kind;
use vrl::value::kind::{Collection, Field as KindField};

use super::schema::{AvroSchema, Id, Type};

/// Records within records that are described; deeper ones are any object.
const MAX_DEPTH: usize = 16;

impl AvroSchema {
    /// What a payload is when it is decoded. Records are closed, so that a misspelt field is found.
    pub fn kind(&self) -> Kind {
        kind(self.types(), self.root(), 0)
    }
}

fn kind(types: &[Type], id: Id, depth: usize) -> Kind {
    match &types[id] {
        _ if depth > MAX_DEPTH => Kind::any(),
        Type::Null => Kind::null(),
        Type::Boolean => Kind::boolean(),
        Type::Int | Type::Long => Kind::integer(),
        Type::Float | Type::Double => Kind::float(),
        Type::Timestamp { .. } => Kind::timestamp(),
        Type::Bytes
        | Type::String
        | Type::Enum(_)
        | Type::Fixed(_)
        | Type::Decimal { .. }
        | Type::Uuid { .. }
        | Type::Date
        | Type::Time { .. }
        | Type::LocalTimestamp { .. } => Kind::bytes(),
        Type::Array(items) => Kind::array(Collection::from_unknown(kind(types, *items, depth + 1))),
        Type::Map(values) => Kind::object(Collection::from_unknown(kind(types, *values, depth + 1).or_undefined())),
        Type::Union(branches) => {
            let all = branches.iter().map(|branch| kind(types, *branch, depth + 1));
            all.reduce(|a, b| a.union(b)).unwrap_or_else(Kind::never)
        }
        Type::Record(fields) => {
            let known: BTreeMap<KindField, Kind> = fields
                .iter()
                .map(|field| (KindField::from(field.name.as_str()), kind(types, field.of, depth + 1)))
                .collect();
            Kind::object(Collection::from_parts(known, Kind::undefined()))
        }
        Type::Duration => {
            let part = |name: &str| (KindField::from(name), Kind::integer());
            let known = BTreeMap::from(["months", "days", "milliseconds"].map(part));
            Kind::object(Collection::from_parts(known, Kind::undefined()))
        }
    }
}
