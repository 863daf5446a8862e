//! `docs/performance.md`: sections that are measured are replaced by whoever measured them; all others stay as they are.

use std::fs;
use std::path::PathBuf;

use crate::machine;
use crate::process::workspace;

/// Headings of measured sections, in the order of the page.
pub(crate) const THROUGHPUT: &str = "# Performance";
pub(crate) const LATENCY: &str = "## Latency";
pub(crate) const STARTING: &str = "## Starting up";
pub(crate) const EMBEDDED: &str = "## On the embedded log";
pub(crate) const FAILING: &str = "## While one key fails";
const MEASURED: [&str; 5] = [THROUGHPUT, LATENCY, STARTING, EMBEDDED, FAILING];

/// Writes a section of the page: what was measured, how it was asked for, and what it means.
pub(crate) fn write(heading: &str, command: &str, figures: &str, meaning: &str) -> Result<(), String> {
    let page = docs("performance.md");
    let known = fs::read_to_string(&page).unwrap_or_default();
    let body = format!(
        "Written by `cargo run --release -p millstream-bench -- {command}` at commit `{}`. Do not edit this section.\n\n\
         ```text\n{}\n```\n\n{}\n",
        machine::commit(),
        figures.trim_end(),
        meaning.trim()
    );
    let text = replaced(&known, heading, &body);
    fs::write(&page, text).map_err(|e| format!("cannot write {}: {e}", page.display()))
}

/// A file of the documentation.
pub(crate) fn docs(file: &str) -> PathBuf {
    workspace().join("docs").join(file)
}

/// The page with this section's body, put where it was, or behind the nearest measured section before it.
fn replaced(page: &str, heading: &str, body: &str) -> String {
    let section = format!("{heading}\n\n{}\n", body.trim());
    if let Some((from, to)) = find(page, heading) {
        return joined(&page[..from], &section, &page[to..]);
    }
    let before = MEASURED.iter().take_while(|h| **h != heading);
    let at = before.filter_map(|h| find(page, h)).map(|(_, to)| to).max().unwrap_or(0);
    joined(&page[..at], &section, &page[at..])
}

fn joined(before: &str, section: &str, after: &str) -> String {
    let mut text = String::new();
    for part in [before, section, after].map(str::trim).into_iter().filter(|p| !p.is_empty()) {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(part);
    }
    text + "\n"
}

/// Where a section begins and ends; what is in blocks of code is no heading.
fn find(page: &str, heading: &str) -> Option<(usize, usize)> {
    let (mut at, mut from, mut in_code) = (0, None, false);
    for line in page.split_inclusive('\n') {
        let is_heading = !in_code && (line.starts_with("# ") || line.starts_with("## "));
        if line.starts_with("```") {
            in_code = !in_code;
        }
        match from {
            Some(from) if is_heading => return Some((from, at)),
            None if is_heading && line.trim_end() == heading => from = Some(at),
            _ => {}
        }
        at += line.len();
    }
    from.map(|from| (from, page.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Performance\n\nold\n\n```text\n## not one\n```\n\n## While one key fails\n\nfailing\n\n## By hand\n\n### Deeper\n\nstays\n";

    #[test]
    fn a_section_is_replaced_and_all_others_stay() {
        assert_eq!(
            replaced(PAGE, THROUGHPUT, "new"),
            "# Performance\n\nnew\n\n## While one key fails\n\nfailing\n\n## By hand\n\n### Deeper\n\nstays\n"
        );
        let failing = replaced(PAGE, FAILING, "new\n");
        assert!(failing.starts_with(&PAGE[..PAGE.find("failing").expect("there")]), "{failing}");
        assert!(failing.ends_with("## While one key fails\n\nnew\n\n## By hand\n\n### Deeper\n\nstays\n"), "{failing}");
    }

    #[test]
    fn a_new_section_comes_behind_the_measured_one_before_it() {
        let page = replaced(PAGE, STARTING, "fast");
        assert!(page.contains("```\n\n## Starting up\n\nfast\n\n## While one key fails\n"), "{page}");
        assert_eq!(replaced(&page, STARTING, "fast"), page);
        assert_eq!(replaced("", LATENCY, "low"), "## Latency\n\nlow\n");
    }

    #[test]
    fn the_page_of_the_project_is_one_that_can_be_taken_apart() {
        let page = fs::read_to_string(docs("performance.md")).expect("the page");
        let again = replaced(&page, FAILING, "x");
        for heading in ["## What matters, under overload", "## A replay against the live run", "## Many objects"] {
            assert!(find(&again, heading).is_some(), "{heading} is gone");
        }
    }
}
