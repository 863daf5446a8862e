//! What differs between two records, field by field. Pure; texts of numbers are compared and shown as they stand.

use std::collections::BTreeMap;

use millstream_host::replay::diff::Item;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::consume::line::{optional, payload};

/// One field on both sides; a side that does not have it is left out.
#[derive(Debug, Serialize)]
pub struct Sides {
    /// In the live pipeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Box<RawValue>>,
    /// Beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Box<RawValue>>,
}

/// By name: `.a.b` and `.items[0]` of the payload, `.` for all of it, `%key`, `%headers.x`, `%error.code`.
pub type Fields = BTreeMap<String, Sides>;

/// How two records with one id differ. Never empty for records that are not equal.
pub fn differences(live: &Item, new: &Item) -> Fields {
    let mut all = Fields::new();
    if live.key != new.key {
        all.insert("%key".to_owned(), sides(optional, live.key.as_deref(), new.key.as_deref()));
    }
    headers(live, new, &mut all);
    if let (Some(live), Some(new)) = (&live.error, &new.error) {
        for (name, (live, new)) in ["code", "class", "filter"].into_iter().zip(live.iter().zip(new)) {
            if live != new {
                all.insert(format!("%error.{name}"), sides(optional, Some(live.as_bytes()), Some(new.as_bytes())));
            }
        }
    }
    if live.value != new.value {
        let before = all.len();
        if let (Some(live), Some(new)) = (parse(live.value.as_deref()), parse(new.value.as_deref())) {
            values("", live, new, &mut all);
        }
        // No JSON; or only blanks, the order of members or repeated ones differ.
        if all.len() == before {
            all.insert(".".to_owned(), whole(live.value.as_deref(), new.value.as_deref()));
        }
    }
    all
}

/// All of both payloads: as JSON, or as their texts where that would look the same.
fn whole(live: Option<&[u8]>, new: Option<&[u8]>) -> Sides {
    let json = |value: Option<&[u8]>| value.is_some_and(|v| serde_json::from_slice::<&RawValue>(v).is_ok());
    if json(live) && json(new) { sides(optional, live, new) } else { sides(payload, live, new) }
}

fn sides(show: fn(Option<&[u8]>, &mut Vec<u8>), live: Option<&[u8]>, new: Option<&[u8]>) -> Sides {
    let shown = |bytes: Option<&[u8]>| {
        let mut out = Vec::new();
        show(bytes, &mut out);
        String::from_utf8(out).ok().and_then(|text| RawValue::from_string(text).ok())
    };
    Sides { live: shown(live), new: shown(new) }
}

type Headers = BTreeMap<String, Vec<Option<Vec<u8>>>>;

/// Each name with its values in their order; if only names have changed places, all of them.
fn headers(live: &Item, new: &Item, all: &mut Fields) {
    if live.headers == new.headers {
        return;
    }
    let by_name = |item: &Item| {
        let mut named = Headers::new();
        for (name, value) in &item.headers {
            named.entry(name.clone()).or_default().push(value.clone());
        }
        named
    };
    let (old, now) = (by_name(live), by_name(new));
    let before = all.len();
    for name in old.keys().chain(now.keys().filter(|n| !old.contains_key(*n))) {
        let (live, new) = (old.get(name), now.get(name));
        if live != new {
            all.insert(format!("%headers.{name}"), Sides { live: live.and_then(list), new: new.and_then(list) });
        }
    }
    if all.len() == before {
        let names = |item: &Item| item.headers.iter().map(|(n, _)| Some(n.clone().into_bytes())).collect::<Vec<_>>();
        all.insert("%headers".to_owned(), Sides { live: list(&names(live)), new: list(&names(new)) });
    }
}

/// One value, or an array of several.
#[allow(clippy::ptr_arg, reason = "given to `and_then`")]
fn list(values: &Vec<Option<Vec<u8>>>) -> Option<Box<RawValue>> {
    let mut out = Vec::new();
    if let [one] = values.as_slice() {
        optional(one.as_deref(), &mut out);
    } else {
        for (i, value) in values.iter().enumerate() {
            out.push(if i == 0 { b'[' } else { b',' });
            optional(value.as_deref(), &mut out);
        }
        out.push(b']');
    }
    RawValue::from_string(String::from_utf8(out).ok()?).ok()
}

fn parse(value: Option<&[u8]>) -> Option<&RawValue> {
    serde_json::from_slice(value?).ok()
}

