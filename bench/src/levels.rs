//! What the most important level feels of an overload by the others: a stage that calls a server with each record, once with gold
//! alone and once with twice as many records of bronze as it can do. What counts is the ratio of gold's times from sending a
//! record to reading its output, and that bronze still moves.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use millstream_test_kafka::KafkaCluster;
use rdkafka::Message;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{BaseProducer, BaseRecord};

use crate::cluster::{Cluster, PARTITIONS};
use crate::failing::{Latency, client, columns, latency, reader, show};
use crate::machine;
use crate::process::{binary, end};
use crate::server::Server;

/// Measures the latency of the most important level under overload.
#[derive(Args, Clone, Debug)]
pub(crate) struct Levels {
    /// How long each is measured.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Records of gold a second.
    #[arg(long, default_value_t = 10)]
    gold: u64,
    /// How long a call takes, ms.
    #[arg(long, default_value_t = 200)]
    call: u64,
    /// Calls at once; with `call` it says how much can be done.
    #[arg(long, default_value_t = 16)]
    concurrency: u64,
    /// A cluster that is running, instead of one started here.
    #[arg(long)]
    brokers: Option<String>,
    /// The `millstream` to measure, instead of building the one of this workspace.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
}

const PREFIX: &str = "bench-levels-";
const WARM_UP: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(120);
/// Keys of each level.
const KEYS: u64 = 500;

/// One measurement.
struct Measured {
    gold: Latency,
    bronze_per_second: f64,
}

impl Levels {
    /// Measures and reports.
    pub(crate) fn run(&self) -> Result<(), String> {
        let started = match self.brokers {
            Some(_) => None,
            None => Some(KafkaCluster::start(Default::default()).map_err(|e| e.to_string())?),
        };
        let brokers = self.brokers.as_deref().or(started.as_ref().map(KafkaCluster::bootstrap)).unwrap_or_default();
        let cluster = Cluster::connect(brokers)?;
        let binary = binary(self.binary.as_deref())?;
        cluster.delete_all(PREFIX)?;
        let bronze = 2 * self.concurrency * 1000 / self.call.max(1);
        let mut lines = String::new();
        let mut alone: Option<Latency> = None;
        for (what, how, bronze) in [
            ("gold alone", "weights: [16, 1]", 0),
            ("overload, weights 16 and 1", "weights: [16, 1]", bronze),
            ("overload, strict", "strict: true", bronze),
        ] {
            let found = self.one(&cluster, &binary, how, bronze)?;
            eprintln!("{what}: {}, bronze {:.1}/s", show(&found.gold), found.bronze_per_second);
            let alone = *alone.get_or_insert(found.gold);
            lines.push_str(&format!(
                "{what:<28} {}   {:>5.2}   {:>8.1}\n",
                columns(&found.gold),
                found.gold.p99 / alone.p99,
                found.bronze_per_second
            ));
        }
        let text = format!(
            "{} of gold a second, {bronze} of bronze; calls of {} ms, {} at once, {PARTITIONS} partitions, exactly once\n{}\n\n\
             {:<28} {:>8} {:>8} {:>8}   ratio   bronze/s\n{lines}",
            self.gold,
            self.call,
            self.concurrency,
            machine::line(),
            "gold, ms",
            "p50",
            "p99",
            "max",
        );
        writeln!(std::io::stdout(), "{text}").map_err(|e| e.to_string())
    }

