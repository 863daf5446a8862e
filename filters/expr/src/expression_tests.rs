use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_filter_api::{Headers, Payload, ScalarStyle};
use vrl::path::parse_value_path;
use vrl::value::kind::Field;

use super::*;

/// The text of an expression as a literal block whose key stands in line 3, column 5 of a file.
fn node(text: &str) -> Node {
    let span = millstream_filter_api::Span { line: 3, col: 5, len: 1 };
    Node { kind: NodeKind::Text(text.to_owned(), ScalarStyle::Literal { indent: 6 }), span }
}

fn orders() -> Kind {
    Kind::object(BTreeMap::from([
        (Field::from("quantity"), Kind::integer()),
        (Field::from("other"), Kind::integer()),
        (Field::from("unit_price"), Kind::float()),
        (Field::from("sku"), Kind::bytes()),
        (Field::from("customer"), Kind::bytes().or_null()),
        (Field::from("paid"), Kind::boolean()),
        (Field::from("nested"), Kind::object(BTreeMap::from([(Field::from("deep"), Kind::integer())]))),
    ]))
}

fn issues(text: &str, purpose: Purpose) -> Vec<String> {
    let issues = Expression::compile(&node(text), &orders(), purpose).expect_err(text);
    issues.iter().map(|i| format!("{}:{}+{} {}", i.span.line, i.span.col, i.span.len, i)).collect()
}

fn path(text: &str) -> OwnedValuePath {
    parse_value_path(text).unwrap()
}

fn record(members: &[(&str, Value)]) -> Record {
    let object = members.iter().map(|(k, v)| ((*k).into(), v.clone())).collect();
    Record { payload: Payload::decoded("{}".into(), Value::Object(object)), ..Record::default() }
}

fn order() -> Record {
    record(&[
        ("quantity", 3.into()),
        ("other", 4.into()),
        ("unit_price", Value::from_f64_or_zero(2.5)),
        ("sku", "A".into()),
        ("customer", Value::Null),
        ("paid", true.into()),
    ])
}

fn compile(text: &str, purpose: Purpose) -> Expression {
    Expression::compile(&node(text), &orders(), purpose).unwrap_or_else(|e| panic!("{text}: {e:#?}"))
}

fn value(text: &str, record: &Record) -> Result<Value, ExprFailure> {
    compile(text, Purpose::Value).value(&mut ExprState::new(), record)
}

fn run(text: &str, record: &mut Record) -> Result<(), ExprFailure> {
    compile(text, Purpose::Statement).run(&mut ExprState::new(), record)
}

#[test]
fn errors_stand_at_their_place_with_advice() {
    // (expression, purpose, place of the first issue, words in it)
    let cases: &[(&str, Purpose, &str, &[&str])] = &[
        (
            ".a = 1\n.total = .quantitty * 2\n",
            Purpose::Statement,
            "5:16+10",
            &["`.quantitty`", "did you mean `.quantity`?", "unknown_field"],
        ),
        (".nested.deap > 1", Purpose::Condition, "4:7+12", &["did you mean `.nested.deep`?"]),
        (".zzzzzzzz == 1", Purpose::Condition, "4:7+9", &["known here: `.customer`"]),
        (".quantity.x == 1", Purpose::Condition, "4:7+11", &["`.quantity` is of type integer"]),
        ("%topik == \"a\"", Purpose::Condition, "4:7+6", &["`%topik`", "did you mean `%topic`?", "unknown_metadata"]),
        (".x = upcas(.sku)", Purpose::Statement, "4:12+5", &["undefined function", "did you mean \"upcase\"?", "E105"]),
        (".x = .sku - 1", Purpose::Statement, "4:12+8", &["E103", "fields", "schema", "??"]),
        (".x = .quantity / .other", Purpose::Statement, "4:12+18", &["E103", "??"]),
        ("to_int(.sku)", Purpose::Value, "4:7+12", &["E100", "fields"]),
        (".sku", Purpose::Condition, "4:7+4", &["must be true or false", "string"]),
        (".quantity", Purpose::Condition, "4:7+9", &["integer"]),
        (".x = ", Purpose::Statement, "4:", &["syntax error"]),
        (".quantity > > 1", Purpose::Condition, "4:19+1", &["syntax error"]),
        (".x = 1", Purpose::Condition, "4:7+4", &["E315", "map"]),
        ("%offset = 1", Purpose::Statement, "4:7", &["E315", "%key"]),
        ("%headers = {}", Purpose::Statement, "4:7", &["E315"]),
        ("%foo = 1", Purpose::Statement, "4:7+4", &["cannot be assigned", "%headers.NAME"]),
        ("del(%headers)", Purpose::Statement, "4:", &["read-only"]),
        ("nope", Purpose::Value, "4:7+4", &["undefined variable"]),
        ("get_env_var!(\"HOME\")", Purpose::Value, "4:7+11", &["undefined function"]),
        ("", Purpose::Value, "3:5+1", &["an empty text", "wrong_type"]),
    ];
    for (text, purpose, place, words) in cases {
        let issues = issues(text, *purpose);
        assert!(issues[0].starts_with(place), "{text}: wanted {place} first in {issues:#?}");
        for word in *words {
            assert!(issues[0].contains(word), "{text}: {word} is missing in {issues:#?}");
        }
    }
}

