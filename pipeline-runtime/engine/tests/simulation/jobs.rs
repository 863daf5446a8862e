//! The count of jobs, as the host keeps it: each end of a record says so in its transaction, and the sum of these notes is
//! what is open of a job (the rule of `host/src/jobs/job.rs` in short). A job is what follows from one record of the first
//! stage. The truth is told by positions and copies alone.

use std::collections::BTreeMap;

use millstream_engine::{CopyKind, Place};

use crate::breaks::Break;
use crate::world::{Out, World};

/// What a note says of a record.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// It ended, and this many records for the next stage came of it.
    Ended { births: i64 },
    /// It became a dead letter.
    Letter,
    /// It was set aside.
    Parked,
    /// Its letter was sent back.
    Redriven,
}

/// A note, as it becomes visible.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    job: Place,
    what: What,
    /// Of a record of the source, which nobody has counted before.
    root: bool,
    /// It was set aside before.
    aside: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    open: i64,
    waiting: i64,
    letters: i64,
}

/// The sums of all jobs.
#[derive(Default)]
pub struct Jobs(BTreeMap<Place, Count>);

impl World {
    /// The notes of one transaction: of what it released, and of records that were dropped as duplicates.
    pub fn note(&mut self, outputs: &[(Place, Out)], duplicates: &[Place]) {
        for (place, out) in outputs {
            let what = match out {
                Out::Forward => What::Ended { births: i64::from(self.goes_on) },
                Out::Drop => What::Ended { births: 0 },
                Out::Letter | Out::Hold => What::Letter,
                Out::Park { .. } => What::Parked,
                // A copy that is written again, and the end of a hold, are no ends of records.
                Out::Move | Out::Freed => continue,
            };
            self.note_of(*place, what);
        }
        if self.promise.broken != Break::UntoldDuplicates {
            duplicates.iter().for_each(|place| self.note_of(*place, What::Ended { births: 0 }));
        }
    }

    fn note_of(&mut self, place: Place, what: What) {
        let head = if place.input == self.retry { self.record(place).head } else { None };
        let root = head.is_none() && self.goes_on;
        let aside = head.is_some_and(|head| head.kind == CopyKind::Parked);
        self.notes.push(Note { job: self.job_of(self.origin_of(place)), what, root, aside });
    }

    /// A letter was sent back.
    pub fn note_redriven(&mut self, origin: Place) {
        self.notes.push(Note { job: self.job_of(origin), what: What::Redriven, root: false, aside: false });
    }

    /// Whose job a record belongs to that was first read there.
    fn job_of(&self, origin: Place) -> Place {
        self.record(origin).origin.unwrap_or(origin)
    }
}

impl Jobs {
    /// Adds what became visible since the last time.
    pub fn add(&mut self, notes: Vec<Note>) {
        for Note { job, what, root, aside } in notes {
            let count = self.0.entry(job).or_default();
            count.open += i64::from(root);
            count.waiting -= i64::from(aside);
            match what {
                What::Ended { births } => count.open += births - 1,
                What::Letter => (count.open, count.letters) = (count.open - 1, count.letters + 1),
                What::Parked => count.waiting += 1,
                What::Redriven => (count.open, count.letters) = (count.open + 1, count.letters - 1),
            }
        }
    }

    /// Whether each sum is what positions and copies say.
    pub fn check(&self, stages: [&World; 2]) -> Result<(), String> {
        let mut truth: BTreeMap<Place, Count> = self.0.keys().map(|job| (*job, Count::default())).collect();
        for world in stages {
            count(world, &mut truth);
        }
        for (job, counted) in &self.0 {
            let known = truth[job];
            if *counted != known {
                return Err(format!("jobs: the notes of {job:?} come to {counted:?}, and it is {known:?}"));
            }
        }
        match truth.keys().find(|job| !self.0.contains_key(job)) {
            Some(job) => Err(format!("jobs: there is no note of {job:?}")),
            None => Ok(()),
        }
    }
}

/// What is open of each job in a stage.
fn count(world: &World, truth: &mut BTreeMap<Place, Count>) {
    for (slot, partition) in (0u32..).zip(&world.partitions) {
        for (input, log) in (0u16..).zip(&partition.inputs) {
            for record in &log.records {
                let covered = log.covered.contains(&record.offset);
                let job = |origin: Place| world.job_of(origin);
                let Some(head) = record.head else {
                    let place = Place { slot, input, offset: record.offset };
                    if covered {
                        truth.entry(job(place)).or_default();
                    } else if !world.goes_on {
                        truth.entry(job(place)).or_default().open += 1;
                    }
                    continue;
                };
                let count = truth.entry(job(Place { slot, input: head.input, offset: head.offset })).or_default();
                let open = i64::from(!covered);
                match head.kind {
                    CopyKind::Parked => (count.open, count.waiting) = (count.open + open, count.waiting + open),
                    CopyKind::SentBack | CopyKind::First => {
                        let place = Place { slot, input, offset: record.offset };
                        count.open += open;
                        count.letters -= i64::from(!world.written_again.contains(&place));
                    }
                    CopyKind::Hold | CopyKind::Free => {}
                }
            }
        }
        for end in partition.outputs.iter().filter(|end| end.out == Out::Letter) {
            let origin = Place { slot, input: end.input, offset: end.offset };
            truth.entry(world.job_of(origin)).or_default().letters += 1;
        }
    }
}
