//! Every stable code has its entry in `docs/codes.md`, and every entry is of a code that exists.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use millstream_tests::workspace;

/// Calls that are given a code among their first arguments, and places where a code stands alone.
const CALLS: &[&str] = &[
    "Issue::error(",
    "Issue::warning(",
    "LogError::new(",
    "StoreError::new(",
    "fault(",
    "code = ",
    "(Class::",
    "Failure::new(",
    "Failure::data(",
    "Failure::permanent(",
    "Failure::transient(",
    "Outcome::data(",
    "Outcome::permanent(",
    "Outcome::transient(",
    "rule(",
    "fail(",
    "error(",
    "stopped(",
    "code: ",
    "CODE: &str = ",
    "OWNER_AWAY: &str = ",
    "} => \"",
    "=> (\"",
    "(StatusCode::",
];

#[test]
fn every_code_has_an_entry_and_every_entry_a_code() {
    let codes = codes();
    assert!(codes.len() > 80, "the scan finds codes: {}", codes.len());
    let page = fs::read_to_string(workspace().join("docs/codes.md")).expect("docs/codes.md");
    let entries: BTreeSet<&str> =
        page.lines().filter_map(|l| l.strip_prefix("| `")?.split_once('`').map(|(code, _)| code)).collect();
    let missing: Vec<_> = codes.iter().filter(|(code, _)| !entries.contains(code.as_str())).collect();
    assert!(missing.is_empty(), "codes without an entry in docs/codes.md: {missing:#?}");
    let all = sources().iter().map(|p| source(p)).collect::<String>();
    let stale: Vec<_> = entries.iter().filter(|e| !all.contains(&format!("\"{e}\""))).collect();
    assert!(stale.is_empty(), "entries in docs/codes.md of codes that no source names: {stale:?}");
}

/// Code -> a file that names it.
fn codes() -> BTreeMap<String, PathBuf> {
    let mut all = BTreeMap::new();
    for path in sources() {
        let text = source(&path);
        for call in CALLS {
            for (at, _) in text.match_indices(call) {
                // Where the marker ends inside the quotes, begin with them.
                let from = at + call.len() - call.chars().rev().take_while(|c| *c == '"').count();
                let from = if *call == "(Class::" { at + 1 } else { from };
                // One word alone is a code only where it is given to a call.
                let fits = |code: &String| code.contains('_') || call.contains("::");
                if let Some(code) = arguments(&text[from..]).into_iter().take(3).find_map(literal).filter(fits) {
                    all.entry(code).or_insert_with(|| path.clone());
                }
            }
        }
    }
    all
}

/// The arguments of a call, as far as the third.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut escaped, mut start) = (0_i32, false, false, 0);
    let mut all = Vec::new();
    for (i, c) in text.char_indices().take(2_000) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => {
                all.push(&text[start..i]);
                return all;
            }
            ')' | ']' | '}' => depth -= 1,
            ',' | ';' if depth == 0 => {
                all.push(&text[start..i]);
                start = i + 1;
                if all.len() == 3 || c == ';' {
                    return all;
                }
            }
            _ => {}
        }
    }
    all
}

/// A code, where the argument is the literal of one.
fn literal(argument: &str) -> Option<String> {
    let code = argument.trim().strip_prefix('"')?.strip_suffix('"')?;
    let word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (code.split('_').all(word) && code.len() > 3 && code.starts_with(|c: char| c.is_ascii_lowercase()))
        .then(|| code.to_owned())
}

/// Our own sources, without their tests.
fn sources() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = ["filters", "pipeline-runtime", "cli"].map(|f| workspace().join(f)).into();
    let mut all = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() && !["tests", "examples", "conformance", "target"].contains(&name.as_str()) {
                folders.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
                all.push(path);
            }
        }
    }
    all
}

fn source(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file is text");
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    text[..end].to_owned()
}
