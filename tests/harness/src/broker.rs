//! One broker process: start, kill, stop and go on, restart on the same data.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::guard::Guard;
use crate::ready::brokers_alive;
use crate::{HarnessError, HarnessResult};

/// Waiting for a broker on a busy machine.
pub(crate) const START_DEADLINE: Duration = Duration::from_secs(120);

/// A broker of a cluster that this process started.
pub struct Broker {
    pub(crate) plain_port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) java: Vec<String>,
    pub(crate) guard: Option<Guard>,
}

impl Broker {
    /// `host:port` of its plain listener.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.plain_port)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.guard.as_ref().map(Guard::pid)
    }

    /// Ends it as `kill -9` does. Its data stay for [`Broker::restart`].
    pub fn kill(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.kill_keeping_data();
        }
        self.guard = None;
    }

    /// Freezes it (SIGSTOP): connections stay open, nothing answers.
    pub fn freeze(&self) -> HarnessResult<()> {
        self.signal("STOP")
    }

    /// Lets a frozen one go on (SIGCONT).
    pub fn thaw(&self) -> HarnessResult<()> {
        self.signal("CONT")
    }

    /// Starts it again on the same data and ports, without waiting; see [`Broker::wait_ready`].
    pub fn restart(&mut self) -> HarnessResult<()> {
        self.kill();
        let mut command = self.java.clone();
        command.push("kafka.Kafka".into());
        command.push(self.properties_file().display().to_string());
        self.guard = Some(Guard::start(&self.log_file(), &self.folder, &command)?);
        Ok(())
    }

    /// Waits until it answers and knows `brokers` of its cluster as alive.
    pub fn wait_ready(&self, brokers: usize) -> HarnessResult<()> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.plain_port));
        let end = Instant::now() + START_DEADLINE;
        loop {
            if brokers_alive(address).is_some_and(|alive| alive >= brokers) {
                return Ok(());
            }
            if !self.guard.as_ref().is_some_and(Guard::runs) {
                return Err(HarnessError::Failed(format!(
                    "broker {} ended while starting:\n{}",
                    self.address(),
                    self.log_tail()
                )));
            }
            if Instant::now() > end {
                return Err(HarnessError::Failed(format!(
                    "broker {} was not ready in time:\n{}",
                    self.address(),
                    self.log_tail()
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn format(&self, cluster_id: &str, secure: bool, features: &[String]) -> HarnessResult<()> {
        let mut command = Command::new(&self.java[0]);
        command.args(&self.java[1..]).args(["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c"]);
        command.arg(self.properties_file());
        for feature in features {
            command.args(["--feature", feature]);
        }
        if secure {
            for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
                command
                    .args(["--add-scram", &format!("{mechanism}=[name={},password={}]", crate::USER, crate::PASSWORD)]);
            }
        }
        let output = command.output().map_err(|e| HarnessError::failed("cannot run java", e))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Err(HarnessError::Failed(format!("the storage of a broker could not be formatted:\n{text}")))
    }

    pub(crate) fn properties_file(&self) -> PathBuf {
        self.folder.join("server.properties")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("broker.log")
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_file()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn signal(&self, name: &str) -> HarnessResult<()> {
        match &self.guard {
            Some(guard) => guard.signal(name),
            None => Err(HarnessError::Failed(format!("broker {} does not run", self.address()))),
        }
    }
}
