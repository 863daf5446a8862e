//! Outputs, positions and marks go out in one transaction, or not at all.

use std::time::Instant;

use millstream_engine::CommitPosition;
use millstream_engine::EngineError;
use millstream_filter_api::Headers;
use millstream_log::{Class, LogError, LogResult, Outgoing, Position, Sent, TopicPartition};

use super::{Replica, Transaction, leveled};

/// Outputs are handed to the member in lists of about this length.
const SEND_BATCH: usize = 1_024;

impl Replica {
    /// Hands what the engine has released to the open transaction.
    pub(super) fn send_released(&mut self) -> LogResult<()> {
        self.note_duplicates();
        while let Some((place, written)) = self.engine.pop_released() {
            for mut outgoing in written {
                outgoing.tag = self.txn.origin.len() as u64;
                self.txn.origin.push(place);
                if self.cx.plan.is_output(&outgoing.to.topic) {
                    self.txn.outputs += 1;
                }
                self.txn.outgoing.push(outgoing);
            }
            if self.txn.outgoing.len() >= SEND_BATCH && !self.send()? {
                return Ok(());
            }
        }
        if !self.txn.outgoing.is_empty() {
            self.send()?;
        }
        Ok(())
    }

    /// Whether the transaction still stands.
    fn send(&mut self) -> LogResult<bool> {
        let sent = self.member.send(&mut self.txn.outgoing);
        self.settle(sent)
    }

    /// Commits everything that is finished.
    pub(super) fn commit(&mut self) -> LogResult<()> {
        let plan = self.engine.begin_commit(self.clock.now());
        if let Some(state) = &self.cx.plan.state {
            for (slot, marks) in plan.state {
                self.txn.outgoing.push(Outgoing {
                    to: TopicPartition::new(std::sync::Arc::clone(state), slot as i32),
                    key: None,
                    value: Some(marks.into()),
                    headers: Headers::new(),
                    timestamp: crate::clock::wall_ms(),
                    tag: u64::MAX,
                });
            }
        }
        if !self.txn.outgoing.is_empty() && !self.send()? {
            return Ok(());
        }
        let positions = self.with_those_of_keepers(plan.positions);
        let positions = self.positions(positions);
        let committed = self.member.commit(&positions);
        if !self.settle(committed)? {
            return Ok(());
        }
        self.engine.committed(self.clock.now());
        self.aborts.committed();
        self.kept.committed();
        for done in self.txn.waiting.drain(..) {
            // A call that has ended meanwhile does not wait any more.
            let _ = done.send(());
        }
        for place in self.txn.letters.drain(..) {
            self.refused.remove(&place);
        }
        let outputs = self.txn.outputs;
        self.txn = Transaction::default();
        self.cx.status.publish(self.engine.counters(), outputs);
        self.reread()
    }

    /// What a send or commit came to. `true`: done. `false`: the transaction is gone and everything since the last
    /// commit is read again. An error: this member is done for.
    fn settle(&mut self, sent: Result<(), Sent>) -> LogResult<bool> {
        match sent {
            Ok(()) => Ok(true),
            Err(Sent::Refused(tags)) => {
                for (tag, why) in tags {
                    let Some(place) = usize::try_from(tag).ok().and_then(|t| self.txn.origin.get(t)).copied() else {
                        return Err(LogError::new(
                            Class::Fatal,
                            "state_refused",
                            format!("the log refused a record of the stage's own state: {why}"),
                        ));
                    };
                    tracing::warn!(stage = %self.cx.plan.group, slot = place.slot, offset = place.offset, %why,
                        "the log refuses what this record became; it goes to the dead letters");
                    let entry = self.refused.entry(place).or_insert((0, why.clone()));
                    entry.0 += 1;
                    if entry.0 > 3 {
                        return Err(LogError::new(
                            Class::Config,
                            "dead_letter_refused",
                            format!("`{}` refuses even the smallest dead letter: {why}", self.cx.plan.dlq),
                        ));
                    }
                    self.engine.poison(place, why);
                }
                self.rewind()?;
                Ok(false)
            }
            Err(Sent::Failed(e)) if matches!(e.class, Class::Abort | Class::Retry) => {
                let response = self.aborts.aborted(Instant::now());
                let stage = &self.cx.plan.group;
                match response.say {
                    Some(times) => {
                        tracing::warn!(%stage, times, error = %e, "transaction aborted; reading again from the last commit");
                    }
                    None => tracing::debug!(%stage, error = %e, "transaction aborted again"),
                }
                self.rewind()?;
                self.cx.stop.wait(response.pause);
                Ok(false)
            }
            Err(Sent::Failed(e)) => Err(e),
        }
    }

    /// Throws the open transaction away and reads again from the last commit.
    pub(super) fn rewind(&mut self) -> LogResult<()> {
        self.txn = Transaction::default();
        self.kept.aborted();
        // It is read again with the rest.
        self.leveled.iter_mut().for_each(leveled::Leveled::clear);
        self.unresolved.clear();
        self.member.abort()?;
        let (mut positions, cancelled) = self.engine.aborted(self.clock.now());
        self.cancel(&cancelled);
        self.at_end.clear();
        for at in &positions {
            self.note_reached(at.slot, at.input, at.offset);
        }
        positions.retain(|p| !self.is_scanned(p.slot));
        let positions = self.positions(positions);
        if positions.is_empty() { Ok(()) } else { self.member.start(&positions) }
    }

    fn positions(&self, positions: Vec<CommitPosition>) -> Vec<Position> {
        positions
            .into_iter()
            .map(|p| Position {
                partition: TopicPartition::new(std::sync::Arc::clone(self.topic_of(p.input)), p.slot as i32),
                offset: p.offset,
                metadata: p.metadata,
            })
            .collect()
    }
}

pub(super) fn engine_error(error: &EngineError) -> LogError {
    super::stopped(error.code(), error.to_string())
}