#[test]
fn every_error_is_told_at_once() {
    let issues = issues(".a = .skuu\n.b = upcas(.sku)\n.c = .quantity / .other\n", Purpose::Statement);
    let places: Vec<_> = issues.iter().map(|i| i.split('+').next().unwrap()).collect();
    assert_eq!(places, ["4:12", "5:12", "6:12"], "{issues:#?}");
}

#[test]
fn without_types_the_advice_names_fields_and_schema() {
    let issues = Expression::compile(&node(".total = .a * .b"), &Kind::any(), Purpose::Statement).unwrap_err();
    assert_eq!((issues.len(), issues[0].span.line, issues[0].span.col), (1, 4, 16));
    let help = issues[0].help.as_deref().unwrap();
    assert!(["fields", "schema", "??"].iter().all(|w| help.contains(w)), "{help}");
    assert!(help.contains("assignment: ") && !help.contains(":;"), "{help}");
    assert!(Expression::compile(&node(".total = .a * .b ?? 0"), &Kind::any(), Purpose::Statement).is_ok());
}

#[test]
fn what_may_be_missing_can_be_asked_for_set_and_deleted() {
    for text in ["exists(.nope)", "exists(.nope) && .quantity > 0", "%headers.anything == \"x\""] {
        compile(text, Purpose::Condition);
    }
    for text in [".new = 1\n.total = .new + 1", "del(.nope)", ". = {\"a\": 1}\n.b = .a", "if .paid { .t = 1 }\n.u = .t"]
    {
        compile(text, Purpose::Statement);
    }
}

#[test]
fn bare_literals_are_expressions() {
    let literal = |kind| Node { kind, span: Default::default() };
    let condition = Expression::compile(&literal(NodeKind::Bool(true)), &orders(), Purpose::Condition).unwrap();
    assert_eq!(condition.test(&mut ExprState::new(), &order()), Ok(true));
    let cases = [
        (NodeKind::Integer(-5), Value::Integer(-5)),
        (NodeKind::Float(2.0), Value::from_f64_or_zero(2.0)),
        (NodeKind::Null, Value::Null),
    ];
    for (kind, want) in cases {
        let e = Expression::compile(&literal(kind), &orders(), Purpose::Value).unwrap();
        assert_eq!(e.value(&mut ExprState::new(), &order()), Ok(want));
    }
    for kind in [NodeKind::Null, NodeKind::Integer(1), NodeKind::List(vec![]), NodeKind::Map(vec![])] {
        assert_eq!(Expression::compile(&literal(kind), &orders(), Purpose::Condition).unwrap_err().len(), 1);
    }
    assert!(Expression::compile(&literal(NodeKind::Bool(true)), &orders(), Purpose::Statement).is_err());
}

