//! How much the other keys feel of one that fails: a stage that calls an HTTP server, at a steady rate, once with a
//! server that answers all and once with one that refuses a key for a while. What counts is the p99 of the time from
//! sending a record to reading its output, over the other keys, and its ratio between the two.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use millstream_test_kafka::KafkaCluster;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::cluster::{Cluster, PARTITIONS};
use crate::process::{binary, end};
use crate::server::Server;
use crate::{machine, page, stats};

/// Measures the latency of other keys while one key fails.
#[derive(Args, Clone, Debug)]
pub(crate) struct Failing {
    /// How long the key fails; the same run without it is measured as long.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Records a second, over all keys.
    #[arg(long, default_value_t = 500)]
    rate: u64,
    /// Keys; one of them fails.
    #[arg(long, default_value_t = 100)]
    keys: u64,
    /// Measurements of each kind, in turn; the figures are medians.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// A cluster that is running, instead of one started here.
    #[arg(long)]
    brokers: Option<String>,
    /// The `millstream` to measure, instead of building the one of this workspace.
    #[arg(long)]
    binary: Option<std::path::PathBuf>,
    /// Also write the section of docs/performance.md.
    #[arg(long)]
    write: bool,
}

/// Latencies in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

const PREFIX: &str = "bench-failing-";
/// Sent before the measurement, so that starting up is not in it.
const WARM_UP: Duration = Duration::from_secs(5);
/// For the first output, and for the last ones.
const PATIENCE: Duration = Duration::from_secs(120);

/// How the section's figures come about.
const MEANING: &str = "\
A stage with the filter `http` calls a server beside it with each record, at a steady rate; after a warm-up the server refuses one
key with 503 for as long as is measured, or none. A record's time is from sending it to reading its output as committed; the
failing key is not in the figures. Afterwards every record must have come, in the order of its key, or there are no figures.";

impl Failing {
    /// Measures and reports.
    pub(crate) fn run(&self) -> Result<(), String> {
        if self.keys < 2 || self.rate < self.keys || self.seconds == 0 || self.rounds == 0 {
            return Err("it takes 2 keys, a record a second of each, a second and a round".into());
        }
        let started = match self.brokers {
            Some(_) => None,
            None => {
                let wanted = millstream_test_kafka::Options { heap_mib: 1024, ..Default::default() };
                Some(KafkaCluster::start(wanted).map_err(|e| e.to_string())?)
            }
        };
        let brokers = self.brokers.as_deref().or(started.as_ref().map(KafkaCluster::bootstrap)).unwrap_or_default();
        let cluster = Cluster::connect(brokers)?;
        let binary = binary(self.binary.as_deref())?;
        cluster.delete_all(PREFIX)?;
        let (mut quiet, mut failing) = (Vec::new(), Vec::new());
        for round in 0..self.rounds {
            for (fails, all) in [(false, &mut quiet), (true, &mut failing)] {
                let latency = self.one(&cluster, &binary, fails)?;
                eprintln!(
                    "round {}: {} {}",
                    round + 1,
                    if fails { "one key fails" } else { "all keys pass" },
                    show(&latency)
                );
                all.push(latency);
            }
        }
        let text = self.text(medians(&quiet), medians(&failing));
        writeln!(std::io::stdout(), "{text}").map_err(|e| e.to_string())?;
        if self.write { page::write(page::FAILING, &self.command(), &text, MEANING) } else { Ok(()) }
    }

    fn command(&self) -> String {
        let Self { seconds, rate, keys, rounds, .. } = self;
        format!("failing --seconds {seconds} --rate {rate} --keys {keys} --rounds {rounds} --write")
    }

    fn text(&self, quiet: Latency, failing: Latency) -> String {
        let Self { seconds, rate, keys, rounds, .. } = self;
        format!(
            "{rate} records a second over {keys} keys and {PARTITIONS} partitions, 1 replica, exactly once; medians of {rounds}\n{}\n\n\
             {:<28} {:>8} {:>8} {:>8}\nall keys pass                {}\none key fails for {seconds:<3} s      {}\n\n\
             p99 of the other keys while one fails / while none does: {:.2}\n",
            machine::line(),
            "other keys, ms",
            "p50",
            "p99",
            "max",
            columns(&quiet),
            columns(&failing),
            failing.p99 / quiet.p99
        )
    }

