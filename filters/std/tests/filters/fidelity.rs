//! What a filter does not touch is never altered.

use crate::common::Chain;
use bytes::Bytes;
use millstream_codec::Codec;
use millstream_filter_api::{Headers, Payload, Record};
use proptest::prelude::*;

const DIRT: &str = concat!(
    "{ \"z\" : 123456789012345678901234567890, \"p\":1.10,\n \"u\":18446744073709551615, \"e\":1e3, \"n\":-0.0, ",
    "\"s\":\"\\u00e9\\/\", \"q\": 2, \"f\": 2, \"items\":[ 1.10, {\"a\":1e2} ], \"dup\":1, \"dup\":2 }"
);
const FIELDS: &str = "{ q: integer, f: number, items: array }";

fn only(lines: Vec<String>) -> String {
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

#[test]
fn map_keeps_the_text_around_what_it_assigns() {
    let wrap = |json: &str| format!("{{\"value\": {json}}}");
    let run = |filters: &str| only(Chain::new(FIELDS, filters).run(Chain::new(FIELDS, filters).decode(DIRT)));
    assert_eq!(run("map: .q = .q + 1"), wrap(&DIRT.replace("\"q\": 2", "\"q\": 3")));
    assert_eq!(run("map: del(.items)"), wrap(&DIRT.replace(" \"items\":[ 1.10, {\"a\":1e2} ],", "")));
    assert_eq!(run("map: if .q > 100 { .f = 0.5 }"), wrap(DIRT));
    assert_eq!(
        run("map: |\n  . = merge(., {\"q\": 7})"),
        wrap(&DIRT.replace("\"q\": 2", "\"q\": 7").replace("\"dup\":1, ", ""))
    );
    assert_eq!(run("map: .new = .f * 1.5"), wrap(&DIRT.replace(":2 }", ":2, \"new\" : 3.0 }")));
    assert_eq!(run("map: .a = 1\n---\nmap: del(.a)\n---\nwhere: .q == 2"), wrap(DIRT));
}

/// A stage decodes what its filters look at; what looks at more than it names must be given all. Red without the line about
/// `unnest` in `rewrite.rs`, and with reads that leave out what is written, deleted or tested.
#[test]
fn what_looks_at_everything_is_given_everything() {
    let line = r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [3, 4]}"#;
    for (filters, want) in [
        ("map: . = unnest!(.c)", r#"[{"a":{"x":1,"y":[2]},"b":"two","c":3},{"a":{"x":1,"y":[2]},"b":"two","c":4}]"#),
        ("map: .n = length(object!(.))", r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [3, 4], "n": 3}"#),
        ("map: .k = keys(object!(.))", r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [3, 4], "k": ["a","b","c"]}"#),
        (
            "map: .all = encode_json(.)\n---\nmap: del(.a)",
            r#"{"b": "two", "c": [3, 4], "all": "{\"a\":{\"x\":1,\"y\":[2]},\"b\":\"two\",\"c\":[3,4]}"}"#,
        ),
        ("map: .a.z = 9", r#"{"a": {"x": 1, "y": [2], "z": 9}, "b": "two", "c": [3, 4]}"#),
        ("map: .moved = del(.b)", r#"{"a": {"x": 1, "y": [2]}, "c": [3, 4], "moved": "two"}"#),
        ("map: .has = exists(.b)", r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [3, 4], "has": true}"#),
        ("map: |\n  v = .\n  .v = v.b", r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [3, 4], "v": "two"}"#),
        ("map: .c[0] = 5", r#"{"a": {"x": 1, "y": [2]}, "b": "two", "c": [5, 4]}"#),
        ("map: |\n  . = { \"n\": .c[1], \"b\": .b }", r#"{"b": "two", "n": 4}"#),
        ("where: true", line),
    ] {
        let mut chain = Chain::new("{ a: any, b: any, c: any }", filters);
        assert_eq!(only(chain.line_by_line(line)), format!("{{\"value\": {want}}}"), "{filters}");
    }
    let mut blocked = Chain::new("{ b: any }", "map: .b.x = 1");
    assert_eq!(only(blocked.line_by_line(line)), r#"{"failed": "expression_failed"}"#);
}

/// Red while 1e400 was no JSON, and while a field assigned made an object of an array.
#[test]
fn numbers_beyond_a_float_pass_where_nothing_reads_them() {
    let huge = r#"{"q": 2, "a": 1e400, "b": [-1e999, 0.1000000000000000000001]}"#;
    let run = |filters: &str| only(Chain::new("{ q: integer, a: any, b: array }", filters).line_by_line(huge));
    for filter in ["where: true", "where: .q == 2", "map: .q = 2", "map: .a = .q\n---\nmap: .a = .q"] {
        let want = if filter.contains(".a") { huge.replace("1e400", "2") } else { huge.to_owned() };
        assert_eq!(run(filter), format!("{{\"value\": {want}}}"), "{filter}");
    }
    assert_eq!(run("map: .q = .b[0]"), r#"{"failed": "number_out_of_range"}"#);
    assert_eq!(run("where: .b != null"), r#"{"failed": "number_out_of_range"}"#);
    assert_eq!(run("map: .q = 3"), format!("{{\"value\": {}}}", huge.replace("\"q\": 2", "\"q\": 3")));
    let mut split = Chain::new("{ b: array }", "split: .b");
    assert_eq!(split.line_by_line(huge), [r#"{"value": -1e999}"#, r#"{"value": 0.1000000000000000000001}"#]);
    let mut schema = Chain::new("", "validate: { schema: schemas/quantity.json }");
    let fits = r#"{"quantity": 1, "x": 1e400}"#;
    assert_eq!(only(schema.line_by_line(fits)), format!("{{\"value\": {fits}}}"));
    assert_eq!(only(schema.line_by_line(r#"{"quantity": -1e400}"#)), r#"{"failed": "schema_violation"}"#);
    let mut lookup = Chain::new("", "lookup: { table: data/prices.csv, by: .a, into: .p }");
    assert_eq!(only(lookup.line_by_line(r#"{"a": 1e400}"#)), r#"{"value": {"a": 1e400,"p": null}}"#);
}

#[test]
fn elements_of_an_array_keep_their_text() {
    let mut chain = Chain::new("{ lines: array }", "split: .lines");
    let lines = chain.line_by_line(r#"{"lines":[ {"a" : 1.10, "z":123456789012345678901234567890 },1e3]}"#);
    assert_eq!(lines, [r#"{"value": {"a" : 1.10, "z":123456789012345678901234567890 }}"#, r#"{"value": 1e3}"#]);
    assert!(chain.line_by_line(r#"{"lines":[]}"#).is_empty());
    // Touched before: the value counts, not the text that was.
    let mut chain = Chain::new("{ lines: [ integer ] }", "map: .lines[0] = 7\n---\nsplit: .lines");
    assert_eq!(chain.line_by_line(r#"{"lines":[1, 2]}"#), [r#"{"value": 7}"#, r#"{"value": 2}"#]);
    let mut chain = Chain::new("{ lines: [ integer ] }", "map: .other = 7\n---\nsplit: .lines");
    assert_eq!(chain.line_by_line(r#"{"lines":[1e0]}"#), [r#"{"value": 1e0}"#]);
}

#[test]
fn lookup_adds_and_keeps() {
    let mut chain = Chain::new("{ sku: string }", "lookup: { table: data/prices.csv, by: .sku, into: .price }");
    assert_eq!(
        only(chain.line_by_line(r#"{"sku":"B", "n":1.10}"#)),
        r#"{"value": {"sku":"B", "n":1.10, "price":3.0}}"#
    );
    assert_eq!(only(chain.line_by_line(r#"{"sku":null}"#)), r#"{"value": {"sku":null,"price":null}}"#);
    assert_eq!(only(chain.line_by_line("[1]")), r#"{"failed": "not_an_object"}"#);
    let mut deep = Chain::new("{ sku: string }", "lookup: { table: data/prices.csv, by: .sku, into: .a.price }");
    assert_eq!(only(deep.line_by_line(r#"{"sku":"B","a":[7]}"#)), r#"{"failed": "not_an_object"}"#);
    assert_eq!(only(deep.line_by_line(r#"{"sku":"B","a":null}"#)), r#"{"value": {"sku":"B","a":{"price":3.0}}}"#);
    let mut chain =
        Chain::new("{ n: integer }", "lookup: { table: data/mixed.csv, by: .n, into: .row, missing: drop }");
    let row = r#"{"value": {"n":7,"row":{"b":true,"e":null,"f":1.5,"n":1,"t":"x"}}}"#;
    let _ = only(chain.line_by_line(r#"{"n":9}"#));
    assert_eq!(
        only(
            Chain::new("{ id: integer }", "lookup: { table: data/mixed.csv, by: .id, into: .row }")
                .line_by_line(r#"{"id":7}"#)
        ),
        row.replace("\"n\":7", "\"id\":7")
    );
    assert_eq!(only(chain.line_by_line(r#"{"n":3}"#)), r#"{"dropped": "lookup"}"#);
}

#[test]
fn tombstones_pass_unless_metadata_alone_decides() {
    let run = |fields: &str, filters: &str, record: Record| Chain::new(fields, filters).run(record);
    let tombstone = || Record { payload: Payload::null(), key: Some("k".into()), ..Record::default() };
    for filter in [
        "map: .a = 1",
        "where: .q > 0",
        "validate: {}",
        "split: .items",
        "lookup: { table: data/prices.csv, by: .q, into: .p }",
    ] {
        assert_eq!(run(FIELDS, filter, tombstone()), [r#"{"value": null}"#], "{filter}");
    }
    let both = [r#"{"output": "a", "value": null}"#, r#"{"output": "b", "value": null}"#];
    assert_eq!(run(FIELDS, "route: { a: .q > 0, b: true }", tombstone()), both);
    assert_eq!(run(FIELDS, "where: '%key == \"other\"'", tombstone()), [r#"{"dropped": "where"}"#]);
    assert_eq!(run(FIELDS, "route: { a: '%key == \"x\"', b: true }", tombstone()), [both[1]]);
}

#[test]
fn validate_names_the_field_and_keeps_the_bytes() {
    let mut chain = Chain::new("", "validate: { schema: schemas/quantity.json }");
    let fits = r#"{ "quantity" : 1, "deep":{"list":["a"]} , "z":123456789012345678901234567890}"#;
    assert_eq!(only(chain.line_by_line(fits)), format!("{{\"value\": {fits}}}"));
    for bad in [r#"{"quantity":"1"}"#, r#"{"quantity":1,"deep":{"list":["a",7]}}"#, "null", "[]"] {
        assert_eq!(only(chain.line_by_line(bad)), r#"{"failed": "schema_violation"}"#, "{bad}");
    }
    let mut chain = Chain::new("{ id: string, n: integer?, deep: { f: number }, list: [ integer ] }", "validate:");
    let fits = r#"{"id":"a","deep":{"f":2},"list":[1]}"#;
    assert_eq!(only(chain.line_by_line(fits)), format!("{{\"value\": {fits}}}"));
    for bad in [
        r#"{"id":null,"deep":{"f":2},"list":[]}"#,
        r#"{"id":"a","deep":{},"list":[]}"#,
        r#"{"id":"a","deep":{"f":1},"list":["x"]}"#,
        r#"{"id":"a","n":1.5,"deep":{"f":2},"list":[]}"#,
        "7",
    ] {
        assert_eq!(only(chain.line_by_line(bad)), r#"{"failed": "schema_violation"}"#, "{bad}");
    }
}

fn member() -> impl Strategy<Value = String> {
    let number = prop::sample::select(vec![
        "1.10",
        "1e3",
        "-0.0",
        "18446744073709551615",
        "123456789012345678901234567890",
        "7",
    ]);
    prop_oneof![
        number.prop_map(str::to_owned),
        "[a-zé\"\\\\]{0,5}".prop_map(|s| serde_json::to_string(&s).unwrap()),
        Just("{ \"b\" : [ 1.0 ,2.50 ] }".to_owned()),
        Just("null".to_owned()),
    ]
}

fn headers() -> impl Strategy<Value = Headers> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..4));
    prop::collection::vec(("[ab]", value), 0..5)
        .prop_map(|pairs| pairs.iter().map(|(n, v)| (n.as_str(), v.as_deref())).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn untouched_members_headers_and_payloads_are_the_very_bytes(
        members in prop::collection::vec(("[m-p]{1,2}", member()), 0..6), q in -50i64..50, headers in headers()
    ) {
        let text: Vec<_> = members.iter().map(|(k, v)| format!(" \"{k}\": {v}")).collect();
        let raw = format!("{{{}{}\"q\":{q} }}", text.join(","), if text.is_empty() { "" } else { ", " });
        thread_local! {
            static CHAINS: std::cell::RefCell<(Chain, Chain, Chain)> = std::cell::RefCell::new((
                Chain::new("{ q: integer }", "map: .q = .q * 2\n---\nmap: .new = true"),
                Chain::new("{ q: integer }", "where: .q >= 0"),
                Chain::new("{ q: integer }", "route: { a: .q < 0, b: true }"),
            ));
        }
        CHAINS.with_borrow_mut(|(map, filter, route)| {
            let mut record = map.decode(&raw);
            record.headers = headers.clone();
            let mapped = map.run(record.clone()).remove(0);
            let want = raw.replace(&format!("\"q\":{q}"), &format!("\"q\":{}", q * 2));
            let body = want.strip_suffix(" }").unwrap();
            prop_assert!(mapped.starts_with(&format!("{{\"value\": {body}")), "{} became {}", raw, mapped);
            let kept = if q >= 0 { format!("{{\"value\": {raw}}}") } else { "{\"dropped\": \"where\"}".to_owned() };
            prop_assert_eq!(filter.run(record.clone()).remove(0), kept);
            let output = if q < 0 { "a" } else { "b" };
            prop_assert_eq!(route.run(record.clone()).remove(0), format!("{{\"output\": \"{output}\", \"value\": {raw}}}"));
            prop_assert_eq!(record.headers, headers);
            Ok(())
        })?;
    }
}

#[test]
fn what_passes_shares_the_bytes_it_came_with() {
    let (pipeline, _) = crate::common::pipeline("{ q: integer }", "where: .q > 0").unwrap();
    let millstream_filter_api::Built::Compute(mut filter) = (pipeline.stages[0].filters[0].checked.build)() else {
        panic!("where computes")
    };
    let raw = Bytes::from_static(b"{\"q\":1}");
    let payload = Codec::Json.decode(raw.clone(), &millstream_codec::Coercion::none()).unwrap();
    let mut record = Record { payload, ..Record::default() };
    assert!(matches!(filter.apply(&mut record), millstream_filter_api::Outcome::Forward));
    let out = Codec::Json.encode(&record.payload, &Codec::Json).unwrap().unwrap();
    assert_eq!(out.as_ptr(), raw.as_ptr());
}
