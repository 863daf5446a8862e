//! A member of a group that breaks one promise.

use std::sync::Arc;
use std::time::Duration;

use millstream_log::{Batch, Budget, Event, LogResult, Member, MemberLayer, Outgoing, Position, Sent, Writer};

use crate::Break;
use crate::trap::{Moment, Trap, Watched, is_callback, is_reply};

pub(crate) struct BrokenMember {
    real: Box<dyn Member>,
    /// Writes outside every transaction.
    plain: Box<dyn Writer>,
    breaks: Break,
    trap: Arc<Trap>,
    /// What was sent since the last commit and the break wants later.
    kept: Vec<Outgoing>,
    /// What the fault looks at.
    watched: Watched,
}

const PATIENCE: Duration = Duration::from_secs(30);

impl BrokenMember {
    pub(crate) fn new(real: Box<dyn Member>, plain: Box<dyn Writer>, breaks: Break, trap: Arc<Trap>) -> Self {
        Self { real, plain, breaks, trap, kept: Vec::new(), watched: Watched::default() }
    }

    fn write_plainly(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        if records.is_empty() {
            return Ok(());
        }
        self.plain.send(records)?;
        self.plain.flush(PATIENCE)
    }

    /// Commits in the order of the break, with the fault in the window that it opens. Whether it was frozen there.
    fn commit_as_broken(&mut self, positions: &[Position], trap: Option<&Trap>) -> (bool, Result<(), Sent>) {
        let spring = |moment| trap.is_some_and(|t| t.spring(moment));
        let mut kept = std::mem::take(&mut self.kept);
        match self.breaks {
            Break::Nothing
            | Break::AllPassed
            | Break::HastyAnswers
            | Break::RemovedFirst
            | Break::MarksFirst
            | Break::CopiesFirst
            | Break::ParkedFirst
            | Break::NotesFirst
            | Break::SeenFirst
            | Break::CheckpointsForgotten
            | Break::ReplayForgotten => {
                let frozen = spring(Moment::InCommit);
                (frozen, self.real.commit(positions))
            }
            Break::NoFencing => {
                let frozen = spring(Moment::InCommit);
                (frozen, self.write_plainly(&mut kept).and_then(|()| self.real.commit(positions)))
            }
            Break::PositionsFirst => {
                if let Err(sent) = self.real.commit(positions) {
                    return (false, Err(sent));
                }
                let frozen = spring(Moment::InCommit);
                (frozen, self.real.send(&mut kept).and_then(|()| self.real.commit(&[])))
            }
            Break::MarksLast | Break::SeenLast | Break::CallbacksLast => {
                if let Err(sent) = self.real.commit(positions) {
                    return (false, Err(sent));
                }
                let frozen = spring(Moment::AfterCommit);
                (frozen, self.write_plainly(&mut kept))
            }
        }
    }
}

impl MemberLayer for BrokenMember {
    fn beneath(&self) -> &dyn Member {
        &*self.real
    }

    fn beneath_mut(&mut self) -> &mut dyn Member {
        &mut *self.real
    }

    fn into_beneath(self: Box<Self>) -> Box<dyn Member> {
        self.real
    }

    fn poll(&mut self, budget: Budget, timeout: Duration, batches: &mut Vec<Batch>) -> LogResult<Vec<Event>> {
        let events = self.real.poll(budget, timeout, batches)?;
        if self.breaks == Break::ReplayForgotten {
            for record in batches.iter_mut().flat_map(|b| &mut b.records) {
                record.headers = record.headers.without("millstream.replay");
            }
        }
        Ok(events)
    }

    fn send(&mut self, records: &mut Vec<Outgoing>) -> Result<(), Sent> {
        self.trap.watch(records, &mut self.watched);
        match self.breaks {
            Break::Nothing | Break::AllPassed | Break::HastyAnswers | Break::RemovedFirst | Break::ReplayForgotten => {
                self.real.send(records)
            }
            Break::CheckpointsForgotten => {
                records.retain(|r| !r.to.topic.ends_with(".checkpoints"));
                self.real.send(records)
            }
            Break::PositionsFirst | Break::NoFencing => {
                self.kept.append(records);
                Ok(())
            }
            Break::MarksFirst => {
                let mut marks = take_marks(records);
                self.write_plainly(&mut marks)?;
                self.real.send(records)
            }
            Break::CopiesFirst => {
                let mut copies: Vec<Outgoing> = records.extract_if(.., |r| !noted(r)).collect();
                self.write_plainly(&mut copies)?;
                self.real.send(records)
            }
            Break::NotesFirst => {
                let mut notes: Vec<Outgoing> =
                    records.extract_if(.., |r| r.to.topic.ends_with(".jobs.notes") || is_reply(r)).collect();
                self.write_plainly(&mut notes)?;
                self.real.send(records)
            }
            Break::SeenFirst => {
                let mut seen: Vec<Outgoing> = records.extract_if(.., |r| r.to.topic.ends_with(".seen")).collect();
                self.write_plainly(&mut seen)?;
                self.real.send(records)
            }
            Break::SeenLast => {
                self.kept.extend(records.extract_if(.., |r| r.to.topic.ends_with(".seen")));
                self.real.send(records)
            }
            Break::CallbacksLast => {
                self.kept.extend(records.extract_if(.., |r| is_callback(r)));
                self.real.send(records)
            }
            Break::ParkedFirst => {
                let mut copies: Vec<Outgoing> = records.extract_if(.., |r| r.to.topic.ends_with(".retry")).collect();
                self.write_plainly(&mut copies)?;
                self.real.send(records)
            }
            Break::MarksLast => {
                self.kept.append(&mut take_marks(records));
                self.real.send(records)
            }
        }
    }

    fn commit(&mut self, positions: &[Position]) -> Result<(), Sent> {
        let trap = std::mem::take(&mut self.watched).is_target.then(|| self.trap.clone());
        let (frozen, result) = self.commit_as_broken(positions, trap.as_deref());
        if frozen {
            // The test waits for this line.
            eprintln!("went on after the freeze; the commit of positions: {result:?}");
        }
        if let Some(trap) = trap
            && result.is_ok()
        {
            trap.committed();
            trap.spring(Moment::AfterCommit);
        }
        result
    }

    fn abort(&mut self) -> LogResult<()> {
        self.kept.clear();
        self.watched = Watched::default();
        self.real.abort()
    }
}

/// What is done is noted in these topics.
fn noted(record: &Outgoing) -> bool {
    record.to.topic.ends_with(".control") || record.to.topic.ends_with(".later")
}

/// Dedup marks are what goes to a stage's `.state`; the rest stays.
fn take_marks(records: &mut Vec<Outgoing>) -> Vec<Outgoing> {
    records.extract_if(.., |r| r.to.topic.ends_with(".state")).collect()
}
