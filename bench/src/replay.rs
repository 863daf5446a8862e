//! A replay in place against the live run before it: the same process, pipeline and records, one after the other.

use std::io::Write as _;
use std::process::Command;

use crate::cluster::Progress;
use crate::copy::Delivery;
use crate::input::{self, Input};
use crate::measure::measure;
use crate::pipeline::Pipeline;
use crate::run::{Bench, PREFIX};
use crate::systems::{System, Work};

/// Measures in rounds and prints a line of each.
pub(crate) fn run(bench: &Bench, records: u64, rounds: usize) -> Result<(), String> {
    let topic = input::load(&bench.cluster, Input::Small, records)?;
    for round in 0..rounds {
        let line = one(bench, &topic, records)?;
        writeln!(std::io::stdout(), "round {}: {line}", round + 1).map_err(|e| format!("cannot print: {e}"))?;
    }
    Ok(())
}

/// `live 400,000/s, replay 390,000/s, 0.98 of live`
fn one(bench: &Bench, topic: &str, records: u64) -> Result<String, String> {
    let work = Work::Millstream(Pipeline::MapDedup);
    let system = System { name: "a replay", input: Input::Small, delivery: Delivery::ExactlyOnce, work };
    let name = format!("{PREFIX}replay-{:08x}", fastrand::u32(..));
    let mut running = bench.programs.start(&bench.cluster, &system, &name, topic)?;
    let mut both = || {
        let window = system.window();
        let live = measure(&mut running.child, bench.broker, (&running.first, &running.last), records, window)?;
        let progress = Progress::of(&bench.cluster, &format!("{name}.work.replay.{}", order(bench)?), topic)?;
        Ok((live, measure(&mut running.child, bench.broker, (&progress, &progress), records, window)?))
    };
    let figures: Result<_, String> = both();
    drop(running);
    let (live, replay) = figures.map_err(|e| format!("a replay: {e}\n{}", bench.programs.last_words()))?;
    let (there, wanted) = (bench.cluster.ends(&format!("{name}.work"))?, 2 * system.outputs(records));
    if there < wanted {
        return Err(format!("a replay: {there} outputs, {wanted} expected"));
    }
    bench.cluster.delete_all(&name)?;
    let (live, replay) = (live.per_second, replay.per_second);
    Ok(format!("live {live:.0}/s, replay {replay:.0}/s, {:.2} of live", replay / live))
}

/// Orders a replay of everything; its id.
fn order(bench: &Bench) -> Result<String, String> {
    let mut command = Command::new(&bench.programs.binary);
    command.arg("replay").arg(bench.programs.pipeline_file());
    command.args(["--in-place", "--from", "start", "--to", "end", "--detach", "-o", "json"]);
    command.args(["--brokers", bench.cluster.brokers()]);
    let out = command.output().map_err(|e| format!("cannot start `replay`: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let id = text.split_once("\"id\":\"").and_then(|(_, rest)| rest.split_once('"')).map(|(id, _)| id.to_owned());
    id.ok_or_else(|| format!("`replay` failed: {}", String::from_utf8_lossy(&out.stderr)))
}
