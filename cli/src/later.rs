//! Commands that the contract names and a later version brings: known by name, so that nobody looks for a slip.

use crate::failure::Failure;

/// Their names.
pub const COMMANDS: &[&str] = &["test", "doctor"];

/// What `--help` says of them.
pub fn after_help() -> String {
    format!("Not supported yet: {}", COMMANDS.join(", "))
}

/// What is wrong with a word that is no command of now; `now` are those that are.
pub fn refuse(word: &str, now: &[&str]) -> Failure {
    if COMMANDS.contains(&word) {
        return Failure::later(format!("`millstream {word}`"));
    }
    let unknown = Failure::wrong(format!("there is no command `{word}`"));
    match millstream_spec::nearest(word, now.iter().chain(COMMANDS).copied()) {
        Some(near) => unknown.help(format!("did you mean `millstream {near}`?")),
        None => unknown.help("`millstream --help` lists the commands"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(word: &str) -> String {
        refuse(word, &["run", "check"]).message().map(|m| format!("{} {:?}", m.what, m.help)).unwrap_or_default()
    }

    #[test]
    fn a_later_command_and_a_slip_are_told_apart() {
        assert!(said("doctor").starts_with("`millstream doctor` is not supported yet"));
        assert!(said("chekc").contains("did you mean `millstream check`?"));
        assert!(said("xyzzy").contains("`millstream --help`"));
    }
}
