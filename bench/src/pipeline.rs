//! The pipelines that Millstream is measured with.

use std::fmt::Write as _;

use crate::cluster::PARTITIONS;
use crate::copy::Delivery;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pipeline {
    /// Bytes as they are.
    Pass,
    /// The same, without repeats of the id header in a window of 24 hours.
    PassDedup,
    /// The same through five stages.
    Five,
    /// By a field of JSON to four topics.
    Route,
    /// Filters by a field of JSON.
    Where,
    /// The same, and adds a field.
    Map,
    /// The same, without repeats.
    MapDedup,
    /// The same, and the status of each record's job.
    MapJobs,
}

/// Steps of the route; the quantities are spread evenly up to 49.
const ROUTES: &str = "a: .quantity < 12, b: .quantity < 24, c: .quantity < 36, d: true";

impl Pipeline {
    /// Whether one record in some is filtered out.
    pub(crate) fn drops(self) -> bool {
        matches!(self, Self::Where | Self::Map | Self::MapDedup | Self::MapJobs)
    }

    /// Names of its stages, in a row.
    pub(crate) fn stages(self) -> &'static [&'static str] {
        if self == Self::Five { &["one", "two", "three", "four", "five"] } else { &["work"] }
    }

    /// What the last stage writes.
    pub(crate) fn outputs(self, name: &str) -> Vec<String> {
        let last = self.stages().last().unwrap_or(&"work");
        match self {
            Self::Route => ["a", "b", "c", "d"].map(|output| format!("{name}.{last}.{output}")).into(),
            _ => vec![format!("{name}.{last}")],
        }
    }

    /// The file.
    pub(crate) fn yaml(self, name: &str, input: &str, delivery: Delivery) -> String {
        let delivery = match delivery {
            Delivery::AtLeastOnce => "at_least_once",
            Delivery::ExactlyOnce => "exactly_once",
        };
        let jobs = if self == Self::MapJobs { "jobs: { track: true }\n" } else { "" };
        let dedup = match self {
            Self::PassDedup | Self::MapDedup | Self::MapJobs => "{ window: 24h }",
            _ => "off",
        };
        let format = match self {
            Self::Pass | Self::PassDedup | Self::Five => "raw",
            _ => {
                "json\n  fields: { order_id: string, customer_id: string, sku: string, quantity: integer, \
                 unit_price: number, note: string }"
            }
        };
        let filters = match self {
            Self::Pass | Self::PassDedup | Self::Five => "    filter: where\n    with: \"true\"\n".to_owned(),
            Self::Route => format!(
                "    filter: route\n    with: {{ {ROUTES} }}\n    outputs: {{ a: {{}}, b: {{}}, c: {{}}, d: {{}} }}\n"
            ),
            Self::Where => "    filter: where\n    with: .quantity > 0\n".to_owned(),
            Self::Map | Self::MapDedup | Self::MapJobs => "    filters:\n      - where: .quantity > 0\n      \
                 - map: .total = .quantity * .unit_price\n"
                .to_owned(),
        };
        let mut yaml = format!(
            "apiVersion: millstream/v1\npipeline: {name}\ndelivery: {delivery}\n{jobs}\
             defaults:\n  replicas: 1\n  dedup: {dedup}\n  topics: {{ partitions: {PARTITIONS} }}\n\
             source:\n  topic: {input}\n  format: {format}\n  id: {{ header: id }}\nstages:\n"
        );
        for stage in self.stages() {
            // Writing into a `String` cannot fail.
            let _ = write!(yaml, "  - name: {stage}\n{filters}");
        }
        yaml
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_those_of_the_last_stage() {
        assert_eq!(Pipeline::Five.outputs("p"), ["p.five"]);
        assert_eq!(Pipeline::Route.outputs("p"), ["p.work.a", "p.work.b", "p.work.c", "p.work.d"]);
        let yaml = Pipeline::Five.yaml("p", "in", Delivery::ExactlyOnce);
        assert_eq!(yaml.matches("filter: where").count(), 5, "{yaml}");
    }
}
