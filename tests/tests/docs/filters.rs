//! `docs/filters.md` is what the binary says of its filters. `MILLSTREAM_UPDATE_DOCS=1` writes it anew.

use std::fmt::Write;
use std::fs;
use std::process::Command;

use millstream_tests::{binary, workspace};
use serde_json::Value;

#[test]
fn the_page_of_filters_is_that_of_the_binary() {
    let path = workspace().join("docs/filters.md");
    let made = page();
    if std::env::var_os("MILLSTREAM_UPDATE_DOCS").is_some() {
        fs::write(&path, &made).expect("docs/filters.md");
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == made, "docs/filters.md is old: run the docs tests once with MILLSTREAM_UPDATE_DOCS=1");
}

fn page() -> String {
    let mut out =
        "# Filters\n\nMade from the binary: `millstream filters NAME` prints the same. The examples run as tests.\n\n"
            .to_owned();
    let list = millstream(&["filters"]);
    let names: Vec<&str> = list.lines().filter_map(|l| l.split_whitespace().next()).collect();
    for name in &names {
        let page = json(name);
        let _ = writeln!(out, "- [`{name}`](#{name}) {}", text(&page["summary"]));
    }
    for name in names {
        let page = json(name);
        let _ = writeln!(out, "\n## {name}\n\n{}", text(&page["description"]));
        for example in page["examples"].as_array().expect("examples") {
            let block = |out: &mut String, what: &str, text: &str| {
                if !text.is_empty() {
                    let _ = writeln!(out, "\n{what}\n\n```text\n{text}\n```");
                }
            };
            let _ = writeln!(out, "\n### {}", text(&example["title"]));
            block(&mut out, "Filter:", text(&example["yaml"]));
            block(&mut out, "Fields of the source:", text(&example["fields"]));
            block(&mut out, "What comes in:", text(&example["input"]));
            block(&mut out, "What becomes of it:", text(&example["output"]));
        }
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn json(name: &str) -> Value {
    serde_json::from_str(&millstream(&["filters", name, "-o", "json"])).expect("JSON")
}

fn millstream(arguments: &[&str]) -> String {
    let out = Command::new(binary()).args(arguments).output().expect("millstream");
    assert!(out.status.success(), "{arguments:?}");
    String::from_utf8(out.stdout).expect("UTF-8")
}
