//! README and docs are true: every command in them is run and says what is printed there, every pipeline passes its
//! check, every link leads somewhere, every code has its entry, the filters' pages are those of the binary.
//!
//! Commands stand in ```console blocks: a line `$ …` is run by bash, the lines after it are what it prints. `...` stands
//! for anything, in a line or for lines; runs of white space count as one space. Commands that are not run stand in
//! ```sh blocks and are of the few kinds in `NOT_RUN`.

mod blocks;
mod codes;
mod filters;
mod session;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use millstream_test_kafka::{KafkaCluster, Options};
use millstream_tests::workspace;

use blocks::{Block, blocks};
use session::Session;

/// What a test cannot do: fetch the project, run itself, reach a Docker engine.
const NOT_RUN: [&str; 4] = ["git clone ", "cd ", "cargo test ", "docker compose "];
/// Stands for a cluster in commands; the tests put theirs there.
const CLUSTER: &str = "localhost:9092";

#[test]
fn commands_print_what_the_pages_say() {
    for page in pages() {
        let all = blocks(&read(&page));
        if all.iter().any(|b| b.kind == "console" && !b.text.contains(CLUSTER)) {
            let mut session = Session::new(None);
            // A page that needs a cluster is run whole below.
            if !all.iter().any(|b| b.kind == "console" && b.text.contains(CLUSTER)) {
                session.play(&page, &all);
            }
        }
    }
}

#[test]
fn commands_on_a_cluster_print_what_the_pages_say() {
    for page in pages() {
        let mut all = blocks(&read(&page));
        if !all.iter().any(|b| b.kind == "console" && b.text.contains(CLUSTER)) {
            continue;
        }
        // A cluster of its own: the topics have the names that readers see.
        let cluster = KafkaCluster::start_or_skip(Options::default());
        if cluster.is_none() {
            all.retain(|b| !b.text.contains(CLUSTER));
        }
        Session::new(cluster.as_ref().map(KafkaCluster::bootstrap)).play(&page, &all);
    }
}

#[test]
fn pipelines_and_settings_of_the_pages_are_right() {
    let mut pipelines = 0;
    for page in pages() {
        for block in blocks(&read(&page)).iter().filter(|b| b.kind == "yaml") {
            pipelines += 1;
            session::check_yaml(&page, block);
        }
    }
    assert!(pipelines > 10, "the reference shows pipelines");
}

#[test]
fn every_block_is_of_a_kind_that_is_looked_at() {
    for page in pages() {
        for Block { kind, text, line } in blocks(&read(&page)) {
            let place = format!("{}:{line}", page.display());
            match kind.as_str() {
                "console" => assert!(text.starts_with("$ "), "{place}: a console block begins with a command"),
                "sh" => {
                    for command in text.lines().filter(|l| !l.is_empty()) {
                        assert!(
                            NOT_RUN.iter().any(|known| command.starts_with(known)),
                            "{place}: {command}: use a console block"
                        );
                    }
                }
                "yaml" | "json" | "text" | "mermaid" => {}
                other => panic!("{place}: a block of kind {other:?}"),
            }
        }
    }
}

#[test]
fn links_lead_somewhere() {
    for page in pages() {
        let text = read(&page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            if target.starts_with("https://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let at = if path.is_empty() { page.clone() } else { page.parent().expect("a folder").join(path) };
            assert!(at.exists(), "{}: the link {target} leads nowhere", page.display());
            if !anchor.is_empty() {
                assert!(anchors(&read(&at)).contains(anchor), "{}: no heading for {target}", page.display());
            }
        }
    }
}

#[test]
fn readme_leads_to_every_page() {
    let readme = read(&workspace().join("README.md"));
    for page in pages().iter().filter(|p| p.parent().is_some_and(|f| f.ends_with("docs"))) {
        let name = page.file_name().expect("a name").to_string_lossy();
        assert!(readme.contains(&format!("(docs/{name})")), "README.md does not name docs/{name}");
    }
}

#[test]
fn what_is_refused_for_now_is_on_its_page() {
    let page = read(&workspace().join("docs/not-yet.md"));
    let language = read(&workspace().join("pipeline-runtime/spec/src/language.rs"));
    let keys = language.split("later!(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(key, _)| key);
    let commands = read(&workspace().join("cli/src/later.rs"));
    let list =
        commands.split_once("COMMANDS: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];")).expect("a list").0;
    let names: Vec<&str> = keys.chain(list.split('"').skip(1).step_by(2)).collect();
    assert!(names.len() > 3, "{names:?}");
    let word = |c: char| !(c.is_alphanumeric() || c == '_');
    let missing: Vec<_> = names.iter().filter(|name| !page.split(word).any(|w| w == **name)).collect();
    assert!(missing.is_empty(), "docs/not-yet.md does not name {missing:?}");
}

fn pages() -> Vec<PathBuf> {
    let mut pages = vec![workspace().join("README.md"), workspace().join("CHANGELOG.md")];
    let docs = fs::read_dir(workspace().join("docs")).expect("docs");
    pages.extend(docs.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "md")));
    pages.sort();
    pages
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Headings as links name them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|l| l.starts_with('#'));
    headings
        .map(|h| {
            let words = h.trim_start_matches('#').trim().to_lowercase();
            words.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>().replace(' ', "-")
        })
        .collect()
}
