//! A pipeline beside the live one: the same stages, perhaps changed, over a range of what the live one has read, into
//! topics and groups of its own.
//!
//! Its name is `<pipeline>--<NAME>`, and so everything it makes begins with that. It reads the live topics and never
//! writes to one, and it has its own control topic, where `replay` ([`note`]) says what it is. Ids are made with the
//! name of the live pipeline (`ids.rs`), so that its outputs can be held against the live ones.
//!
//! Start reading at [`begin`], then `names.rs` (pure: the pipeline with other names), `bounded.rs` (a log that ends
//! where the range ends), `clean.rs`.

mod bounded;
mod clean;
mod names;
mod note;

use std::sync::Arc;

use millstream_log::{Class, Log, LogError, LogResult};

use super::range::{Bound, Range, resolve};
use crate::changes::content;
use crate::control::{self, Control};
use crate::ids::hash128;

pub use bounded::BoundedLog;
pub use clean::clean;
pub use names::{Beside, is_name, own_name};
pub use note::Note;

/// What a person asks for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Where the range begins.
    pub from: Bound,
    /// Where it ends.
    pub to: Bound,
    /// Both as they were written: asking for the same again goes on, also where `-2h` would mean another time by now.
    pub written: (String, String),
    /// Take what is left of a range that retention has cut.
    pub accept_gap: bool,
    /// Hash of what else decides what the pipeline does: the files that its filters read.
    pub files: u128,
    /// Filters may have effects outside.
    pub allow_effects: bool,
}

/// The range, as it is or was when this replay began first, and a log that holds nothing of the live topics but that.
/// What is noted here lets a later call go on, and `clean` find what there is to remove.
///
/// # Errors
/// `replay_effects`, `replay_differs` (another range or pipeline is there under this name), `replay_leftovers`, and those
/// of [`resolve`] and of the log.
pub fn begin(log: &Arc<dyn Log>, beside: &Beside, asked: &Asked) -> LogResult<(Range, Arc<dyn Log>)> {
    if !asked.allow_effects {
        effects(beside)?;
    }
    let mut now = Note {
        from: asked.written.0.clone(),
        to: asked.written.1.clone(),
        stage: beside.stage.clone(),
        content: format!("{:032x}", hash128(&[content(&beside.pipeline).as_bytes(), &asked.files.to_le_bytes()])),
        groups: beside.groups(),
        ..Note::default()
    };
    let known = Note::read(&**log, &beside.pipeline.name)?;
    let topics: Vec<&str> = beside.reads.iter().map(String::as_str).collect();
    let resolve = || resolve(&**log, &topics, &asked.from, &asked.to, asked.accept_gap);
    let range = match known {
        Some(known) => {
            known.same(&now, beside)?;
            if (&known.from, &known.to) != (&now.from, &now.to) && resolve()? != known.range() {
                return Err(differs(beside, &format!("is for the range from {} to {}", known.from, known.to)));
            }
            known.range()
        }
        None => {
            let prefix = format!("{}.", beside.pipeline.name);
            // The control topic alone is a replay that ended before it noted anything.
            let control = control::topic(&beside.pipeline.name);
            if let Some(topic) = log.topics()?.iter().find(|t| t.starts_with(&prefix) && **t != control) {
                return Err(LogError::new(
                    Class::Config,
                    "replay_leftovers",
                    format!(
                        "topic `{topic}` is there, and no replay has noted it; give another name, or remove all with \
                             `--beside {} --clean`",
                        beside.name
                    ),
                ));
            }
            let range = resolve()?;
            now.begin(&range);
            Control::of(&**log, &beside.pipeline.name).put(vec![now.change()?])?;
            range
        }
    };
    let bounded = BoundedLog::new(Arc::clone(log), &range, asked.accept_gap);
    Ok((range, Arc::new(bounded)))
}

/// Calls out of here were made by the live pipeline before.
fn effects(beside: &Beside) -> LogResult<()> {
    for stage in &beside.pipeline.stages {
        if let Some(filter) = stage.filters.iter().find(|f| f.checked.effects) {
            return Err(LogError::new(
                Class::Config,
                "replay_effects",
                format!(
                    "stage `{}` would do again what its filter `{}` does outside of the log; `--allow-effects` lets it",
                    stage.name, filter.name
                ),
            ));
        }
    }
    Ok(())
}

fn differs(beside: &Beside, what: &str) -> LogError {
    let name = &beside.name;
    LogError::new(
        Class::Config,
        "replay_differs",
        format!(
            "what is there as `{name}` {what}; remove it with `--beside {name} --clean`, or give this one another name"
        ),
    )
}