    fn one(&self, cluster: &Cluster, binary: &Path, how: &str, bronze: u64) -> Result<Measured, String> {
        let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
        let (input, output) = (format!("{name}-input"), format!("{name}.work"));
        cluster.create(&input)?;
        let server = Server::start().map_err(|e| format!("cannot serve HTTP: {e}"))?;
        server.slow(Duration::from_millis(self.call));
        let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
        let (file, log) = (folder.path().join("pipeline.yaml"), folder.path().join("run.log"));
        let yaml = format!(
            "pipeline: {name}\ndefaults: {{ topics: {{ partitions: {PARTITIONS} }} }}\n\
             source: {{ topic: {input}, format: json }}\nstages:\n  - name: work\n    filter: http\n    \
             with: {{ url: \"{}\", keep: true }}\n    concurrency: {}\n    \
             priority: {{ by: .tier, levels: [gold, bronze], {how} }}\n",
            server.url(),
            self.concurrency
        );
        fs::write(&file, yaml).map_err(|e| format!("cannot write a pipeline: {e}"))?;
        let stderr = fs::File::create(&log).map_err(|e| format!("cannot write a log: {e}"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg(&file).args(["--no-listen", "--brokers", cluster.brokers()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let mut child = child.map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        let measured = self.measure(cluster, &input, &output, bronze);
        end(&mut child);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let measured = measured.map_err(|e| format!("{e}\n{}", said()))?;
        cluster.delete_all(&name)?;
        Ok(measured)
    }

    fn measure(&self, cluster: &Cluster, input: &str, output: &str, bronze: u64) -> Result<Measured, String> {
        let began = Instant::now();
        while !cluster.has(output)? {
            if began.elapsed() > PATIENCE {
                return Err("the pipeline does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let producer: BaseProducer = client(cluster).set("linger.ms", "0").create().map_err(|e| e.to_string())?;
        let mut run = Run { producer, reader: reader(cluster, output)?, gold: Vec::new(), sent: [0; 2], bronze: 0 };
        run.send(input, "gold")?;
        while run.gold.iter().any(|(_, read)| read.is_none()) {
            run.receive(Duration::from_millis(5))?;
            if began.elapsed() > 2 * PATIENCE {
                return Err("there is no output".into());
            }
        }
        let from = Instant::now() + WARM_UP;
        let until = from + Duration::from_secs(self.seconds);
        let start = Instant::now();
        let (mut first, mut done) = (None, 0);
        while Instant::now() < until {
            if first.is_none() && Instant::now() >= from {
                first = Some(run.gold.len());
                done = run.bronze;
            }
            let due = |rate: u64| (start.elapsed().as_secs_f64() * rate as f64) as u64;
            while run.sent[0] < due(self.gold) {
                run.send(input, "gold")?;
            }
            while run.sent[1] < due(bronze) {
                run.send(input, "bronze")?;
            }
            run.receive(Duration::from_millis(1))?;
        }
        let bronze_done = run.bronze - done;
        let end = Instant::now() + PATIENCE;
        while run.gold.iter().any(|(_, read)| read.is_none()) {
            run.receive(Duration::from_millis(5))?;
            if Instant::now() > end {
                return Err("records of gold have no output".into());
            }
        }
        let first = first.ok_or("nothing was measured: the machine stood still")?;
        let ms = run.gold[first..]
            .iter()
            .filter_map(|(sent, read)| Some((*read)?.duration_since(*sent).as_secs_f64() * 1e3));
        Ok(Measured { gold: latency(ms.collect())?, bronze_per_second: bronze_done as f64 / self.seconds as f64 })
    }
}

struct Run {
    producer: BaseProducer,
    reader: BaseConsumer,
    /// When each was sent and read.
    gold: Vec<(Instant, Option<Instant>)>,
    sent: [u64; 2],
    bronze: usize,
}

impl Run {
    fn send(&mut self, topic: &str, tier: &str) -> Result<(), String> {
        let level = usize::from(tier == "bronze");
        let n = if level == 0 { self.gold.len() as u64 } else { self.sent[1] };
        let key = format!("{tier}-{}", n % KEYS);
        let payload = format!("{{\"n\":{n},\"tier\":\"{tier}\"}}");
        self.sent[level] += 1;
        if level == 0 {
            self.gold.push((Instant::now(), None));
        }
        let sent = self.producer.send(BaseRecord::to(topic).key(&key).payload(&payload));
        self.producer.poll(Duration::ZERO);
        sent.map_err(|(e, _)| format!("cannot send: {e}"))
    }

    fn receive(&mut self, wait: Duration) -> Result<(), String> {
        self.producer.poll(Duration::ZERO);
        let Some(message) = self.reader.poll(wait) else { return Ok(()) };
        let message = message.map_err(|e| format!("cannot read outputs: {e}"))?;
        let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        if text.contains("\"bronze\"") {
            self.bronze += 1;
            return Ok(());
        }
        let n = text.strip_prefix("{\"n\":").and_then(|t| t.split(',').next()).and_then(|t| t.parse::<usize>().ok());
        let n = n.filter(|n| *n < self.gold.len()).ok_or_else(|| format!("an output is {text:?}"))?;
        self.gold[n].1.get_or_insert_with(Instant::now);
        Ok(())
    }
}
