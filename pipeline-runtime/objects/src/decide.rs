//! What becomes of an object between two looks: pure, by the clock of the process alone. Clocks of file servers may be
//! off, and times of files may be set; neither says that nobody writes any more.

/// An object as a listing shows it. Equal is unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// In bytes.
    pub size: u64,
    /// When it was last written, ns since 1970, by the clock of where it is.
    pub modified: Option<i64>,
    /// What names its content, as the store has it; may be empty.
    pub etag: String,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It is there, and was not.
    Created,
    /// It is another than before.
    Changed,
    /// It is not there any more.
    Deleted,
}

/// A difference that is not taken yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// As the object looked; `None` is that it was not there.
    pub state: Option<State>,
    /// Since when it looks so, ms.
    pub since: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it is as it was.
    Same,
    /// It is looked at again, so many ms after `since` at the earliest.
    Wait(Pending),
    /// It is taken as it is.
    Take(Event),
}

/// `seen` is what was taken last, `found` what is there now; a difference is taken when it looks the same for `settle` ms.
pub fn decide(
    seen: Option<&State>,
    pending: Option<&Pending>,
    found: Option<&State>,
    now: u64,
    settle: u64,
) -> Verdict {
    let event = match (seen, found) {
        (None, None) => return Verdict::Same,
        (Some(seen), Some(found)) if seen == found => return Verdict::Same,
        (None, Some(_)) => Event::Created,
        (Some(_), Some(_)) => Event::Changed,
        (Some(_), None) => Event::Deleted,
    };
    let since = pending.filter(|pending| pending.state.as_ref() == found).map_or(now, |pending| pending.since);
    match now.saturating_sub(since) >= settle {
        true => Verdict::Take(event),
        false => Verdict::Wait(Pending { state: found.cloned(), since }),
    }
}

impl Event {
    /// Its name in a record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Changed => "changed",
            Self::Deleted => "deleted",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn state(n: u8) -> State {
        State { size: u64::from(n), modified: Some(i64::from(n)), etag: String::new() }
    }

    #[test]
    fn what_is_being_written_waits() {
        let (a, b) = (state(1), state(2));
        let Verdict::Wait(pending) = decide(None, None, Some(&a), 100, 50) else { panic!("it was only seen once") };
        assert_eq!(decide(None, Some(&pending), Some(&a), 149, 50), Verdict::Wait(pending.clone()));
        assert_eq!(decide(None, Some(&pending), Some(&a), 150, 50), Verdict::Take(Event::Created));
        let grown = decide(None, Some(&pending), Some(&b), 149, 50);
        assert_eq!(grown, Verdict::Wait(Pending { state: Some(b.clone()), since: 149 }), "it grew");
        assert_eq!(decide(None, None, Some(&a), 0, 0), Verdict::Take(Event::Created), "without `settle` at once");
    }

    #[test]
    fn what_goes_and_comes_back_in_time_never_went() {
        let a = state(1);
        let Verdict::Wait(gone) = decide(Some(&a), None, None, 100, 50) else { panic!("it may come back") };
        assert_eq!(decide(Some(&a), Some(&gone), Some(&a), 149, 50), Verdict::Same);
        assert_eq!(decide(Some(&a), Some(&gone), None, 150, 50), Verdict::Take(Event::Deleted));
        assert_eq!(decide(None, Some(&gone), None, 200, 50), Verdict::Same);
    }

    proptest! {
        /// Whatever is there at each look: what was taken is at last what is there, each event fits what was before, and
        /// nothing is taken that had not been there for `settle`.
        #[test]
        fn events_tell_the_story(looks in proptest::collection::vec((0u8..4, 1u64..60), 1..60), settle in 0u64..100) {
            let (mut seen, mut pending, mut now) = (None, None, 0);
            let mut since: (Option<State>, u64) = (None, 0);
            let mut look = |there: u8, after: u64| {
                now += after;
                let found = (there > 0).then(|| state(there));
                if since.0 != found {
                    since = (found.clone(), now);
                }
                match decide(seen.as_ref(), pending.as_ref(), found.as_ref(), now, settle) {
                    Verdict::Same => { assert_eq!(seen, found); pending = None; }
                    Verdict::Wait(wait) => { assert_ne!(seen, found); pending = Some(wait); }
                    Verdict::Take(event) => {
                        assert!(now - since.1 >= settle);
                        let fits = match event {
                            Event::Created => seen.is_none() && found.is_some(),
                            Event::Changed => seen.is_some() && found.is_some(),
                            Event::Deleted => seen.is_some() && found.is_none(),
                        };
                        assert!(fits);
                        (seen, pending) = (found, None);
                    }
                }
                seen.clone()
            };
            for (there, after) in &looks {
                look(*there, *after);
            }
            let last = looks.last().map_or(0, |(there, _)| *there);
            look(last, 1);
            prop_assert_eq!(look(last, settle + 1), (last > 0).then(|| state(last)));
        }
    }
}
