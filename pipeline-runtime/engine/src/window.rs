//! Which copies of a slot are held in memory.
//!
//! A few of each key, so that a key with very many of them keeps no other from being loaded. What has no place is
//! *skipped*: it is read, and forgotten again. When its turn may have come, `.retry` is read again from the committed
//! position: a *pass*. Within a pass, a key of which one was skipped has all later ones skipped, so copies of a key are
//! loaded in order.

use std::collections::{HashMap, HashSet};

#[derive(Default)]
struct Key {
    loaded: usize,
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
}

/// The copies of one slot that are held.
#[derive(Default)]
pub struct Window {
    loaded: HashSet<i64>,
    bytes: usize,
    /// By the name of the lane that copies of the key take.
    keys: HashMap<u64, Key>,
    /// Where reading stands in this pass.
    reading: i64,
    /// Skipped in this pass.
    skipped: usize,
    /// One was skipped for want of room in memory, or for finished ranges.
    no_room: bool,
    no_ranges: bool,
    /// A key has worked off its copies that were held, and has skipped ones.
    starved: bool,
    /// When another pass was asked for that has not begun, on the clock that only goes on.
    asked: Option<u64>,
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
            self.keys.retain(|_, key| {
                key.skipped = false;
                key.loaded > 0
            });
            self.skipped = 0;
            (self.no_room, self.no_ranges, self.starved, self.asked) = (false, false, false, None);
        }
        self.reading = offset + 1;
    }

    /// Whether this copy is held.
    pub fn holds(&self, offset: i64) -> bool {
        self.loaded.contains(&offset)
    }

    /// Copies held, and their bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.loaded.len(), self.bytes)
    }

    /// Takes a copy of `size` bytes in, or skips it: something is `short`, or its key has as many as are `allowed`.
    pub fn take(&mut self, offset: i64, size: usize, lane: Option<u64>, short: Option<Short>, allowed: usize) -> bool {
        let mut key = lane.map(|lane| self.keys.entry(lane).or_default());
        let fits = short.is_none() && key.as_ref().is_none_or(|key| !key.skipped && key.loaded < allowed);
        if fits {
            self.loaded.insert(offset);
            self.bytes += size;
            if let Some(key) = &mut key {
                key.loaded += 1;
            }
        } else {
            self.skipped += 1;
            self.no_room |= short == Some(Short::Room);
            self.no_ranges |= short == Some(Short::Ranges);
            if let Some(key) = &mut key {
                key.skipped = true;
            }
        }
        fits
    }

    /// A copy is no longer held.
    pub fn leave(&mut self, offset: i64, size: usize, lane: Option<u64>) {
        if self.loaded.remove(&offset) {
            self.bytes -= size;
        }
        let Some(lane) = lane else { return };
        let Some(key) = self.keys.get_mut(&lane) else { return };
        key.loaded -= 1;
        if key.loaded == 0 {
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
        let wants = self.asked.is_none_or(|at| mono_ms >= at + ASK_AGAIN_MS)
            && (self.starved || self.no_room && plenty(Short::Room) || self.no_ranges && ranges())
            // Whoever is starved has room: its own copies have just left it.
            && (plenty(Short::Room) || !self.no_room);
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
        !window.holds(offset) && window.take(offset, 5, lane, None, 2)
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
        assert!(!window.take(0, 5, Some(1), Some(Short::Room), 2));
        assert!(!window.wants_pass(0, |short| short == Short::Ranges) && window.wants_pass(0, |_| true));
        assert!(read(&mut window, 0, Some(1)) && !window.has_skipped() && !window.wants_pass(0, |_| true));
        window.see(1);
        assert!(!window.take(1, 5, None, Some(Short::Ranges), 2));
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
}
