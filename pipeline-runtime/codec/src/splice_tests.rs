use std::sync::Arc;

use bytes::Bytes;
use millstream_filter_api::{OwnedValuePath, Payload, Value};
use proptest::prelude::*;
use vrl::path::{OwnedSegment, parse_value_path};

use super::{splice_any, splice_fields};
use crate::{Codec, Coercion};

fn paths(texts: &[&str]) -> Arc<[OwnedValuePath]> {
    texts.iter().map(|t| parse_value_path(t).unwrap()).collect()
}

fn at(text: &str) -> OwnedValuePath {
    parse_value_path(text).unwrap()
}

fn value(json: &str) -> Value {
    crate::json::parse(&json.to_owned().into()).unwrap()
}

/// Sets (or, with `None`, deletes) one path of a payload and encodes it.
fn changed(raw: &str, touched: &[&str], changes: &[(&str, Option<&str>)]) -> String {
    let mut payload = Codec::Json.decode(raw.to_owned().into(), &Coercion::none()).unwrap();
    let new = payload.value_mut(&paths(touched)).unwrap();
    for (path, to) in changes {
        let path = parse_value_path(path).unwrap();
        match to {
            Some(json) => drop(new.insert(&path, value(json))),
            None => drop(new.remove(&path, false)),
        }
    }
    let out = Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap();
    assert_eq!(crate::json::parse(&out).unwrap(), *payload.value().unwrap(), "{raw} became {out:?}");
    String::from_utf8(out.to_vec()).unwrap()
}

/// One change at one path that is also what is touched.
fn set(raw: &str, path: &str, to: Option<&str>) -> String {
    changed(raw, &[path], &[(path, to)])
}

const DIRT: &str = concat!(
    " { \"z\" : 123456789012345678901234567890 ,\n\t\"p\":1.10, \"e\":1e3,\"n\":-0.0, \"u\":18446744073709551615,",
    "\"s\":\"\\u0041\\/\\n\", \"a\" : [ 1.0 , {\"b\":2.50} ] } \n"
);

