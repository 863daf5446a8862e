//! Counts what the hot loops take per record, with valgrind, and holds it against `baseline.txt`.
//!
//! Without valgrind it says what it skips; where `CI` is set it fails then. The loops are built optimised
//! (`counted.toml`), beside the tests and from the crates that they have built.
//!
//! Negative controls tried by hand: one `Box::new(now)` in `Engine::finish` turns six loops of the engine red (by 164
//! instructions, 3.5 to 7.7 %), one `raw.to_vec()` in `Codec::decode` `json_decode_small`.

#![expect(clippy::print_stdout, reason = "a table that is worth seeing, and what is skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use millstream_instructions::{Baseline, TOLERANCE, TOLERANCE_OF_OTHERS, compare};

/// With this set, what is counted becomes the baseline.
const ACCEPT: &str = "MILLSTREAM_ACCEPT_INSTRUCTIONS";
const ACCEPT_COMMAND: &str = "MILLSTREAM_ACCEPT_INSTRUCTIONS=1 cargo test --workspace --test instructions";
/// The function of the hot loops that is counted, with all that it calls.
const COUNTED: &str = "*measured_stretch*";

#[test]
fn hot_loops_take_the_instructions_of_the_baseline() {
    let ci = std::env::var("CI").is_ok_and(|v| v == "true" || v == "1");
    let Some(valgrind) = said(Command::new("valgrind").arg("--version")) else {
        assert!(!ci, "`valgrind` is not installed, and CI is set: install it (Debian: apt-get install valgrind)");
        return println!("SKIPPED: hot loops are not counted, as `valgrind` is not installed");
    };
    let tools = tools(&valgrind);
    let loops = build();
    let counted = count_all(&loops);
    let path = here("baseline.txt");
    if std::env::var_os(ACCEPT).is_some() {
        let remark = format!("Instructions per record. Written by: {ACCEPT_COMMAND}");
        let text = Baseline { tools, counts: counted }.text(&remark);
        return std::fs::write(&path, text).expect("the baseline can be written");
    }
    let baseline = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let baseline = Baseline::parse(&baseline).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (name, count) in &counted {
        println!("{name:<28} {count:>9}  {:>9}", baseline.counts.get(name).map_or_else(String::new, u64::to_string));
    }
    let same_tools = tools == baseline.tools;
    let tolerance = if same_tools { TOLERANCE } else { TOLERANCE_OF_OTHERS };
    let findings = compare(&baseline.counts, &counted, tolerance);
    if findings.is_empty() {
        return;
    }
    let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
    let mut text = format!("{}\n", found.join("\n"));
    if !same_tools {
        text += &format!("counted with    {tools}\nbaseline made with {}\n", baseline.tools);
    }
    text += &format!(
        "what they are spent on: callgrind_annotate {}\nif it is meant so, accept it and say why in the commit:\n  {ACCEPT_COMMAND}",
        profile_of("NAME").display()
    );
    // A machine with tools of its own says nothing about a change; where all changes are judged it has to be seen to.
    if !same_tools && !ci {
        return println!("{text}");
    }
    panic!("\n{text}");
}

/// What makes the code, and what it runs on. Of the processor only whether it has AVX2: valgrind shows the program one of
/// few processors of its own, by that, so that libc and others choose the same code on each machine.
fn tools(valgrind: &str) -> String {
    let rustc = said(Command::new("rustc").arg("-V")).unwrap_or_default();
    let rustc = rustc.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let libc = said(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_else(|| "another libc".to_owned());
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    [&rustc, &libc, valgrind, processor(), &flags].map(str::trim).join(", ").trim_end_matches(", ").to_owned()
}

#[cfg(target_arch = "x86_64")]
fn processor() -> &'static str {
    if std::is_x86_feature_detected!("avx2") { "x86_64 with AVX2" } else { "x86_64" }
}

#[cfg(not(target_arch = "x86_64"))]
fn processor() -> &'static str {
    std::env::consts::ARCH
}

/// Builds the loops; gives the program. Of the whole workspace, as else other features were chosen and all built anew.
fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(here("../.."))
        .args(["test", "--workspace", "--bench", "hot_loops", "--no-run", "--locked", "--offline"])
        .args(["--message-format", "json-render-diagnostics", "--config", "bench/instructions/counted.toml"])
        // Incremental builds inline less: 2 % of a loop.
        .env("CARGO_INCREMENTAL", "0")
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo runs, as it runs this");
    assert!(output.status.success(), "the hot loops cannot be built; see above");
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let messages = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let mut programs = messages.filter(|m| m["target"]["name"] == "hot_loops");
    programs.find_map(|m| Some(PathBuf::from(m["executable"].as_str()?))).expect("cargo names the program")
}

/// Instructions per record of each loop, some at a time.
fn count_all(program: &Path) -> BTreeMap<String, u64> {
    let list = said(Command::new(program).arg("--list")).expect("it names its loops");
    let waiting = Mutex::new(list.lines());
    let counted = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let Some(line) = waiting.lock().expect("nobody panics with it").next() else { return };
                    let (name, records) = line.split_once(' ').expect("name and records");
                    let records: u64 = records.parse().expect("a number");
                    let per_record = (count(program, name) + records / 2) / records;
                    counted.lock().expect("nobody panics with it").insert(name.to_owned(), per_record);
                }
            });
        }
    });
    counted.into_inner().expect("nobody panicked with it")
}

/// Instructions of the counted stretch of one loop.
fn count(program: &Path, name: &str) -> u64 {
    let profile = profile_of(name);
    std::fs::create_dir_all(profile.parent().expect("a folder")).expect("target can be written");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(program)
        .args(["--count", name])
        // Nothing of where it runs may tune its libc.
        .env_clear()
        .output()
        .expect("valgrind runs, as it said its version");
    assert!(output.status.success(), "{name}:\n{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&profile).expect("valgrind has written it");
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("callgrind's file has a total");
    let total = total.trim().parse().expect("a number");
    assert!(total > 0, "{name}: nothing was counted; is {COUNTED} still the name of what is?");
    total
}

fn profile_of(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions").join(format!("{name}.callgrind"))
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// What a program says, or `None` where it cannot be run.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
