//! How long a record takes at a steady rate: from the moment it was meant to be sent, so that a sender who is held up hides nothing,
//! to the moment its output is read as committed.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use rdkafka::Message as _;
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::copy::Delivery;
use crate::failing::{client, reader};
use crate::input::Input;
use crate::pipeline::Pipeline;
use crate::run::{Bench, PREFIX};
use crate::stats::percentile;
use crate::streams::Topology;
use crate::systems::{System, Work, YARDSTICK, delivery_word};
use crate::{Options, machine, page, table};

/// Sent before what counts: starting up, and compiling where that is done at run time.
const WARM_UP: Duration = Duration::from_secs(5);
/// How long is measured.
const MEASURED: Duration = Duration::from_secs(10);
/// For the first output, and for the last ones.
const PATIENCE: Duration = Duration::from_secs(60);

/// One row.
#[derive(Clone)]
struct Steady {
    /// Nothing between producer and reader where there is none.
    system: Option<System>,
    /// Records a second.
    rate: u64,
}

impl Steady {
    fn cells(&self) -> [String; 2] {
        match &self.system {
            None => ["producer to reader, nothing between".to_owned(), "-".to_owned()],
            Some(s) => [s.name.to_owned(), delivery_word(s.delivery).to_owned()],
        }
    }

    fn title(&self) -> String {
        let [name, delivery] = self.cells();
        format!("latency of {name} ({delivery}, {}/s)", self.rate)
    }
}

/// The part.
pub(crate) struct Latency {
    rows: Vec<Steady>,
}

impl Latency {
    /// Rows that the words of `--only` name.
    pub(crate) fn wanted(options: &Options) -> Result<Self, String> {
        let rows: Vec<Steady> = all(options.rate).into_iter().filter(|r| options.wants(&r.title())).collect();
        options.whole("latencies", rows.len(), all(options.rate).len())?;
        Ok(Self { rows })
    }

    /// What runs in its rows.
    pub(crate) fn systems(&self) -> impl Iterator<Item = &System> {
        self.rows.iter().filter_map(|r| r.system.as_ref())
    }

    /// Measures; the section's text.
    pub(crate) fn run(self, bench: &Bench) -> Result<Option<String>, String> {
        if self.rows.is_empty() {
            return Ok(None);
        }
        let mut lines = vec![["system", "delivery", "records/s", "p50 ms", "p99", "p99.9", "most"].map(str::to_owned)];
        for row in &self.rows {
            let mut ms =
                one(bench, row).map_err(|e| format!("{}: {e}\n{}", row.title(), bench.programs.last_words()))?;
            ms.sort_by(f64::total_cmp);
            let at = |share| percentile(&ms, share).map_or("-".to_owned(), |ms| format!("{ms:.1}"));
            let [name, delivery] = row.cells();
            let line = [name, delivery, row.rate.to_string(), at(0.5), at(0.99), at(0.999), at(1.0)];
            eprintln!("{}: p50 {} p99 {} p99.9 {} most {}", row.title(), line[3], line[4], line[5], line[6]);
            lines.push(line);
        }
        Ok(Some(format!(
            "200 B, one id header, {} partitions, measured for {} s\n{}\n\n{}",
            crate::cluster::PARTITIONS,
            MEASURED.as_secs(),
            machine::line(),
            table::aligned(&lines, 2)
        )))
    }

    /// Puts the text on the page.
    pub(crate) fn write(text: &str, bench: &Bench) -> Result<(), String> {
        page::write(page::LATENCY, &bench.command, text, MEANING)
    }
}

const MEANING: &str = "\
Records are sent at a fixed rate; a record's time is from the moment it was meant to be sent to the moment its output was read, as
committed. A sender that is held up therefore hides nothing. The C loop and Kafka Streams commit every 100 ms, as Millstream is
set to by default; sender (which waits 1 ms for more) and reader run on the same machine. Five stages are
asked for less a second, so that the figure is of waiting and not of a machine that is full.";

fn all(rate: u64) -> Vec<Steady> {
    let system = |name, delivery, work| Some(System { name, input: Input::Small, delivery, work });
    let mut rows = vec![Steady { system: None, rate }];
    for delivery in [Delivery::AtLeastOnce, Delivery::ExactlyOnce] {
        for (name, work, rate) in [
            ("C copy loop on librdkafka", YARDSTICK, rate),
            ("Millstream passthrough", Work::Millstream(Pipeline::Pass), rate),
            ("Millstream five stages", Work::Millstream(Pipeline::Five), rate / 10),
        ] {
            rows.push(Steady { system: system(name, delivery, work), rate });
        }
    }
    let streams = system("Kafka Streams passthrough", Delivery::ExactlyOnce, Work::Streams(Topology::Pass));
    rows.push(Steady { system: streams, rate });
    rows
}

