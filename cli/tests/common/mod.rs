//! Runs the built binary in a folder of its own.

use std::ffi::OsStr;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A folder with a log in it, and the binary.
pub struct Place {
    folder: TempDir,
}

/// What a command printed, and how it ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder for the test") }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file, making its folders.
    pub fn file(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("its folder is made");
        std::fs::write(path, text).expect("the file is written");
    }

    /// The binary in this folder, with nothing of the machine's own settings.
    pub fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.args(args).current_dir(self.path());
        for name in ["BROKERS", "DATA_DIR", "FSYNC", "LOG", "LOG_FORMAT", "COLOR", "DRAIN_TIMEOUT"] {
            command.env_remove(format!("MILLSTREAM_{name}"));
        }
        command
    }

    /// Runs a command line of words without blanks in them, to its end.
    pub fn run(&self, line: &str) -> Ended {
        self.run_with(line, "")
    }

    /// The same with something on stdin.
    pub fn run_with(&self, line: &str, stdin: impl AsRef<[u8]>) -> Ended {
        let mut command = self.command(line.split_whitespace());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut pipe = child.stdin.take().expect("stdin is piped");
        // A command that does not read its stdin may be gone already.
        let _ = pipe.write_all(stdin.as_ref());
        drop(pipe);
        Ended::of(child.wait_with_output().expect("the binary ends"))
    }
}

impl Ended {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed, if it went well.
    #[track_caller]
    pub fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// What it said, if it ended with this status.
    #[track_caller]
    pub fn bad(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.stderr
    }
}
