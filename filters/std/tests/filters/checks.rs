//! What is wrong with a configuration is told at its place, all at once, with advice.

use crate::common::pipeline;
use millstream_filter_api::{Issue, Kind, Severity};
use vrl::path::parse_value_path;

const FIELDS: &str = "{ sku: string, quantity: integer, price: number?, items: [ { n: integer } ], open: object }";

fn errors(filter: &str) -> Vec<Issue> {
    match pipeline(FIELDS, filter) {
        Ok(_) => panic!("{filter} passed its check"),
        Err(issues) => issues.into_iter().filter(|i| i.severity == Severity::Error).collect(),
    }
}

#[test]
fn errors_stand_at_their_place() {
    // The filter stands in line 10 from column 9 on; (filter, place of the first error, code, words in it)
    let cases: &[(&str, &str, &str, &[&str])] = &[
        ("map: .total = .quantitty * 2", "10:23", "unknown_field", &["`.quantitty`", "did you mean `.quantity`?"]),
        ("map: |\n  .a = 1\n  .b = upcas(.sku)", "12:16", "expression_invalid", &["did you mean \"upcase\"?"]),
        ("map: { a: 1 }", "10:14", "wrong_type", &["a map"]),
        ("where: .sku", "10:16", "expression_invalid", &["must be true or false"]),
        ("where: .price > 1", "10:16", "expression_invalid", &["??"]),
        ("where: .sku = \"x\"", "10:16", "expression_invalid", &["read-only", "only in `map`"]),
        ("where:\n  - a", "11:11", "wrong_type", &["a list"]),
        ("route: {}", "10:16", "wrong_type", &["an empty map"]),
        ("route: .a", "10:16", "wrong_type", &["refunds"]),
        ("route: { a: .skuu == \"x\", b: .sku }", "10:21", "unknown_field", &["`.sku`"]),
        ("validate: { shema: a.json }", "10:21", "unknown_key", &["`shema`", "did you mean `schema`?"]),
        ("validate: { schema: none.json }", "10:29", "file_unreadable", &["none.json"]),
        ("validate: { schema: schemas/torn.json }", "10:29", "schema_invalid", &["torn.json"]),
        ("validate: { schema: schemas/nonsense.json }", "10:29", "schema_invalid", &["nonsense.json"]),
        (
            "validate: { schema: schemas/remote.json }",
            "10:29",
            "schema_invalid",
            &["schemas.invalid", "within the file"],
        ),
        ("lookup: { table: data/prices.csv, by: .skuu, into: .p }", "10:47", "unknown_field", &["`.sku`"]),
        ("lookup: { table: data/prices.csv, by: sku, into: .p }", "10:47", "invalid_path", &["`.name`"]),
        ("lookup: { table: data/prices.csv, by: .sku }", "10:17", "missing_key", &["`into`", ".price"]),
        ("lookup: { table: data/prices.csv, by: .sku, into: \"%key\" }", "10:59", "invalid_path", &["payload"]),
        (
            "lookup: { table: data/prices.csv, by: .sku, into: .p, missing: dropp }",
            "10:72",
            "unknown_value",
            &["`drop`"],
        ),
        ("lookup: { table: data/twice.csv, by: .sku, into: .p }", "10:26", "table_invalid", &["`A` twice", "2 and 4"]),
        ("lookup: { table: data/bare.csv, by: .sku, into: .p }", "10:26", "table_invalid", &["no column"]),
        ("lookup: { table: data/torn.csv, by: .sku, into: .p }", "10:26", "table_invalid", &["no CSV"]),
        ("lookup: { table: data/torn.jsonl, by: .sku, into: .p }", "10:26", "table_invalid", &["line 2"]),
        ("lookup: { table: data/prices.xml, by: .sku, into: .p }", "10:26", "table_invalid", &[".csv", ".jsonl"]),
        ("split: .itmes", "10:16", "unknown_field", &["`.items`"]),
        ("split: .sku", "10:16", "wrong_type", &["no array", "string"]),
        ("split: items", "10:16", "invalid_path", &["`.name`"]),
    ];
    for (filter, place, code, words) in cases {
        let found = errors(filter);
        let first = found.first().unwrap_or_else(|| panic!("{filter}: only warnings"));
        let text = first.to_string();
        assert_eq!(
            (format!("{}:{}", first.span.line, first.span.col).as_str(), first.code),
            (*place, *code),
            "{filter}: {found:#?}"
        );
        for word in *words {
            assert!(text.contains(word), "{filter}: {word} is missing in {text}");
        }
    }
}

#[test]
fn every_error_of_a_configuration_is_told() {
    let found = errors("lookup: { table: none.csv, by: .skuu, into: x, missing: 1, other: 2 }");
    let codes: Vec<_> = found.iter().map(|i| i.code).collect();
    assert_eq!(codes, ["unknown_field", "invalid_path", "unknown_value", "unknown_key"], "{found:#?}");
    assert_eq!(errors("route: { a: .skuu == \"x\", b: .sku, c: .quantitty > 0 }").len(), 3);
}

#[test]
fn validate_needs_something_to_validate_against() {
    let Err(found) = pipeline("", "validate: {}") else { panic!("passed") };
    assert!(found.iter().any(|i| i.code == "nothing_to_validate"), "{found:#?}");
}

#[test]
fn an_output_behind_one_that_takes_all_is_remarked() {
    let (_, warnings) = pipeline(FIELDS, "route: { a: true, b: .quantity > 0 }").unwrap();
    assert!(warnings.iter().any(|w| w.code == "unreachable_output" && w.message.contains("`b`")), "{warnings:#?}");
}

#[test]
fn types_flow_from_filter_to_filter() {
    let (pipeline, _) = pipeline(
        FIELDS,
        "map: .total = .quantity * 2\n---\nlookup: { table: data/mixed.csv, by: .quantity, into: .row }\n---\n\
         validate: { schema: schemas/quantity.json }\n---\nmap: .more = .total + 1",
    )
    .unwrap();
    let filters = &pipeline.stages[0].filters;
    let at = |filter: usize, path: &str| filters[filter].checked.types[0].at_path(&parse_value_path(path).unwrap());
    assert_eq!(at(0, "total"), Kind::integer());
    for (column, kind) in [("n", Kind::integer()), ("f", Kind::float()), ("b", Kind::boolean()), ("t", Kind::bytes())] {
        assert_eq!(at(1, &format!("row.{column}")).without_undefined(), kind, "{column}");
    }
    assert!(at(1, "row").contains_null());
    assert!(at(1, "row.e").is_null() || at(1, "row.e").contains_null());
    assert_eq!((at(2, "quantity"), at(2, "total")), (Kind::integer(), Kind::integer()));
    assert_eq!(at(3, "more"), Kind::integer());
    let (pipeline, _) = crate::common::pipeline(FIELDS, "split: .items\n---\nwhere: .n > 0").unwrap();
    assert!(pipeline.stages[0].filters[0].checked.types[0].is_object());
}
