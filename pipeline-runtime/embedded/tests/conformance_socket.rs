//! The suite of the port, through the socket: the log is owned by another handle.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::Log;
use millstream_log::conformance::Bench;

/// The client comes before the owner, so that it is dropped first.
struct Both {
    client: Arc<dyn Log>,
    _owner: Arc<dyn Log>,
}

struct Folder {
    both: Mutex<Option<Both>>,
    dir: PathBuf,
    _temporary: tempfile::TempDir,
    names: AtomicU64,
}

fn open(dir: &PathBuf) -> Both {
    // A lock belongs to a handle and not to the process, so the second one finds an owner.
    let owner = EmbeddedLog::open(dir, EmbeddedOptions::default()).unwrap();
    let client = EmbeddedLog::open(dir, EmbeddedOptions::default()).unwrap();
    Both { client, _owner: owner }
}

fn folder() -> Folder {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let both = open(&dir);
    Folder { both: Mutex::new(Some(both)), dir, _temporary: temporary, names: AtomicU64::new(0) }
}

impl Bench for Folder {
    fn log(&self) -> Arc<dyn Log> {
        self.both.lock().unwrap().as_ref().unwrap().client.clone()
    }

    fn unique(&self, base: &str) -> String {
        format!("{base}.{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn reopen(&self) {
        let mut both = self.both.lock().unwrap();
        *both = None;
        *both = Some(open(&self.dir));
    }

    fn short_session_timeout(&self) -> Duration {
        Duration::from_millis(500)
    }
}

millstream_log::conformance_tests!(folder);
