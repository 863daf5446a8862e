//! Which copies of a slot are held in memory.
//!
//! A few of each key, so that a key with very many of them keeps no other from being loaded. What has no place is
//! *skipped*: it is read, and forgotten again. When its turn may have come, `.retry` is read again from the committed
//! position: a *pass*. Which copy of a key is next, `parked` knows; among letters that were sent back and wait for nothing,
//! a key of which one was skipped has all later ones skipped within a pass.
//!
//! Copies behind a hold are *passed over*: they are nobody's business before the hold ends, and then there is a pass.

use std::collections::{HashMap, HashSet};

use crate::parked::Origin;

#[derive(Default)]
struct Key {
    loaded: usize,
    /// The last one in their order.
    last: Option<Origin>,
    /// One was skipped in this pass.
    skipped: bool,
}

/// What there is too little of for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// Memory.
    Room,
    /// Room for finished ranges in the commit's metadata. A copy is held only if it can end.
    Ranges,
    /// Another copy of its key comes first, or one of the marks of its hold was not read.
    Turn,
}

/// A copy that was read.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub offset: i64,
    /// Bytes it takes in memory.
    pub size: usize,
    /// The lane that copies of its key take.
    pub lane: Option<u64>,
    /// Its place among the copies of its key, where it has one.
    pub place: Option<Origin>,
}

/// The copies of one slot that are held.
#[derive(Default)]
pub struct Window {
    loaded: HashSet<i64>,
    bytes: usize,
    /// By the name of the lane that copies of the key take.
    keys: HashMap<u64, Key>,
    /// Where reading stands in this pass, and where it stood when the pass began.
    reading: i64,
    end: i64,
    /// Skipped in this pass.
    skipped: usize,
    /// One was skipped for want of room in memory, or for finished ranges.
    no_room: bool,
    no_ranges: bool,
    /// A key has worked off its copies that were held, and has skipped ones.
    starved: bool,
    /// When another pass was asked for that has not begun, on the clock that only goes on.
    asked: Option<u64>,
    /// It, where it is known: where it ends, and what is to be written again in it.
    coming: Option<(i64, Vec<(i64, i64)>)>,
    /// What ends a hold was read before all of the hold.
    deferred: bool,
    /// What ends a hold had no room for finished ranges.
    lacking: bool,
    /// Offsets of copies that are to be written again at the end of the log if they cannot run, rising.
    moving: Vec<(i64, i64)>,
    /// The last one that is.
    moved: Option<i64>,
}

/// After how many milliseconds a pass that does not begin is asked for again. It begins with the first copy that is
/// read, so it is only late where the log is away, and reading from the same place twice does no harm. A pass that never
/// comes would be records nobody works on.
const ASK_AGAIN_MS: u64 = 10_000;

impl Window {
    /// Nothing is held; reading begins at `offset`.
    pub fn new(offset: i64) -> Self {
        Self { reading: offset, ..Self::default() }
    }

    /// A copy is read. What was read before is read again in a new pass.
    pub fn see(&mut self, offset: i64) {
        if offset < self.reading {
            self.begin();
        }
        self.reading = offset + 1;
    }

    /// Reading is to begin again, and everything below `end` was read before; copies in `moving` are to be written again.
    /// The pass begins with the first copy that is read: what was on its way before that is not of it.
    pub fn begin_pass(&mut self, end: i64, moving: Vec<(i64, i64)>, mono_ms: u64) {
        (self.coming, self.asked) = (Some((end, moving)), Some(mono_ms));
    }

    /// Everything below `next` was read in this pass.
    pub fn read_to(&mut self, next: i64) {
        self.reading = self.reading.max(next);
    }

    /// Below this nothing is read in this pass any more. `None`: reading is to go back, who knows when.
    pub fn read_before(&self) -> Option<i64> {
        self.coming.is_none().then_some(self.reading)
    }

    /// Whether a pass is under way. Were it begun again before its end, what lies there might never be read.
    pub fn in_pass(&self) -> bool {
        self.coming.is_some() || self.reading < self.end
    }

    fn begin(&mut self) {
        self.keys.retain(|_, key| {
            key.skipped = false;
            key.loaded > 0
        });
        self.skipped = 0;
        (self.no_room, self.no_ranges, self.starved, self.asked) = (false, false, false, None);
        if let Some((end, moving)) = self.coming.take() {
            (self.end, self.moving, self.moved) = (end, moving, None);
        }
        self.lacking = false;
    }

    /// Whether this copy is held.
    pub fn holds(&self, offset: i64) -> bool {
        self.loaded.contains(&offset)
    }

