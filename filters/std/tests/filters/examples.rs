//! What the pages of the filters say is what they do.

use crate::common::Chain;

/// White space outside of values does not count between an example and what came out; every digit does.
fn bare(line: &str) -> String {
    let (mut out, mut quoted, mut escaped) = (String::new(), false, false);
    for c in line.chars() {
        if quoted || !c.is_whitespace() {
            out.push(c);
        }
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
    }
    out
}

#[test]
fn every_example_does_what_it_says() {
    let mut ran = 0;
    for spec in millstream_filters_std::registry() {
        let page = spec.page();
        assert!(!page.examples.is_empty(), "{} has no example", spec.name());
        for example in page.examples {
            assert!(example.yaml.starts_with(&format!("{}:", spec.name())), "{}: {}", spec.name(), example.title);
            let got = Chain::new(example.fields, example.yaml).line_by_line(example.input);
            let got: Vec<_> = got.iter().map(|l| bare(l)).collect();
            let want: Vec<_> = example.output.lines().map(bare).collect();
            assert_eq!(got, want, "{}: {}", spec.name(), example.title);
            ran += 1;
        }
    }
    assert!(ran >= 10, "only {ran} examples ran");
}

#[test]
fn pages_and_schemas_are_complete_and_names_in_order() {
    let specs = millstream_filters_std::registry();
    let names: Vec<_> = specs.iter().map(|s| s.name()).collect();
    assert!(names.is_sorted(), "{names:?}");
    for spec in &specs {
        let page = spec.page();
        assert!(page.summary.len() < 80 && !page.summary.ends_with('.'), "{}", spec.name());
        assert!(!page.description.is_empty());
        let schema: serde_json::Value = serde_json::from_str(spec.config_schema()).unwrap();
        jsonschema::validator_for(&schema).unwrap_or_else(|e| panic!("{}: {e}", spec.name()));
    }
}

#[test]
fn configuration_schemas_accept_what_the_checks_accept() {
    let cases = [
        ("map", r#"".a = 1""#, true),
        ("map", "1", false),
        ("where", r#"".a == 1""#, true),
        ("where", "true", true),
        ("where", "{}", false),
        ("route", r#"{"a": "true", "b": true}"#, true),
        ("route", "{}", false),
        ("validate", "{}", true),
        ("validate", "null", true),
        ("validate", r#"{"schema": 1}"#, false),
        ("lookup", r#"{"table": "t.csv", "by": ".a", "into": ".b", "missing": "drop"}"#, true),
        ("lookup", r#"{"table": "t.csv", "by": ".a"}"#, false),
        ("split", r#"".items""#, true),
        ("split", r#""items""#, false),
    ];
    for (name, config, fits) in cases {
        let spec = millstream_filters_std::registry().into_iter().find(|s| s.name() == name).unwrap();
        let schema = serde_json::from_str(spec.config_schema()).unwrap();
        let config = serde_json::from_str(config).unwrap();
        assert_eq!(jsonschema::is_valid(&schema, &config), fits, "{name}: {config}");
    }
}