#[test]
fn integer_overflow_is_an_error_and_not_a_wrap() {
    let with = |q: i64, o: i64| record(&[("quantity", q.into()), ("other", o.into())]);
    let cases = [
        (".quantity * .other", with(i64::MAX, 2)),
        (".quantity + .other", with(i64::MAX, 1)),
        (".quantity - .other", with(i64::MIN, 1)),
        ("1 + .quantity * (.other + 1)", with(i64::MAX, 1)),
        ("abs(.quantity)", with(i64::MIN, 1)),
        ("x = .quantity; [x * 3][0]", with(i64::MAX, 1)),
        ("if true { .quantity * 3 } else { 0 }", with(i64::MAX, 1)),
        ("map_values({\"a\": .quantity}) -> |v| { v * 3 }", with(i64::MAX, 1)),
    ];
    for (text, record) in cases {
        let failure = value(text, &record).expect_err(text);
        assert_eq!(failure.code, "expression_failed");
        assert!(failure.message.contains("integer overflow"), "{text}: {failure}");
    }
    let failure = value(".quantity * .other", &with(i64::MAX, 2)).unwrap_err();
    assert_eq!(
        failure.message,
        "integer overflow: 9223372036854775807 * 2 does not fit 64 bits in `.quantity * .other`"
    );
    assert_eq!(value(".quantity * .other + 1", &with(-3, 4)), Ok(Value::Integer(-11)));
    let open = Expression::compile(&node("(.quantity * .other) ?? 7"), &Kind::any(), Purpose::Value).unwrap();
    assert_eq!(open.value(&mut ExprState::new(), &with(i64::MAX, 2)), Ok(Value::Integer(7)));
    assert_eq!(open.value(&mut ExprState::new(), &order()), Ok(Value::Integer(12)));
}

#[test]
fn values_that_do_not_fit_their_types_are_errors_and_not_guesses() {
    let text = record(&[("quantity", "ab".into()), ("other", 3.into()), ("unit_price", "2".into())]);
    for source in [".quantity * .other", ".quantity + .other", ".unit_price * 2", ".quantity + .quantity"] {
        let failure = value(source, &text).expect_err(source);
        assert!(failure.message.contains("found string"), "{source}: {failure}");
    }
    let float = record(&[("quantity", Value::from_f64_or_zero(1.2e29)), ("other", 3.into())]);
    assert!(value(".quantity + .other", &float).unwrap_err().message.contains("beyond 64 bits"));
    let huge = record(&[("unit_price", Value::from_f64_or_zero(1e308))]);
    assert!(value(".unit_price * 100.0", &huge).unwrap_err().message.contains("too large"));
    let flag = record(&[("paid", "yes".into())]);
    let failure = compile(".paid", Purpose::Condition).test(&mut ExprState::new(), &flag).unwrap_err();
    assert_eq!(failure.message, "the condition gave string, not true or false");
    assert!(value("\"ab\" * .other", &record(&[("other", i64::MAX.into())])).unwrap_err().message.contains("16 MiB"));
}

#[test]
fn big_integers_are_compared_exactly() {
    let near = record(&[("quantity", 9_007_199_254_740_993i64.into()), ("other", 9_007_199_254_740_992i64.into())]);
    assert_eq!(value(".quantity == .other", &near), Ok(false.into()));
    assert_eq!(value(".quantity != 9007199254740992", &near), Ok(true.into()));
    assert_eq!(value(".quantity == .quantity && .sku != 1", &near), Ok(true.into()));
    assert_eq!(value(".quantity == 3 && 3.0 == .quantity", &order()), Ok(true.into()));
}

#[test]
fn checks_change_neither_types_nor_constants() {
    let e = compile(
        ".total = .quantity * .unit_price\n.n = .quantity + 1\n.s = .sku + \"x\"\n.d = .quantity / (60 * 60)",
        Purpose::Statement,
    );
    let kind = |field: &str| e.target().at_path(&path(field));
    assert!(kind("total").is_float() && kind("n").is_integer() && kind("s").is_bytes() && kind("d").is_float());
    let mut record = order();
    e.run(&mut ExprState::new(), &mut record).unwrap();
    let total = record.payload.value().unwrap().get(&path("total")).cloned();
    assert_eq!(total, Some(Value::from_f64_or_zero(7.5)));
    compile("x = 2 * 3\n.y = .quantity / x", Purpose::Statement);
    compile("count = 0\nfor_each([1, 2]) -> |_i, v| { count = count + v }\n.n = count", Purpose::Statement);
    compile(".x = (to_int(.sku) * 2) ?? 0\n.y, err = to_int(.sku) + 1\n.z = to_int!(.sku) * 2", Purpose::Statement);
}

