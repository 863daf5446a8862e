//! What every command is given: settings, filters, the screen; and the log they name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use millstream_codec::SchemaRegistry;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_filters_io::SchemaRegistries;
use millstream_kafka::{KafkaConfig, KafkaLog};
use millstream_log::{Log, LogResult};
use millstream_spec::Registry;

use crate::failure::Failure;
use crate::settings::{FILE, Fsync, LogChoice, Settings};
use crate::terminal::{Paint, Screen};

/// How often `--fsync interval` forces writes to the disk.
const FSYNC_EVERY: Duration = Duration::from_millis(100);

/// What a command is given.
pub struct Context {
    /// The settings.
    pub settings: Settings,
    /// The filters.
    pub registry: Registry,
    /// The schema registries of this process.
    pub schemas: Arc<SchemaRegistries>,
    /// Where logs and progress go.
    pub screen: Screen,
}

impl Context {
    /// The log that the settings name. An embedded one is made if it is not there.
    pub fn open_log(&self) -> Result<Arc<dyn Log>, Failure> {
        open_log(&self.settings)
    }

    /// The same for a command that only reads: it makes no folder.
    pub fn open_log_to_read(&self) -> Result<Arc<dyn Log>, Failure> {
        match &self.settings.log {
            LogChoice::Embedded { dir, .. } if !dir.exists() => Err(no_log(dir)),
            _ => self.open_log(),
        }
    }

    /// The schema registry that the settings name.
    pub fn schema_registry(&self) -> Result<Option<Arc<dyn SchemaRegistry>>, Failure> {
        let made = self.settings.registry.as_ref().map(|address| self.schemas.at(address)).transpose();
        made.map_err(|why| Failure::wrong(format!("the schema registry of {FILE}: {why}")))
    }

    /// Colours for stdout.
    pub fn paint(&self) -> Paint {
        Paint::new(self.settings.color.on_stdout())
    }

    /// Colours for stderr.
    pub fn paint_errors(&self) -> Paint {
        Paint::new(self.settings.color.on_stderr())
    }
}

/// The log that the settings name.
pub fn open_log(settings: &Settings) -> Result<Arc<dyn Log>, Failure> {
    match &settings.log {
        LogChoice::Kafka { brokers, properties } => {
            let properties: Vec<(String, String)> = properties.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
            let log = KafkaLog::new(KafkaConfig { brokers: brokers.clone(), properties });
            opened(log.map(|log| Arc::new(log) as Arc<dyn Log>))
        }
        LogChoice::Embedded { dir, .. } if dir.exists() && !dir.is_dir() => {
            let what = format!("`{}` is a file, and the log is a folder", dir.display());
            Err(Failure::wrong(what).help("name a folder with `--data-dir`"))
        }
        LogChoice::Embedded { dir, fsync } => {
            let options = EmbeddedOptions { fsync: embedded_fsync(*fsync), ..EmbeddedOptions::default() };
            opened(EmbeddedLog::open(dir, options))
        }
    }
}

fn embedded_fsync(fsync: Fsync) -> millstream_embedded::Fsync {
    match fsync {
        Fsync::Always => millstream_embedded::Fsync::Always,
        Fsync::Interval => millstream_embedded::Fsync::Interval(FSYNC_EVERY),
        Fsync::Off => millstream_embedded::Fsync::Off,
    }
}

fn opened(log: LogResult<Arc<dyn Log>>) -> Result<Arc<dyn Log>, Failure> {
    log.map_err(|e| Failure::log(&e))
}

fn no_log(dir: &Path) -> Failure {
    Failure::failed(format!("there is no log in `{}`", dir.display()))
        .help("name its folder with `--data-dir`, or a Kafka cluster with `--brokers`")
}
