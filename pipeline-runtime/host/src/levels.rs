//! Whose turn it is, of levels of importance: the one decision, without I/O, time or records.

/// Decides between levels that wait; level 0 is the most important.
#[derive(Clone, Debug)]
pub struct Turns {
    /// `None`: a level is served only while none above it waits.
    weights: Option<Vec<i64>>,
    /// What each level has a claim to. The sum over those that wait is 0 between two decisions.
    claims: Vec<i64>,
}

impl Turns {
    /// Shares by weights.
    pub fn weighted(weights: &[u32]) -> Self {
        Self { weights: Some(weights.iter().map(|w| i64::from(*w).max(1)).collect()), claims: vec![0; weights.len()] }
    }

    /// The most important first, always.
    pub fn strict(levels: usize) -> Self {
        Self { weights: None, claims: vec![0; levels] }
    }

    /// The level whose turn it is among those that wait; `None` where none does. With weights each of those that wait gets its
    /// share, spread out as evenly as can be: each is given a claim as large as its weight, and the one with the largest
    /// claim is served and pays for all. One that does not wait has no claim, so that nothing is saved up.
    pub fn next(&mut self, waits: impl Fn(usize) -> bool) -> Option<usize> {
        let Some(weights) = &self.weights else { return (0..self.claims.len()).find(|level| waits(*level)) };
        let (mut best, mut all) = (None::<usize>, 0);
        for (level, weight) in weights.iter().enumerate() {
            if !waits(level) {
                self.claims[level] = 0;
                continue;
            }
            self.claims[level] += weight;
            all += weight;
            if best.is_none_or(|best| self.claims[level] > self.claims[best]) {
                best = Some(level);
            }
        }
        let best = best?;
        self.claims[best] -= all;
        Some(best)
    }
}

/// Of `room` records that a replica may hold, so many may be held when one of `level` (of `levels`) is taken in: what is less
/// important leaves room to what is more, also where its records wait for something that takes long.
pub fn room_of(level: usize, levels: usize, room: usize) -> usize {
    room * (levels - level.min(levels)) / levels.max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Negative control: claims that are not paid back, or kept while a level does not wait, turn these red.
        #[test]
        fn shares_are_those_of_the_weights(weights in prop::collection::vec(1u32..50, 2..6), rounds in 1usize..5) {
            let mut turns = Turns::weighted(&weights);
            let all: u32 = weights.iter().sum();
            let mut served = vec![0u32; weights.len()];
            for _ in 0..all as usize * rounds {
                served[turns.next(|_| true).expect("one waits")] += 1;
            }
            let expected: Vec<u32> = weights.iter().map(|w| w * rounds as u32).collect();
            prop_assert_eq!(served, expected);
        }

        #[test]
        fn it_never_idles_while_one_waits_and_serves_only_who_waits(
            weights in prop::collection::vec(1u32..50, 2..6),
            steps in prop::collection::vec(any::<u8>(), 1..300),
            strict: bool,
        ) {
            let mut turns = if strict { Turns::strict(weights.len()) } else { Turns::weighted(&weights) };
            for step in steps {
                let waits = |level: usize| step & (1 << level) != 0;
                let there = (0..weights.len()).any(waits);
                let next = turns.next(waits);
                prop_assert_eq!(next.is_some(), there);
                if let Some(level) = next {
                    prop_assert!(waits(level));
                    prop_assert!(!strict || (0..level).all(|above| !waits(above)), "one above waits");
                }
            }
        }

        /// No starvation: who waits is served within as many turns as all weights together, whatever others do.
        #[test]
        fn who_waits_is_served_soon(
            weights in prop::collection::vec(1u32..50, 2..6),
            steps in prop::collection::vec(any::<u8>(), 600),
            who in 0usize..6,
        ) {
            let who = who % weights.len();
            let mut turns = Turns::weighted(&weights);
            let all: u32 = weights.iter().sum();
            let mut since = 0;
            for step in steps {
                let next = turns.next(|level| level == who || step & (1 << level) != 0);
                since = if next == Some(who) { 0 } else { since + 1 };
                prop_assert!(since <= 2 * all, "not served for {} turns", since);
            }
        }
    }

    #[test]
    fn a_level_that_comes_is_served_before_those_that_wait_long() {
        let mut turns = Turns::weighted(&[16, 4, 1]);
        for _ in 0..1000 {
            turns.next(|level| level == 2);
        }
        assert_eq!(turns.next(|level| level != 1), Some(0));
    }

    #[test]
    fn the_least_important_leaves_room() {
        assert_eq!([0, 1, 2].map(|level| room_of(level, 3, 9_000)), [9_000, 6_000, 3_000]);
    }
}
