//! The whole run: a cluster, then every part whose rows are wanted, each with a section of its own on the page.

use std::io::Write as _;

use millstream_test_kafka::KafkaCluster;

use crate::cluster::Cluster;
use crate::embedded::Embedded;
use crate::latency::Latency;
use crate::process::{Programs, binary};
use crate::starting::Starting;
use crate::systems::Work;
use crate::throughput::Throughput;
use crate::{Options, replay, streams};

/// Every topic of a measurement begins so and goes with it.
pub(crate) const PREFIX: &str = "bench-run-";

/// Everything a measurement needs.
pub(crate) struct Bench {
    pub(crate) cluster: Cluster,
    /// Process id of the only broker, where it was started here.
    pub(crate) broker: Option<u32>,
    pub(crate) programs: Programs,
    /// Arguments that name this run in the documentation.
    pub(crate) command: String,
}

/// Measures and reports.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let (throughput, latency) = (Throughput::wanted(options)?, Latency::wanted(options)?);
    let (starting, embedded) = (Starting::wanted(options), Embedded::wanted(options)?);
    let works: Vec<Work> = throughput.systems().iter().chain(latency.systems()).map(|s| s.work).collect();
    let own = options.replay || options.memory > 0 || starting.is_some() || embedded.is_wanted();
    let needs_binary = own || works.iter().any(|w| matches!(w, Work::Millstream(_)));
    let needs_streams = works.iter().any(|w| matches!(w, Work::Streams(_)));
    let programs = Programs {
        binary: if needs_binary { binary(options.binary.as_deref())? } else { Default::default() },
        streams: if needs_streams { streams::prepare()? } else { Default::default() },
        folder: tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?,
    };
    let (started, broker) = start(options.brokers.as_deref())?;
    let brokers = options.brokers.as_deref().or(started.as_ref().map(KafkaCluster::bootstrap)).unwrap_or_default();
    let bench = Bench { cluster: Cluster::connect(brokers)?, broker, programs, command: options.command() };
    bench.cluster.delete_all(PREFIX)?;
    throughput.run(&bench, options)?;
    if let Some(text) = latency.run(&bench)? {
        show(&text)?;
        if options.write {
            Latency::write(&text, &bench)?;
        }
    }
    if let Some(starting) = starting {
        let text = starting.run(&bench)?;
        show(&text)?;
        if options.write {
            Starting::write(&text, &bench)?;
        }
    }
    if embedded.is_wanted() {
        let text = embedded.run(&bench, options)?;
        show(&text)?;
        if options.write {
            Embedded::write(&text, &bench)?;
        }
    }
    if options.replay { replay::run(&bench, options.records, options.rounds) } else { Ok(()) }
}

fn show(text: &str) -> Result<(), String> {
    writeln!(std::io::stdout(), "{text}").map_err(|e| format!("cannot print: {e}"))
}

/// A cluster of our own where none is named, with the process id of its broker.
fn start(given: Option<&str>) -> Result<(Option<KafkaCluster>, Option<u32>), String> {
    if given.is_some() {
        return Ok((None, None));
    }
    // Compiled as well as Java can: a broker that is in its own way says little about its clients.
    let wanted = millstream_test_kafka::Options { heap_mib: 1024, optimised: true, ..Default::default() };
    let mut cluster = KafkaCluster::start(wanted).map_err(|e| e.to_string())?;
    let broker = cluster.brokers().first().and_then(|b| b.pid());
    Ok((Some(cluster), broker))
}
