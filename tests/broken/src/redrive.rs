//! `dlq redrive` without its words: the same work on the same letters.

use std::sync::Arc;
use std::time::Duration;

use millstream_host::Stop;
use millstream_host::letters::{Destination, Pace, Place, Redrive, Verdict, work};
use millstream_log::Log;
use millstream_spec::model::Pipeline;

/// Sends every open letter of a stage to a topic, or back to the stage.
pub(crate) fn redrive(log: &dyn Log, pipeline: &Pipeline, stage: &str, to: Option<&str>) -> Result<(), String> {
    let stage = pipeline.stages.iter().find(|s| s.name == stage).ok_or("there is no such stage")?;
    let place = Place::of_stage(pipeline, stage);
    let stop = Stop::new(Duration::from_secs(5));
    let to = match to {
        Some(to) => {
            let info = log.describe(&[to]).map_err(|e| e.to_string())?.into_iter().next().flatten();
            let partitions = info.ok_or("there is no such topic")?.partitions;
            Destination::Topic { topic: Arc::from(to), partitions }
        }
        None => {
            place.open_way_back(log, &stop).map_err(|e| e.to_string())?;
            place.way_back(false).ok_or("there is no way back")?
        }
    };
    let redrive = Redrive { to, max_redrives: None, given_up: Default::default() };
    let decide = &mut |letter: &_| Ok(redrive.copy(letter).map_or_else(Verdict::Leave, |c| Verdict::Finish(Some(c))));
    let report = work(log, &place, Pace::default(), &stop, decide);
    report.map(drop).map_err(|e| e.to_string())
}
