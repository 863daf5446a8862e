//! What a replica says of the jobs its records belong to: a note per end, in the transaction of the end.

use std::borrow::Cow;

use millstream_engine::{Fate, Place};
use millstream_log::Outgoing;

use super::{Replica, Runner};
use crate::ids;
use crate::input::Input;
use crate::jobs::{Asked, Callback, JobsPlan, Note, Payload, Percent, Stopped, What, keep};
use crate::outputs::Written;
use crate::plan::StagePlan;
use crate::retry_topic::Reason;

impl Replica {
    /// Puts notes of duplicates into the open transaction: the engine ends those without asking.
    pub(super) fn note_duplicates(&mut self) {
        while let Some((place, input)) = self.engine.pop_duplicate() {
            let Some(mut note) = of(&self.cx.plan, &input, What::Duplicate) else { continue };
            note.tag = self.txn.origin.len() as u64;
            self.txn.origin.push(place);
            self.txn.outgoing.push(note);
        }
    }

    /// Cancels calls for records of jobs that were stopped since the last time.
    pub(super) fn cancel_stopped(&mut self) {
        let changes = self.cx.stopping.changes();
        if std::mem::replace(&mut self.stopped, changes) == changes {
            return;
        }
        let Runner::Calls(calls) = &mut self.runner else { return };
        let stopping = &self.cx.stopping;
        // What a call that can be undone has done shall be known: it ends by itself or by its timeout, and what it lets
        // pass is undone. Only one that takes too long is cut off.
        let can_be_undone = self.cx.plan.jobs.as_ref().is_some_and(|jobs| jobs.undo.is_some());
        let is_cut_off = |why| !self.cx.plan.compensates && (!can_be_undone || why == Stopped::Deadline);
        let tickets = calls.of(|input| stopping.of(ids::root(&input.id)).is_some_and(is_cut_off));
        let now = self.clock.now();
        for (ticket, place, input) in calls.give_back(&tickets) {
            if let Some(fate) = self.dropped_with_job(place, &input) {
                self.engine.finish(ticket, fate, now);
            }
        }
    }

    /// The fate of a record whose job is stopped.
    pub(super) fn dropped_with_job(&mut self, place: Place, input: &Input) -> Option<Fate<Input, Written>> {
        // What undoes a job that was stopped has to run.
        self.cx.plan.jobs.as_ref().filter(|_| !self.cx.plan.compensates)?;
        let why = self.cx.stopping.of(ids::root(&input.id))?;
        let mut written: Written = of(&self.cx.plan, input, What::Dropped).into_iter().collect();
        self.end_kept(place, input, &mut written);
        Some(Fate::Dropped(why.word(), written))
    }

    /// Adds the note of a record that went on to what it became.
    pub(super) fn note_forwarded(&self, input: &Input, written: &mut Written, progress: Option<Percent>) {
        let plan = &self.cx.plan;
        let Some(jobs) = &plan.jobs else { return };
        let readers = |o: &Outgoing| plan.outputs.iter().find(|p| p.topic == o.to.topic).map_or(0, |p| p.readers);
        let births = written.iter().map(readers).sum();
        let mut into: Vec<(Cow<'_, str>, u32)> = Vec::new();
        for stage in
            written.iter().filter_map(|o| plan.outputs.iter().find(|p| p.topic == o.to.topic)).flat_map(|p| &p.timed)
        {
            match into.iter_mut().find(|(name, _)| *name == **stage) {
                Some((_, count)) => *count += 1,
                None => into.push((Cow::Borrowed(stage), 1)),
            }
        }
        let result = written.last().filter(|_| jobs.gives_result).and_then(|o| o.value.as_deref()).map(Payload::of);
        // Before the note of the end, which may be the last of the job.
        if let (Some(ids), Some((passed, _))) =
            (&jobs.undo, about(plan, input, What::Passed).filter(|(n, _)| !n.replay))
        {
            let keep = |(index, left): (usize, &Outgoing)| keep(jobs, ids, &passed, &input.id, index, left);
            let kept: Vec<Outgoing> = written.iter().enumerate().map(keep).collect();
            written.extend(kept);
        }
        let forwarded = about(plan, input, What::Forwarded { births, result, into });
        written.extend(forwarded.map(|(note, jobs)| note.with(progress).write(jobs, ids::root(&input.id))));
    }
}

/// The note of what became of a record; nothing where jobs are not tracked, or the record belongs to none.
pub(super) fn of(plan: &StagePlan, input: &Input, what: What<'_>) -> Option<Outgoing> {
    about(plan, input, what).map(|(note, jobs)| note.write(jobs, ids::root(&input.id)))
}

/// The note of how far a call for a record is.
pub(super) fn progress(plan: &StagePlan, input: &Input, percent: Percent) -> Option<Outgoing> {
    let (note, jobs) = about(plan, input, What::Progress)?;
    Some(note.with(Some(percent)).write(jobs, ids::root(&input.id)))
}

fn about<'a>(plan: &'a StagePlan, input: &Input, what: What<'a>) -> Option<(Note<'a>, &'a JobsPlan)> {
    let jobs = plan.jobs.as_ref()?;
    // What cannot be read as a copy is nobody's: the stage that set it aside has said what it knew.
    let past = input.past.as_deref();
    if past.is_some_and(|past| past.topic.is_some()) {
        return None;
    }
    let is_copy = past.is_some_and(|past| past.copy);
    let reason = past.and_then(|past| past.note.as_ref()).map(|note| note.reason);
    let replay = plan.replay.is_some();
    let mut note = Note::new(&plan.stage, what, input.record.timestamp);
    note.root = plan.inputs[usize::from(input.input)].begins_jobs && !is_copy && !replay;
    note.replay = replay;
    note.aside = matches!(reason, Some(Reason::Parked | Reason::Behind));
    note.attempts = input.attempts.max(1);
    note.timed = jobs.timed;
    if let (true, Some(reply)) = (note.root, &jobs.reply) {
        note.asked = Asked::of(reply, &input.record.headers).map(Box::new);
    }
    if let (true, Some(header)) = (note.root, &jobs.callback) {
        note.callback = Callback::of(header, &input.record.headers).map(Box::new);
    }
    Some((note, jobs))
}
