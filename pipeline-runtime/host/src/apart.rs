//! Whether the stages of a process may be together: one that is isolated with `run: apart` runs alone.

use std::collections::BTreeSet;

use millstream_spec::model::Pipeline;

/// What is wrong with the stages that a process is to run, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotApart {
    /// Which stage runs with which.
    pub what: String,
    /// How to run them.
    pub help: String,
}

/// Refuses an isolated stage beside any other. `stages` are those that are named, each as `pipeline.stage`; `None` is all.
pub fn apart(pipelines: &[Pipeline], stages: Option<&BTreeSet<String>>) -> Result<(), NotApart> {
    let all = pipelines.iter().flat_map(|p| p.stages.iter().map(move |s| (s, format!("{}.{}", p.name, s.name))));
    let here: Vec<_> = all.filter(|(_, name)| stages.is_none_or(|names| names.contains(name))).collect();
    let isolated = here.iter().find(|(stage, _)| stage.isolate.as_ref().is_some_and(|i| i.apart));
    let Some((_, name)) = isolated.filter(|_| here.len() > 1) else { return Ok(()) };
    let others: Vec<&str> = here.iter().map(|(_, n)| n.as_str()).filter(|n| n != name).collect();
    let shown: Vec<String> = others.iter().take(3).map(|n| format!("`{n}`")).collect();
    let more = if others.len() > 3 { format!(" and {} more", others.len() - 3) } else { String::new() };
    Err(NotApart {
        what: format!(
            "`{name}` is isolated (`run: apart`), and this process would run {}{more} as well; nothing was started",
            shown.join(", ")
        ),
        help: format!("run it alone, with `--stages {name}`, and the others with `--stages {}`", others.join(",")),
    })
}
