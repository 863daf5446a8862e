//! What the figures were measured on.

use std::fs;
use std::process::Command;

/// One line: processor, memory, system.
pub(crate) fn line() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|l| l.starts_with("model name")).and_then(|l| l.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!(
        "{cores} cores ({}), {:.0} GiB of memory, Linux {}, Apache Kafka {} beside the client on the same machine",
        model.unwrap_or("model unknown"),
        kib as f64 / 1024.0 / 1024.0,
        kernel.trim(),
        millstream_test_kafka::KAFKA_VERSION
    )
}

/// The commit that was measured; a `+` where the tree has changes.
pub(crate) fn commit() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".into() };
    // What is measured goes into these files, one after the other.
    let others = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs/performance.*"];
    let changed = git(&others).is_some_and(|s| !s.is_empty());
    if changed { format!("{hash}+") } else { hash }
}
