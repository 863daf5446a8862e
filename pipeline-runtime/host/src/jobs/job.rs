//! The sum of a job's notes, and what it says of the job. Pure.

use serde::{Deserialize, Serialize};

use super::asked::Asked;
use super::callback::Callback;
use super::limits::At;
use super::note::{Note, What};
use super::payload::Payload;
use super::percent::Percent;
use super::state::{JobState, Stopped};
use super::undo::{MOST, Progress, Step, Undo, is_compensation};

/// A job as it stands; the value of a record of `<pipeline>.jobs`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Version of this form.
    pub v: u32,
    /// How it stands.
    pub state: JobState,
    /// Time of its first record, ms since 1970.
    pub accepted: i64,
    /// When its first note was written, ms since 1970: its deadline counts from there, as records may be old.
    #[serde(default)]
    pub begun: i64,
    /// When it last changed, ms since 1970.
    pub changed: i64,
    /// Notes below this offset of its partition are in it.
    #[serde(default)]
    pub notes: i64,
    /// Records of it that have not ended.
    pub open: i64,
    /// Of them, those that are set aside.
    #[serde(default)]
    pub waiting: i64,
    /// Dead letters of it that were not sent back.
    #[serde(default)]
    pub letters: i64,
    /// Why what is left of it is dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Whether the control topic says so to the stages.
    #[serde(default, skip_serializing_if = "is_false")]
    pub told: bool,
    /// When its record is to be written, ms since 1970; of one that nobody has written yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<i64>,
    /// It was for later and was taken back: no record of it will come.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gone: bool,
    /// By stage, in the order in which it met them.
    #[serde(default)]
    pub stages: Vec<StageCounts>,
    /// Its last error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Failed>,
    /// The last output of the stage whose outputs are results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Payload>,
    /// How far it has come, as it was said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Percent>,
    /// Who wants to be told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Box<Asked>>,
    /// What they were told last, or are about to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered: Option<JobState>,
    /// Who is called when something happens to it, and what they were told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Box<Callback>>,
    /// Stages with a deadline that have records of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) at: Vec<At>,
    /// What of it can be undone.
    #[serde(default, skip_serializing_if = "Undo::is_empty")]
    pub(super) undo: Undo,
}

/// What became of a job's records in one stage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageCounts {
    /// The stage's name.
    pub stage: String,
    /// Records that went on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub forwarded: u64,
    /// Records that were dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Records that had passed before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Records that became dead letters, however often they were sent back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dead_lettered: u64,
    /// Records that were set aside, also those that have gone on since.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parked: u64,
    /// Most attempts that one of them took.
    pub attempts: u32,
    /// First end there, ms since 1970.
    pub first: i64,
    /// Last end there, ms since 1970.
    pub last: i64,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Why a record of a job is a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// The stage.
    pub stage: String,
    /// The code; `millstream explain CODE` tells more.
    pub code: String,
    /// What happened.
    pub message: String,
    /// When, ms since 1970.
    pub at: i64,
}

/// The form this version writes.
pub(super) const VERSION: u32 = 1;

impl JobStatus {
    /// A job that nothing is known of, but what its first note says of its time.
    pub(super) fn begin(note: &Note<'_>) -> Self {
        Self {
            v: VERSION,
            state: JobState::Accepted,
            accepted: if note.time > 0 { note.time } else { note.at },
            begun: note.at,
            changed: note.at,
            notes: 0,
            // Its records were counted in a past of which nothing is known: one of them at least was on its way.
            open: i64::from(
                !note.root
                    && !note.replay
                    && !matches!(note.what, What::Accepted | What::Scheduled { .. } | What::Redriven)
                    && !is_compensation(&note.stage),
            ),
            waiting: i64::from(note.aside),
            letters: i64::from(note.what == What::Redriven),
            stopped: None,
            told: false,
            due: None,
            gone: false,
            stages: Vec::new(),
            error: None,
            result: None,
            progress: None,
            asked: None,
            answered: None,
            callback: None,
            at: Vec::new(),
            undo: Undo::default(),
        }
    }

