//! The errors of this crate, each with its code and what to do.

use std::io;
use std::path::Path;

use millstream_log::{Class, LogError};

/// All codes of this crate, so that an error keeps its code over the socket.
pub(crate) const CODES: [&str; 19] = [
    "unknown_topic",
    "unknown_partition",
    "log_io",
    "log_write",
    "log_damaged",
    "log_closed",
    "log_broken",
    "log_version",
    "log_socket",
    "log_owner_away",
    "log_owner_failed",
    "group_in_use",
    "member_fenced",
    "instance_taken",
    "transaction_lost",
    "transaction_too_large",
    "metadata_too_large",
    "topic_name",
    "topic_partitions",
];

/// A file that this version cannot read.
pub(crate) fn other_version(path: &Path) -> LogError {
    let message = format!("{} was written by another version of millstream; run that one", path.display());
    LogError::new(Class::Config, "log_version", message)
}

/// A topic that is not there.
pub(crate) fn unknown_topic(topic: &str) -> LogError {
    LogError::new(Class::Config, "unknown_topic", format!("topic {topic} does not exist"))
}

/// A partition beyond a topic's last.
pub(crate) fn unknown_partition(topic: &str, partition: i32, partitions: usize) -> LogError {
    let message = format!("topic {topic} has {partitions} partitions, no partition {partition}");
    LogError::new(Class::Config, "unknown_partition", message)
}

/// A file operation failed.
pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> LogError {
    let class = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Class::Denied,
        _ => Class::Fatal,
    };
    LogError::new(class, "log_io", format!("{doing} {}: {error}", path.display()))
}

/// Nothing was written, and trying again may help.
pub(crate) fn disk_full(path: &Path, error: &io::Error) -> LogError {
    let message = format!("cannot write {}: {error}; nothing of this transaction was kept", path.display());
    LogError::new(Class::Retry, "log_write", message)
}

/// What is on disk does not check.
pub(crate) fn damaged(path: &Path, position: u64, what: &str) -> LogError {
    let message = format!(
        "{} is damaged at byte {position}: {what}; nothing was changed; restore the folder from a copy, or move it away to begin anew",
        path.display()
    );
    LogError::new(Class::Fatal, "log_damaged", message)
}

/// The log of this handle was closed.
pub(crate) fn closed(dir: &Path) -> LogError {
    LogError::new(Class::Fenced, "log_closed", format!("the embedded log in {} was closed", dir.display()))
}

/// This member is no longer what it thinks it is.
pub(crate) fn fenced(group: &str, why: &str) -> LogError {
    LogError::new(Class::Fenced, "member_fenced", format!("member of group {group}: {why}"))
}

/// Another member joined under the same instance name. Joining again would take it back.
pub(crate) fn instance_taken(group: &str, instance: &str) -> LogError {
    let message = format!(
        "another process has joined group `{group}` under the instance name `{instance}`: give each process a name of its \
         own (`--instance`)"
    );
    LogError::new(Class::Config, "instance_taken", message)
}

/// A group cannot go while it has members.
pub(crate) fn group_in_use(group: &str) -> LogError {
    LogError::new(Class::Retry, "group_in_use", format!("the group {group} has members"))
}

/// A transaction that cannot be continued.
pub(crate) fn must_abort(why: &str) -> LogError {
    LogError::new(Class::Abort, "transaction_lost", format!("the transaction must be aborted: {why}"))
}