    /// One run: a pipeline of its own, warmed up, measured, and worked off.
    fn one(&self, cluster: &Cluster, binary: &Path, fails: bool) -> Result<Latency, String> {
        let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
        let (input, output) = (format!("{name}-input"), format!("{name}.work"));
        cluster.create(&input)?;
        let server = Server::start().map_err(|e| format!("cannot serve HTTP: {e}"))?;
        let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
        let (file, log) = (folder.path().join("pipeline.yaml"), folder.path().join("run.log"));
        fs::write(&file, yaml(&name, &input, &server.url())).map_err(|e| format!("cannot write a pipeline: {e}"))?;
        let stderr = fs::File::create(&log).map_err(|e| format!("cannot write a log: {e}"))?;
        let mut command = Command::new(binary);
        command.arg("run").arg(&file).args(["--brokers", cluster.brokers()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let mut child = child.map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
        let measured = self.measure(cluster, &input, &output, &server, fails);
        end(&mut child);
        let said = || fs::read_to_string(&log).unwrap_or_default();
        let latency = measured.map_err(|e| format!("{e}\n{}", said()))?;
        cluster.delete_all(&name)?;
        Ok(latency)
    }

    fn measure(
        &self,
        cluster: &Cluster,
        input: &str,
        output: &str,
        server: &Server,
        fails: bool,
    ) -> Result<Latency, String> {
        let began = Instant::now();
        while !cluster.has(output)? {
            if began.elapsed() > PATIENCE {
                return Err("the pipeline does not start".into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let producer: BaseProducer = client(cluster).set("linger.ms", "0").create().map_err(|e| e.to_string())?;
        let reader = reader(cluster, output)?;
        let mut run = Run { keys: self.keys, sent: Vec::new(), read: Vec::new(), last: vec![None; self.keys as usize] };
        // Until the first output is there, it starts up.
        run.send(&producer, input)?;
        run.catch_up(&producer, &reader)?;
        let every = Duration::from_secs_f64(1.0 / self.rate as f64);
        let (from, until) = (Instant::now() + WARM_UP, Instant::now() + WARM_UP + Duration::from_secs(self.seconds));
        let (mut next, mut measured) = (Instant::now(), None);
        while Instant::now() < until {
            if measured.is_none() && Instant::now() >= from {
                measured = Some(run.sent.len());
                server.refuse(fails.then(|| key(0)));
            }
            while next <= Instant::now() {
                run.send(&producer, input)?;
                next += every;
            }
            run.receive(&producer, &reader, next.saturating_duration_since(Instant::now()))?;
        }
        server.refuse(None);
        run.catch_up(&producer, &reader)?;
        let first = measured.ok_or("nothing was measured: the machine stood still")?;
        if fails && server.refused() == 0 {
            return Err("no call of the key failed".into());
        }
        run.latency(first)
    }
}

/// What was sent and read of one run. Record n has key n % keys.
struct Run {
    keys: u64,
    sent: Vec<Instant>,
    read: Vec<Option<Instant>>,
    /// The last record read, by key: order is part of the promise.
    last: Vec<Option<usize>>,
}

impl Run {
    fn send(&mut self, producer: &BaseProducer, topic: &str) -> Result<(), String> {
        let n = self.sent.len();
        let key = key(n as u64 % self.keys);
        let payload = format!("{{\"n\":{n},\"key\":\"{key}\"}}");
        self.sent.push(Instant::now());
        self.read.push(None);
        let sent = producer.send(BaseRecord::to(topic).key(&key).payload(&payload));
        producer.poll(Duration::ZERO);
        sent.map_err(|(e, _)| format!("cannot send: {e}"))
    }

    /// Takes what is there, or waits a little for it.
    fn receive(&mut self, producer: &BaseProducer, reader: &BaseConsumer, wait: Duration) -> Result<bool, String> {
        producer.poll(Duration::ZERO);
        let Some(message) = reader.poll(wait.min(Duration::from_millis(5))) else { return Ok(false) };
        let message = message.map_err(|e| format!("cannot read outputs: {e}"))?;
        let now = Instant::now();
        let text = String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned();
        let n = text.strip_prefix("{\"n\":").and_then(|t| t.split(',').next()).and_then(|t| t.parse::<usize>().ok());
        let n = n.filter(|n| *n < self.sent.len()).ok_or_else(|| format!("an output is {text:?}"))?;
        let last = &mut self.last[n % self.keys as usize];
        if last.is_some_and(|last| last >= n) {
            return Err(format!("record {n} came after {last:?} of its key"));
        }
        *last = Some(n);
        self.read[n] = Some(now);
        Ok(true)
    }

    /// Until every record has its output.
    fn catch_up(&mut self, producer: &BaseProducer, reader: &BaseConsumer) -> Result<(), String> {
        producer.flush(PATIENCE).map_err(|e| format!("cannot send: {e}"))?;
        let end = Instant::now() + PATIENCE;
        while self.read.iter().any(Option::is_none) {
            let came = self.receive(producer, reader, Duration::from_millis(5))?;
            if !came && Instant::now() > end {
                let missing = self.read.iter().filter(|r| r.is_none()).count();
                return Err(format!("{missing} of {} records have no output", self.sent.len()));
            }
        }
        Ok(())
    }

    /// Of the keys that never fail, from the record `first` on.
    fn latency(&self, first: usize) -> Result<Latency, String> {
        let all = self.sent.iter().zip(&self.read).enumerate().skip(first);
        let other = all.filter(|(n, _)| !(*n as u64).is_multiple_of(self.keys));
        latency(
            other.filter_map(|(_, (sent, read))| Some((*read)?.duration_since(*sent).as_secs_f64() * 1e3)).collect(),
        )
    }
}

/// Of times in milliseconds.
pub(crate) fn latency(mut ms: Vec<f64>) -> Result<Latency, String> {
    ms.sort_by(f64::total_cmp);
    let at = |share: f64| ms.get(((ms.len() as f64 * share) as usize).min(ms.len().saturating_sub(1))).copied();
    match (at(0.5), at(0.99), ms.last()) {
        (Some(p50), Some(p99), Some(max)) => Ok(Latency { p50, p99, max: *max }),
        _ => Err("nothing was measured".into()),
    }
}

fn key(n: u64) -> String {
    format!("k{n}")
}

/// Answers are not kept, so that outputs are the inputs.
fn yaml(name: &str, input: &str, url: &str) -> String {
    format!(
        "apiVersion: millstream/v1\npipeline: {name}\n\
         defaults:\n  topics: {{ partitions: {PARTITIONS} }}\n\
         source:\n  topic: {input}\n  format: json\n\
         stages:\n  - name: work\n    filter: http\n    with: {{ url: \"{url}\", keep: true }}\n    \
         retry: {{ attempts: 1000, backoff: 200ms..2s }}\n"
    )
}

pub(crate) fn client(cluster: &Cluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.brokers());
    config.set("partitioner", "murmur2_random");
    config
}

pub(crate) fn reader(cluster: &Cluster, topic: &str) -> Result<BaseConsumer, String> {
    let mut config = client(cluster);
    config.set("group.id", "millstream-bench-reader").set("isolation.level", "read_committed");
    config.set("enable.auto.commit", "false").set("fetch.wait.max.ms", "10");
    let reader: BaseConsumer = config.create().map_err(|e| format!("cannot make a consumer: {e}"))?;
    let mut list = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        list.add_partition_offset(topic, partition, Offset::Beginning).map_err(|e| e.to_string())?;
    }
    reader.assign(&list).map_err(|e| format!("cannot read {topic}: {e}"))?;
    Ok(reader)
}

pub(crate) fn medians(rounds: &[Latency]) -> Latency {
    let of = |part: fn(&Latency) -> f64| stats::median(rounds.iter().map(part).collect());
    Latency { p50: of(|l| l.p50), p99: of(|l| l.p99), max: of(|l| l.max) }
}

pub(crate) fn columns(latency: &Latency) -> String {
    format!("{:>8.1} {:>8.1} {:>8.1}", latency.p50, latency.p99, latency.max)
}

pub(crate) fn show(latency: &Latency) -> String {
    format!("p50 {:.1} ms  p99 {:.1} ms  max {:.1} ms", latency.p50, latency.p99, latency.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_key_and_the_warm_up_are_not_in_the_figures() {
        let start = Instant::now();
        let took =
            |n: u64| Some(start + Duration::from_millis(if n.is_multiple_of(2) || n < 100 { 10_000 } else { n }));
        let run = Run { keys: 2, sent: vec![start; 300], read: (0..300).map(took).collect(), last: vec![None; 2] };
        let latency = run.latency(100).expect("figures");
        assert_eq!((latency.p50.round(), latency.p99.round(), latency.max.round()), (201.0, 299.0, 299.0));
    }
}
