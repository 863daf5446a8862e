//! The way back to a stage: the topic in which it reads letters that are sent back, and the word to its replicas.

use std::sync::Arc;

use millstream_log::{Class, Log, LogError, LogResult};
use millstream_spec::model::{Pipeline, Stage};

use super::place::Place;
use super::reading::patiently;
use super::redrive::Destination;
use crate::clock::wall_ms;
use crate::control::{Change, Control, Orders};
use crate::plan::sets_aside;
use crate::shared::Stop;
use crate::topics;

impl Place {
    /// Back to the stage; nothing where no stage of ours wrote the letters. `force`: past dedup too.
    pub fn way_back(&self, force: bool) -> Option<Destination> {
        let topic = Arc::clone(self.retry.as_ref()?);
        Some(Destination::Stage { topic, inputs: self.origins.iter().map(|o| o.topic.clone()).collect(), force })
    }

    /// Makes the topic that the way back needs, if it is not there, and tells running replicas to read it. To be done
    /// before the first letter is sent back. Killed in between, the next one goes on with the rest.
    ///
    /// # Errors
    /// The topic is there with other partitions than the dead letters, or the log failed.
    pub fn open_way_back(&self, log: &dyn Log, stop: &Stop) -> LogResult<()> {
        let Some(retry) = &self.retry else { return Ok(()) };
        let found = patiently(stop, || log.describe(&[&self.topic, retry]))?;
        let [Some(letters), found] = &found[..] else { return Ok(()) };
        match found {
            None => patiently(stop, || log.create(&[topics::plain(retry, letters.partitions)]))?,
            Some(found) if found.partitions == letters.partitions => {}
            Some(found) => {
                let message = format!(
                    "topic `{retry}` has {} partitions and `{}` has {}; they must be equal",
                    found.partitions, self.topic, letters.partitions
                );
                return Err(LogError::new(Class::Config, "partitions_differ", message));
            }
        }
        let control = Control::of(log, &self.pipeline);
        if patiently(stop, || Orders::read(&control.entries()?))?.retry.contains(&self.stage) {
            return Ok(());
        }
        patiently(stop, || control.put(vec![Orders::retry_made(&self.stage, wall_ms())?]))
    }
}

/// Tells processes that run an older file, in which a stage set nothing aside, that it does now: they read its `.retry`
/// too, and keep the order of what lies there. To be done before the first replica here starts.
///
/// # Errors
/// The log failed.
pub fn announce<'a>(
    log: &dyn Log,
    pipeline: &Pipeline,
    stages: impl Iterator<Item = &'a Stage>,
    orders: Option<&Orders>,
) -> LogResult<()> {
    let Some(orders) = orders else { return Ok(()) };
    let news = stages.filter(|stage| sets_aside(stage) && !orders.retry.contains(&stage.name));
    let changes = news.map(|stage| Orders::retry_made(&stage.name, wall_ms())).collect::<LogResult<Vec<Change>>>()?;
    if changes.is_empty() { Ok(()) } else { Control::of(log, &pipeline.name).put(changes) }
}
