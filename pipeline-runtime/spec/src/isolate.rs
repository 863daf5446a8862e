//! `isolate:`, a stage that keeps secrets: who may name them, and what may leave it.

use std::path::{Component, Path, PathBuf};

use millstream_filter_api::{Issue, Node};

use crate::http::Secret;
use crate::model::{Format, Isolate, Stage};
use crate::{path, read};

/// What stands for a secret where the stage does not run.
pub(crate) const PLACEHOLDER: &str = "secret";

/// The stages that keep secrets, as they stand in the file before references are resolved.
#[derive(Clone, Default)]
pub(crate) struct Owners {
    all: Vec<Owner>,
    folder: PathBuf,
}

#[derive(Clone)]
struct Owner {
    /// Its place in the list.
    stage: usize,
    name: String,
    secrets: Vec<String>,
    /// Whether it is to run in this process.
    here: bool,
}

/// Who may name something.
pub(crate) enum Whose<'a> {
    /// Anybody.
    Nobodys,
    /// This stage; whether it runs here.
    Own(bool),
    /// Another stage alone.
    Of(&'a str),
}

impl Owners {
    /// Of a file in `folder`. `plain` gives the text of a node; `runs` says whether a stage is to run in this process.
    pub(crate) fn read(
        root: &Node,
        folder: &Path,
        plain: &dyn Fn(&Node) -> String,
        runs: &dyn Fn(&str, &str) -> bool,
    ) -> Self {
        let pipeline = root.get("pipeline").map(plain).unwrap_or_default();
        let stages = root.get("stages").and_then(Node::as_list).unwrap_or(&[]).iter().enumerate();
        let owner = |(stage, node): (usize, &Node)| {
            let secrets = node.get("isolate")?.get("secrets")?.as_list()?;
            let secrets = secrets.iter().filter_map(Node::as_text).map(str::to_owned).collect();
            let name = node.get("name").map(plain).unwrap_or_default();
            Some(Owner { stage, here: runs(&pipeline, &name), name, secrets })
        };
        Self { all: stages.filter_map(owner).collect(), folder: folder.to_owned() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whose secret a variable is, or a file, where it is named in the stage `at`.
    pub(crate) fn whose(&self, scheme: &str, name: &str, at: Option<usize>) -> Whose<'_> {
        let is = |secret: &String| match scheme {
            "file" => self.same_file(secret, name),
            _ => secret == name,
        };
        let mut own = None;
        for owner in self.all.iter().filter(|o| o.secrets.iter().any(is)) {
            if Some(owner.stage) != at {
                return Whose::Of(&owner.name);
            }
            own = Some(owner.here);
        }
        own.map_or(Whose::Nobodys, Whose::Own)
    }

    /// The same file in other words is the same file.
    fn same_file(&self, one: &str, other: &str) -> bool {
        plain_path(&self.folder.join(one)) == plain_path(&self.folder.join(other))
    }
}

/// Secrets that are not named but referred to: whose they are would be known too late.
pub(crate) fn not_named(root: &Node) -> Vec<Issue> {
    let stages = root.get("stages").and_then(Node::as_list).unwrap_or(&[]);
    let secrets = stages.iter().filter_map(|s| s.get("isolate")?.get("secrets")?.as_list()).flatten();
    let referred = secrets.filter(|s| s.as_text().is_some_and(|text| text.contains("${")));
    let issue = |s: &Node| {
        let issue = Issue::error(s.span, "bad_name", "`secrets` has names, and here is a reference");
        issue.help("write `NAME` for `${env:NAME}`, and `PATH` for `${file:PATH}`")
    };
    referred.map(issue).collect()
}

fn plain_path(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if plain.file_name().is_some() => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    plain
}

/// What is wrong with naming a secret of another stage.
pub(crate) fn elsewhere(name: &str, owner: &str) -> Issue {
    let message = format!("`{name}` is a secret of the isolated stage `{owner}`, and nothing else may name it");
    Issue::error(Default::default(), "secret_elsewhere", message)
        .help("do what needs it in that stage, or take it from its `secrets`")
}

/// A secret that was resolved in a stage: the stage's place in the list, its name, its text where it was looked up.
pub(crate) type Given = (usize, String, Option<String>);

/// Reads the section of the stage at `place` of the list.
pub(crate) fn read(node: &Node, place: usize, stage: &mut Stage, given: &[Given], issues: &mut Vec<Issue>) {
    let Some(section) = node.get("isolate").filter(|n| n.as_map().is_some()) else { return };
    if section.as_map().is_some_and(<[_]>::is_empty) {
        let issue = Issue::error(section.span, "missing_key", "`isolate` needs `secrets`, `run` or `allow_fields`");
        issues.push(issue.help("`isolate: { secrets: [NAME], run: apart, allow_fields: [.a] }`"));
    }
    let mine = || given.iter().filter(|(stage, _, _)| *stage == place);
    for secret in section.get("secrets").and_then(Node::as_list).unwrap_or(&[]) {
        let Some(name) = secret.as_text() else { continue };
        let owners = Owners::default();
        if !mine().any(|(_, used, _)| used == name || owners.same_file(name, used)) {
            let message = format!("the stage does not use its secret `{name}`");
            let issue = Issue::warning(secret.span, "unused_secret", message);
            issues.push(issue.help("name it under `with`, as `${env:NAME}` or `${file:PATH}`; or leave it out"));
        }
    }
    let allow = section.get("allow_fields").and_then(Node::as_list);
    for output in stage.outputs.iter().filter(|_| allow.is_some()) {
        if matches!(output.format, Format::Raw | Format::Text) {
            let message =
                format!("`allow_fields` names fields, and what goes to `{}` is text without fields", output.topic);
            issues.push(Issue::error(section.span, "format_unfit", message).help("write it as `json`"));
        }
    }
    stage.isolate = Some(Isolate {
        secrets: mine().filter_map(|(_, name, text)| Some((name.clone(), Secret::new(text.clone()?)))).collect(),
        apart: read::text(section, "run") == Some("apart"),
        allow_fields: allow.map(|all| all.iter().filter_map(Node::as_text).filter_map(path::field).collect()),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_in_other_words() {
        let owners = Owners { folder: "/srv/p".into(), ..Owners::default() };
        for (one, other, same) in [
            ("key.pem", "./key.pem", true),
            ("key.pem", "a/../key.pem", true),
            ("key.pem", "/srv/p/key.pem", true),
            ("key.pem", "../p/key.pem", true),
            ("key.pem", "a/key.pem", false),
        ] {
            assert_eq!(owners.same_file(one, other), same, "{one} {other}");
        }
    }
}