#[test]
fn members_are_replaced_in_place_added_and_cut_out() {
    let cases = [
        (r#"{"a":1,"b":2}"#, "a", Some("3"), r#"{"a":3,"b":2}"#),
        (r#"{"a":1,"b":2}"#, "b", None, r#"{"a":1}"#),
        (r#"{"a":1,"b":2}"#, "a", None, r#"{"b":2}"#),
        (r#"{"a":1}"#, "a", None, "{}"),
        (r#"{ "a": 1, "b": 2 }"#, "c", Some("\"x\""), r#"{ "a": 1, "b": 2, "c": "x" }"#),
        ("{}", "c", Some("2.0"), r#"{"c":2.0}"#),
        ("{ }", "c", Some("null"), r#"{"c":null }"#),
        (r#"{"a":{"b":1.10,"c":2}}"#, "a.c", Some("[1]"), r#"{"a":{"b":1.10,"c":[1]}}"#),
        (r#"{"a":7}"#, "a.b", Some("1"), r#"{"a":{"b":1}}"#),
        (r#"{"a":[1.0, 2.0]}"#, "a[1]", Some("3"), r#"{"a":[1.0, 3]}"#),
        (r#"{"a":[1.0, 2.0]}"#, "a[3]", Some("3"), r#"{"a":[1.0, 2.0, null, 3]}"#),
        (r#"{"a":[]}"#, "a[0]", Some("3"), r#"{"a":[3]}"#),
        (r#"{"a":[1.10, 2.20, 3.30]}"#, "a[1]", None, r#"{"a":[1.10, 3.3]}"#),
        (r#"{"a":[1]}"#, "a[0]", None, r#"{"a":[]}"#),
        (r#"{"\u0061":1,"b":1.10}"#, "a", Some("2"), r#"{"\u0061":2,"b":1.10}"#),
        ("[1.10,2]", "[1]", Some("3"), "[1.10,3]"),
        ("1.10", ".", Some("2"), "2"),
    ];
    for (raw, path, to, want) in cases {
        assert_eq!(set(raw, path, to), want, "{raw} with {path} set to {to:?}");
    }
}

#[test]
fn several_changes_meet() {
    assert_eq!(
        changed(
            r#"{"a":1, "b":1.10, "c":3, "d":1e3}"#,
            &["a", "x", "c", "y", "x.z"],
            &[("a", None), ("x.z", Some("1")), ("c", None), ("y", Some("2"))]
        ),
        r#"{"b":1.10, "d":1e3, "x":{"z":1}, "y":2}"#
    );
    assert_eq!(
        changed(r#"{"a":1,"b":2}"#, &["a", "b", "c"], &[("a", None), ("b", None), ("c", Some("3"))]),
        r#"{"c":3}"#
    );
}

#[test]
fn what_is_touched_but_not_changed_keeps_its_text() {
    assert_eq!(changed(DIRT, &["."], &[]), DIRT);
    assert_eq!(changed(DIRT, &["z", "p", "e", "n", "u", "s", "a[1].b", "missing"], &[]), DIRT);
    let added = changed(DIRT, &["."], &[("new", Some("true"))]);
    assert_eq!(added, DIRT.replace(" ] }", " ] ,\n\t\"new\" : true }"));
}

#[test]
fn a_coerced_integer_that_is_touched_keeps_its_text() {
    let kind = millstream_filter_api::Kind::object(std::collections::BTreeMap::from([(
        "price".into(),
        millstream_filter_api::Kind::float(),
    )]));
    let raw = r#"{"price":2,"qty":1}"#;
    let mut payload = Codec::Json.decode(raw.into(), &Coercion::new(&kind)).unwrap();
    payload.value_mut(&paths(&["price", "qty"])).unwrap().insert(&at("qty"), 5);
    let out = Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap();
    assert_eq!(out, r#"{"price":2,"qty":5}"#);
}

#[test]
fn of_a_repeated_touched_key_the_last_takes_the_value_and_the_others_go() {
    assert_eq!(set(r#"{"a":1,"b":1.10,"a":2,"a":3}"#, "a", Some("4")), r#"{"b":1.10,"a":4}"#);
    assert_eq!(set(r#"{"a":1,"b":1.10,"a":2}"#, "a", None), r#"{"b":1.10}"#);
    assert_eq!(set(r#"{"a":1,"a":2,"b":1.10}"#, "b", Some("1")), r#"{"a":1,"a":2,"b":1}"#);
}

#[test]
fn text_that_is_not_json_is_rendered_from_the_value() {
    for raw in ["", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "[", "[1", "{1:2}", "{\"a\":1]", "[1}", "\"", "{\"\\"] {
        let mut payload = Payload::decoded(raw.into(), value(r#"{"a":1}"#));
        payload.value_mut(&paths(&["a"])).unwrap().insert(&at("a"), 2);
        let out = Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap();
        assert_eq!(out, r#"{"a":2}"#, "{raw}");
    }
}

/// JSON text with everything that a value does not keep.
fn json_text() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        any::<i64>().prop_map(|i| i.to_string()),
        any::<u64>().prop_map(|i| i.to_string()),
        prop::sample::select(vec![
            "1.10",
            "1e3",
            "-0.0",
            "-0",
            "0.1E+2",
            "123456789012345678901234567890",
            "18446744073709551615",
            "2.0",
            "\"\\u00e9\"",
            "\"\\u0000\\/\"",
            "\"\\ud83d\\ude00\"",
            "\"\"",
        ])
        .prop_map(str::to_owned),
        "[a-z\"\\\\\n]{0,6}".prop_map(|s| serde_json::to_string(&s).unwrap()),
    ];
    let space = || prop::sample::select(vec!["", " ", "\n\t", "  "]);
    let key = || prop::sample::select(vec!["\"a\"", "\"b\"", "\"c\"", "\"\\u0061\"", "\"d e\""]);
    scalar.prop_recursive(4, 32, 5, move |inner| {
        let item = (space(), inner, space());
        prop_oneof![
            (space(), prop::collection::vec(item.clone(), 0..4)).prop_map(|(pad, items)| {
                let items: Vec<_> = items.into_iter().map(|(l, v, r)| format!("{l}{v}{r}")).collect();
                format!("[{}]", if items.is_empty() { pad.to_owned() } else { items.join(",") })
            }),
            (space(), prop::collection::vec((space(), key(), item), 0..5)).prop_map(|(pad, members)| {
                let members: Vec<_> =
                    members.into_iter().map(|(s, k, (l, v, r))| format!("{s}{k}{s}:{l}{v}{r}")).collect();
                format!("{{{}}}", if members.is_empty() { pad.to_owned() } else { members.join(",") })
            }),
        ]
    })
}

/// Mostly scalars.
fn plain() -> impl Strategy<Value = String> {
    let scalar =
        prop::sample::select(vec!["1", "1.10", "2", "true", "null", "\"x\"", "\"\\n\""]).prop_map(str::to_owned);
    prop_oneof![5 => scalar, 1 => json_text()]
}

fn path() -> impl Strategy<Value = OwnedValuePath> {
    let segment = prop_oneof![
        3 => prop::sample::select(vec!["a", "b", "c", "d e", "new"]).prop_map(OwnedSegment::field),
        1 => (0isize..4).prop_map(OwnedSegment::index),
    ];
    prop::collection::vec(segment, 0..4).prop_map(OwnedValuePath::from)
}

#[derive(Clone, Debug)]
enum Change {
    Set(OwnedValuePath, String),
    Delete(OwnedValuePath),
    Nothing(OwnedValuePath),
}

impl Change {
    /// What the expression crate would name as touched: a deletion inside an array touches the whole array.
    fn touched(&self) -> OwnedValuePath {
        match self {
            Self::Set(path, _) | Self::Nothing(path) => path.clone(),
            Self::Delete(path) => path.segments.iter().take_while(|s| s.is_field()).cloned().collect::<Vec<_>>().into(),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (path(), json_text()).prop_map(|(p, t)| Change::Set(p, t)),
        path().prop_map(Change::Delete),
        path().prop_map(Change::Nothing),
    ]
}

/// The top-level members of an object's text, key and value as they stand.
fn top(text: &str) -> Vec<(String, &str)> {
    let at = crate::scan::skip_space(text.as_bytes(), 0);
    if text.as_bytes().get(at) != Some(&b'{') {
        return Vec::new();
    }
    let (members, _) = crate::scan::members(text.as_bytes(), at).unwrap();
    let key = |m: &crate::scan::Member| serde_json::from_str(&text[m.key.0..m.key.1]).unwrap();
    members.iter().map(|m| (key(m), &text[m.key.0..m.value.1])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn splicing_keeps_values_and_the_text_of_the_untouched(
        raw in json_text(), changes in prop::collection::vec(change(), 0..4)
    ) {
        let mut payload = Codec::Json.decode(raw.clone().into(), &Coercion::none()).unwrap();
        let before = payload.value().unwrap().clone();
        let touched: Arc<[OwnedValuePath]> = changes.iter().map(Change::touched).collect();
        let new = payload.value_mut(&touched).unwrap();
        for change in &changes {
            match change {
                Change::Set(path, text) => drop(new.insert(path, value(text))),
                Change::Delete(path) => drop(new.remove(path, false)),
                Change::Nothing(_) => {}
            }
        }
        let new = payload.value().unwrap();
        let out = Codec::Json.encode(&payload, &Codec::Json).unwrap().unwrap();
        prop_assert_eq!(&crate::json::parse(&out).unwrap(), new, "{} became {:?} by {:?}", raw, out, changes);
        let out = std::str::from_utf8(&out).unwrap();
        let repeats = { let mut keys: Vec<_> = top(&raw).into_iter().map(|(k, _)| k).collect(); keys.sort();
            keys.windows(2).any(|w| w[0] == w[1]) };
        // Nested repeats of touched keys are cut out even where nothing else changed.
        if before == *new && !raw.contains("\\u0061") && !repeats && changes.is_empty() {
            prop_assert_eq!(out, raw.as_str());
        }
        let roots: Vec<_> = touched.iter().filter_map(|p| p.segments.first()).collect();
        if new.is_object() && touched.iter().all(|p| !p.segments.is_empty() && p.segments[0].is_field()) {
            let untouched = |text: &str| -> Vec<(String, String)> {
                let members = top(text).into_iter().map(|(k, t)| (k, t.to_owned()));
                members.filter(|(k, _)| !roots.contains(&&OwnedSegment::field(k))).collect()
            };
            prop_assert_eq!(untouched(out), untouched(&raw));
        }
    }

    /// Seen red with the order of new fields turned round, without the look at repeated keys, and without the one at escapes.
    #[test]
    fn the_short_way_gives_what_the_long_one_gives(
        members in prop::collection::vec((prop::sample::select(vec!["a", "b", "c", "d", "\\u0061"]), plain()), 0..4),
        space in prop::sample::select(vec!["", " ", "\n\t"]),
        changes in prop::collection::vec((prop::sample::select(vec!["a", "c", "new", "x y"]), prop::option::weighted(0.9, plain())), 1..4)
    ) {
        let members: Vec<_> = members.iter().map(|(key, text)| format!("{space}\"{key}\":{space}{text}{space}")).collect();
        let raw = Bytes::from(format!("{space}{{{}{space}}}", members.join(",")));
        let mut object = crate::json::parse(&raw).unwrap();
        for (key, to) in &changes {
            match to {
                Some(to) => drop(object.insert(&OwnedValuePath::single_field(key), value(to))),
                None => drop(object.remove(&OwnedValuePath::single_field(key), false)),
            }
        }
        let touched: [Arc<[OwnedValuePath]>; 1] =
            [changes.iter().map(|(key, _)| OwnedValuePath::single_field(key)).chain([at("b")]).collect()];
        if let Some(short) = splice_fields::splice(&raw, &object, &touched) {
            prop_assert_eq!(short, splice_any(&raw, &object, &touched, false), "{:?}", raw);
        }
    }

    #[test]
    fn nothing_panics_on_bytes_that_are_no_json(raw in prop::collection::vec(any::<u8>(), 0..64), place in path()) {
        let raw = Bytes::from(raw);
        let coercion = Coercion::none();
        for codec in [Codec::Raw, Codec::Text, Codec::Json, Codec::Csv { columns: vec!["a".into()], separator: b',' }] {
            if let Ok(payload) = codec.decode(raw.clone(), &coercion) {
                prop_assert_eq!(codec.encode(&payload, &codec).unwrap(), Some(raw.clone()));
            }
            let mut payload = Payload::decoded(raw.clone(), value(r#"{"a":[1,{"b":2}]}"#));
            payload.value_mut(&Arc::from([place.clone()])).unwrap().insert(&place, 1);
            let _ = codec.encode(&payload, &codec);
        }
    }

    #[test]
    fn nothing_panics_on_torn_json(raw in json_text(), cut in any::<prop::sample::Index>(), place in path()) {
        let raw = Bytes::from(raw);
        let torn = raw.slice(..cut.index(raw.len() + 1));
        let mut payload = Payload::decoded(torn.clone(), Codec::Json.decode(raw, &Coercion::none()).unwrap().value().unwrap().clone());
        payload.value_mut(&Arc::from([place.clone()])).unwrap().insert(&place, 1);
        let _ = Codec::Json.encode(&payload, &Codec::Json);
        let _ = Codec::Json.decode(torn, &Coercion::none());
    }
}
