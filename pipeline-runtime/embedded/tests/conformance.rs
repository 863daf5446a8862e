//! The suite of the port, in this process.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::Log;
use millstream_log::conformance::Bench;

struct Folder {
    log: Mutex<Option<Arc<dyn Log>>>,
    dir: PathBuf,
    _temporary: tempfile::TempDir,
    names: AtomicU64,
}

fn folder() -> Folder {
    let temporary = tempfile::tempdir().unwrap();
    let dir = temporary.path().join("log");
    let log = EmbeddedLog::open(&dir, EmbeddedOptions::default()).unwrap();
    Folder { log: Mutex::new(Some(log)), dir, _temporary: temporary, names: AtomicU64::new(0) }
}

impl Bench for Folder {
    fn log(&self) -> Arc<dyn Log> {
        self.log.lock().unwrap().clone().unwrap()
    }

    fn unique(&self, base: &str) -> String {
        format!("{base}.{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    fn reopen(&self) {
        let mut log = self.log.lock().unwrap();
        *log = None;
        *log = Some(EmbeddedLog::open(&self.dir, EmbeddedOptions::default()).unwrap());
    }

    fn short_session_timeout(&self) -> Duration {
        Duration::from_millis(500)
    }
}

millstream_log::conformance_tests!(folder);
