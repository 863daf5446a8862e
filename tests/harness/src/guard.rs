//! A child process that never outlives this one, without unsafe code: a shell starts it, tells its process id, and
//! ends it when the pipe to this process closes, however this process ends (`kill -9` included).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::{HarnessError, HarnessResult};

/// The shell waits for one line: `keep` leaves the folder, anything else or the end of the pipe removes it. It ends
/// only the process it started, by its id.
const SCRIPT: &str = r#"
# A signal to the whole process group must not end the one that cleans up.
trap : INT TERM HUP
log=$1; folder=$2; shift 2
"$@" >>"$log" 2>&1 &
pid=$!
echo "$pid"
read -r what
kill -9 "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
[ "$what" = keep ] || { rm -rf "$folder"; rmdir "$(dirname "$folder")" 2>/dev/null; }
"#;

/// A guarded child. Dropping it ends the child and removes its folder.
pub(crate) struct Guard {
    shell: Child,
    pid: u32,
    ended: bool,
}

impl Guard {
    /// Starts `command` with its output in `log`; `folder` goes away with it.
    pub(crate) fn start(log: &Path, folder: &Path, command: &[String]) -> HarnessResult<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args([log, folder])
            .args(command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| HarnessError::failed("cannot start sh", e))?;
        let stdout = shell.stdout.take().ok_or_else(|| HarnessError::Failed("sh has no output".into()))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).map_err(|e| HarnessError::failed("sh told no process id", e))?;
        let pid = line.trim().parse().map_err(|e| HarnessError::failed("sh told no process id", e))?;
        Ok(Self { shell, pid, ended: false })
    }

    /// The child's process id.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal (`STOP`, `CONT`, `TERM`) to the child.
    pub(crate) fn signal(&self, name: &str) -> HarnessResult<()> {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.pid.to_string()])
            .status()
            .map_err(|e| HarnessError::failed("cannot run kill", e))?;
        if status.success() {
            Ok(())
        } else {
            Err(HarnessError::Failed(format!("kill -{name} {}: {status}", self.pid)))
        }
    }

    /// Whether the child still runs.
    pub(crate) fn runs(&self) -> bool {
        !self.ended
            && !self.is_reaped_late()
            && Command::new("kill")
                .args(["-0", &self.pid.to_string()])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
    }

    /// Whether it has ended and only its entry is still there, which takes signals as a process does. Where there is no
    /// `/proc` nobody knows.
    fn is_reaped_late(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // After the name in parentheses, which may hold anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
    }

    /// Ends the child at once, as a power cut would; its folder stays for a restart.
    pub(crate) fn kill_keeping_data(&mut self) {
        self.end("keep\n");
    }

    fn end(&mut self, word: &str) {
        if self.ended {
            return;
        }
        self.ended = true;
        if let Some(mut stdin) = self.shell.stdin.take() {
            // A shell that is gone already has ended its child: nothing is left to do.
            let _ = stdin.write_all(word.as_bytes());
        }
        let _ = self.shell.wait();
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end("remove\n");
    }
}