/// Times in ms of all records after the warm-up.
fn one(bench: &Bench, row: &Steady) -> Result<Vec<f64>, String> {
    let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
    let input = format!("{name}-input");
    bench.cluster.create(&input)?;
    let running = match &row.system {
        Some(system) => Some(bench.programs.start(&bench.cluster, system, &name, &input)?),
        None => None,
    };
    let output = running.as_ref().and_then(|r| r.outputs.first()).unwrap_or(&input).clone();
    let began = Instant::now();
    while !bench.cluster.has(&output)? {
        if began.elapsed() > PATIENCE {
            return Err("there is no output topic".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let producer: BaseProducer =
        client(&bench.cluster).set("linger.ms", "1").create().map_err(|e| format!("cannot make a producer: {e}"))?;
    let reader = reader(&bench.cluster, &output)?;
    // The first output says that it has started.
    send(&producer, &input, 0)?;
    producer.flush(PATIENCE).map_err(|e| format!("cannot send: {e}"))?;
    while receive(&reader, PATIENCE.saturating_sub(began.elapsed()))?.is_none() {
        if began.elapsed() > PATIENCE {
            return Err("there is no output".into());
        }
    }
    let ms = steady(&producer, &reader, &input, row.rate)?;
    drop(running);
    bench.cluster.delete_all(&name)?;
    Ok(ms)
}

fn steady(producer: &BaseProducer, reader: &BaseConsumer, input: &str, rate: u64) -> Result<Vec<f64>, String> {
    let total = rate * (WARM_UP + MEASURED).as_secs();
    let meant = |n: u64| Duration::from_secs_f64(n as f64 / rate as f64);
    let start = Instant::now();
    let (mut read, mut missing) = (vec![None; total as usize], total);
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| -> Result<(), String> {
            let mut sent = 0;
            while sent < total {
                let due = ((start.elapsed().as_secs_f64() * rate as f64) as u64 + 1).min(total);
                for n in sent..due {
                    send(producer, input, n)?;
                }
                sent = due;
                producer.poll(Duration::ZERO);
                std::thread::sleep(Duration::from_micros(200));
            }
            producer.flush(PATIENCE).map_err(|e| format!("cannot send: {e}"))
        });
        let end = start + meant(total) + PATIENCE;
        while missing > 0 {
            let Some(n) = receive(reader, Duration::from_millis(10))? else {
                if Instant::now() > end {
                    return Err(format!("{missing} of {total} records have no output"));
                }
                continue;
            };
            let time = start.elapsed();
            let Some(place) = read.get_mut(n as usize) else { return Err(format!("an output is of record {n}")) };
            // The record that said that it has started bears the number of the first one.
            if place.is_none() {
                *place = Some(time.saturating_sub(meant(n)).as_secs_f64() * 1e3);
                missing -= 1;
            }
        }
        sender.join().map_err(|_| "the sender broke off".to_owned())?
    })?;
    Ok(read.into_iter().skip((rate * WARM_UP.as_secs()) as usize).flatten().collect())
}

fn send(producer: &BaseProducer, topic: &str, n: u64) -> Result<(), String> {
    let (mut payload, key, id) = (format!("{{\"n\":{n},\"note\":\""), format!("c{}", n % 50_000), format!("o-{n}"));
    while payload.len() < Input::Small.payload() - 2 {
        payload.push('x');
    }
    // Writing into a `String` cannot fail.
    let _ = write!(payload, "\"}}");
    let headers = OwnedHeaders::new().insert(Header { key: "id", value: Some(&id) });
    let mut record = BaseRecord::to(topic).key(&key).payload(&payload).headers(headers);
    while let Err((error, again)) = producer.send(record) {
        if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
            return Err(format!("cannot send: {error}"));
        }
        producer.poll(Duration::from_millis(1));
        record = again;
    }
    Ok(())
}

/// The number of the next output.
fn receive(reader: &BaseConsumer, wait: Duration) -> Result<Option<u64>, String> {
    let Some(message) = reader.poll(wait) else { return Ok(None) };
    let message = message.map_err(|e| format!("cannot read outputs: {e}"))?;
    let payload = message.payload().unwrap_or_default();
    number(payload).map(Some).ok_or_else(|| format!("an output is {:?}", String::from_utf8_lossy(payload)))
}

fn number(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"n\":")?;
    let end = digits.iter().position(|b| *b == b',')?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_tell_their_number() {
        assert_eq!(number(b"{\"n\":42,\"note\":\"x\"}"), Some(42));
        assert_eq!((number(b"{\"m\":42,"), number(b"{\"n\":x,"), number(b"")), (None, None, None));
    }

    #[test]
    fn titles_are_all_different() {
        let mut titles: Vec<String> = all(10_000).iter().map(Steady::title).collect();
        titles.sort();
        titles.dedup();
        assert_eq!(titles.len(), all(10_000).len());
    }
}
