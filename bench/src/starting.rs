//! How long `millstream run` takes until it is ready: until `/readyz` says so, on both logs, new and again.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::copy::Delivery;
use crate::pipeline::Pipeline;
use crate::process::end;
use crate::run::{Bench, PREFIX};
use crate::stats::spread;
use crate::{Options, machine, page, table};

const TITLE: &str = "starting up";
/// Starts of each kind.
const ROUNDS: usize = 5;
const PATIENCE: Duration = Duration::from_secs(60);

/// The part, where it is wanted.
pub(crate) struct Starting(());

impl Starting {
    /// Asks `--only`.
    pub(crate) fn wanted(options: &Options) -> Option<Self> {
        options.wants(TITLE).then_some(Self(()))
    }

    /// Measures; the section's text.
    pub(crate) fn run(self, bench: &Bench) -> Result<String, String> {
        let mut ms: [Vec<f64>; 4] = Default::default();
        for _ in 0..ROUNDS {
            let folder = tempfile::tempdir().map_err(|e| format!("cannot make a folder: {e}"))?;
            let name = format!("{PREFIX}{:08x}", fastrand::u32(..));
            let input = format!("{name}-input");
            bench.cluster.create(&input)?;
            let file = bench.programs.pipeline_file();
            let yaml = Pipeline::Pass.yaml(&name, &input, Delivery::ExactlyOnce);
            fs::write(&file, yaml).map_err(|e| format!("cannot write {}: {e}", file.display()))?;
            let data = folder.path().join("data").display().to_string();
            let embedded = ["--create-source", "--data-dir", &data];
            let kafka = ["--brokers", bench.cluster.brokers()];
            let ways: [&[&str]; 4] = [&embedded, &embedded, &kafka, &kafka];
            for (n, way) in ways.into_iter().enumerate() {
                ms[n].push(until_ready(&bench.programs.binary, &file, way)?);
            }
            bench.cluster.delete_all(&name)?;
        }
        let size = fs::metadata(&bench.programs.binary).map_or(0, |m| m.len());
        let names = ["embedded, new folder", "embedded, again", "Kafka, topics to be made", "Kafka, again"];
        let mut lines = vec![["log", "ms", "least..most"].map(str::to_owned)];
        for (name, ms) in names.into_iter().zip(ms) {
            let found = spread(ms).unwrap_or_default();
            let most = format!("{:.0}..{:.0}", found.min, found.max);
            lines.push([name.to_owned(), format!("{:.0}", found.median), most]);
        }
        let size = size as f64 / 1048576.0;
        let (line, table) = (machine::line(), table::aligned(&lines, 1));
        Ok(format!(
            "from the start of the process to ready; medians of {ROUNDS}\n{line}\n\n{table}\nthe binary has {size:.0} MiB\n"
        ))
    }

    /// Puts the text on the page.
    pub(crate) fn write(text: &str, bench: &Bench) -> Result<(), String> {
        page::write(page::STARTING, &bench.command, text, MEANING)
    }
}

const MEANING: &str = "\
One stage that passes bytes on, exactly once. Ready means that `/readyz` answers 200: the replica has its partitions and the log
answers. On Kafka that holds joining the group, and the first time making the topics.";

/// Milliseconds from the start of a process to its first 200.
fn until_ready(binary: &Path, file: &Path, log: &[&str]) -> Result<f64, String> {
    // Free now; nobody else on this machine asks for it in the moments to come.
    let at = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).map_err(|e| format!("no free port: {e}"))?;
    let mut command = Command::new(binary);
    command.arg("run").arg(file).args(log).args(["--listen", &at.to_string()]);
    let began = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut child = child.map_err(|e| format!("cannot start {}: {e}", binary.display()))?;
    let found = loop {
        if is_ready(at) {
            break Ok(began.elapsed().as_secs_f64() * 1e3);
        }
        match child.try_wait() {
            Ok(None) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(2)),
            Ok(None) => break Err("`millstream run` does not get ready".to_owned()),
            other => break Err(format!("`millstream run` ended while it started: {other:?}")),
        }
    };
    end(&mut child);
    found
}

fn is_ready(at: SocketAddr) -> bool {
    let ask = || {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        Ok::<_, std::io::Error>(answer == *b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
