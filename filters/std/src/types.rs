//! Values against types, and what is known of a payload after a check.

use millstream_filter_api::{Kind, Value};

/// What does not fit: its path, and at it, `` `.a.b` is of type string, and must be integer ``. `None` when all does. Members
/// that the type does not name are fine.
pub(crate) fn mismatch(value: &Value, kind: &Kind) -> Option<(String, String)> {
    let mut path = String::new();
    find(value, kind, &mut path)
}

fn find(value: &Value, kind: &Kind, path: &mut String) -> Option<(String, String)> {
    if kind.is_any() {
        return None;
    }
    let fits = match value {
        Value::Bytes(_) | Value::String(_) => kind.contains_bytes(),
        Value::Regex(_) => kind.contains_regex(),
        Value::Integer(_) => kind.contains_integer(),
        Value::Float(_) => kind.contains_float(),
        Value::Boolean(_) => kind.contains_boolean(),
        Value::Timestamp(_) => kind.contains_timestamp(),
        Value::Object(_) => kind.contains_object(),
        Value::Array(_) => kind.contains_array(),
        Value::Null => kind.contains_null(),
    };
    let shown = |path: &str| if path.is_empty() { ".".to_owned() } else { path.to_owned() };
    if !fits {
        let found = if value.is_null() { "null".to_owned() } else { format!("of type {}", value.kind_str()) };
        let message = format!("`{}` is {found}, and must be {}", shown(path), kind.without_undefined());
        return Some((shown(path), message));
    }
    let len = path.len();
    match value {
        Value::Object(members) => {
            let object = kind.as_object()?;
            for (field, kind) in object.known() {
                path.push('.');
                path.push_str(field.as_str());
                let fault = match members.get(field.as_str()) {
                    Some(member) => find(member, kind, path),
                    None if kind.contains_undefined() => None,
                    None => Some((path.clone(), format!("`{path}` is missing, and must be {kind}"))),
                };
                path.truncate(len);
                if fault.is_some() {
                    return fault;
                }
            }
        }
        Value::Array(items) => {
            let array = kind.as_array()?;
            if !array.is_unknown_exact() {
                return None;
            }
            let kind = array.unknown_kind().without_undefined();
            for (i, item) in items.iter().enumerate() {
                path.push_str(&format!("[{i}]"));
                let fault = find(item, &kind, path);
                path.truncate(len);
                if fault.is_some() {
                    return fault;
                }
            }
        }
        _ => {}
    }
    None
}

/// The type of a payload that was of type `before` and turned out to be of type `found`: fields that `found` names are
/// as it says, the others as they were.
pub(crate) fn narrowed(before: &Kind, found: Kind) -> Kind {
    let (Some(old), Some(new)) = (before.as_object(), found.as_object()) else { return found };
    if before.is_any() || old.is_any() {
        return found;
    }
    let mut object = old.clone();
    for (field, kind) in new.known() {
        let kind = match object.known().get(field) {
            Some(old) => narrowed(old, kind.clone()),
            None => kind.clone(),
        };
        object.known_mut().insert(field.clone(), kind);
    }
    Kind::object(object)
}
