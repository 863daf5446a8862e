//! PIPELINE and PIPELINE.STAGE on the command line.

use std::path::Path;

use millstream_filter_api::Severity;
use millstream_spec::Registry;
use millstream_spec::model::{Pipeline, Stage};

use crate::failure::Failure;
use crate::pipelines;
use crate::terminal::Paint;

/// A pipeline, and perhaps one stage of it.
pub struct Target {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Index of the stage that was named.
    pub stage: Option<usize>,
    /// Hash of the files that its filters read.
    pub files: u128,
}

impl Target {
    /// From a file, the name of a pipeline in this folder, or either with `.STAGE` after it. What is wrong with the file
    /// goes to stderr; its warnings are for `check`.
    pub fn load(name: &str, registry: &Registry, paint: Paint) -> Result<Self, Failure> {
        let (pipeline, stage) = split(name, |name| pipelines::find(name, Path::new("")).is_ok());
        let (pipeline, files) = one(pipeline, registry, paint)?;
        let stage = stage.map(|stage| index(&pipeline, stage)).transpose()?;
        Ok(Self { pipeline, stage, files })
    }

    /// The stage that was named; `command` needs one.
    pub fn stage(&self, command: &str) -> Result<&Stage, Failure> {
        let all = &self.pipeline.stages;
        self.stage.and_then(|at| all.get(at)).ok_or_else(|| {
            let (name, first) = (&self.pipeline.name, all.first().map_or("", |s| s.name.as_str()));
            Failure::wrong(format!("`{command}` wants a stage of `{name}`"))
                .help(format!("name it as in `{name}.{first}`; there are {}", names(all)))
        })
    }

    /// The stage that was named, or all.
    pub fn stages(&self) -> &[Stage] {
        match self.stage {
            Some(at) => &self.pipeline.stages[at..=at],
            None => &self.pipeline.stages,
        }
    }
}

/// The stage of a pipeline that has this name.
pub fn index(pipeline: &Pipeline, stage: &str) -> Result<usize, Failure> {
    let all = &pipeline.stages;
    all.iter().position(|s| s.name == stage).ok_or_else(|| {
        let unknown = Failure::wrong(format!("pipeline `{}` has no stage `{stage}`", pipeline.name));
        match millstream_spec::nearest(stage, all.iter().map(|s| s.name.as_str())) {
            Some(near) => unknown.help(format!("did you mean `{}.{near}`?", pipeline.name)),
            None => unknown.help(format!("there are {}", names(all))),
        }
    })
}

/// Names of stages have no dots, and neither have names of pipelines; a path may have some.
fn split(name: &str, is_pipeline: impl Fn(&str) -> bool) -> (&str, Option<&str>) {
    match name.rsplit_once('.') {
        Some((pipeline, stage)) if !is_pipeline(name) && !["yaml", "yml"].contains(&stage) => (pipeline, Some(stage)),
        _ => (name, None),
    }
}

fn one(name: &str, registry: &Registry, paint: Paint) -> Result<(Pipeline, u128), Failure> {
    let path = pipelines::find(name, Path::new(""))?;
    for file in pipelines::check(std::slice::from_ref(&path), registry)? {
        if file.count(Severity::Error) > 0 {
            // A closed stderr is no reason to say something else.
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), file.render(paint).as_bytes());
        }
        if let Ok((pipeline, _)) = file.verdict {
            return Ok((pipeline, file.files));
        }
    }
    Err(Failure::wrong(format!("`{}` is not right; nothing was done", path.display())))
}

fn names(stages: &[Stage]) -> String {
    stages.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn a_stage_stands_after_the_last_dot() {
        let known = |name: &str| ["orders", "./pipelines/a.yaml", "dir.d/orders"].contains(&name);
        for (name, pipeline, stage) in [
            ("orders", "orders", None),
            ("orders.clean", "orders", Some("clean")),
            ("./pipelines/a.yaml", "./pipelines/a.yaml", None),
            ("./pipelines/a.yaml.clean", "./pipelines/a.yaml", Some("clean")),
            ("dir.d/orders", "dir.d/orders", None),
            ("nowhere.yaml", "nowhere.yaml", None),
        ] {
            assert_eq!(split(name, known), (pipeline, stage), "{name}");
        }
    }
}
