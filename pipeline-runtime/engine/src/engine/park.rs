//! When a key is set aside: its attempts or its time are used up, or the finished ranges beyond it need its place.

use super::Engine;
use crate::config::Now;
use crate::work::{Place, Reason, Ticket, Work};

impl<R, O> Engine<R, O> {
    /// Calls that have had their time: the host cancels each and finishes it with [`Fate::Retry`](crate::Fate::Retry).
    /// Each is named once.
    pub fn overdue(&mut self, now: Now) -> Vec<Ticket> {
        self.mono_ms = now.mono_ms;
        let Some(park) = self.park.filter(|_| self.breaker.since().is_none()) else { return Vec::new() };
        if self.press {
            self.relieve();
        }
        let slab = &self.slab;
        let mut late = std::mem::take(&mut self.overdue_now);
        late.retain(|ticket| slab.started(*ticket).is_some());
        let clock = self.breaker.clock(now.mono_ms);
        if clock < self.overdue_from {
            return late;
        }
        self.overdue_from = u64::MAX;
        let indexes: Vec<u32> = self.slab.indexes().collect();
        for index in indexes {
            let entry = &mut self.slab[index];
            let revoked = self.slots.get(&entry.place.slot).is_none_or(|s| s.revoked);
            if !entry.started || entry.origin.is_some() || entry.settled || entry.overdue || revoked {
                continue;
            }
            let at = entry.first.saturating_add(park.time_ms);
            if at <= clock {
                entry.overdue = true;
                late.push(self.slab.ticket(index));
            } else {
                self.overdue_from = self.overdue_from.min(at);
            }
        }
        late
    }

    /// An [`overdue`](Self::overdue) attempt is under way and not hanging: it may take as long once more. `false`: it may
    /// not, its place is needed for others.
    pub fn let_on(&mut self, ticket: Ticket, now: Now) -> bool {
        let (Some(park), Some(index)) = (self.park, self.slab.started(ticket)) else { return false };
        let clock = self.breaker.clock(now.mono_ms);
        let entry = &mut self.slab[index];
        if entry.pressed {
            return false;
        }
        (entry.overdue, entry.first) = (false, clock);
        self.overdue_from = self.overdue_from.min(clock.saturating_add(park.time_ms));
        true
    }

    /// An attempt that is about to be ended from here counts for nothing: nothing was wrong with it.
    pub fn uncount(&mut self, ticket: Ticket) {
        if let Some(index) = self.slab.started(ticket) {
            let entry = &mut self.slab[index];
            entry.attempts = entry.attempts.saturating_sub(1);
        }
    }

    /// Since when (monotonic clock) the breaker is open: everything fails, so records are read and tried one at a
    /// time. `None`: it is closed.
    pub fn breaker(&self) -> Option<u64> {
        self.breaker.since()
    }

    /// When [`overdue`](Self::overdue) has something to say.
    pub(super) fn overdue_deadline(&self) -> Option<u64> {
        if self.park.is_none() || self.config.inline || self.breaker.since().is_some() {
            return None;
        }
        if !self.overdue_now.is_empty() {
            return Some(self.mono_ms);
        }
        (self.started > 0 && self.overdue_from < u64::MAX).then(|| self.breaker.mono(self.overdue_from))
    }

    /// Whether a live record that failed is set aside instead of waiting where it stands.
    pub(super) fn is_to_be_parked(&mut self, index: u32, now: Now) -> bool {
        let entry = &self.slab[index];
        let Some(park) = self.park.filter(|_| entry.origin.is_none() && self.breaker.since().is_none()) else {
            return false;
        };
        let tracker = self.slots.get_mut(&entry.place.slot).map(|s| &mut s.trackers[usize::from(entry.place.input)]);
        let time = self.breaker.clock(now.mono_ms).saturating_sub(entry.first);
        entry.pressed
            || entry.attempts >= park.attempts
            || time >= park.time_ms
            || tracker.is_some_and(|tracker| tracker.is_half_full())
    }

    /// When a waiting record is looked at again: when it is due, or is to be set aside.
    pub(super) fn look_again(&self, index: u32, now: Now) -> u64 {
        let entry = &self.slab[index];
        let Some(park) = self.park else { return entry.due };
        let left = entry.first.saturating_add(park.time_ms).saturating_sub(self.breaker.clock(now.mono_ms));
        entry.due.min(now.mono_ms.saturating_add(left))
    }

    /// A waiting live record whose time has come: it runs, or its key is set aside.
    pub(super) fn go_on(&mut self, index: u32, now: Now) -> Option<Work<R>> {
        let entry = &self.slab[index];
        let late = self.park.is_some_and(|park| {
            entry.pressed || self.breaker.clock(now.mono_ms).saturating_sub(entry.first) >= park.time_ms
        });
        if late {
            let delay_ms = entry.due.saturating_sub(now.mono_ms);
            return Some(self.start_parking(index, Reason::Parked { delay_ms }));
        }
        if entry.due <= now.mono_ms {
            return Some(self.start(index));
        }
        let when = self.look_again(index, now);
        self.retries.wait(crate::retry::Which::Live, index, when);
        None
    }

    /// Finished ranges are half full, or there is no more room: records that wait for copies are let go, to be copied
    /// themselves, and the lowest unfinished record of a half-full input is set aside.
    pub(super) fn relieve(&mut self) {
        self.press = false;
        let no_room = !self.has_room();
        let mut lowest = Vec::new();
        let mut going = Vec::new();
        let live = self.config.retry_input.map_or(usize::MAX, usize::from);
        for (slot, state) in &mut self.slots {
            let mut pressed = no_room;
            for (input, tracker) in state.trackers.iter_mut().enumerate().take(live) {
                if tracker.is_half_full() {
                    pressed = true;
                    let offset = tracker.frontier();
                    if std::mem::replace(&mut state.pressed[input], offset) != offset {
                        lowest.push(Place { slot: *slot, input: input as u16, offset });
                    }
                }
            }
            if pressed {
                going.extend(state.parked.let_go());
            }
        }
        super::finish::put_first(&mut self.ready, going);
        if self.park.is_none() || lowest.is_empty() {
            return;
        }
        let found: Vec<u32> = self.slab.indexes().filter(|i| lowest.contains(&self.slab[*i].place)).collect();
        for index in found {
            self.press_one(index);
        }
    }

    fn press_one(&mut self, index: u32) {
        let entry = &mut self.slab[index];
        if entry.started && !entry.settled && !entry.overdue {
            (entry.pressed, entry.overdue) = (true, true);
            self.overdue_now.push(self.slab.ticket(index));
        } else if !entry.started && self.retries.take_out(index) {
            entry.pressed = true;
            self.retries.wait(crate::retry::Which::Live, index, 0);
        }
    }
}
