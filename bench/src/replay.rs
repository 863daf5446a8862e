//! A replay in place against the live run before it: the same process, pipeline and records, one after the other.

use std::process::Command;

use crate::cluster::Progress;
use crate::copy::Delivery;
use crate::measure::measure;
use crate::run::{Bench, PREFIX, end};
use crate::systems::{System, Work};

impl Bench {
    /// `round 1: live 400,000/s, replay 390,000/s, 0.98 of live`
    pub(crate) fn replay(&self, topic: &str, records: u64, round: usize) -> Result<String, String> {
        let work = Work::Millstream { json: true, dedup: true, jobs: false };
        let system = System { name: "Millstream JSON where + map, dedup", delivery: Delivery::ExactlyOnce, work };
        let name = format!("{PREFIX}replay-{round}-{:08x}", fastrand::u32(..));
        let (mut child, group, output) = self.start(&system, &name, topic)?;
        let figures = Progress::of(&self.cluster, &group, topic).and_then(|progress| {
            let live = measure(&mut child, &progress, records)?;
            let id = self.order()?;
            let progress = Progress::of(&self.cluster, &format!("{group}.replay.{id}"), topic)?;
            Ok((live, measure(&mut child, &progress, records)?))
        });
        end(&mut child);
        let (live, replay) = figures.map_err(|e| format!("a replay: {e}\n{}", self.last_words()))?;
        let (there, wanted) = (self.cluster.ends(&output)?, 2 * system.outputs(records));
        if there < wanted {
            return Err(format!("a replay: {there} outputs, {wanted} expected"));
        }
        self.cluster.delete_all(&name)?;
        Ok(format!(
            "round {}: live {:.0}/s, replay {:.0}/s, {:.2} of live",
            round + 1,
            live.per_second,
            replay.per_second,
            replay.per_second / live.per_second
        ))
    }

    /// Orders a replay of everything; its id.
    fn order(&self) -> Result<String, String> {
        let mut command = Command::new(&self.binary);
        command.arg("replay").arg(self.folder.path().join("pipeline.yaml"));
        command.args(["--in-place", "--from", "start", "--to", "end", "--detach", "-o", "json"]);
        command.args(["--brokers", self.cluster.brokers()]);
        let out = command.output().map_err(|e| format!("cannot start `replay`: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout);
        let id = text.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(id, _)| id.to_owned());
        id.ok_or_else(|| format!("`replay` failed: {}", String::from_utf8_lossy(&out.stderr)))
    }
}
