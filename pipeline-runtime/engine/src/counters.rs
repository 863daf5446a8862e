//! What became of the records, and whether a rule was broken.

/// Committed fates of one engine since it was made. What is aborted or lost is never in here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records that ended or were set aside; R4: the sum of the fates below.
    pub read: u64,
    /// Gave outputs (or none).
    pub forwarded: u64,
    /// Dropped, by reason, in the order the reasons first came up.
    pub dropped: Vec<(&'static str, u64)>,
    /// Their id was seen in the window.
    pub duplicates: u64,
    /// Sent to the dead letters.
    pub dead_lettered: u64,
    /// Set aside and not ended: one more with each record set aside, one less when its copy ends, which then counts as
    /// that. Below 0 where more ended than were set aside by this engine.
    pub parked: i64,
    /// Waiting behind a dead letter that holds their key; below 0 as `parked`.
    pub held: i64,
    /// Orders to end a hold that was not there: nothing came of them.
    pub strays: u64,
    /// Ends of copies that no replica had set aside and not ended: dead letters that were sent back, and (with
    /// at-least-once delivery) repeats. Such a record was counted when it was read, so its second end is counted here alone.
    pub redriven: u64,
    /// How often the breaker opened; counted at once, committed or not.
    pub breaker_opened: u64,
    /// Further attempts that were made necessary; not a fate.
    pub retried: u64,
    /// Broken rules; counted at once, committed or not. Anything but zero is a bug.
    pub violations: Violations,
}

/// A rule of the engine; see the crate's first page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Commit at or below the lowest unfinished offset, never back.
    R1,
    /// Outputs and positions together.
    R2,
    /// Order per key.
    R3,
    /// One end per record.
    R4,
    /// Bounded memory.
    R5,
    /// No effect of an old assignment.
    R6,
    /// Duplicates, and only they, are dropped as such.
    R7,
}

/// How often each rule was broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Violations([u64; 7]);

impl Violations {
    /// How often `rule` was broken.
    pub fn of(&self, rule: Rule) -> u64 {
        self.0[rule as usize]
    }

    /// How often any rule was broken.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Holds a rule: ends a debug build that breaks it, counts in a release build.
    #[inline]
    pub(crate) fn expect(&mut self, holds: bool, rule: Rule, what: &str) {
        if !holds {
            self.0[rule as usize] += 1;
            debug_assert!(holds, "rule {rule:?} is broken: {what}");
        }
    }
}

impl Counters {
    /// R4: each record that was read ended once.
    pub fn balanced(&self) -> bool {
        let dropped: u64 = self.dropped.iter().map(|(_, n)| n).sum();
        let ended = self.forwarded + dropped + self.duplicates + self.dead_lettered;
        i128::from(self.read) == i128::from(ended) + i128::from(self.parked) + i128::from(self.held)
    }

    /// Records dropped for `reason`.
    pub fn dropped_for(&self, reason: &str) -> u64 {
        self.dropped.iter().find(|(r, _)| *r == reason).map_or(0, |(_, n)| *n)
    }

    pub(crate) fn drop_for(&mut self, reason: &'static str, n: u64) {
        match self.dropped.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += n,
            None => self.dropped.push((reason, n)),
        }
    }

    /// Adds `other`'s fates and leaves it empty, keeping its memory.
    pub(crate) fn absorb(&mut self, other: &mut Counters) {
        self.read += std::mem::take(&mut other.read);
        self.forwarded += std::mem::take(&mut other.forwarded);
        self.duplicates += std::mem::take(&mut other.duplicates);
        self.dead_lettered += std::mem::take(&mut other.dead_lettered);
        self.parked += std::mem::take(&mut other.parked);
        self.held += std::mem::take(&mut other.held);
        self.strays += std::mem::take(&mut other.strays);
        self.redriven += std::mem::take(&mut other.redriven);
        self.retried += std::mem::take(&mut other.retried);
        for (reason, n) in other.dropped.drain(..) {
            self.drop_for(reason, n);
        }
    }

    pub(crate) fn clear(&mut self) {
        Self::default().absorb(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absorbs_by_reason() {
        let mut all = Counters::default();
        let mut some = Counters { read: 3, forwarded: 1, ..Counters::default() };
        some.drop_for("where", 2);
        assert!(some.balanced());
        all.drop_for("where", 1);
        all.read = 1;
        all.absorb(&mut some);
        assert_eq!((all.read, all.dropped_for("where"), all.balanced()), (4, 3, true));
        assert_eq!(some, Counters::default());
        all.read += 1;
        assert!(!all.balanced());
    }

    #[test]
    #[cfg_attr(debug_assertions, should_panic(expected = "rule R3 is broken"))]
    fn a_broken_rule_is_loud() {
        let mut violations = Violations::default();
        violations.expect(true, Rule::R1, "fine");
        violations.expect(false, Rule::R3, "two of one key at once");
        assert_eq!((violations.of(Rule::R3), violations.total()), (1, 1));
    }
}