/// Members of objects and elements of arrays of one length, as deep as they go.
fn values(path: &str, live: &RawValue, new: &RawValue, all: &mut Fields) {
    if live.get() == new.get() {
        return;
    }
    let object = |value: &RawValue| value.get().starts_with('{');
    let array = |value: &RawValue| value.get().starts_with('[');
    if object(live) && object(new) {
        let parsed =
            |v: &RawValue| serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(v.get()).unwrap_or_default();
        let (old, now) = (parsed(live), parsed(new));
        for name in old.keys().chain(now.keys().filter(|n| !old.contains_key(*n))) {
            let path = format!("{path}.{}", segment(name));
            match (old.get(name), now.get(name)) {
                (Some(live), Some(new)) => values(&path, live, new, all),
                (live, new) => {
                    all.insert(path, Sides { live: live.cloned(), new: new.cloned() });
                }
            }
        }
        return;
    }
    if array(live) && array(new) {
        let parsed = |v: &RawValue| serde_json::from_str::<Vec<Box<RawValue>>>(v.get()).unwrap_or_default();
        let (old, now) = (parsed(live), parsed(new));
        if old.len() == now.len() {
            for (i, (live, new)) in old.iter().zip(&now).enumerate() {
                values(&format!("{path}[{i}]"), live, new, all);
            }
            return;
        }
    }
    // Texts can be written in several ways, numbers are what stands there.
    let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
    if text(live).is_some() && text(live) == text(new) {
        return;
    }
    let path = if path.is_empty() { "." } else { path };
    all.insert(path.to_owned(), Sides { live: Some(live.to_owned()), new: Some(new.to_owned()) });
}

/// A name as it stands in a path of an expression.
fn segment(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '@');
    if !name.is_empty() && name.chars().all(plain) { name.to_owned() } else { format!("{name:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &'static str) -> Item {
        let bytes = |text: &'static str| bytes::Bytes::from_static(text.as_bytes());
        let headers = Vec::new();
        Item { id: bytes("a~1"), key: Some(bytes("k")), value: Some(bytes(value)), headers, error: None }
    }

    fn of(live: &Item, new: &Item) -> String {
        serde_json::to_string(&differences(live, new)).unwrap()
    }

    #[test]
    fn members_are_named_by_their_paths() {
        for (live, new, fields) in [
            (r#"{"a":1,"total":2.50}"#, r#"{"a":1,"total":2.5}"#, r#"{".total":{"live":2.50,"new":2.5}}"#),
            (r#"{"a":{"b":[1,{"c":2}]}}"#, r#"{"a":{"b":[1,{"c":3}]}}"#, r#"{".a.b[1].c":{"live":2,"new":3}}"#),
            (r#"{"a":[1]}"#, r#"{"a":[1,2]}"#, r#"{".a":{"live":[1],"new":[1,2]}}"#),
            (r#"{"a":1}"#, r#"{"b c":null}"#, r#"{".\"b c\"":{"new":null},".a":{"live":1}}"#),
            (
                r#"{"n":123456789012345678901}"#,
                r#"{"n":123456789012345678902}"#,
                r#"{".n":{"live":123456789012345678901,"new":123456789012345678902}}"#,
            ),
            ("1", "[1]", r#"{".":{"live":1,"new":[1]}}"#),
            ("x", "1", r#"{".":{"live":"x","new":1}}"#),
            (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{".":{"live":"{\"a\":1,\"b\":2}","new":"{\"b\":2,\"a\":1}"}}"#),
            (r#"{"a":"\u00e9"}"#, r#"{"a":"é"}"#, r#"{".":{"live":"{\"a\":\"\\u00e9\"}","new":"{\"a\":\"é\"}"}}"#),
        ] {
            assert_eq!(of(&item(live), &item(new)), fields, "{live} {new}");
        }
    }

    #[test]
    fn keys_headers_and_errors() {
        let live = Item { headers: vec![("h".into(), Some(b"1".to_vec())), ("h".into(), None)], ..item("1") };
        let new = Item { key: None, headers: vec![("h".into(), Some(b"1".to_vec()))], ..item("1") };
        assert_eq!(of(&live, &new), r#"{"%headers.h":{"live":["1",null],"new":"1"},"%key":{"live":"k","new":null}}"#);
        let swapped = |a: &str, b: &str| Item { headers: vec![(a.into(), None), (b.into(), None)], ..item("1") };
        assert_eq!(of(&swapped("a", "b"), &swapped("b", "a")), r#"{"%headers":{"live":["a","b"],"new":["b","a"]}}"#);
        let failed = |code: &str| Item { error: Some([code.into(), "data".into(), "map".into()]), ..item("1") };
        assert_eq!(of(&failed("a_b"), &failed("c_d")), r#"{"%error.code":{"live":"a_b","new":"c_d"}}"#);
        assert_eq!(of(&Item { value: None, ..item("") }, &item("")), r#"{".":{"live":null,"new":""}}"#);
    }
}