    /// Adds one note, which lies at this offset.
    pub(super) fn add(&mut self, note: &Note<'_>, offset: i64) {
        self.changed = self.changed.max(note.at);
        if note.asked.is_some() {
            self.asked.clone_from(&note.asked);
        }
        self.ask_to_call(note);
        self.progress = note.progress.or(self.progress);
        if note.what == What::Progress {
            // It counts nothing: the end of its record will.
            self.state = self.judge();
        } else if note.what == What::Passed {
            if self.undo.pass(&note.stage, offset) {
                self.end_too_large(note.at);
            }
            self.state = self.judge();
        } else if is_compensation(&note.stage) {
            self.undo.add(note);
            self.count_end(note);
            self.state = self.judge();
        } else {
            self.time(note);
            self.add_end(note);
        }
    }

    fn end_too_large(&mut self, at: i64) {
        self.stop(Stopped::Failed);
        let message =
            format!("more than {MOST} records of it can be compensated, which is the most that a job may have");
        self.error = Some(Failed { stage: String::new(), code: "too_many_to_compensate".to_owned(), message, at });
    }

    fn add_end(&mut self, note: &Note<'_>) {
        self.open += i64::from(note.root) + i64::from(note.replay);
        if note.aside {
            self.waiting -= 1;
        }
        match &note.what {
            What::Accepted => {
                if self.due.take().is_some() {
                    (self.accepted, self.begun) = (note.time, note.at);
                }
            }
            What::Scheduled { due } => self.due = Some(*due),
            What::TakenBack => {
                self.due = None;
                // Else it is a job of the same id that has begun before.
                if self.stages.is_empty() {
                    self.gone = true;
                    self.stopped.get_or_insert(Stopped::Cancelled);
                }
            }
            What::Cancel => self.stop(Stopped::Cancelled),
            What::Redriven => {
                self.open += 1;
                self.letters -= 1;
                if !self.told && self.undo.again() {
                    // Somebody wants it after all.
                    self.stopped = None;
                }
            }
            What::Parked => self.waiting += 1,
            What::Forwarded { births, result, .. } => {
                self.open += i64::from(*births) - 1;
                if result.is_some() {
                    self.result.clone_from(result);
                }
            }
            What::Dropped | What::Duplicate => self.open -= 1,
            What::Dead { code, message, ends_job } => {
                if *ends_job {
                    self.stop(Stopped::Failed);
                }
                self.open -= 1;
                self.letters += 1;
                let (stage, code, message) = (note.stage.to_string(), code.to_string(), message.to_string());
                self.error = Some(Failed { stage, code, message, at: note.at });
            }
            What::Passed | What::Progress => {}
        }
        self.count_end(note);
        // Below zero only where notes are missing: those of a time when jobs were not tracked.
        self.open = self.open.max(0);
        self.waiting = self.waiting.clamp(0, self.open);
        self.letters = self.letters.max(0);
        self.state = self.judge();
        if !matches!(self.state, JobState::Failed | JobState::Compensating | JobState::Compensated) {
            // What was sent back is not what is wrong with it now.
            self.error = None;
        }
        if self.state == JobState::Done {
            self.undo = Undo::default();
        }
    }

    pub(super) fn stop(&mut self, why: Stopped) {
        if self.state != JobState::Done {
            self.stopped.get_or_insert(why);
        }
    }

    /// What the stages are to be told now, if it is something else than they know: that the rest of the job is dropped, or
    /// that there is no rest.
    pub(super) fn news(&mut self) -> Option<Option<Stopped>> {
        // Of an accepted one, or one for later, nothing is open yet, and its record is still to come.
        let rest = self.stopped.filter(|_| self.open > 0 || self.stages.is_empty() && !self.gone);
        let news = rest.is_some() != self.told;
        self.told = rest.is_some();
        news.then_some(rest)
    }

    /// Whether who asked is to be told now how it ended: once each time it ends.
    pub(super) fn answer(&mut self) -> bool {
        if !self.state.is_final() {
            self.answered = None;
        }
        let wanted = self.asked.as_ref().is_some_and(|asked| asked.refused.is_none());
        let news = wanted && self.state.is_final() && self.answered != Some(self.state);
        if news {
            self.answered = Some(self.state);
        }
        news
    }

