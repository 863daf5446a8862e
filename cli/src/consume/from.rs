//! Where to begin to read: `start`, `end`, a time, or an offset of a partition.

use millstream_log::{End, Log, LogResult, TopicPartition};

use crate::units;

/// One `--from`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The first record still there.
    Start,
    /// Records written from now on.
    End,
    /// The first record of that time (ms since 1970) or later.
    At(i64),
    /// This offset of this partition; the others begin at their start.
    Offset {
        /// Which partition.
        partition: i32,
        /// Where in it.
        offset: i64,
    },
}

impl From {
    /// As it is written on the command line.
    pub fn parse(text: &str, now: i64) -> Result<Self, String> {
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            _ => {}
        }
        if let Some((partition, offset)) = text.split_once(':')
            && let (Ok(partition @ 0..), Ok(offset @ 0..)) = (partition.parse(), offset.parse())
        {
            return Ok(Self::Offset { partition, offset });
        }
        units::moment(text, now).map(Self::At)
    }
}

/// What several `--from` mean together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Begin {
    /// For partitions that have no offset of their own.
    all: End,
    offsets: Vec<(i32, i64)>,
}

impl Begin {
    /// Several offsets, of different partitions, or one of the others, or nothing, which is the start.
    pub fn of(from: &[From]) -> Result<Self, String> {
        let mut begin = Self { all: End::Low, offsets: Vec::new() };
        for one in from {
            let all = match one {
                From::Start => End::Low,
                From::End => End::High,
                From::At(ms) => End::AtTime(*ms),
                From::Offset { partition, offset } => {
                    if begin.offsets.iter().any(|(p, _)| p == partition) {
                        return Err(format!("`--from` names partition {partition} twice"));
                    }
                    begin.offsets.push((*partition, *offset));
                    continue;
                }
            };
            if from.len() > 1 {
                return Err("`--from` is one place, or PARTITION:OFFSET of several partitions".to_owned());
            }
            begin.all = all;
        }
        Ok(begin)
    }

    /// Partitions that have an offset of their own.
    pub fn named(&self) -> impl Iterator<Item = i32> {
        self.offsets.iter().map(|(partition, _)| *partition)
    }

    /// Offsets that are past the end of their partition: (partition, offset, end). At the end new records come.
    fn past(&self, partitions: &[TopicPartition], ends: &[i64]) -> Vec<(i32, i64, i64)> {
        let named = |partition: i32| self.offsets.iter().find(|(p, _)| *p == partition);
        let all = partitions.iter().zip(ends).filter_map(|(p, end)| Some((named(p.partition)?, *end)));
        all.filter(|((_, offset), end)| offset > end).map(|((p, offset), end)| (*p, *offset, end)).collect()
    }

    /// The first offset to be read of each partition, not below the first still there.
    pub fn offsets(&self, log: &dyn Log, partitions: &[TopicPartition]) -> LogResult<Vec<i64>> {
        let mut offsets = log.ends(partitions, self.all)?;
        if !self.offsets.is_empty() {
            let low = log.ends(partitions, End::Low)?;
            for ((at, partition), low) in offsets.iter_mut().zip(partitions).zip(low) {
                let own = self.offsets.iter().find(|(p, _)| *p == partition.partition);
                *at = own.map_or(low, |(_, offset)| (*offset).max(low));
            }
            for (partition, offset, end) in self.past(partitions, &log.ends(partitions, End::High)?) {
                tracing::warn!("partition {partition} ends at offset {end}: there is nothing at {offset} yet");
            }
        }
        Ok(offsets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        assert_eq!(From::parse("start", 0), Ok(From::Start));
        assert_eq!(From::parse("end", 0), Ok(From::End));
        assert_eq!(From::parse("-1s", 5000), Ok(From::At(4000)));
        assert_eq!(From::parse("1970-01-01T00:00:02Z", 0), Ok(From::At(2000)));
        assert_eq!(From::parse("3:17", 0), Ok(From::Offset { partition: 3, offset: 17 }));
        for bad in ["beginning", "3:", ":1", "-1:1", "1:-1", "17", ""] {
            assert!(From::parse(bad, 0).is_err(), "{bad}");
        }
    }

    #[test]
    fn several_offsets_but_one_other_place() {
        let at = |partition, offset| From::Offset { partition, offset };
        let begin = Begin::of(&[at(0, 5), at(2, 7)]);
        assert_eq!(begin, Ok(Begin { all: End::Low, offsets: vec![(0, 5), (2, 7)] }));
        assert_eq!(Begin::of(&[]), Ok(Begin { all: End::Low, offsets: Vec::new() }));
        assert!(Begin::of(&[at(0, 5), at(0, 6)]).is_err());
        assert!(Begin::of(&[at(0, 5), From::End]).is_err());
        assert!(Begin::of(&[From::End, From::Start]).is_err());
    }
}
