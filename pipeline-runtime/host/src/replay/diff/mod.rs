//! What a pipeline beside made of a range, held against what the live one made of it.
//!
//! Records are matched by message id: an output's id is made of the id of its input, so both pipelines give one name to
//! one thing. Which live outputs come from the range is told by the root of their id: it is the id of a record of the
//! range. No time is guessed.
//!
//! Compared are the outputs that no stage reads, in either pipeline, those with a topic of their own (`to:`), and all open
//! dead letters. What differs on the way there shows at the end, or makes no difference.
//!
//! Memory: 16 bytes for each root of the range and 80 for each id of one topic, times what a hash table leaves free (up to
//! two); payloads are kept as hashes, and read again where they differ. `table.rs` is pure; start reading at [`diff`].

mod live;
mod place;
mod read;
mod table;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::time::Duration;

use millstream_log::{Class, Log, LogError, LogResult};

use super::beside::Beside;
use super::range::Range;
use crate::changes::Fingerprint;
use crate::ids::{hash128, root};
use crate::input::Input;
use crate::plan::input_plan;
use crate::shared::Stop;

pub use place::{Item, Place};
use read::scan;
use table::{Mark, Sums, Table};

/// How to compare.
pub struct DiffOptions<'a> {
    /// How long the live pipeline may stand still before it is at the end of the range.
    pub patience: Duration,
    /// Ends the wait.
    pub stop: &'a Stop,
    /// Is told, for people, what is waited for.
    pub say: &'a dyn Fn(&str),
}

/// Who is told what differs: everything that was added, then what was removed, then what was changed. A break ends it.
pub trait Sink {
    /// Only the pipeline beside has it.
    fn added(&mut self, place: &Place, new: &Item) -> ControlFlow<()>;
    /// Only the live one has it.
    fn removed(&mut self, place: &Place, live: &Item) -> ControlFlow<()>;
    /// Both have it, and they differ.
    fn changed(&mut self, place: &Place, live: &Item, new: &Item) -> ControlFlow<()>;
}

/// How one output compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// `stage`, `stage.output` or `stage.dlq`.
    pub place: String,
    /// Ids that the live pipeline has there.
    pub live: u64,
    /// Ids that the pipeline beside has there.
    pub new: u64,
    /// Equal in both.
    pub same: u64,
    /// Only beside.
    pub added: u64,
    /// Only live.
    pub removed: u64,
    /// In both, and different.
    pub changed: u64,
}

/// Waits until the live pipeline is at the end of the range, then compares. The counts by output, in the order of the file.
///
/// # Errors
/// `replay_live_unknown`, `replay_live_behind`, `replay_stopped`, `replay_read_stalled`, and those of the log and the sink.
pub fn diff(
    log: &dyn Log,
    beside: &Beside,
    range: &Range,
    options: &DiffOptions<'_>,
    sink: &mut dyn Sink,
) -> LogResult<Vec<Count>> {
    let unknown = |what: String| LogError::new(Class::Config, "replay_live_unknown", what);
    let Some(live) = Fingerprint::read(log, &beside.live)? else {
        return Err(unknown(format!(
            "pipeline `{}` has not run on {}: there is nothing to compare with",
            beside.live,
            log.name()
        )));
    };
    let stages = live::concerned(&live, beside);
    if stages.is_empty() {
        let reads = beside.reads.join(", ");
        return Err(unknown(format!("no stage of the pipeline `{}` that ran last reads {reads}", beside.live)));
    }
    live::wait(log, &stages, range, options)?;
    let roots = roots(log, beside, range, options.stop)?;
    let places = place::places(beside, &stages);
    let (mut counts, mut all) = (Vec::new(), Vec::new());
    for (i, place) in places.iter().enumerate() {
        let mut table = Table::default();
        place.each(log, place.new.as_deref(), options.stop, &mut |item, at| {
            table.beside(item.id_hash(), Mark::new(at, item.digest()));
        })?;
        place.each(log, place.live.as_deref(), options.stop, &mut |item, at| {
            if roots.contains(&hash128(&[root(&item.id)])) {
                table.live(item.id_hash(), Mark::new(at, item.digest()));
            }
        })?;
        let (sums, differences) = table.compare();
        let Sums { live, new, same, added, removed, changed } = sums;
        counts.push(Count { place: place.name.clone(), live, new, same, added, removed, changed });
        all.extend(differences.into_iter().map(|d| (i, d)));
    }
    read::details(log, &places, &mut all, options.stop, sink)?;
    Ok(counts)
}

/// Hashes of the roots of the range's records.
fn roots(log: &dyn Log, beside: &Beside, range: &Range, stop: &Stop) -> LogResult<HashSet<u128>> {
    let mut roots = HashSet::new();
    let inputs = beside.pipeline.stages.iter().flat_map(|s| &s.inputs);
    for topic in &beside.reads {
        let Some(input) = inputs.clone().find(|i| i.from_stage.is_none() && i.topic == *topic) else { continue };
        let plan = input_plan(&beside.pipeline, input);
        let slices = range.slices.iter().filter(|s| *s.partition.topic == **topic);
        let from: Vec<_> = slices.map(|s| (s.partition.clone(), s.from, s.to)).collect();
        scan(log, &from, stop, &mut |partition, record| {
            if let Some(raw) = &record.value {
                plan.codec.settle(raw);
            }
            let input = Input::new(&plan, 0, partition, record);
            roots.insert(hash128(&[root(&input.id)]));
        })?;
    }
    Ok(roots)
}
