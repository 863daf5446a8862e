//! What a job has passed that can be undone, and which of it is undone next. Pure.
//!
//! A stage with a compensation writes each record that it lets pass to the notes as well, in the transaction that lets it
//! pass. Kept here is where: the offsets, by stage. When a job is stopped (it failed for good, was cancelled, was late),
//! and nothing of it is on its way any more, the stages it has passed are undone one after the other, the last one
//! first. What is undone runs as a record of the stage `<stage>.compensate`, whose notes are added up here too.

use serde::{Deserialize, Serialize};

use super::job::Failed;
use super::note::{Note, What};

/// What compensating stages are called, behind the name of the other.
const SUFFIX: &str = ".compensate";

/// So many records of a job are undone at once, at most.
const AT_ONCE: usize = 500;

/// A job with more than this that could be undone is ended: its status has a place in one record.
pub(super) const MOST: usize = 20_000;

/// Whether a stage of this name undoes another. No stage of a file can be called so.
pub(super) fn is_compensation(stage: &str) -> bool {
    stage.ends_with(SUFFIX)
}

/// What of a job can be undone, and what is being undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// Records that passed a stage and are not undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed: Vec<Passed>,
    /// Records that a compensation has to end with.
    #[serde(default, skip_serializing_if = "is_zero")]
    open: i64,
    /// Dead letters of compensations that were not sent back.
    #[serde(default, skip_serializing_if = "is_zero")]
    letters: i64,
    /// It has begun, and is not taken back.
    #[serde(default, skip_serializing_if = "is_false")]
    begun: bool,
    /// It has come to its end.
    #[serde(default, skip_serializing_if = "is_false")]
    over: bool,
    /// Records that can not be undone, because they, or the compensation, are no longer there.
    #[serde(default, skip_serializing_if = "is_zero")]
    lost: i64,
    /// Why a compensation is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<Failed>,
}

/// Records that passed a stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Passed {
    stage: String,
    /// Where they lie in the notes, in the order in which they passed.
    at: Vec<i64>,
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// What is undone now: these records of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The stage that they passed; its place in the order, or nothing where it has no compensation any more.
    pub stage: Option<usize>,
    /// Where they lie in the notes, the last one first.
    pub at: Vec<i64>,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// There is nothing to be undone, and there was nothing.
    Nothing,
    /// Something is to be undone, or being undone.
    Owing,
    /// A compensation is a dead letter.
    Stuck,
    /// All of it is undone.
    Undone,
    /// Something could not be undone.
    Lost,
}

impl Undo {
    /// Whether nothing needs to be kept.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A record passed a stage and lies at this place; whether it is one too many.
    pub(super) fn pass(&mut self, stage: &str, at: i64) -> bool {
        // What comes after the end is undone as well.
        self.over = false;
        match self.passed.iter_mut().find(|passed| passed.stage == stage) {
            Some(passed) => passed.at.push(at),
            None => self.passed.push(Passed { stage: stage.to_owned(), at: vec![at] }),
        }
        self.passed.iter().map(|passed| passed.at.len()).sum::<usize>() > MOST
    }

    /// Adds a note of a compensating stage.
    pub(super) fn add(&mut self, note: &Note<'_>) {
        match &note.what {
            What::Forwarded { .. } | What::Dropped | What::Duplicate => self.open -= 1,
            What::Redriven => (self.open, self.letters) = (self.open + 1, self.letters - 1),
            What::Dead { code, message, .. } => {
                (self.open, self.letters) = (self.open - 1, self.letters + 1);
                let (stage, code, message) = (note.stage.to_string(), code.to_string(), message.to_string());
                self.error = Some(Failed { stage, code, message, at: note.at });
            }
            What::Parked
            | What::Accepted
            | What::Scheduled { .. }
            | What::TakenBack
            | What::Cancel
            | What::Progress
            | What::Passed => {}
        }
        // Below zero only where notes are missing.
        (self.open, self.letters) = (self.open.max(0), self.letters.max(0));
        if self.letters == 0 {
            self.error = None;
        }
    }

    /// What is undone next, of a job that is stopped and of which nothing else is on its way. `order`: the stages that have a
    /// compensation, in the order in which records pass them. Nothing while what was begun has not ended.
    pub(super) fn step(&mut self, order: &[String]) -> Option<Step> {
        if self.open > 0 || self.letters > 0 {
            return None;
        }
        let place = |passed: &Passed| order.iter().position(|stage| *stage == passed.stage);
        let Some(last) = (0..self.passed.len()).max_by_key(|n| place(&self.passed[*n])) else {
            self.over |= self.begun;
            return None;
        };
        let (stage, passed) = (place(&self.passed[last]), &mut self.passed[last].at);
        let mut at = passed.split_off(passed.len().saturating_sub(AT_ONCE));
        at.reverse();
        if passed.is_empty() {
            self.passed.remove(last);
        }
        self.begun = true;
        match stage {
            Some(_) => self.open += i64::try_from(at.len()).unwrap_or(i64::MAX),
            None => self.lost += i64::try_from(at.len()).unwrap_or(i64::MAX),
        }
        Some(Step { stage, at })
    }

    /// Some records of a step are no longer there.
    pub(super) fn lose(&mut self, records: usize) {
        let records = i64::try_from(records).unwrap_or(i64::MAX);
        (self.open, self.lost) = (self.open - records, self.lost + records);
    }

    /// Whether [`Undo::step`] has something to do or to say.
    pub(super) fn is_due(&self) -> bool {
        self.open == 0 && self.letters == 0 && (!self.passed.is_empty() || self.begun && !self.over)
    }

    /// Somebody wants the job again: whether he may have it, or comes too late.
    pub(super) fn again(&mut self) -> bool {
        if self.begun && !self.over {
            return false;
        }
        (self.begun, self.over, self.lost) = (false, false, 0);
        true
    }

    /// Whether it was begun, and may have come to its end.
    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    /// How far it has come.
    pub(super) fn progress(&self) -> Progress {
        if self.letters > 0 && self.open == 0 {
            Progress::Stuck
        } else if self.letters > 0 || self.open > 0 || !self.passed.is_empty() || self.begun && !self.over {
            Progress::Owing
        } else if self.lost > 0 {
            Progress::Lost
        } else if self.over {
            Progress::Undone
        } else {
            Progress::Nothing
        }
    }

    /// The lowest offset of the notes that is still needed.
    pub(super) fn needs(&self) -> Option<i64> {
        self.passed.iter().filter_map(|passed| passed.at.first()).min().copied()
    }

    /// Why a compensation is a dead letter.
    pub(super) fn error(&self) -> Option<&Failed> {
        self.error.as_ref()
    }
}

#[cfg(test)]
mod tests;
