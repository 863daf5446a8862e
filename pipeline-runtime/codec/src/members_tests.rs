use proptest::prelude::*;

use super::*;

fn keys(names: &[&str]) -> Vec<KeyString> {
    names.iter().map(|n| KeyString::from(*n)).collect()
}

/// What the parser of the whole says, cut down to these members.
fn cut(raw: &Bytes, wanted: &[KeyString]) -> Option<Value> {
    let Value::Object(mut object) = json::parse(raw).ok()? else { return None };
    object.retain(|key, _| wanted.contains(key));
    Some(Value::Object(object))
}

#[track_caller]
fn agree(text: &str, wanted: &[KeyString]) {
    let raw = Bytes::copy_from_slice(text.as_bytes());
    if let Some(value) = parse(&raw, wanted) {
        assert_eq!(Some(value), cut(&raw, wanted), "{text}");
    }
}

#[test]
fn the_members_that_are_wanted_and_no_others() {
    let wanted = keys(&["a", "é", "n"]);
    let sure = |text: &str| parse(&Bytes::copy_from_slice(text.as_bytes()), &wanted).map(|v| v.to_string());
    for (text, value) in [
        ("{}", "{  }"),
        (r#" { "b" : [1, {"a": "no"}, []], "a" : 1 , "c": {} } "#, r#"{ "a": 1 }"#),
        (r#"{"a":1,"a":{"n":[2.50,"\u00e9"]},"n":-1.5e3}"#, r#"{ "a": { "n": [2.5, "é"] }, "n": -1500 }"#),
        (r#"{"\u0061":true,"\u00e9":null,"x":"\" \\ \/ \b\f\n\r\t"}"#, r#"{ "a": true, "é": null }"#),
        (r#"{"x":123456789012345678901234567890,"y":1e400,"z":-0.0}"#, "{  }"),
    ] {
        assert_eq!(sure(text).as_deref(), Some(value), "{text}");
        agree(text, &wanted);
    }
}

/// What is not JSON is refused wherever it stands, though nobody looks there. Seen red with each of thirteen lines of
/// `strict.rs` made lenient: control characters, escapes, digits, words, colons, the quote of a key, the ends of containers.
#[test]
fn what_nobody_looks_at_must_be_json_too() {
    let wrong = [
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "1e+",
        "-",
        "--1",
        "0x1",
        "NaN",
        "tru",
        "trux",
        "nul0",
        "nulls",
        "'a'",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"\u{1}\"",
        "\"a\nb\"",
        "\"12345678\t\"",
        "[1 2]",
        "[1,]",
        "[,]",
        "[",
        "[1}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{1:2}",
        "{1a\":2}",
        "{\"a\"x1}",
        "[{\"a\"x1}]",
        "{]",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"open",
        "[[[[\"]]]]",
        "1 2",
        "",
        "}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "[{\"k\":[tru]}]",
    ];
    for value in wrong {
        for text in [
            format!("{{\"x\":{value}}}"),
            format!("{{\"x\":[{value},1]}}"),
            format!("{{\"x\":{{\"y\":{value}}},\"a\":1}}"),
        ] {
            let raw = Bytes::from(text.clone());
            assert_eq!(parse(&raw, &keys(&["a"])), None, "{text}");
            assert!(json::parse(&raw).is_err(), "{text}");
        }
    }
    for text in [
        "{} x",
        "{}{}",
        "{\"a\":1},",
        "",
        " ",
        "{",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"x\":[1}",
        "{\"x\":{\"y\":1]",
        "[1]",
        "1",
        "null",
        "\"a\"",
        "\u{feff}{}",
    ] {
        assert_eq!(parse(&Bytes::from(text), &keys(&["a"])), None, "{text}");
    }
}

#[test]
fn as_deep_as_the_parser_goes_and_no_deeper() {
    for depth in 120..132 {
        for (open, close) in [("[", "]"), ("{\"k\":", "}")] {
            let text = format!("{{\"x\":{}1{}}}", open.repeat(depth), close.repeat(depth));
            let raw = Bytes::from(text);
            let whole = json::parse(&raw).is_ok();
            assert_eq!(parse(&raw, &keys(&["a"])).is_some(), whole, "{depth}");
            assert_eq!(parse(&raw, &keys(&["x"])).is_some(), whole, "{depth}");
        }
    }
}

#[test]
fn a_number_beyond_range_is_left_to_the_parser_where_it_is_wanted() {
    assert_eq!(parse(&Bytes::from_static(b"{\"a\":1e400}"), &keys(&["a"])), None);
    assert!(parse(&Bytes::from_static(b"{\"a\":1e400}"), &keys(&["b"])).is_some());
}

/// Pieces of JSON and of what is nearly JSON, in any order: few of these texts are valid, many nearly.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: [&str; 34] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"\"",
        "\"\\u0061\"",
        "\"\\n\"",
        "\"\\ud83d\\ude00\"",
        "\"\\q\"",
        "\"long enough for a word\"",
        "1",
        "-1",
        "0",
        "00",
        "1.5",
        "1.",
        "1e3",
        "1E-2",
        "1e",
        "123456789012345678901234567890",
        "true",
        "false",
        "null",
        "nul",
        " ",
        "\n",
        "\"a\":1",
        "\"b\":[1,2]",
        "\"c\":{\"a\":1}",
        "\"\u{7f}é\"",
    ];
    proptest::collection::vec(proptest::sample::select(&PIECES[..]), 0..12).prop_map(|pieces| pieces.concat())
}

/// A valid text with one byte changed, left out or put in.
fn damaged() -> impl Strategy<Value = String> {
    let valid = r#"{"a": [1, -2.5e-3, {"b": "x\u00e9\n", "c": null}], "d": "0123456789abcdef", "a": {"e": [[], {}]}, "f": true}"#;
    (0..valid.len(), 0..3, proptest::sample::select(&b"{}[],:\"\\ 0.e-tn\x01"[..])).prop_map(move |(at, how, byte)| {
        let mut text = valid.as_bytes().to_vec();
        match how {
            0 => text[at] = byte,
            1 => drop(text.remove(at)),
            _ => text.insert(at, byte),
        }
        String::from_utf8(text).unwrap_or_default()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Whatever this pass takes, the parser of the whole takes, with equal values.
    #[test]
    fn agrees_with_the_parser(body in pieces(), damaged in damaged()) {
        let wanted = keys(&["a", "c"]);
        agree(&format!("{{{body}}}"), &wanted);
        agree(&format!("{{\"x\":{body}}}"), &wanted);
        agree(&damaged, &wanted);
    }
}