#[test]
fn touched_paths_are_those_a_run_may_change() {
    let touched = |text: &str| {
        let e = Expression::compile(&node(text), &Kind::any_object(), Purpose::Statement).unwrap();
        e.touched().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(touched(".a = 1\n.b.c = 2\n.a = 3\nx = 1\n%key = \"k\""), ["a", "b.c"]);
    assert_eq!(touched("if exists(.q) { .a[1] = 1 } else { .b[-1].c = 2 }"), ["a[1]", "b"]);
    assert_eq!(touched("del(.a.b[2].c)\n.x = del(.y)"), ["x", "a", "y"]);
    assert_eq!(touched(". = {}"), [""]);
    assert_eq!(touched(".a, .b = to_int(.s)\n.o = {}\n.o |= {\"k\": 1}"), ["a", "b", "o"]);
}

#[test]
fn conditions_and_plain_metadata_leave_the_payload_untouched() {
    let mut record = order();
    assert_eq!(compile(".quantity > 0", Purpose::Condition).test(&mut ExprState::new(), &record), Ok(true));
    run("%key = .sku", &mut record).unwrap();
    assert_eq!(*record.payload.touched(), millstream_filter_api::Touched::Nothing);
    assert_eq!(record.key.as_deref(), Some(&b"A"[..]));
}

#[test]
fn metadata_is_read_with_its_types() {
    let mut record = order();
    record.key = Some("k".into());
    record.timestamp = 1_600_000_000_123;
    record.headers = [("h", Some(&b"1"[..])), ("n", None), ("h", Some(b"2"))].into_iter().collect();
    record.meta.id = "id-1".into();
    record.meta.topic = Arc::from("t");
    (record.meta.partition, record.meta.offset) = (3, 9);
    let text = "[%key, %id, %headers.h, %headers.n, %headers.none, %topic, %partition + 1, %offset, %attempt, to_unix_timestamp(%timestamp, unit: \"milliseconds\")]";
    let want = Value::Array(vec![
        "k".into(),
        "id-1".into(),
        "2".into(),
        Value::Null,
        Value::Null,
        "t".into(),
        4.into(),
        9.into(),
        1.into(),
        1_600_000_000_123i64.into(),
    ]);
    assert_eq!(value(text, &record), Ok(want));
    let all = value("keys(%headers)", &record).unwrap();
    assert_eq!(all, Value::Array(vec!["h".into(), "n".into()]));
}

#[test]
fn a_state_shared_by_expressions_never_shows_the_record_before() {
    let mut state = ExprState::new();
    let mut first = order();
    first.key = Some("k".into());
    first.headers = [("h", Some(&b"1"[..]))].into_iter().collect();
    let (key, header) = (compile("%key", Purpose::Value), compile("%headers.h", Purpose::Value));
    assert_eq!(header.value(&mut state, &first), Ok("1".into()));
    assert_eq!(key.value(&mut state, &first), Ok("k".into()));
    assert_eq!(header.value(&mut state, &order()), Ok(Value::Null));
    assert_eq!(key.value(&mut state, &order()), Ok(Value::Null));
}

#[test]
fn assigned_key_and_headers_go_back_and_the_others_stay_as_they_are() {
    let original: Headers =
        [("a", Some(&b"1"[..])), ("b", None), ("a", Some(b"2")), ("raw", Some(&[0xff])), ("c", Some(b"x"))]
            .into_iter()
            .collect();
    let with_headers = || Record { headers: original.clone(), key: Some("old".into()), ..order() };
    let mut record = with_headers();
    run("if .quantity > 100 { %headers.a = \"no\"; %key = \"no\" }", &mut record).unwrap();
    assert_eq!((&record.headers, record.key.as_deref()), (&original, Some(&b"old"[..])));
    run("%headers.b = \"new\"\n%headers.\"ce-type\" = 7\ndel(%headers.c)\n%key = null", &mut record).unwrap();
    let pairs: Vec<_> = record.headers.iter().collect();
    let want: [(&str, Option<&[u8]>); 5] =
        [("a", Some(b"1")), ("b", Some(b"new")), ("a", Some(b"2")), ("raw", Some(&[0xff])), ("ce-type", Some(b"7"))];
    assert_eq!(pairs, want);
    assert_eq!(record.key, None);
    let mut record = with_headers();
    let failure = run("%headers.b = \"new\"\n%key = {\"a\": 1}", &mut record).unwrap_err();
    assert!(failure.message.contains("`%key` must be a string"), "{failure}");
    assert_eq!((&record.headers, record.key.as_deref()), (&original, Some(&b"old"[..])));
}

#[test]
fn a_program_may_abort_with_a_message() {
    let failure = run("if .quantity > 1 { abort \"too many\" }\n.x = 1", &mut order()).unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), ("expression_aborted", "too many"));
}

