//! What is compared.

use crate::copy::Delivery;

/// One system under measurement.
#[derive(Clone, Debug)]
pub(crate) struct System {
    /// Row of the table.
    pub(crate) name: &'static str,
    /// Column of the table.
    pub(crate) delivery: Delivery,
    /// The yardstick, or a pipeline.
    pub(crate) work: Work,
}

/// What it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The bare loop of `copy.rs`.
    BareCopy,
    /// Millstream, one stage, one replica.
    Millstream {
        /// Decodes, filters and computes, instead of passing bytes.
        json: bool,
        /// Drops repeats by the id header.
        dedup: bool,
        /// Keeps the status of each record's job.
        jobs: bool,
    },
}

/// All, in the order of the table.
pub(crate) fn all() -> Vec<System> {
    let rows = [
        ("C copy loop on librdkafka", Work::BareCopy),
        ("Millstream passthrough", Work::Millstream { json: false, dedup: false, jobs: false }),
        ("Millstream passthrough, dedup", Work::Millstream { json: false, dedup: true, jobs: false }),
        ("Millstream JSON where + map", Work::Millstream { json: true, dedup: false, jobs: false }),
        ("Millstream JSON where + map, dedup", Work::Millstream { json: true, dedup: true, jobs: false }),
        ("Millstream JSON where + map, dedup, jobs", Work::Millstream { json: true, dedup: true, jobs: true }),
    ];
    let deliveries = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];
    let each = |(name, work)| deliveries.map(|delivery| System { name, delivery, work });
    // Jobs are counted in transactions.
    let is_counted = |s: &System| s.delivery == Delivery::ExactlyOnce;
    rows.into_iter()
        .flat_map(each)
        .filter(|s| !matches!(s.work, Work::Millstream { jobs: true, .. }) || is_counted(s))
        .collect()
}

impl System {
    /// In full, for `--only` and for people.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", self.name, delivery_word(self.delivery))
    }

    /// The pipeline's file.
    pub(crate) fn yaml(&self, pipeline: &str, input: &str) -> Option<String> {
        let Work::Millstream { json, dedup, jobs } = self.work else { return None };
        let delivery = match self.delivery {
            Delivery::AtLeastOnce => "at_least_once",
            Delivery::ExactlyOnce => "exactly_once",
        };
        let jobs = if jobs { "jobs: { track: true }\n" } else { "" };
        let dedup = if dedup { "{ window: 24h }" } else { "off" };
        let (source, filters) = if json {
            (
                "  format: json\n  fields: { order_id: string, customer_id: string, sku: string, quantity: integer, unit_price: number, note: string }\n",
                "      - where: .quantity > 0\n      - map: .total = .quantity * .unit_price\n",
            )
        } else {
            ("  format: raw\n", "      - where: \"true\"\n")
        };
        Some(format!(
            "apiVersion: millstream/v1\npipeline: {pipeline}\ndelivery: {delivery}\n{jobs}\
             defaults:\n  replicas: 1\n  dedup: {dedup}\n  topics: {{ partitions: {partitions} }}\n\
             source:\n  topic: {input}\n{source}  id: {{ header: id }}\n\
             stages:\n  - name: work\n    filters:\n{filters}",
            partitions = crate::cluster::PARTITIONS,
        ))
    }

    /// Outputs of so many inputs.
    pub(crate) fn outputs(&self, records: u64) -> u64 {
        match self.work {
            Work::Millstream { json: true, .. } => records - records.div_ceil(crate::input::DROPPED_IN),
            _ => records,
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
        let json = System {
            name: "",
            delivery: Delivery::ExactlyOnce,
            work: Work::Millstream { json: true, dedup: false, jobs: false },
        };
        assert_eq!((json.outputs(10), json.outputs(11), json.outputs(1)), (9, 9, 0));
    }
}
