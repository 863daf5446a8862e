//! A range of records, as a person says it and as offsets of partitions.
//!
//! A range by time is `[from, to)` on the records' timestamps, in each partition from the first record of `from` or later
//! up to the first record of `to` or later. Where the timestamps of a partition are out of order, records between these
//! two belong to the range whatever their own.

use std::collections::BTreeMap;

use millstream_log::{Class, End, Log, LogError, LogResult, TopicPartition};

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The first record still there.
    Start,
    /// After the last record there is now.
    End,
    /// The first record of that time (ms since 1970) or later.
    At(i64),
    /// These offsets by partition. Partitions that are not named are not in the range.
    Offsets(BTreeMap<i32, i64>),
}

/// What of one partition is in a range: the offsets from `from` up to and without `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Which partition.
    pub partition: TopicPartition,
    /// The first offset.
    pub from: i64,
    /// The offset after the last; never below `from`.
    pub to: i64,
}

/// What of some topics is meant: one slice of every partition, empty ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// By topic in the order asked, then by partition.
    pub slices: Vec<Slice>,
}

impl Range {
    /// The slice of a partition; `None` of a topic that was not asked for.
    pub fn of(&self, partition: &TopicPartition) -> Option<&Slice> {
        self.slices.iter().find(|s| s.partition == *partition)
    }

    /// Offsets in it; markers of transactions have offsets too, so there may be fewer records.
    pub fn offsets(&self) -> i64 {
        self.slices.iter().map(|s| s.to - s.from).sum()
    }
}

/// What a log says of one partition.
#[derive(Clone, Copy, Debug)]
struct Facts {
    low: i64,
    high: i64,
    /// Offsets of the first records of the times of both ends, where they are times.
    at: (i64, i64),
}

/// The range of these topics. What is written from now on is not in it. With `accept_gap` it begins at what retention has
/// left.
///
/// # Errors
/// `unknown_topic`, `replay_range_cut` (retention has, or may have, taken records of it), `replay_range_wrong` (there is
/// no such partition or offset, or it ends before it begins), `replay_range_empty`; and those of the log.
pub fn resolve(log: &dyn Log, topics: &[&str], from: &Bound, to: &Bound, accept_gap: bool) -> LogResult<Range> {
    if let (Bound::At(from), Bound::At(to)) = (from, to)
        && from >= to
    {
        return Err(wrong("the range ends before it begins: `--from` must be earlier than `--to`".to_owned()));
    }
    let mut partitions = Vec::new();
    for (topic, info) in topics.iter().zip(log.describe(topics)?) {
        let Some(info) = info else {
            let message = format!("topic `{topic}` does not exist on {}", log.name());
            return Err(LogError::new(Class::Config, "unknown_topic", message));
        };
        partitions.extend((0..info.partitions).map(|p| TopicPartition::new(*topic, p)));
    }
    named_are_there(topics, &partitions, from, to)?;
    // The end first: what is written meanwhile is not in it, and what retention takes meanwhile is seen.
    let high = log.ends(&partitions, End::High)?;
    let at = |bound: &Bound| match bound {
        Bound::At(ms) => log.ends(&partitions, End::AtTime(*ms)),
        _ => Ok(high.clone()),
    };
    let at = (at(from)?, at(to)?);
    let low = log.ends(&partitions, End::Low)?;
    let mut range = Range::default();
    for (i, partition) in partitions.iter().enumerate() {
        let facts = Facts { low: low[i], high: high[i], at: (at.0[i], at.1[i]) };
        range.slices.push(slice(partition, &facts, from, to, accept_gap)?);
    }
    if range.slices.iter().all(|s| s.from == s.to) {
        let message = format!("there is no record of {} in the range", topics.join(", "));
        return Err(LogError::new(Class::Config, "replay_range_empty", message));
    }
    Ok(range)
}

/// Offsets are of one topic, and of partitions that it has.
fn named_are_there(topics: &[&str], partitions: &[TopicPartition], from: &Bound, to: &Bound) -> LogResult<()> {
    for bound in [from, to] {
        let Bound::Offsets(named) = bound else { continue };
        if topics.len() > 1 {
            let list = topics.join(", ");
            return Err(wrong(format!("PARTITION:OFFSET is a place in one topic, and {list} are read; give times")));
        }
        if let Some(p) = named.keys().find(|p| !partitions.iter().any(|there| there.partition == **p)) {
            let (topic, count) = (topics.join(", "), partitions.len());
            return Err(wrong(format!("there is no partition {p}: `{topic}` has {count}, counted from 0")));
        }
    }
    if let (Bound::Offsets(from), Bound::Offsets(to)) = (from, to)
        && !from.keys().eq(to.keys())
    {
        return Err(wrong("`--from` and `--to` must name the same partitions".to_owned()));
    }
    Ok(())
}

fn slice(partition: &TopicPartition, facts: &Facts, from: &Bound, to: &Bound, accept_gap: bool) -> LogResult<Slice> {
    let left_out = |bound: &Bound| matches!(bound, Bound::Offsets(o) if !o.contains_key(&partition.partition));
    if left_out(from) || left_out(to) {
        return Ok(Slice { partition: partition.clone(), from: facts.high, to: facts.high });
    }
    let Facts { low, high, at } = *facts;
    let place = |bound: &Bound, at: i64| match bound {
        Bound::Start => low,
        Bound::End => high,
        // What came after `high` was asked for.
        Bound::At(_) => at.min(high),
        Bound::Offsets(named) => named.get(&partition.partition).copied().unwrap_or(high),
    };
    let (begin, end) = (place(from, at.0), place(to, at.1));
    if begin.max(end) > high {
        return Err(wrong(format!("{partition} ends at offset {high}: there is nothing at {} yet", begin.max(end))));
    }
    if !accept_gap {
        if begin < low || end < low {
            return Err(cut(partition, low, format!("offset {} is gone", begin.min(end))));
        }
        // Nobody knows the times of what is gone: the record before the first one may have been of the range.
        if matches!(from, Bound::At(_)) && low > 0 && begin == low {
            return Err(cut(partition, low, "records of the range may be gone".to_owned()));
        }
    }
    let begin = begin.max(low);
    // By time the end can lie before the beginning, where timestamps are out of order.
    if end < begin && !matches!(to, Bound::At(_)) && !accept_gap {
        return Err(wrong(format!("the range ends before it begins: {partition} from offset {begin} to {end}")));
    }
    Ok(Slice { partition: partition.clone(), from: begin, to: end.max(begin) })
}