#[test]
fn run_time_is_bounded() {
    let options = Options { limit: Duration::ZERO, ..Options::new(Purpose::Value) };
    let text = "count = 0\nfor_each(range!(0, 100000)) -> |_i, v| { count = count + 1 }\ncount";
    let text = text.replace("range!(0, 100000)", "array!(.)");
    let e = Expression::compile_with(&node(&text), &Kind::any(), options).unwrap();
    let long = Record::from(Value::Array(vec![1.into(); 5000]));
    let failure = e.value(&mut ExprState::new(), &long).unwrap_err();
    assert_eq!(failure.code, "expression_timed_out");
}

#[test]
fn errors_name_the_part_that_failed() {
    let mut record = record(&[("sku", "x".into())]);
    let failure = run(".n = 1 + to_int!(.sku)", &mut record).unwrap_err();
    assert!(failure.message.ends_with("in `to_int!(.sku)`"), "{failure}");
    let failure = run(".n = 1", &mut Record::from(Value::from("text"))).unwrap_err();
    assert_eq!(failure.message, "the payload is of type string and has no fields to assign");
}

#[test]
fn other_metadata_names_and_seeds_are_for_generators() {
    let options = Options { extra: vec![("n", Kind::integer())], ..Options::new(Purpose::Value) };
    let text = "{\"n\": %n * 2, \"r\": random_int(0, 1000000), \"f\": random_float(0.0, 1.0), \"b\": random_bool()}";
    let e = Expression::compile_with(&node(text), &Kind::null(), options).unwrap();
    let mut state = ExprState::new();
    let mut give = |n: i64, seed: u64| {
        state.set_extra("n", n.into());
        state.set_seed(seed);
        e.value(&mut state, &Record::default()).unwrap()
    };
    let first = give(21, 7);
    assert_eq!(first.get(&path("n")), Some(&Value::Integer(42)));
    assert_eq!(first, give(21, 7));
    assert_ne!(first.get(&path("r")), give(21, 8).get(&path("r")));
}

#[test]
fn a_statement_without_effect_is_remarked() {
    let e = compile(".quantity * 2", Purpose::Statement);
    assert!(e.warnings().iter().any(|w| w.code == "without_effect"), "{:?}", e.warnings());
    assert!(compile(".x = 1", Purpose::Statement).warnings().is_empty());
    assert!(compile("if .quantity < 0 { abort }", Purpose::Statement).warnings().is_empty());
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Expression>();
    sent::<ExprState>();
}

#[test]
fn a_text_payload_can_be_tested_and_keyed() {
    let text = Record::from(Value::from("a,b"));
    let keyed = Expression::compile(
        &node("%key = split!(., \",\")[0]\n%headers.h = \"x\""),
        &Kind::bytes(),
        Purpose::Statement,
    );
    let mut record = text.clone();
    keyed.unwrap_or_else(|e| panic!("{e:#?}")).run(&mut ExprState::new(), &mut record).unwrap();
    assert_eq!((record.key.as_deref(), record.headers.get_str("h")), (Some(&b"a"[..]), Some("x")));
    let condition = Expression::compile(&node("starts_with(., \"a\")"), &Kind::bytes(), Purpose::Condition).unwrap();
    assert_eq!(condition.test(&mut ExprState::new(), &text), Ok(true));
}

#[test]
fn expressions_too_large_or_too_deep_are_refused_and_never_a_crash() {
    let texts = [
        "1+".repeat(8_000) + "1",
        "1+".repeat(8_000),
        "(".repeat(8_000) + "1" + &")".repeat(8_000),
        "[".repeat(8_000),
        "!".repeat(16_000) + "true",
        "{\"a\":".repeat(2_000) + "1" + &"}".repeat(2_000),
        "if true {".repeat(1_000) + "1" + &"}".repeat(1_000),
        "x = ".repeat(4_000) + "1",
        "abs(".repeat(2_000) + "1" + &")".repeat(2_000),
        " ".repeat(100_000) + "1",
        "1 ?? ".repeat(2_000) + "1",
    ];
    for text in texts {
        let issues = Expression::compile(&node(&text), &Kind::any(), Purpose::Value).unwrap_err();
        assert!(!issues.is_empty(), "{}", &text[..20]);
    }
    let deep = "1 + ".repeat(80) + "1";
    assert_eq!(value(&deep, &order()), Ok(Value::Integer(81)));
    let calls = "abs(1 + ".repeat(10) + "1" + &")".repeat(10);
    assert_eq!(value(&calls, &order()), Ok(Value::Integer(11)));
}