    /// Copies held, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.loaded.len(), self.bytes)
    }

    /// The last copy of a lane that was taken in, of those that are held.
    pub fn last_of(&self, lane: Option<u64>) -> Option<Origin> {
        self.keys.get(&lane?)?.last
    }

    /// Takes a copy in, or skips it: something is `short`, or its key has as many as are `allowed`.
    pub fn take(&mut self, seen: Seen, short: Option<Short>, allowed: usize) -> bool {
        let Seen { offset, size, lane, place } = seen;
        let key = lane.map(|lane| self.keys.entry(lane).or_default());
        let may = |key: &&mut Key| key.loaded < allowed && (place.is_some() || !key.skipped);
        let fits = short.is_none() && key.as_ref().is_none_or(may);
        if fits {
            self.loaded.insert(offset);
            self.bytes += size;
            if let Some(key) = key {
                key.loaded += 1;
                key.last = key.last.max(place);
            }
        } else {
            self.no_room |= short == Some(Short::Room);
            self.no_ranges |= short == Some(Short::Ranges);
            self.skip(lane);
        }
        fits
    }

    /// A copy is not held though it may be.
    pub fn skip(&mut self, lane: Option<u64>) {
        self.skipped += 1;
        if let Some(lane) = lane {
            self.keys.entry(lane).or_default().skipped = true;
        }
    }

    /// A copy is not held because its key is: no pass is for it alone.
    pub fn pass_over(&mut self, seen: Seen) {
        if let (Some(lane), None) = (seen.lane, seen.place) {
            self.keys.entry(lane).or_default().skipped = true;
        }
    }

    /// What is to end a hold has to wait until all of the hold was read.
    pub fn defer(&mut self) {
        self.deferred = true;
        self.skipped += 1;
    }

    /// Whether something waits for that.
    pub fn takes_deferred(&mut self) -> bool {
        std::mem::take(&mut self.deferred)
    }

    /// Something that nothing has to be loaded for has no room for its finished ranges.
    pub fn lack_ranges(&mut self) {
        self.skipped += 1;
        self.no_ranges = true;
        self.lacking = true;
    }

    /// Whether something that nothing has to be loaded for had no room in this pass.
    pub fn lacks_ranges(&self) -> bool {
        self.lacking
    }

    /// There are copies that nothing keeps back any more.
    pub fn starve(&mut self) {
        self.starved = true;
    }

    /// Whether a copy is to be written again.
    pub fn moves(&self, offset: i64) -> bool {
        let at = self.moving.partition_point(|(from, _)| *from <= offset);
        at > 0 && offset < self.moving[at - 1].1
    }

    /// The last copy that is written again in this pass.
    pub fn last_moved(&self) -> Option<i64> {
        self.moved
    }

    /// A copy is held to be written again.
    pub fn take_to_move(&mut self, offset: i64, size: usize) {
        self.loaded.insert(offset);
        self.bytes += size;
        self.moved = Some(offset);
    }

    /// A copy is no longer held.
    pub fn leave(&mut self, offset: i64, size: usize, lane: Option<u64>) {
        if self.loaded.remove(&offset) {
            self.bytes -= size;
        }
        let Some(lane) = lane else { return };
        let Some(key) = self.keys.get_mut(&lane) else { return };
        key.loaded = key.loaded.saturating_sub(1);
        if key.loaded == 0 {
            key.last = None;
            if key.skipped {
                self.starved = true;
            } else {
                self.keys.remove(&lane);
            }
        }
    }

    /// Whether copies were skipped.
    pub fn has_skipped(&self) -> bool {
        self.skipped > 0
    }

    /// Whether another pass is worth its reading; asked for once, and again if it does not begin. A pass that finds place
    /// for one copy and skips the rest again is not, so what was short has to be there in `plenty`.
    pub fn wants_pass(&mut self, mono_ms: u64, plenty: impl Fn(Short) -> bool) -> bool {
        let ranges = || self.loaded.is_empty() || plenty(Short::Ranges);
        let lost = self.asked.is_some_and(|at| mono_ms >= at + ASK_AGAIN_MS);
        let free = self.asked.is_none() && !self.in_pass();
        let needed = free
            && (self.starved || self.no_room && plenty(Short::Room) || self.no_ranges && ranges())
            // Whoever is starved has room: its own copies have just left it.
            && (plenty(Short::Room) || !self.no_room);
        let wants = lost || needed;
        if wants {
            self.asked = Some(mono_ms);
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(window: &mut Window, offset: i64, lane: Option<u64>) -> bool {
        window.see(offset);
        !window.holds(offset) && window.take(seen(offset, lane), None, 2)
    }

    fn seen(offset: i64, lane: Option<u64>) -> Seen {
        Seen { offset, size: 5, lane, place: None }
    }

    #[test]
    fn copies_of_a_key_are_loaded_in_order() {
        let mut window = Window::new(10);
        assert!(read(&mut window, 10, Some(1)) && read(&mut window, 11, Some(1)));
        assert!(!read(&mut window, 12, Some(1)) && read(&mut window, 13, Some(2)) && read(&mut window, 14, None));
        window.leave(10, 5, Some(1));
        assert!(!read(&mut window, 15, Some(1)), "12 was skipped and is before it");
        assert!(!window.wants_pass(0, |_| true), "the key has one to work on");
        window.leave(11, 5, Some(1));
        assert!(window.wants_pass(0, |_| true) && !window.wants_pass(0, |_| true) && window.has_skipped());
        assert!(!read(&mut window, 16, Some(1)), "the new pass has not begun");
        assert!(read(&mut window, 12, Some(1)) && !read(&mut window, 13, Some(2)), "held already");
        assert!(read(&mut window, 15, Some(1)) && !read(&mut window, 16, Some(1)) && window.has_skipped());
    }

    #[test]
    fn no_pass_before_there_is_plenty() {
        let mut window = Window::new(0);
        window.see(0);
        assert!(!window.take(seen(0, Some(1)), Some(Short::Room), 2));
        assert!(!window.wants_pass(0, |short| short == Short::Ranges) && window.wants_pass(0, |_| true));
        assert!(read(&mut window, 0, Some(1)) && !window.has_skipped() && !window.wants_pass(0, |_| true));
        window.see(1);
        assert!(!window.take(seen(1, None), Some(Short::Ranges), 2));
        assert!(!window.wants_pass(0, |short| short == Short::Room));
        window.leave(0, 5, Some(1));
        assert!(window.wants_pass(0, |short| short == Short::Room), "nothing is held, so the lowest one is not");
    }

    #[test]
    fn a_pass_that_does_not_begin_is_asked_for_again() {
        let mut window = Window::new(0);
        assert!(read(&mut window, 0, Some(1)) && read(&mut window, 1, Some(1)) && !read(&mut window, 2, Some(1)));
        window.leave(0, 5, Some(1));
        window.leave(1, 5, Some(1));
        assert!(window.wants_pass(7, |_| true));
        assert!(!window.wants_pass(6 + ASK_AGAIN_MS, |_| true));
        assert!(window.wants_pass(7 + ASK_AGAIN_MS, |_| true) && !window.wants_pass(8 + ASK_AGAIN_MS, |_| true));
        assert!(read(&mut window, 2, Some(1)) && !window.wants_pass(u64::MAX, |_| true));
    }

    #[test]
    fn what_is_passed_over_asks_for_nothing() {
        let mut window = Window::new(0);
        window.see(0);
        window.pass_over(Seen { offset: 0, size: 5, lane: Some(1), place: Some((0, 5)) });
        assert!(!window.has_skipped() && !window.wants_pass(0, |_| true));
        window.starve();
        assert!(window.wants_pass(0, |_| true));
        window.see(8);
        window.begin_pass(9, vec![(0, 2), (5, 6)], 0);
        assert!(window.in_pass() && !window.moves(1), "it has not begun");
        window.see(0);
        assert!(window.moves(1) && !window.moves(2) && window.moves(5) && !window.moves(6));
        window.starve();
        assert!(window.in_pass() && !window.wants_pass(0, |_| true), "first it comes to its end");
        window.read_to(9);
        assert!(!window.in_pass() && window.wants_pass(0, |_| true));
        window.begin_pass(9, Vec::new(), 7);
        assert!(!window.wants_pass(6 + ASK_AGAIN_MS, |_| true) && window.wants_pass(7 + ASK_AGAIN_MS, |_| true));
        window.see(0);
        assert!(!window.wants_pass(u64::MAX, |_| true), "it has begun");
    }

    #[test]
    fn what_is_yet_to_be_read_is_known() {
        let mut window = Window::new(10);
        assert_eq!(window.read_before(), Some(10));
        window.see(10);
        window.read_to(20);
        assert_eq!(window.read_before(), Some(20));
        window.begin_pass(20, Vec::new(), 0);
        window.read_to(21);
        assert_eq!(window.read_before(), None, "a seek is under way");
        window.see(12);
        assert_eq!(window.read_before(), Some(13));
    }
}
