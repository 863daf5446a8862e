//! Letters that hold their keys, and the word that a hold is over.

use std::collections::BTreeSet;
use std::time::Duration;

use millstream_log::{Class, Log, LogError, LogResult, Outgoing, Sent};

use super::letter::Letter;
use super::place::Place;
use crate::held::{self, Held, Holds, Origin};

/// Which letters of a place hold their keys.
pub struct LetterHolds {
    holds: Holds,
    /// Letters that were asked about: where they were first read, and how often they were sent back.
    seen: BTreeSet<(Origin, u32)>,
}

/// The end of holds without letters is durable within this time, or failed.
const WRITTEN: Duration = Duration::from_secs(10);

impl Place {
    /// Which letters hold their keys now. To be asked after the letters are there, and before they are looked at.
    pub fn holds(&self, log: &dyn Log) -> LogResult<LetterHolds> {
        let holds = match &self.retry {
            Some(retry) => held::look(log, &self.reader, retry)?,
            None => Holds::default(),
        };
        Ok(LetterHolds { holds, seen: BTreeSet::new() })
    }

    /// The same, looked at once and kept in `known`.
    pub fn holds_once<'h>(&self, log: &dyn Log, known: &'h mut Option<LetterHolds>) -> LogResult<&'h mut LetterHolds> {
        Ok(match known {
            Some(holds) => holds,
            none => none.insert(self.holds(log)?),
        })
    }

    /// The word that the hold of a letter is over.
    pub fn free(&self, letter: &Letter) -> Option<Outgoing> {
        let origin = letter.origin()?;
        let held = Held { partition: letter.partition, key: letter.record.key.clone(), sent: letter.sent() };
        Some(held::free(self.retry.as_ref()?, &held, &origin, self.input(&origin)))
    }

    fn input(&self, origin: &Origin) -> u16 {
        self.origins.iter().position(|o| o.topic == origin.0).and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }

    /// Ends holds whose letters are gone: retention has taken them, so that nobody can decide about them any more. Only
    /// those of `key`, where it is given. How many there were.
    pub fn free_orphans(&self, log: &dyn Log, holds: &LetterHolds, key: Option<&[u8]>) -> LogResult<u64> {
        let Some(retry) = &self.retry else { return Ok(0) };
        let mut records: Vec<Outgoing> = Vec::new();
        for (origin, held) in &holds.holds.letters {
            if !holds.seen.contains(&(origin.clone(), held.sent))
                && key.is_none_or(|key| held.key.as_deref() == Some(key))
            {
                let input = self.input(origin);
                records.push(held::free(retry, held, origin, input));
            }
        }
        let count = records.len() as u64;
        if count == 0 {
            return Ok(0);
        }
        let mut writer = log.writer()?;
        writer.send(&mut records).and_then(|()| writer.flush(WRITTEN)).map_err(|sent| match sent {
            Sent::Failed(e) => e,
            Sent::Refused(_) => LogError::new(Class::Config, "output_refused", format!("`{retry}` refuses a record")),
        })?;
        Ok(count)
    }
}

impl LetterHolds {
    /// Whether a letter holds its key.
    pub fn of(&self, letter: &Letter) -> bool {
        let held = letter.origin().and_then(|origin| self.holds.letters.get(&origin));
        letter.error.hold && held.is_some_and(|held| held.sent == letter.sent())
    }

    /// The same of one that is open; it is remembered that there is a letter.
    pub fn open(&mut self, letter: &Letter) -> bool {
        self.seen.extend(letter.origin().map(|origin| (origin, letter.sent())));
        self.of(letter)
    }

    /// How many keys are held and how many records wait behind them, in words; or nothing.
    pub fn say(&self) -> Option<String> {
        self.holds.say()
    }
}
