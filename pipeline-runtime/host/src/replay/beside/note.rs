//! `replay` in the control topic of a pipeline beside: what it is, so that a later call can go on or refuse.

use millstream_log::{End, Log, LogResult, TopicPartition};
use serde::{Deserialize, Serialize};

use super::differs;
use super::names::Beside;
use crate::clock::wall_ms;
use crate::control::{Change, Control, decode, encode};
use crate::replay::range::{Range, Slice};

/// Its key.
const KEY: &str = "replay";

/// What a replay beside is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When it began first, ms since 1970.
    pub at: i64,
    /// Where the range begins, as it was asked for.
    pub from: String,
    /// Where it ends.
    pub to: String,
    /// The stage it begins at.
    pub stage: Option<String>,
    /// Hash of the pipeline.
    pub content: String,
    /// Topic, partition, first offset, offset after the last.
    pub slices: Vec<(String, i32, i64, i64)>,
    /// Every group that may have a position.
    pub groups: Vec<String>,
}

impl Note {
    /// Of a pipeline beside by its own name; `None` where there is none.
    pub fn read(log: &dyn Log, own: &str) -> LogResult<Option<Self>> {
        let control = Control::of(log, own);
        if !control.exists()? {
            return Ok(None);
        }
        let mut follower = control.follow()?;
        control.catch_up(&mut follower, End::High)?;
        follower.entries().get(KEY).map(|entry| decode(KEY, &entry.value)).transpose()
    }

    /// Begins now, over this range.
    pub(super) fn begin(&mut self, range: &Range) {
        self.at = wall_ms();
        let slice = |s: &Slice| (s.partition.topic.to_string(), s.partition.partition, s.from, s.to);
        self.slices = range.slices.iter().map(slice).collect();
    }

    /// What writes it down.
    pub(super) fn change(&self) -> LogResult<Change> {
        Ok((KEY.to_owned(), Some(encode(self)?)))
    }

    /// Its range.
    pub fn range(&self) -> Range {
        let slice = |(topic, partition, from, to): &(String, i32, i64, i64)| Slice {
            partition: TopicPartition::new(topic.as_str(), *partition),
            from: *from,
            to: *to,
        };
        Range { slices: self.slices.iter().map(slice).collect() }
    }

    /// An error if this is another pipeline, or another part of it.
    pub(super) fn same(&self, now: &Self, beside: &Beside) -> LogResult<()> {
        if self.stage != now.stage {
            let what = match &self.stage {
                Some(stage) => format!("begins at stage `{stage}`"),
                None => "is the whole pipeline".to_owned(),
            };
            return Err(differs(beside, &what));
        }
        if self.content != now.content {
            return Err(differs(beside, "was another pipeline than the file, or the files its filters read, are now"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text of version 1. It is in topics: this must pass in every later version.
    #[test]
    fn golden() {
        let note = Note {
            at: 17,
            from: "-2h".into(),
            to: "end".into(),
            stage: Some("clean".into()),
            content: "00ff".into(),
            slices: vec![("orders.raw".into(), 3, 10, 25)],
            groups: vec!["orders--new.clean".into()],
        };
        let text = concat!(
            r#"{"v":1,"at":17,"from":"-2h","to":"end","stage":"clean","content":"00ff","#,
            r#""slices":[["orders.raw",3,10,25]],"groups":["orders--new.clean"]}"#
        );
        let (key, value) = note.change().unwrap();
        assert_eq!((key.as_str(), std::str::from_utf8(&value.unwrap()).unwrap()), ("replay", text));
        assert_eq!(decode::<Note>(KEY, text.as_bytes()).unwrap(), note);
        let mut again = Note::default();
        again.begin(&note.range());
        assert_eq!(again.slices, note.slices);
    }
}
