//! Starts a Kafka for tests, prints `brokers=host:port,…` and stays until its input ends or it is told to stop:
//! `MILLSTREAM_TEST_BROKERS=… cargo test` then uses it from several test binaries. `--brokers N` starts N.

use std::io::{Read, Write};
use std::process::ExitCode;

use millstream_test_kafka::{KafkaCluster, Options};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let options = options(std::env::args().skip(1))?;
    let cluster = KafkaCluster::start(options).map_err(|e| e.to_string())?;
    let mut out = std::io::stdout();
    writeln!(out, "brokers={}", cluster.bootstrap()).and_then(|()| out.flush()).map_err(|e| e.to_string())?;
    // A signal ends this process, and its brokers with it (see guard.rs); so does the end of the input.
    let mut ignored = [0u8; 256];
    while std::io::stdin().read(&mut ignored).map_err(|e| e.to_string())? > 0 {}
    Ok(())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--brokers" => {
                options.brokers = arguments
                    .next()
                    .and_then(|n| n.parse().ok())
                    .filter(|n| (1..=5).contains(n))
                    .ok_or("--brokers needs a number from 1 to 5")?;
            }
            other => return Err(format!("unknown argument {other:?}; there is --brokers N")),
        }
    }
    Ok(options)
}
