//! What was there in time counts, however late it is read: before anything is over, the events are read up to where their topic
//! ended at that moment, and so is what has come of them, and of the records. So neither an outage nor a lag makes an approval
//! come too late that did not.

use std::collections::BTreeMap;

use millstream_log::{End, Log, LogResult, TopicPartition};
use millstream_spec::model::Meets;

/// A moment up to which all events have to be read.
pub struct Barrier {
    /// The moment, ms since 1970.
    pub at: i64,
    /// Where the topic of the events ended then.
    ends: Vec<(TopicPartition, i64)>,
    /// Where what the stage reads ended, once all that was made of them was there.
    read: Option<BTreeMap<TopicPartition, i64>>,
}

impl Barrier {
    /// At this moment.
    pub fn new(log: &dyn Log, meets: &Meets, at: i64) -> LogResult<Self> {
        let info = &log.describe(&[&meets.topic])?[0];
        // A topic that is gone has no more of them.
        let count = info.as_ref().map_or(0, |info| info.partitions);
        let places: Vec<TopicPartition> = (0..count).map(|p| TopicPartition::new(meets.topic.as_str(), p)).collect();
        // What is in an open transaction has not been said.
        let ends = if places.is_empty() { Vec::new() } else { log.ends(&places, End::Stable)? };
        Ok(Self { at, ends: places.into_iter().zip(ends).collect(), read: None })
    }

    /// Whether all is read so far. `next`: how far each partition of what the stage reads is read.
    pub fn is_passed(&mut self, log: &dyn Log, meets: &Meets, next: &BTreeMap<TopicPartition, i64>) -> LogResult<bool> {
        if self.read.is_none() {
            let places: Vec<TopicPartition> = self.ends.iter().map(|(place, _)| place.clone()).collect();
            if !places.is_empty() {
                let lows = log.ends(&places, End::Low)?;
                let committed = log.committed(&meets.group, &places)?;
                let positions = committed.iter().zip(lows).map(|(c, low)| c.as_ref().map_or(low, |c| c.offset));
                if positions.zip(&self.ends).any(|(position, (_, end))| position < *end) {
                    return Ok(false);
                }
            }
            let places: Vec<TopicPartition> = next.keys().cloned().collect();
            // They were written in the transactions of those positions, which may become visible a moment later.
            let ends = log.ends(&places, End::High)?;
            self.read = Some(places.into_iter().zip(ends).collect());
        }
        let mut read = self.read.iter().flatten();
        Ok(read.all(|(place, end)| next.get(place).is_none_or(|next| next >= end)))
    }
}
