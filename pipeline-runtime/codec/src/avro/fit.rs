//! Whether values of a type can be written, as far as the type says it.

use millstream_filter_api::Kind;
use vrl::value::kind::{Collection, Field as KindField};

use super::schema::{AvroSchema, Id, Type};

/// Misfits that are told at most: a type of another schema has them all over.
const MAX_TOLD: usize = 20;
/// Records within records that are looked at.
const MAX_DEPTH: usize = 16;

impl AvroSchema {
    /// Why no value of this type, or none with such a field, can be written: one line for each place, with its path. Where
    /// the type leaves it open nothing is said; the value itself will show.
    pub fn misfits(&self, kind: &Kind) -> Vec<String> {
        let mut told = Vec::new();
        fit(self.types(), self.root(), kind, &mut String::new(), 0, &mut told);
        told.truncate(MAX_TOLD);
        told
    }
}

fn fit(types: &[Type], id: Id, kind: &Kind, path: &mut String, depth: usize, told: &mut Vec<String>) {
    if depth > MAX_DEPTH || told.len() > MAX_TOLD || kind.is_any() || kind.is_never() {
        return;
    }
    let place = |path: &str| if path.is_empty() { ".".to_owned() } else { path.to_owned() };
    let mut given = kind.clone();
    given.remove_undefined();
    if !given.is_never() && !given.intersects(&takes(types, id)) {
        told.push(format!("`{}` is of type {given}, and it wants {}", place(path), takes(types, id)));
        return;
    }
    match &types[id] {
        Type::Record(fields) => {
            let Some(object) = kind.as_object() else { return };
            let unknown = object.unknown_kind();
            let length = path.len();
            for field in fields {
                let given = object.known().get(&KindField::from(field.name.as_str())).unwrap_or(&unknown);
                path.push('.');
                path.push_str(&field.name);
                let mut alone = given.clone();
                alone.remove_undefined();
                let missing = alone.is_never();
                if missing && field.default.is_none() && !takes(types, field.of).contains_null() {
                    told.push(format!("`{path}` is missing, and has no default"));
                } else if !missing {
                    fit(types, field.of, given, path, depth + 1, told);
                }
                path.truncate(length);
            }
            let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
            for (name, given) in object.known() {
                let certain = !given.contains_undefined() && !given.is_never();
                if certain && !names.contains(&name.as_str()) {
                    told.push(format!("`{path}.{name}` is no field of it"));
                }
            }
        }
        Type::Array(items) => {
            let Some(array) = kind.as_array() else { return };
            let length = path.len();
            path.push_str("[]");
            let unknown = array.unknown_kind();
            for given in array.known().values().chain([&unknown]) {
                fit(types, *items, given, path, depth + 1, told);
            }
            path.truncate(length);
        }
        Type::Map(values) => {
            let Some(object) = kind.as_object() else { return };
            for (name, given) in object.known() {
                let length = path.len();
                path.push('.');
                path.push_str(name.as_str());
                fit(types, *values, given, path, depth + 1, told);
                path.truncate(length);
            }
        }
        // With one branch that takes objects or arrays it is clear which is meant.
        Type::Union(branches) => {
            let nested = |branch: &&Id| matches!(types[**branch], Type::Record(_) | Type::Array(_) | Type::Map(_));
            let mut all = branches.iter().filter(nested);
            if let (Some(branch), None) = (all.next(), all.next()) {
                let mut given = kind.clone();
                given.remove_null();
                let is_nested = given.is_object() || given.is_array();
                if is_nested {
                    fit(types, *branch, &given, path, depth + 1, told);
                }
            }
        }
        _ => {}
    }
}

/// Every type of which some value can be written, without what is inside.
fn takes(types: &[Type], id: Id) -> Kind {
    match &types[id] {
        Type::Null => Kind::null(),
        Type::Boolean => Kind::boolean(),
        Type::Int | Type::Long => Kind::integer(),
        Type::Float | Type::Double => Kind::float().or_integer(),
        Type::Decimal { .. } => Kind::bytes().or_integer().or_float(),
        Type::String => Kind::bytes().or_timestamp(),
        Type::Timestamp { .. } => Kind::timestamp().or_bytes(),
        Type::Array(_) => Kind::array(Collection::any()),
        Type::Map(_) | Type::Record(_) | Type::Duration => Kind::object(Collection::any()),
        Type::Union(branches) => {
            let all = branches.iter().map(|branch| takes(types, *branch));
            all.reduce(|a, b| a.union(b)).unwrap_or_else(Kind::never)
        }
        Type::Bytes
        | Type::Enum(_)
        | Type::Fixed(_)
        | Type::Uuid { .. }
        | Type::Date
        | Type::Time { .. }
        | Type::LocalTimestamp { .. } => Kind::bytes(),
    }
}
