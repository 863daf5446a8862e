//! A real PostgreSQL for tests, from the machine's own package: its data in a temporary folder, its port a free one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::guard::Guard;
use crate::{HarnessError, HarnessResult, unique};

/// How long a server may take to answer on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A server. Dropping it ends it and removes its data.
pub struct Postgres {
    guard: Option<Guard>,
    port: u16,
    folder: PathBuf,
    bin: PathBuf,
    options: Vec<String>,
}

impl Postgres {
    /// Starts one; `None`, after saying loudly what is skipped, where the package `postgresql` is missing.
    ///
    /// # Panics
    /// When it should start and does not; and when it is missing and `CI` says that it must not be.
    pub fn start() -> Option<Self> {
        match Self::with(&[]) {
            Ok(server) => Some(server),
            Err(HarnessError::Unavailable(why)) => {
                let must = std::env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false");
                assert!(!must, "PostgreSQL is needed here: {why}");
                eprintln!("\n!!! SKIPPED: {why}; install the package `postgresql` to run this test !!!\n");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The server that all tests of this process share: nobody may end it.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(Self::start).as_ref()
    }

    /// With settings such as `ssl=on`; files they name are relative to [`Postgres::folder`].
    ///
    /// # Errors
    /// `Unavailable` where there is no PostgreSQL on this machine.
    pub fn with(settings: &[&str]) -> HarnessResult<Self> {
        let bin = bin().ok_or_else(|| HarnessError::Unavailable("there is no /usr/lib/postgresql/*/bin".into()))?;
        let folder = std::env::temp_dir().join(unique("millstream-postgres")).join("server");
        fs::create_dir_all(&folder).map_err(|e| HarnessError::failed("cannot make a folder", e))?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&folder))?;
        }
        let mut server = Self { guard: None, port: 0, folder, bin, options: Vec::new() };
        let data = server.folder.join("data").display().to_string();
        let mut initdb = server.command("initdb");
        run(initdb.args(["-D", &data, "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync"]))?;
        for setting in settings {
            server.options.extend(["-c".to_owned(), (*setting).to_owned()]);
        }
        // A port that was free a moment ago may be taken when the server asks for it.
        for attempt in 0.. {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
            server.port = free.map_err(|e| HarnessError::failed("no free port", e))?.port();
            match server.launch() {
                Err(error) if attempt == 2 => return Err(error),
                Err(_) => server.kill(),
                Ok(()) => break,
            }
        }
        Ok(server)
    }

    /// Where its certificates may be put, before settings name them.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database for a user; no password is asked for.
    pub fn url(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// Ends it at once, as a power cut would; its data stay.
    pub fn kill(&mut self) {
        if let Some(guard) = &mut self.guard {
            guard.kill_keeping_data();
        }
        self.guard = None;
    }

    /// Stops it where it is (`STOP`), or lets it go on (`CONT`).
    ///
    /// # Errors
    /// Where it does not run.
    pub fn signal(&self, name: &str) -> HarnessResult<()> {
        self.guard.as_ref().map_or(Ok(()), |guard| guard.signal(name))
    }

    /// Starts it again on the same port with its data, and waits until it answers.
    ///
    /// # Panics
    /// When it does not.
    pub fn restart(&mut self) {
        self.launch().unwrap_or_else(|e| panic!("{e}"));
    }

    /// A database of its own for a test; its name.
    pub fn database(&self) -> String {
        let name = unique("db").replace('-', "_");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Runs statements; what they give, a line a row, columns apart by `|`.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, database: &str, statements: &str) -> String {
        self.try_sql(database, statements).unwrap_or_else(|e| panic!("{e}"))
    }

    /// The same, where it may fail as the server goes away.
    ///
    /// # Errors
    /// What `psql` said.
    pub fn try_sql(&self, database: &str, statements: &str) -> Result<String, String> {
        let mut command = self.psql(database);
        let output = command.args(["-c", statements]).output().map_err(|e| e.to_string())?;
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(said(&output.stdout)) } else { Err(said(&output.stderr)) }
    }

    /// A session that stays open, for transactions that take long.
    pub fn session(&self, database: &str) -> Session {
        let mut command = self.psql(database);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start psql: {e}"));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        Session { child, stdin: stdin.expect("stdin"), stdout: BufReader::new(stdout.expect("stdout")) }
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"]);
        command.args(["-p", &self.port.to_string(), "-d", database]).env("PGCONNECT_TIMEOUT", "60");
        command
    }

    fn launch(&mut self) -> HarnessResult<()> {
        let mut words = self.command("postgres");
        words.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        words.args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]);
        words.args(["-c", "max_connections=60"]).args(&self.options);
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let command: Vec<String> = std::iter::once(words.get_program()).chain(words.get_args()).map(text).collect();
        let log = self.folder.join("log");
        let held = || fs::read_to_string(&log).unwrap_or_default().matches("pre-existing shared memory block").count();
        let mut again = held();
        self.guard = Some(Guard::start(&log, &self.folder, &command)?);
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            // Sessions of one that was killed live on for a moment, and hold its memory: one that is started then ends.
            if held() > again {
                again = held();
                self.kill();
                std::thread::sleep(Duration::from_millis(200));
                self.guard = Some(Guard::start(&log, &self.folder, &command)?);
            }
            if !self.guard.as_ref().is_some_and(Guard::runs) {
                break;
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.try_sql("postgres", "SELECT 1").is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = fs::read_to_string(&log).unwrap_or_default();
        Err(HarnessError::Failed(format!("PostgreSQL does not answer:\n{said}")))
    }

    /// A program of the package; it refuses to be root.
    fn command(&self, program: &str) -> Command {
        let path = self.bin.join(program);
        if !is_root() {
            return Command::new(path);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(path).current_dir("/");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(guard) = self.guard.take() {
            // Ends the server, then removes its folder.
            drop(guard);
        } else if let Some(parent) = self.folder.parent() {
            // What cannot be removed is in a folder for temporary files.
            let _ = fs::remove_dir_all(parent);
        }
    }
}

/// An open session.
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Session {
    /// Runs statements and waits until they are done.
    ///
    /// # Panics
    /// When the session has ended.
    pub fn run(&mut self, statements: &str) {
        let asked = writeln!(self.stdin, "{statements};\n\\echo done-here").and_then(|()| self.stdin.flush());
        asked.unwrap_or_else(|e| panic!("the session is gone: {e}"));
        let mut line = String::new();
        while line.trim() != "done-here" {
            line.clear();
            let read = self.stdout.read_line(&mut line).unwrap_or(0);
            assert!(read > 0, "the session ended in {statements}");
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Both fail only for a session that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The programs of the newest version.
fn bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path().join("bin"));
    let number = |path: &PathBuf| -> Option<u32> { path.parent()?.file_name()?.to_str()?.parse().ok() };
    versions.filter(|path| path.join("initdb").exists()).max_by_key(number)
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n")
}

fn run(command: &mut Command) -> HarnessResult<()> {
    let output = command.output().map_err(|e| HarnessError::failed("cannot run a program", e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(HarnessError::Failed(format!("{:?}: {said}", command.get_program())))
}