/// Red while VRL's own insertion decided: `[1,2,3]` became `{"x":1}`, and so did `5` below a field.
#[test]
fn an_assignment_replaces_nothing_on_its_way() {
    let run = |text: &str, json: &str| {
        let payload = value(json, &Record::default()).unwrap();
        let mut record = Record { payload: Payload::decoded(json.to_owned().into(), payload), ..Record::default() };
        let e = Expression::compile(&node(text), &Kind::any(), Purpose::Statement).unwrap();
        match e.run(&mut ExprState::new(), &mut record) {
            Ok(()) => record.payload.value().unwrap().to_string(),
            Err(failure) => format!("{}: {}", failure.code, failure.message),
        }
    };
    let cases = [
        (".x = 1", "[1,2,3]", "expression_failed: the payload is of type array and has no fields to assign"),
        (".x = 1", "null", "expression_failed: the payload is null and has no fields to assign"),
        (".x = 1", "5", "expression_failed: the payload is of type integer and has no fields to assign"),
        (".[0] = 1", r#"{"a":1}"#, "expression_failed: the payload is of type map and has no elements to assign"),
        (".a.b = 1", r#"{"a":5}"#, "expression_failed: `.a` is of type integer and has no fields to assign"),
        (".a[0].b = 1", r#"{"a":[[7]]}"#, "expression_failed: `.a[0]` is of type array and has no fields to assign"),
        (".x = 1\n. = {}", "[1]", "expression_failed: the payload is of type array and has no fields to assign"),
        // What is missing or null below the root is made; a branch that is not taken does no harm.
        (".a.b = 1", r#"{"a":null}"#, r#"{ "a": { "b": 1 } }"#),
        (".a.b = 1", "{}", r#"{ "a": { "b": 1 } }"#),
        (".[1] = 1", "[0]", "[0, 1]"),
        ("if is_object(.) { .x = 1 }", "[1]", "[1]"),
        (". = {}\n.x = 1", "[1]", r#"{ "x": 1 }"#),
        ("del(.x)", "[1]", "[1]"),
    ];
    for (text, json, want) in cases {
        assert_eq!(run(text, json), want, "{text} on {json}");
    }
}

/// A number beyond a float is decoded as an infinite one. Comparing or converting that would be silently wrong.
#[test]
fn a_number_beyond_range_fails_only_where_it_is_read() {
    let huge = || {
        let inf = Value::from_f64_or_zero(f64::INFINITY);
        record(&[("n", inf.clone()), ("list", Value::Array(vec![1.into(), inf])), ("ok", 1.into())])
    };
    let run = |text: &str| {
        let e = Expression::compile(&node(text), &Kind::any_object(), Purpose::Statement).unwrap();
        e.run(&mut ExprState::new(), &mut huge()).map_err(|f| (f.code, f.message))
    };
    for text in [".ok = 2", "if exists(.n) { .ok = 2 }", "del(.n)", ".list[0] = .list[0]", ".n = 1"] {
        assert_eq!(run(text), Ok(()), "{text}");
    }
    for text in [
        ".y = .n > 5 ?? false",
        ".y = to_string(.n) ?? \"\"",
        ".y = encode_json(.)",
        ".y = .list",
        "if exists(.n) { .y = .n }",
    ] {
        let (code, message) = run(text).expect_err(text);
        assert_eq!(code, "number_out_of_range", "{text}: {message}");
        assert!(message.contains("1.8e308"), "{text}: {message}");
    }
    let e = Expression::compile(&node(".n != null"), &Kind::any_object(), Purpose::Condition).unwrap();
    assert_eq!(e.test(&mut ExprState::new(), &huge()).unwrap_err().code, "number_out_of_range");
}
