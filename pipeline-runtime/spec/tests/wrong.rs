//! Wrong pipelines. `§` stands right before the place where the only issue must be; beside it the issue's code, and a
//! part of its message or help.

mod common;

use common::{bad, run};
use millstream_filter_api::Severity;

/// A pipeline around one stage, which is on line 3 and goes on below with four spaces.
fn stage(lines: &str) -> String {
    format!(
        "pipeline: p\nsource: {{ topic: t, fields: {{ id: string, n: integer }} }}\nstages: \n  - name: a\n{lines}\n"
    )
}

/// A pipeline around one source.
fn source(text: &str) -> String {
    format!("pipeline: p\nsource: {text}\nstages: [{{ name: a, filter: where, with: 'true' }}]\n")
}

/// A pipeline with these stages, in flow style, one a line.
fn stages(lines: &[&str]) -> String {
    let lines: String = lines.iter().map(|l| format!("  - {{ {l} }}\n")).collect();
    format!("pipeline: p\nsource: {{ topic: t, fields: {{ id: string, n: integer }} }}\nstages:\n{lines}")
}

const W: &str = "    filter: where\n    with: 'true'\n";
const ROUTE: &str = "name: a, filter: route, with: { x: '.n > 1', y: true }";

fn check(cases: &[(String, &str, &str)]) {
    let mut wrong = Vec::new();
    for (marked, code, words) in cases {
        let at = marked.find('§').expect("every case has its mark");
        let (line, col) =
            (marked[..at].matches('\n').count() + 1, marked[..at].rsplit('\n').next().unwrap().chars().count() + 1);
        let yaml = marked.replacen('§', "", 1);
        let issues = bad(&yaml);
        let errors: Vec<_> = issues.iter().filter(|i| i.severity == Severity::Error).collect();
        let right = |i: &millstream_filter_api::Issue| {
            let said = format!("{} {}", i.message, i.help.as_deref().unwrap_or(""));
            (i.span.line as usize, i.span.col as usize, i.code) == (line, col, *code) && said.contains(words)
        };
        if !matches!(errors.as_slice(), [one] if right(one)) {
            let shown = millstream_spec::render(std::path::Path::new("p"), yaml.as_bytes(), &issues);
            wrong.push(format!("wanted {line}:{col} {code} {words:?}, got:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn yaml_that_misleads() {
    check(&[
        (stage("    filter: where\n    with: §!f(.n)"), "yaml_tag", "quote it"),
        (stage("    filter: where\n    with: §!f(.n, 1)"), "yaml_tag", "`!f(.n,`"),
        (stage("    filter: where\n    with: §! .n"), "yaml_tag", "quote it"),
        (stage("    filter: where\n    with: §.id == \"a #b\""), "comment_cuts_value", "quote it"),
        (stage("    filter: where\n    with: §.id == #b"), "comment_cuts_value", "` #` begins a comment"),
        (stage("    filter: where\n    with: §>\n      .n > 1"), "folded_block", "use `|`"),
        (stage("    filter: where\n    with: §>-\n\n      .n > 1"), "folded_block", "use `|`"),
        (stage("    filter: where\n    with: §&x .n"), "yaml_anchor", "`&x`"),
        (stage("    filter: where\n    with: §*x"), "yaml_alias", "`*x`"),
        (stage("    §<<: { filter: where }\n    filter: where\n    with: 'true'"), "yaml_merge_key", "defaults"),
        (stage("    filter: where\n    with: 'true'\n    §filter: map"), "duplicate_key", "the first is at 5:5"),
        (stage("    filter: where\n    with: .a = {\"b\"§: 1}"), "yaml_syntax", "block under `|`"),
        (stage("    filter: where\n    with: §%key"), "yaml_syntax", "quote it"),
        (stage("    filter: where\n    with: §@x"), "yaml_syntax", "quote it"),
        (stage("    filter: where\n    with: \"x\" §+ .id"), "yaml_syntax", "quote it"),
        (stage("    filter: where\n    with: { a: $§{env:X} }"), "yaml_syntax", "must be quoted"),
        (
            "pipeline: p\n§--- \nsource: { topic: t }\nstages: []\n".replacen(
                "pipeline: p\n",
                "pipeline: p\nsource: { topic: t }\nstages: [{ name: a, filter: where, with: 'true' }]\n",
                1,
            ),
            "several_documents",
            "a file of its own",
        ),
        ("§".into(), "empty_file", "the file is empty"),
        ("§# nothing\n".into(), "empty_file", "the file is empty"),
        ("§- a\n".into(), "wrong_type", "expected a pipeline"),
        (stage("    filter: where\n    with: 'true'\n    ? §[a]\n    : b\n"), "key_not_text", "must be a name"),
    ]);
}

#[test]
fn keys() {
    check(&[
        (format!("§pipline: p\n{}", &stage(W)[12..]), "unknown_key", "did you mean `pipeline`?").also_missing(),
        (stage(&format!("{W}    §replicaz: 2")), "unknown_key", "did you mean `replicas`?"),
        (stage(&format!("{W}    §maxIds: 2")), "unknown_key", "is not a key of a stage"),
        (source("{ topic: t, §frmat: json }"), "unknown_key", "did you mean `format`?"),
        (source("{ topic: t, id: { §heder: x, header: y } }"), "unknown_key", "did you mean `header`?"),
        (stage(&format!("{W}    retry: {{ §attemps: 2 }}")), "unknown_key", "did you mean `attempts`?"),
        (stage(&format!("{W}    dedup: {{ §windows: 2h }}")), "unknown_key", "did you mean `window`?"),
        (stage(&format!("{W}    to: {{ §partition: 2 }}")), "unknown_key", "did you mean `partitions`?"),
        (format!("defaults: {{ §from: x }}\n{}", stage(W)), "unknown_key", "is not a key of `defaults`"),
        ("§pipeline: p\nsource: { topic: t }\n".into(), "missing_key", "a pipeline needs `stages`"),
        (
            "§pipeline: p\nstages: [{ name: a, filter: where, with: 'true' }]\n".into(),
            "missing_key",
            "needs `source` or `sources`",
        ),
        (
            "§source: { topic: t }\nstages: [{ name: a, filter: where, with: 'true' }]\n".into(),
            "missing_key",
            "needs `pipeline`",
        ),
        (source("{ §format: json }").replace("{ §", "§{ "), "missing_key", "needs `topic` or `file` or `generate`"),
        (source("{ topic: t, §file: f.csv }"), "conflicting_keys", "exclude each other"),
        (source("{ topic: t, schema: order.json, §fields: { a: string } }"), "conflicting_keys", "exclude each other"),
        (source("{ file: f.csv, §start: latest }"), "missing_key", "makes sense only beside `topic`"),
        (
            stage("    filter: where\n    with: 'true'\n    §filters: [{ where: 'true' }]"),
            "conflicting_keys",
            "exclude",
        ),
        (stage("    filters: [{ where: 'true' }]\n    §with: x"), "missing_key", "only beside `filter`"),
        (
            format!(
                "sources: {{ web: {{ topic: t }}, b: {{ topic: u }} }}\n{}",
                stage(W).replacen(": a\n", ": §a\n", 1)
            )
            .replace("source: { topic: t, fields: { id: string, n: integer } }\n", ""),
            "ambiguous_from",
            "`from: web`, `from: b`, or several: `from: [web, b]`",
        ),
        (
            format!("§sources: {{ a: {{ topic: t }} }}\n{}", stage(W)).replace("§", "").replacen(
                "\nsource:",
                "\n§source:",
                1,
            ),
            "conflicting_keys",
            "exclude each other",
        ),
        (
            stage(&format!("{W}    dead_letter: {{ retention: 1d, §topic: x }}")),
            "unknown_key",
            "there is only `retention`",
        ),
        ("pipeline: p\nsource: { topic: t }\n§stages: []\n".into(), "wrong_count", "at least 1"),
    ]);
}

#[test]
fn values() {
    check(&[
        (stage(&format!("{W}    timeout: §30")), "wrong_type", "a duration such as"),
        (stage(&format!("{W}    timeout: §30x")), "bad_duration", "found `30x`"),
        (stage(&format!("{W}    timeout: §0s")), "bad_duration", "a duration such as"),
        (stage(&format!("{W}    retry: {{ backoff: §5s }}")), "bad_duration", "a range of durations"),
        (stage(&format!("{W}    retry: {{ backoff: §30s..1s }}")), "bad_duration", "did you mean `1s..30s`?"),
        (stage(&format!("{W}    retry: {{ attempts: §0 }}")), "out_of_range", "from 1 to 1000"),
        (stage(&format!("{W}    retry: §5")), "wrong_type", "expected `retry` (a map)"),
        (stage(&format!("{W}    retry: {{ park_after: §5s }}")), "wrong_type", "expected `park_after` (a map)"),
        (stage(&format!("{W}    retry: {{ park_after: {{ attempts: §0 }} }}")), "out_of_range", "from 1 to 1000"),
        (stage(&format!("{W}    retry: {{ park_after: {{ time: §0s }} }}")), "bad_duration", "`200ms`"),
        (stage(&format!("{W}    retry: {{ park_after: {{ §atempts: 2 }} }}")), "unknown_key", "`attempts`"),
        (stage(&format!("{W}    retry: {{ until: §2 hours }}")), "bad_duration", "a duration"),
        (stage(&format!("{W}    order: none\n    on_failure: §hold_key")), "conflicting_keys", "in no order"),
        (
            stage(&format!("{W}    order: partition\n    on_failure: §hold_key")),
            "conflicting_keys",
            "`order: partition`",
        ),
        (
            stage(&format!("{W}    order: partition\n    retry: {{ park_after: §{{ attempts: 3 }} }}")),
            "conflicting_keys",
            "`order: key`",
        ),
        (
            stage(&format!("{W}    priority: §{{ by: .n, levels: [a, b], weights: [1, 2, 3] }}")),
            "wrong_count",
            "2 levels, and 3 weights",
        ),
        (
            stage(&format!("{W}    priority: {{ by: .n, levels: [a, §a], weights: [1, 1] }}")),
            "duplicate_name",
            "`a` is a level twice",
        ),
        (stage(&format!("{W}    priority: §{{ by: .n, levels: [a, b] }}")), "missing_key", "`weights` or `strict`"),
        (stage(&format!("{W}    replicas: §0")), "out_of_range", "from 1 to 1024"),
        (
            stage(&format!("{W}    singleton: true\n    replicas: §2")),
            "conflicting_keys",
            "of a `singleton` one replica works",
        ),
        (stage(&format!("{W}    replicas: §1.5")), "out_of_range", "found `1.5`"),
        (stage(&format!("{W}    replicas: §two")), "wrong_type", "expected a whole number"),
        (stage(&format!("{W}    replicas: §")), "wrong_type", "found nothing").at_key("replicas"),
        (stage(&format!("{W}    order: §keys")), "unknown_word", "did you mean `key`?"),
        (format!("delivery: §exactly-once\n{}", stage(W)), "unknown_word", "did you mean `exactly_once`?"),
        (format!("apiVersion: §millstream/v2\n{}", stage(W)), "unknown_word", "did you mean `millstream/v1`?"),
        (stage(&format!("{W}    to: {{ max_record: §1MB }}")), "bad_size", "a size such as"),
        (stage(&format!("{W}    to: §a/b")), "bad_topic", "found `a/b`"),
        (stage(&format!("{W}    key: §id")), "bad_path", "a field such as"),
        (stage(&format!("{W}    key: [.id, §n]")), "bad_path", "found `n`"),
        (stage(&format!("{W}    dead_letter: {{ retention: §1y }}")), "bad_duration", "`forever`"),
        (stage(&format!("{W}    dedup: §offf")), "unknown_word", "did you mean `off`?"),
        (stage(&format!("{W}    dedup: {{ max_ids: §0 }}")), "out_of_range", "from 1"),
        (source("{ topic: t, format: §jsn }"), "unknown_word", "did you mean `json`?"),
        (source("{ topic: t, format: §jsonl }"), "unknown_word", "did you mean `json`?"),
        (source("{ topic: t, format: §csv }"), "missing_key", "needs the names of the columns"),
        (source("{ topic: t, start: §yesterday }"), "bad_time", "a time such as"),
        (source("{ topic: t, fields: { a: §strng } }"), "unknown_word", "did you mean `string`?"),
        (source("{ topic: t, fields: { a: §[string, string] } }"), "wrong_count", "exactly 1"),
        (source("{ topic: t, §fields: {} }"), "wrong_count", "at least 1"),
        (source("{ file: §orders }"), "missing_key", "`format: csv`"),
        (source("{ file: f.csv, format: §raw }"), "unknown_word", "cut into lines"),
        (source("{ file: { path: f.txt, separator: §';' } }"), "conflicting_keys", "for CSV alone"),
        (source("{ file: { path: f.csv, separator: §';;' } }"), "bad_separator", "one character"),
        (source("{ generate: { value: '{}', rate: §10/x } }"), "bad_rate", "100/s"),
        (source("{ generate: { value: 'a §oops' } }"), "bad_expression", "does not compile"),
        (source("{ file: f.csv, id: { header: §x } }"), "no_headers", "have no headers"),
        (source("{ file: f.csv, id: §key }"), "no_key", "give them one"),
        (source("{ topic: t, format: text, §fields: { a: string } }"), "conflicting_keys", "no meaning for text"),
        (source("{ topic: t, schema: §nope.json }"), "file_unreadable", "cannot read the schema"),
        (source("{ topic: t, schema: §broken.json }"), "schema_invalid", "not JSON"),
        (
            source("{ topic: t, fields: { cust_id: string }, id: §.cust_idd }"),
            "unknown_field",
            "did you mean `.cust_id`?",
        ),
        (source("{ topic: t, schema: order.json, id: [.order_id, §.lin] }"), "unknown_field", "did you mean `.line`?"),
        (stage(&format!("{W}    key: §.m")), "unknown_field", "there are `id`, `n`"),
        (format!("pipeline: §12\n{}", &stage(W)[12..]), "wrong_type", "quote it"),
        (format!("pipeline: §Orders\n{}", &stage(W)[12..]), "bad_name", "a-z"),
        (format!("pipeline: §a--b\n{}", &stage(W)[12..]), "bad_name", "single `-`"),
        (
            format!("{}tests: [{{ name: t, input: [], expect: {{ §b: [] }} }}]\n", stage(W)),
            "unknown_output",
            "there are `a`, `a.dlq`",
        ),
        (
            format!("{}tests: [{{ name: t, input: [{{ §vlue: 1 }}], expect: {{ a: [] }} }}]\n", stage(W)),
            "unknown_key",
            "did you mean `value`?",
        ),
        (source("{ topic: '§${env:NOPE}' }"), "unset_reference", "`NOPE` is not set"),
        (source("{ topic: 'x-§${file:nope}-y' }"), "unset_reference", "cannot read the file `nope`"),
        (source("{ topic: '§${evn:NOPE}' }"), "bad_reference", "${env:…}"),
    ]);
}

#[test]
fn stages_and_their_links() {
    check(&[
        (stage("    filter: §wher\n    with: 'true'"), "unknown_filter", "did you mean `where`?"),
        (stage("    filters: [{ §wher: 'true' }]"), "unknown_filter", "did you mean `where`?"),
        // Without the list of filters to come this is `unknown_filter`.
        (stage("    filters: [{ §join: { with: x } }]"), "not_supported_yet", "`join` is not supported yet"),
        (stage("    filters: [§{ where: 'true', map: 'x' }]"), "wrong_count", "found 2 keys"),
        (stage("    filter: where\n    with: |\n      .n > 1\n        && §oops"), "bad_expression", "does not compile"),
        (stage("    filter: where\n    with: |2-\n\n      ü §oops"), "bad_expression", "does not compile"),
        (stage("    filter: where\n    with: .n > §.m"), "bad_expression", "no field `.m`"),
        (stage("    filters:\n      - map: .m = 1\n      - where: .m > §.k"), "bad_expression", "no field `.k`"),
        (stage("    filter: lookup\n    with: { table: §none.csv }"), "file_unreadable", "none.csv"),
        (stages(&["name: §retry, filter: where, with: 'true'"]), "reserved_name", "dlq"),
        (
            stages(&["name: a, filter: where, with: 'true'", "name: §a, filter: where, with: 'true'"]),
            "duplicate_name",
            "the first is at 4:13",
        ),
        (stages(&["name: §source, filter: where, with: 'true'"]), "duplicate_name", "the name of the source"),
        (stages(&["name: a, from: §sorce, filter: where, with: 'true'"]), "unknown_from", "did you mean `source`?"),
        (stages(&[ROUTE, "name: b, from: §a.zebra, filter: where, with: 'true'"]), "unknown_from", "`a.x`, `a.y`"),
        (
            stages(&[ROUTE, "name: b, from: §a, filter: where, with: 'true'"]),
            "ambiguous_from",
            "`from: a.x`, `from: a.y`",
        ),
        (stages(&[ROUTE, "name: §b, filter: where, with: 'true'"]), "ambiguous_from", "has several outputs"),
        (
            stages(&["name: a, filter: where, with: 'true'", "name: b, from: §a.x, filter: where, with: 'true'"]),
            "unknown_from",
            "write `from: a`",
        ),
        (
            stages(&["name: a, from: §b, filter: where, with: 'true'", "name: b, filter: where, with: 'true'"]),
            "cycle",
            "a <- b <- a",
        ),
        (stages(&["name: a, from: §a, filter: where, with: 'true'"]), "cycle", "a <- a"),
        (stages(&["name: a, filter: where, with: 'true', to: §t"]), "cycle", "write to another topic"),
        (
            stages(&["name: a, filter: where, with: 'true', to: x", "name: b, filter: where, with: 'true', to: §x"]),
            "duplicate_topic",
            "the first is at 4:49",
        ),
        (
            stages(&["name: a, filter: where, with: 'true', to: §p.a.dlq"]),
            "duplicate_topic",
            "the dead letters of stage `a`",
        ),
        (stages(&["name: a, filter: where, with: 'true', to: §p.in"]), "duplicate_topic", "what the source writes"),
        (
            stages(&[
                "name: a, filter: where, with: 'true', to: { partitions: 3 }",
                "name: b, from: source, filter: where, with: 'true'",
                "name: c, from: [§a, b], filter: where, with: 'true'",
            ]),
            "partitions_differ",
            "`a` has 3, `b` has 12",
        ),
        (stages(&["name: a, from: [source, §source], filter: where, with: 'true'"]), "duplicate_name", "read twice"),
        (stages(&[&format!("{ROUTE}, to: §x")]), "conflicting_keys", "`outputs: { x: { to: … } }`"),
        (stages(&[&format!("{ROUTE}, outputs: {{ §xx: {{ to: q }} }}")]), "unknown_output", "did you mean `x`?"),
        (stages(&["name: a, filter: where, with: 'true', outputs: { §x: {} }"]), "unknown_output", "without a name"),
        (stages(&[&format!("{ROUTE}, outputs: {{ x: {{ key: §.nn }} }}")]), "unknown_field", "did you mean `.n`?"),
        (stages(&["name: a, filter: route, with: { §Big: true }"]), "bad_name", "found `Big`"),
        (stages(&["name: a, filter: route, with: { §dlq: true }"]), "reserved_name", "`dlq`"),
        (
            stages(&["name: a, filters: [{ §route: { x: true } }, { where: 'true' }]"]),
            "outputs_not_last",
            "must be the last filter",
        ),
    ]);
}

#[test]
fn what_is_not_built_yet() {
    check(&[
        (source("{ topic: t, fields: { a: §timestamp } }"), "not_supported_yet", "`timestamp`"),
        (stage(&format!("{W}    replicas: §{{ min: 1, max: 8 }}")), "not_supported_yet", "`replicas: { min, max }`"),
        (stage(&format!("{W}    deadline: §5m")), "not_supported_yet", "`deadline`"),
        (stages(&[&format!("{ROUTE}, compensate: §{{ where: 'true' }}")]), "not_supported_yet", "named outputs"),
        (stage(&format!("{W}    §join: {{}}")), "not_supported_yet", "`join`"),
    ]);
}

/// Cases whose mark cannot stand where the issue is.
trait Adjust {
    fn at_key(self, key: &str) -> Self;
    fn also_missing(self) -> Self;
}

impl Adjust for (String, &'static str, &'static str) {
    /// A value that is not there is shown at its key.
    fn at_key(mut self, key: &str) -> Self {
        self.0 = self.0.replace('§', "").replace(key, &format!("§{key}"));
        self
    }

    /// A misspelt key that is required is missing too; the right one is added, so that one issue is left.
    fn also_missing(mut self) -> Self {
        self.0.push_str("pipeline: p\n");
        self
    }
}

#[test]
fn every_issue_is_reported_at_once() {
    let codes = |yaml: &str| bad(yaml).iter().map(|i| (i.span.line, i.code)).collect::<Vec<_>>();
    let found = codes(
        "pipeline: P\nsource: { topic: t, fields: { id: string }, id: .idd }\nstages:\n  - { name: a, filter: where, with: oops, timeout: 3 }\n  - { name: b, filter: wher }\n  - { name: c, from: zz, filter: where, with: oops }\n  - { name: d, from: source, filter: where, with: oops }\n",
    );
    let expected = [
        (1, "bad_name"),
        (2, "unknown_field"),
        (4, "bad_expression"),
        (4, "wrong_type"),
        (5, "unknown_filter"),
        (6, "unknown_from"),
        (7, "bad_expression"),
    ];
    assert_eq!(found, expected);
    // Behind a failed filter too, but for what hangs on a field that it would have made.
    let found = codes(&stages(&[
        "name: a, filter: map, with: '.m = .n * oops'",
        "name: b, filter: where, with: '.m > 1'",
        "name: c, filter: where, with: '.k > 1', key: .m",
        "name: d, filter: route, with: { x: 'oops', y: true }",
        "name: e, from: d.x, filter: where, with: '.id == oops'",
    ]));
    assert_eq!(found, [(4, "bad_expression"), (6, "bad_expression"), (7, "bad_expression"), (8, "bad_expression")]);
}

#[test]
fn limits_hold() {
    let deep = format!("a: {}1{}", "[".repeat(70), "]".repeat(70));
    let deeper = format!("a: {}", "[".repeat(100_000));
    let indented: String = (0..80).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let many = format!("a: [{}]", "1,".repeat(60_000));
    let long = "x".repeat((1 << 20) + 1);
    for (yaml, code) in [
        (deep.as_str(), "nested_too_deep"),
        (deeper.as_str(), "nested_too_deep"),
        (indented.as_str(), "nested_too_deep"),
        (many.as_str(), "too_many_values"),
        (long.as_str(), "file_too_large"),
    ] {
        let codes: Vec<_> = bad(yaml).iter().map(|i| i.code).collect();
        assert_eq!(codes, [code]);
    }
    for (bytes, line, col) in [(&b"a: 1\nb: \xff"[..], 2, 4), (&b"\xff\xfea\0"[..], 1, 1)] {
        let file = millstream_spec::SourceFile { path: "p".into(), bytes: bytes.to_vec() };
        let verdict = millstream_spec::check(&file, &common::registry(), &common::files(), &common::env);
        let issues = verdict.err().expect("is wrong");
        assert_eq!((issues[0].code, issues[0].span.line, issues[0].span.col), ("not_utf8", line, col));
    }
}

#[test]
fn files_are_checked_against_each_other() {
    let file =
        |path: &str, yaml: &str| millstream_spec::SourceFile { path: path.into(), bytes: yaml.as_bytes().to_vec() };
    let pipeline = |name: &str, to: &str| {
        format!(
            "pipeline: {name}\nsource: {{ topic: t }}\nstages:\n  - {{ name: a, filter: where, with: 'true', to: {to} }}\n"
        )
    };
    let files = [
        file("one.yaml", &pipeline("one", "x")),
        file("two.yaml", &pipeline("two", "x")),
        file("again.yaml", &pipeline("one", "y")),
        file("fine.yaml", &pipeline("fine", "z")),
    ];
    let all = millstream_spec::check_all(&files, &common::registry(), &|_| Box::new(common::files()), &common::env);
    let found: Vec<Vec<_>> = all
        .into_iter()
        .map(|v| v.err().unwrap_or_default().iter().map(|i| (i.code, i.span.line, i.help.clone().unwrap())).collect())
        .collect();
    assert_eq!(found[0], []);
    assert_eq!(found[1], [("shared_topic", 4, "the first is at one.yaml:4:49".to_owned())]);
    assert_eq!(found[2], [("duplicate_pipeline", 1, "the first is at one.yaml:1:11".to_owned())]);
    assert_eq!(found[3], []);
    assert!(run("pipeline: p").is_err());
}

/// Each of them was a pipeline that is right, whose records all became dead letters.
#[test]
fn formats_that_cannot_carry_what_the_types_say() {
    let to = |of: &str, format: &str| {
        format!(
            "pipeline: p\nsource: {{ topic: t, {of} }}\nstages: \n  - {{ name: a, filter: where, with: 'true', to: {{ format: §{format} }} }}\n"
        )
    };
    let object = "fields: { id: string }";
    check(&[
        (to(object, "text"), "format_unfit", "`text` carries strings, and this output is of type {"),
        (to(object, "raw"), "format_unfit", "encode_json"),
        (to("format: text", "{ csv: { columns: [a] } }"), "format_unfit", "`csv` carries objects"),
    ]);
    for right in [
        to(object, "json"),
        to(object, "{ csv: { columns: [id] } }"),
        to("start: latest", "text"),
        to("format: text", "raw"),
    ] {
        let yaml = right.replacen('§', "", 1);
        assert!(run(&yaml).is_ok(), "{yaml}");
    }
}

#[test]
fn numbers_and_units_are_told_as_they_were_meant() {
    check(&[
        (stage(&format!("{W}    replicas: §99999999999999999999")), "out_of_range", "found a number beyond 64 bits"),
        (stage(&format!("{W}    timeout: §30")), "wrong_type", "did you mean `30s`?"),
        (stage(&format!("{W}    timeout: §30 sec")), "bad_duration", "did you mean `30s`?"),
        (stage(&format!("{W}    timeout: §5min")), "bad_duration", "did you mean `5m`?"),
        (stage(&format!("{W}    to: {{ max_record: §1MB }}")), "bad_size", "did you mean `1MiB`?"),
        (stage(&format!("{W}    to: {{ max_record: §64kb }}")), "bad_size", "did you mean `64KiB`?"),
        (stage(&format!("{W}    to: {{ retention: §2 weeks }}")), "bad_duration", "did you mean `14d`?"),
        (source("{ topic: t, id: { §hdr: x } }"), "unknown_key", "is not a key of `{ header: NAME }`"),
        (stage(&format!("{W}    to: {{ format: §jsonl }}")), "unknown_word", "did you mean `json`?"),
        (
            source("{ topic: t, schema: order.json, format: §csv }"),
            "missing_key",
            "write `format: { csv: { columns: [a, b] } }`",
        ),
        (
            stage(&format!("{W}    to: {{ format: §csv }}")),
            "missing_key",
            "write `to: { format: { csv: { columns: [a, b] } } }`",
        ),
        (stage("    filter: where\n    with: \"a §\u{1} b\""), "yaml_syntax", "control character"),
    ]);
    let said = |yaml: &str| {
        bad(yaml).iter().map(|i| format!("{} {}", i.message, i.help.as_deref().unwrap_or(""))).collect::<String>()
    };
    let of_csv = said(&source("{ topic: t, schema: order.json, format: csv }"))
        + &said(&stage(&format!("{W}    to: {{ format: csv }}")));
    assert!(!of_csv.contains("or give a source"), "{of_csv}");
    let of_topic = said(&source("{ topic: t, format: jsn }"));
    assert!(!of_topic.contains("jsonl`, or"), "{of_topic}");
    let to = said(&stage(&format!("{W}    to: {{ format: xxxx }}")));
    let words = "`raw`, `text`, `json`, `csv`, `msgpack`, `cbor`, `avro` or `protobuf`";
    assert!(to.contains(words) && !to.contains("jsonl"), "{to}");
}
