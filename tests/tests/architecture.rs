//! The shape of the project, held by tests: which crate may know which, which licences come in, and a few habits.
//!
//! Negative controls tried by hand: a `rdkafka` line in the host's manifest, a `tokio` line in the engine's, a
//! `todo!` in a source file and a file of 600 lines each turn one of these red.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// What each crate of ours may depend on among ours. An arrow not here is a change of architecture: think first, then
/// write it into ARCHITECTURE.md, then here.
const MAY_USE: &[(&str, &[&str])] = &[
    ("millstream-filter-api", &[]),
    ("millstream-expr", &["millstream-filter-api"]),
    ("millstream-codec", &["millstream-filter-api"]),
    ("millstream-log", &["millstream-filter-api"]),
    ("millstream-engine", &["millstream-filter-api"]),
    ("millstream-spec", &["millstream-filter-api", "millstream-codec"]),
    ("millstream-filters-std", &["millstream-filter-api", "millstream-expr", "millstream-codec"]),
    ("millstream-pgclient", &[]),
    ("millstream-instructions", &[]),
    ("millstream-filters-io", &["millstream-filter-api", "millstream-expr", "millstream-codec", "millstream-pgclient"]),
    ("millstream-embedded", &["millstream-filter-api", "millstream-log"]),
    ("millstream-kafka", &["millstream-filter-api", "millstream-log"]),
    (
        "millstream-host",
        &[
            "millstream-filter-api",
            "millstream-expr",
            "millstream-codec",
            "millstream-log",
            "millstream-engine",
            "millstream-spec",
        ],
    ),
    ("millstream-serve", &["millstream-host", "millstream-spec"]),
    ("millstream-objects", &["millstream-filter-api", "millstream-host", "millstream-log", "millstream-spec"]),
    (
        "millstream-postgres",
        &["millstream-filter-api", "millstream-host", "millstream-log", "millstream-pgclient", "millstream-spec"],
    ),
];

/// Crates of others that must not be reached from a crate of ours, by any way.
const MUST_NOT_REACH: &[(&str, &[&str])] = &[
    ("millstream-filter-api", &["tokio", "rdkafka", "rdkafka-sys"]),
    ("millstream-engine", &["tokio", "rdkafka", "rdkafka-sys", "tracing"]),
    ("millstream-spec", &["tokio", "rdkafka", "rdkafka-sys"]),
    ("millstream-codec", &["tokio", "rdkafka", "rdkafka-sys"]),
    ("millstream-expr", &["tokio", "rdkafka", "rdkafka-sys"]),
    ("millstream-filters-std", &["tokio", "rdkafka", "rdkafka-sys"]),
    ("millstream-filters-io", &["rdkafka", "rdkafka-sys", "openssl-sys"]),
    ("millstream-host", &["rdkafka", "rdkafka-sys", "axum", "hyper"]),
    ("millstream-serve", &["rdkafka", "rdkafka-sys", "openssl-sys"]),
    ("millstream-objects", &["rdkafka", "rdkafka-sys", "openssl-sys", "aws-lc-sys", "reqwest"]),
    ("millstream-embedded", &["rdkafka", "rdkafka-sys"]),
    ("millstream-postgres", &["rdkafka", "rdkafka-sys", "openssl-sys"]),
];

/// Licences that may come in with a dependency.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "BSL-1.0",
    "CC0-1.0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "OpenSSL",
    "bzip2-1.0.6",
];

#[test]
fn dependencies_point_one_way() {
    let metadata = metadata();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|p| p.name.as_str()).collect();
    for (name, may) in MAY_USE {
        let uses: BTreeSet<&str> = normal(package(&metadata, name)).filter(|d| ours.contains(d)).collect();
        let more: Vec<_> = uses.iter().filter(|d| !may.contains(d)).collect();
        assert!(more.is_empty(), "{name} must not use {more:?}");
    }
}

#[test]
fn only_the_kafka_adapter_names_rdkafka() {
    for package in metadata().workspace_packages() {
        let names = package.dependencies.iter().any(|d| d.name.starts_with("rdkafka"));
        // The bench holds the copy loop on the C API that Millstream is measured against.
        let may = ["millstream-kafka", "millstream-bench"].contains(&package.name.as_str());
        assert!(!names || may, "{} names rdkafka", package.name);
    }
}

#[test]
fn pure_crates_reach_no_runtime_and_no_client() {
    let metadata = metadata();
    for (name, forbidden) in MUST_NOT_REACH {
        let reached = closure(&metadata, name);
        let bad: Vec<_> = forbidden.iter().filter(|f| reached.contains(**f)).collect();
        assert!(bad.is_empty(), "{name} reaches {bad:?}");
    }
}

#[test]
fn every_licence_is_one_we_may_ship() {
    let mut bad = BTreeMap::new();
    for package in &metadata().packages {
        let licence = package.license.clone().unwrap_or_else(|| "none given".to_owned());
        if !allowed(&licence) {
            bad.insert(package.name.to_string(), licence);
        }
    }
    assert!(bad.is_empty(), "licences to look at: {bad:#?}");
}

#[test]
fn habits_hold_in_every_source_file() {
    // In two parts each, so that this file does not find itself.
    let words = [("todo", "!("), ("unimplemented", "!("), ("#[ig", "nore"), ("FIX", "ME")];
    let mut found = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        let lines = text.lines().count();
        if lines > 500 {
            found.push(format!("{}: {lines} lines; split it by what it holds", path.display()));
        }
        for (a, b) in words {
            if text.contains(&format!("{a}{b}")) {
                found.push(format!("{}: {a}{b}", path.display()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `A OR B` needs one allowed side, `A AND B` both; `/` is the old way to write OR.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    expression.split(" AND ").all(|part| part.split(" OR ").any(|licence| LICENCES.contains(&licence.trim())))
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        // For this platform only: crates of others were never downloaded.
        .other_options(vec!["--offline".to_owned(), "--filter-platform".to_owned(), host()])
        .exec()
        .expect("cargo metadata of this workspace")
}

fn host() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output().expect("rustc");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|l| l.strip_prefix("host: ")).expect("a host triple").to_owned()
}

fn package<'a>(metadata: &'a Metadata, name: &str) -> &'a Package {
    metadata.packages.iter().find(|p| p.name == name).unwrap_or_else(|| panic!("no crate {name}"))
}

fn normal(package: &Package) -> impl Iterator<Item = &str> {
    package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.as_str())
}

/// Everything a crate reaches through dependencies that are resolved for it, without dev and build ones.
fn closure(metadata: &Metadata, name: &str) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let mut reached = BTreeSet::new();
    let mut todo = vec![package(metadata, name).id.clone()];
    while let Some(id) = todo.pop() {
        let Some(node) = resolve.nodes.iter().find(|n| n.id == id) else { continue };
        for dep in &node.deps {
            // The filters need all of VRL and the others its value type only; Cargo resolves one set of features for the
            // whole workspace, so what VRL reaches says nothing about who asked for it.
            if dep.name == "vrl" {
                continue;
            }
            if dep.dep_kinds.iter().any(|k| k.kind == DependencyKind::Normal)
                && reached.insert(metadata[&dep.pkg].name.to_string())
            {
                todo.push(dep.pkg.clone());
            }
        }
    }
    reached
}

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["filters", "pipeline-runtime", "cli", "tests", "bench"].map(|d| root().join(d)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() && path.file_name().is_some_and(|n| n != "target") {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace's folder")
}
