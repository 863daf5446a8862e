//! What is compared, row by row.

use crate::copy::Delivery;
use crate::input::{DROPPED_IN, Input};
use crate::measure::Window;
use crate::pipeline::Pipeline;
use crate::streams::Topology;

/// One system under measurement.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// Row of the table.
    pub(crate) name: &'static str,
    /// What it reads.
    pub(crate) input: Input,
    /// Column of the table.
    pub(crate) delivery: Delivery,
    /// The yardstick, or what is measured by it.
    pub(crate) work: Work,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The loop of `copy.rs`.
    Copy {
        /// Of what it writes, by librdkafka's name.
        compression: &'static str,
    },
    /// One process of Millstream, one replica a stage.
    Millstream(Pipeline),
    /// One process of Kafka Streams with one thread.
    Streams(Topology),
}

/// What all ratios are against.
pub(crate) const YARDSTICK: Work = Work::Copy { compression: "none" };

const BOTH: &[Delivery] = &[Delivery::AtLeastOnce, Delivery::ExactlyOnce];
const ONCE: &[Delivery] = &[Delivery::ExactlyOnce];

/// All, in the order of the table.
pub(crate) fn all() -> Vec<System> {
    use Input::{Headers, Large, Small};
    use Work::{Millstream, Streams};
    let copy = "C copy loop on librdkafka";
    let pass = "Millstream passthrough";
    let rows: [(&'static str, Input, &[Delivery], Work); 17] = [
        (copy, Small, BOTH, YARDSTICK),
        ("C copy loop on librdkafka, lz4", Small, ONCE, Work::Copy { compression: "lz4" }),
        (pass, Small, BOTH, Millstream(Pipeline::Pass)),
        ("Millstream passthrough, dedup", Small, BOTH, Millstream(Pipeline::PassDedup)),
        (copy, Large, ONCE, YARDSTICK),
        (pass, Large, ONCE, Millstream(Pipeline::Pass)),
        (copy, Headers, BOTH, YARDSTICK),
        (pass, Headers, BOTH, Millstream(Pipeline::Pass)),
        ("Millstream five stages", Small, ONCE, Millstream(Pipeline::Five)),
        ("Millstream route to 4", Small, ONCE, Millstream(Pipeline::Route)),
        ("Millstream JSON where", Small, ONCE, Millstream(Pipeline::Where)),
        ("Millstream JSON where + map", Small, BOTH, Millstream(Pipeline::Map)),
        ("Millstream JSON where + map, dedup", Small, ONCE, Millstream(Pipeline::MapDedup)),
        // Jobs are counted in transactions.
        ("Millstream JSON where + map, dedup, jobs", Small, ONCE, Millstream(Pipeline::MapJobs)),
        ("Kafka Streams passthrough", Small, ONCE, Streams(Topology::Pass)),
        ("Kafka Streams JSON filter + map", Small, ONCE, Streams(Topology::Map)),
        ("Kafka Streams dedup (RocksDB)", Small, ONCE, Streams(Topology::Dedup)),
    ];
    let each = |(name, input, deliveries, work): (&'static str, Input, &'static [Delivery], Work)| {
        deliveries.iter().map(move |delivery| System { name, input, delivery: *delivery, work })
    };
    rows.into_iter().flat_map(each).collect()
}

impl System {
    /// In full, for `--only` and for people.
    pub(crate) fn title(&self) -> String {
        format!("{}; {} ({})", self.name, self.input.title(), delivery_word(self.delivery))
    }

    /// Outputs of so many inputs.
    pub(crate) fn outputs(&self, records: u64) -> u64 {
        let drops = match self.work {
            Work::Millstream(pipeline) => pipeline.drops(),
            Work::Streams(topology) => topology == Topology::Map,
            Work::Copy { .. } => false,
        };
        if drops { records - records.div_ceil(DROPPED_IN) } else { records }
    }

    /// How many of the records it works off: a system that takes long has shown by then what it does.
    pub(crate) fn records(&self, all: u64) -> u64 {
        match self.work {
            Work::Millstream(Pipeline::MapJobs | Pipeline::Five) => all.div_ceil(3),
            _ => all,
        }
    }

    /// What is measured of a run.
    pub(crate) fn window(&self) -> Window {
        match self.work {
            // By then its code is compiled.
            Work::Streams(_) => Window { from: 0.5, to: 0.95 },
            // What the first stage has done, the last one has still to do.
            Work::Millstream(Pipeline::Five) => Window { from: 0.0, to: 1.0 },
            _ => Window { from: 0.1, to: 0.9 },
        }
    }
}

/// For tables.
pub(crate) fn delivery_word(delivery: Delivery) -> &'static str {
    match delivery {
        Delivery::AtLeastOnce => "at least once",
        Delivery::ExactlyOnce => "exactly once",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_ten_is_dropped_from_the_first_on() {
        let work = Work::Millstream(Pipeline::Map);
        let json = System { name: "", input: Input::Small, delivery: Delivery::ExactlyOnce, work };
        assert_eq!((json.outputs(10), json.outputs(11), json.outputs(1)), (9, 9, 0));
    }

    #[test]
    fn every_row_has_a_yardstick_and_a_title_of_its_own() {
        let all = all();
        for (n, system) in all.iter().enumerate() {
            let has = |s: &System| s.work == YARDSTICK && (s.input, s.delivery) == (system.input, system.delivery);
            assert!(all.iter().any(has), "{}", system.title());
            assert!(all[..n].iter().all(|s| s.title() != system.title()), "{}", system.title());
        }
    }
}
