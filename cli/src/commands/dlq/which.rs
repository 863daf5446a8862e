//! Which letters: a pipeline, a stage of it or a topic, and what narrows them down.

use std::path::Path;

use clap::Args;
use millstream_filter_api::{Issue, Severity};
use millstream_host::letters::{Letter, Place, Select};
use millstream_log::Log;
use millstream_spec::model::Pipeline;

use crate::context::Context;
use crate::failure::Failure;
use crate::{pipelines, topic, units};

/// What all verbs share.
#[derive(Args, Debug)]
pub struct Which {
    /// Pipeline, or one stage of it: a file or a name, then a dot and the stage's name
    #[arg(value_name = "PIPELINE[.STAGE]", required_unless_present = "topic", conflicts_with = "topic")]
    target: Option<String>,
    /// Letters in this topic instead, whoever wrote them
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// Only letters for which this VRL condition is true: `.` is the payload, %key, %headers.x and so on as in stages,
    /// and %error.code, .class, .message, .stage, .filter, .attempts, .redrives, .edited, .at
    #[arg(long = "where", value_name = "EXPR")]
    condition: Option<String>,
    /// Only letters of records with this key
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    /// Only letters with this code; repeats
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// Only what became a letter at this time or later: 2026-01-31T08:00:00Z, or -2h
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Only what became a letter before this time
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Only the letter at this place; repeats
    #[arg(long, value_name = "PARTITION:OFFSET", value_delimiter = ',', value_parser = place)]
    offset: Vec<(i32, i64)>,
}

fn place(text: &str) -> Result<(i32, i64), String> {
    let parts = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
    match parts {
        Some((partition @ 0.., offset @ 0..)) => Ok((partition, offset)),
        _ => Err(format!("`{text}` is no place; write it as PARTITION:OFFSET, such as 0:17")),
    }
}

impl Which {
    /// Whether letters are chosen by nothing but their key: then also keys are meant whose letter is gone.
    pub fn is_of_keys(&self) -> bool {
        let Self { condition, code, since, until, offset, .. } = self;
        condition.is_none() && code.is_empty() && since.is_none() && until.is_none() && offset.is_empty()
    }

    /// The letters of each stage that is meant.
    pub fn places(&self, log: &dyn Log, cx: &Context) -> Result<Vec<Place>, Failure> {
        if let Some(name) = &self.topic {
            topic::existing(log, name)?;
            return Ok(vec![Place::of_topic(name)]);
        }
        let (pipeline, stage) = resolve(self.target.as_deref().unwrap_or_default(), cx)?;
        let Some(wanted) = stage else {
            if !self.offset.is_empty() && pipeline.stages.len() > 1 {
                return Err(Failure::wrong("`--offset` is a place in one topic: name a stage"));
            }
            return Ok(pipeline.stages.iter().map(|s| Place::of_stage(&pipeline, s)).collect());
        };
        if let Some(stage) = pipeline.stages.iter().find(|s| s.name == wanted) {
            return Ok(vec![Place::of_stage(&pipeline, stage)]);
        }
        let names: Vec<&str> = pipeline.stages.iter().map(|s| s.name.as_str()).collect();
        let unknown = Failure::wrong(format!("pipeline `{}` has no stage `{wanted}`", pipeline.name));
        Err(match millstream_spec::nearest(&wanted, names.iter().copied()) {
            Some(near) => unknown.help(format!("did you mean `{near}`?")),
            None => unknown.help(format!("there are {}", names.join(", "))),
        })
    }

    /// What narrows the letters of a place down.
    pub fn choice(&self, place: &Place) -> Result<Choice, Failure> {
        let now = units::now();
        let moment = |text: &Option<String>| text.as_deref().map(|t| units::moment(t, now)).transpose();
        let select = Select {
            condition: None,
            key: self.key.as_ref().map(|k| k.clone().into_bytes()),
            codes: self.code.clone(),
            since: moment(&self.since).map_err(Failure::wrong)?,
            until: moment(&self.until).map_err(Failure::wrong)?,
            places: self.offset.clone(),
        };
        let select = match &self.condition {
            Some(text) => {
                select.with_condition(text, place).map_err(|issues| wrong("--where", text, place, &issues))?
            }
            None => select,
        };
        Ok(Choice { select, undecided: 0, first: None })
    }

    /// What letters are called for people where they lie.
    pub fn named(&self) -> &str {
        self.topic.as_deref().or(self.target.as_deref()).unwrap_or_default()
    }
}

/// Chooses letters, and remembers those on which the condition failed.
pub struct Choice {
    select: Select,
    undecided: u64,
    first: Option<String>,
}

impl Choice {
    /// Whether a letter is meant. One on which the condition fails is not.
    pub fn takes(&mut self, place: &Place, letter: &Letter) -> bool {
        match self.select.matches(place, letter) {
            Ok(meant) => meant,
            Err(fault) => {
                self.undecided += 1;
                self.first.get_or_insert_with(|| format!("{} {}: {fault}", place.topic, letter.place()));
                false
            }
        }
    }

    /// Says on how many letters the condition failed.
    pub fn say_undecided(&self) {
        if let Some(first) = &self.first {
            let n = self.undecided;
            tracing::warn!("left out {n} letters on which the condition fails, the first at {first}");
        }
    }
}

/// An expression of the command line that does not compile, said as the problems of a pipeline are.
pub fn wrong(option: &str, text: &str, place: &Place, issues: &[Issue]) -> Failure {
    let errors = issues.iter().filter(|i| i.severity == Severity::Error);
    let said: Vec<String> = errors
        .clone()
        .map(|i| {
            format!("`{option}` column {}, for letters in `{}`: {} [{}]", i.span.col, place.topic, i.message, i.code)
        })
        .collect();
    let failure = Failure::wrong(said.join("\n"));
    match errors.clone().find_map(|i| i.help.clone()) {
        Some(help) => failure.help(help),
        None => failure.help(format!("the expression is `{text}`")),
    }
}

/// The pipeline of `PIPELINE[.STAGE]`, and the stage's name.
fn resolve(target: &str, cx: &Context) -> Result<(Pipeline, Option<String>), Failure> {
    let (name, stage) = match (pipelines::find(target, Path::new("")), target.rsplit_once('.')) {
        (Ok(_), _) => (target, None),
        (Err(e), None) => return Err(e),
        (Err(e), Some((_, "yaml" | "yml"))) => return Err(e),
        (Err(_), Some((pipeline, stage))) => (pipeline, Some(stage.to_owned())),
    };
    let loaded = pipelines::load(&[name.to_owned()], &cx.registry, cx.paint_errors())?;
    match loaded.into_iter().next() {
        Some(pipeline) => Ok((pipeline, stage)),
        None => Err(Failure::wrong(format!("there is no pipeline `{name}` here"))),
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn places() {
        assert_eq!(place("3:17"), Ok((3, 17)));
        for bad in ["3", "3:", ":1", "-1:2", "1:-2", "a:b"] {
            assert!(place(bad).is_err_and(|e| e.contains("PARTITION:OFFSET")), "{bad}");
        }
    }
}