    /// Whether there is nothing to be cancelled: somebody has, it was late, or it has ended and nothing of it can be undone.
    pub fn is_stopped(&self) -> bool {
        self.stopped.is_some() || self.state.is_final() && self.open == 0 && self.undo.progress() != Progress::Owing
    }

    /// What is undone next, if something is. `order`: the stages with a compensation, as records pass them.
    ///
    /// Nothing before all of the job has ended: until then another stage may let a record pass.
    pub(super) fn compensate(&mut self, order: &[String]) -> Option<Step> {
        if !self.is_due() {
            return None;
        }
        let step = self.undo.step(order);
        self.state = self.judge();
        step
    }

    /// Whether [`JobStatus::compensate`] has something to do.
    pub(super) fn is_due(&self) -> bool {
        self.stopped.is_some() && self.open == 0 && self.undo.is_due()
    }

    /// The lowest offset of the notes that is needed to undo it.
    pub(super) fn needs(&self) -> Option<i64> {
        self.undo.needs()
    }

    /// Records that were to be undone are no longer there.
    pub(super) fn lose(&mut self, records: usize) {
        self.undo.lose(records);
        self.state = self.judge();
    }

    /// Whether what it has passed is undone, or will be: a letter of it that is sent back would be dropped.
    pub fn is_given_up(&self) -> bool {
        matches!(self.state, JobState::Compensating | JobState::Compensated) || self.undo.has_begun()
    }

    /// What is wrong with it.
    pub fn failure(&self) -> Option<&Failed> {
        self.undo.error().or(self.error.as_ref())
    }

    pub(super) fn judge(&self) -> JobState {
        let undone = self.stopped.map_or(Progress::Nothing, |_| self.undo.progress());
        match undone {
            Progress::Nothing => {}
            Progress::Stuck if self.open == 0 => return JobState::Failed,
            Progress::Stuck | Progress::Owing => return JobState::Compensating,
            Progress::Undone => return JobState::Compensated,
            Progress::Lost => return JobState::Failed,
        }
        if self.stopped == Some(Stopped::Cancelled) {
            JobState::Cancelled
        } else if self.letters > 0 || self.stopped.is_some() {
            JobState::Failed
        } else if self.stages.is_empty() && self.due.is_some() {
            JobState::Scheduled
        } else if self.stages.is_empty() && self.progress.is_none() {
            JobState::Accepted
        } else if self.open == 0 && !self.stages.is_empty() {
            JobState::Done
        } else if self.waiting == self.open && self.waiting > 0 {
            JobState::Waiting
        } else {
            JobState::Running
        }
    }

    /// Counts an end by its stage.
    fn count_end(&mut self, note: &Note<'_>) {
        match &note.what {
            What::Forwarded { .. } => self.count(note).forwarded += 1,
            What::Dropped => self.count(note).dropped += 1,
            What::Duplicate => self.count(note).duplicates += 1,
            What::Dead { .. } => self.count(note).dead_lettered += 1,
            What::Parked => self.count(note).parked += 1,
            What::Accepted
            | What::Scheduled { .. }
            | What::TakenBack
            | What::Passed
            | What::Redriven
            | What::Progress
            | What::Cancel => {}
        }
    }

    fn count(&mut self, note: &Note<'_>) -> &mut StageCounts {
        let at = self.stages.iter().position(|s| s.stage == *note.stage).unwrap_or_else(|| {
            self.stages.push(StageCounts { stage: note.stage.to_string(), first: note.at, ..StageCounts::default() });
            self.stages.len() - 1
        });
        let counts = &mut self.stages[at];
        counts.attempts = counts.attempts.max(note.attempts);
        counts.last = counts.last.max(note.at);
        counts
    }

    /// Whether a later note of it is to be expected: then its sum has to be at hand.
    pub(super) fn is_open(&self) -> bool {
        match self.state {
            JobState::Done => false,
            JobState::Cancelled | JobState::Compensated => self.open > 0 || self.letters > 0 || self.told,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