fn wrong(message: String) -> LogError {
    LogError::new(Class::Config, "replay_range_wrong", message)
}

fn cut(partition: &TopicPartition, low: i64, what: String) -> LogError {
    LogError::new(
        Class::Config,
        "replay_range_cut",
        format!(
            "retention has taken the records of {partition} before offset {low}: {what}; begin later, at `start`, or take \
             what is left with `--accept-gap`"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(
        low: i64,
        high: i64,
        at: (i64, i64),
        from: &Bound,
        to: &Bound,
        gap: bool,
    ) -> Result<(i64, i64), &'static str> {
        let facts = Facts { low, high, at };
        slice(&TopicPartition::new("t", 3), &facts, from, to, gap).map(|s| (s.from, s.to)).map_err(|e| e.code)
    }

    fn offsets(all: &[(i32, i64)]) -> Bound {
        Bound::Offsets(all.iter().copied().collect())
    }

    const NO: (i64, i64) = (-1, -1);

    #[test]
    fn places_are_offsets() {
        assert_eq!(of(0, 9, NO, &Bound::Start, &Bound::End, false), Ok((0, 9)));
        assert_eq!(of(4, 9, NO, &Bound::Start, &Bound::End, false), Ok((4, 9)), "the start is what is there");
        assert_eq!(of(0, 9, (3, 7), &Bound::At(10), &Bound::At(20), false), Ok((3, 7)));
        assert_eq!(of(0, 9, (12, 15), &Bound::At(10), &Bound::At(20), false), Ok((9, 9)), "written meanwhile");
        assert_eq!(of(0, 9, (7, 3), &Bound::At(10), &Bound::At(20), false), Ok((7, 7)), "timestamps out of order");
        assert_eq!(of(0, 9, NO, &Bound::End, &Bound::End, false), Ok((9, 9)));
    }

    #[test]
    fn offsets_take_their_partitions_alone() {
        assert_eq!(of(0, 9, NO, &offsets(&[(3, 2)]), &offsets(&[(3, 5)]), false), Ok((2, 5)));
        assert_eq!(of(0, 9, NO, &offsets(&[(3, 2)]), &Bound::End, false), Ok((2, 9)));
        assert_eq!(of(0, 9, NO, &offsets(&[(1, 2)]), &Bound::End, false), Ok((9, 9)));
        assert_eq!(of(0, 9, NO, &Bound::Start, &offsets(&[(1, 2)]), false), Ok((9, 9)));
        assert_eq!(of(0, 9, NO, &offsets(&[(3, 5)]), &offsets(&[(3, 2)]), false), Err("replay_range_wrong"));
        assert_eq!(of(0, 9, NO, &offsets(&[(3, 5)]), &offsets(&[(3, 10)]), false), Err("replay_range_wrong"));
    }

    #[test]
    fn what_retention_has_cut_is_an_error_until_a_person_agrees() {
        for (at, from, left) in [
            (NO, offsets(&[(3, 2)]), (4, 9)),
            // The first record there is later than `from`; one before it, now gone, may have been too.
            ((4, -1), Bound::At(10), (4, 9)),
        ] {
            assert_eq!(of(4, 9, at, &from, &Bound::End, false), Err("replay_range_cut"), "{from:?}");
            assert_eq!(of(4, 9, at, &from, &Bound::End, true), Ok(left), "{from:?}");
        }
        assert_eq!(of(4, 9, (5, -1), &Bound::At(10), &Bound::End, false), Ok((5, 9)), "one before it is there");
        assert_eq!(of(0, 9, (0, -1), &Bound::At(10), &Bound::End, false), Ok((0, 9)), "nothing was ever taken");
        assert_eq!(of(9, 9, (9, 9), &Bound::At(10), &Bound::End, false), Err("replay_range_cut"), "all of it is gone");
        assert_eq!(of(4, 9, NO, &offsets(&[(3, 1)]), &offsets(&[(3, 3)]), true), Ok((4, 4)));
    }

    #[test]
    fn partitions_that_are_not_there_and_lists_that_differ() {
        let all: Vec<TopicPartition> = (0..2).map(|p| TopicPartition::new("t", p)).collect();
        let check =
            |topics: &[&str], from: &Bound, to: &Bound| named_are_there(topics, &all, from, to).map_err(|e| e.message);
        assert_eq!(check(&["t"], &offsets(&[(0, 1), (1, 1)]), &offsets(&[(1, 9), (0, 9)])), Ok(()));
        assert!(check(&["t"], &offsets(&[(2, 1)]), &Bound::End).is_err_and(|e| e.contains("no partition 2")));
        assert!(check(&["t"], &offsets(&[(0, 1)]), &offsets(&[(1, 9)])).is_err_and(|e| e.contains("same partitions")));
        assert!(check(&["t", "u"], &offsets(&[(0, 1)]), &Bound::End).is_err_and(|e| e.contains("one topic")));
        assert_eq!(check(&["t", "u"], &Bound::At(1), &Bound::End), Ok(()));
    }
}
