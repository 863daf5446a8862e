//! Settings: `millstream.yaml` in the current folder, under the environment, under the flags.
//!
//! Each layer is checked where it is read, so that a wrong word is reported at its place; the `config` crate then lays
//! one over the other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use config::{Config, ConfigError, Environment};
use millstream_codec::RegistryAddress;
use serde::Deserialize;

use crate::failure::Failure;
use crate::logging::LogFormat;
use crate::settings_file;
use crate::terminal::Color;
use crate::units;

/// The settings file.
pub const FILE: &str = "millstream.yaml";
const PREFIX: &str = "MILLSTREAM";
const DATA_DIR: &str = ".millstream";
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// What every command knows.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which log, and how.
    pub log: LogChoice,
    /// How log lines look.
    pub log_format: LogFormat,
    /// When to colour.
    pub color: Color,
    /// How long a run may take to drain.
    pub drain_timeout: Duration,
    /// The schema registry of pipelines that name none.
    pub registry: Option<RegistryAddress>,
}

/// Which log.
#[derive(Clone, Debug)]
pub enum LogChoice {
    /// A Kafka cluster.
    Kafka {
        /// `HOST:PORT,…`
        brokers: String,
        /// Client properties; checked against the allow-list where the log is opened.
        properties: BTreeMap<String, String>,
    },
    /// The embedded log.
    Embedded {
        /// Its folder.
        dir: PathBuf,
        /// When it forces writes to the disk.
        fsync: Fsync,
    },
}

/// When the embedded log forces writes to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Before each acknowledgement: a power cut loses nothing.
    Always,
    /// Every 100 ms: a power cut may lose the newest transactions, each as a whole.
    #[default]
    Interval,
    /// Left to the operating system.
    Off,
}

/// The flags of every command.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Where the records are")]
pub struct Flags {
    /// Kafka cluster to use instead of the embedded log [env: MILLSTREAM_BROKERS]
    #[arg(long, global = true, value_name = "HOST:PORT,…", conflicts_with_all = ["data_dir", "fsync"])]
    pub brokers: Option<String>,
    /// Folder of the embedded log [env: MILLSTREAM_DATA_DIR] [default: .millstream]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data_dir: Option<PathBuf>,
    /// Kafka client property; repeats
    #[arg(long, global = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub kafka: Vec<(String, String)>,
    /// When the embedded log forces writes to the disk [default: interval]
    #[arg(long, global = true, value_name = "WHEN")]
    pub fsync: Option<Fsync>,
    /// How log lines look [default: text]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Output")]
    pub log_format: Option<LogFormat>,
    /// When to colour [default: auto]
    #[arg(long, global = true, value_name = "WHEN", help_heading = "Output")]
    pub color: Option<Color>,
}

/// `KEY=VALUE`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => Ok((key.trim().to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// A setting of one word, as the file and the environment give it: its key, and what may stand there.
pub struct Word {
    /// The key.
    pub key: &'static str,
    /// What is wrong with a value.
    pub check: fn(&str) -> Result<(), String>,
}

/// Every setting of one word. `kafka` is a map, of the file and the flags alone.
pub const WORDS: &[Word] = &[
    Word { key: "brokers", check: |_| Ok(()) },
    Word { key: "data_dir", check: |t| if t.is_empty() { Err("a folder is missing".to_owned()) } else { Ok(()) } },
    Word { key: "fsync", check: one_of::<Fsync> },
    Word { key: "log_format", check: one_of::<LogFormat> },
    Word { key: "color", check: one_of::<Color> },
    Word { key: "drain_timeout", check: |t| units::duration(t).map(|_| ()) },
];

fn one_of<T: ValueEnum>(text: &str) -> Result<(), String> {
    T::from_str(text, false).map(|_| ()).map_err(|_| {
        let all: Vec<String> = T::value_variants()
            .iter()
            .filter_map(T::to_possible_value)
            .map(|v| format!("`{}`", v.get_name()))
            .collect();
        format!("`{text}` is none of {}", all.join(", "))
    })
}

/// What the layers give together.
#[derive(Deserialize)]
struct Layered {
    brokers: Option<String>,
    data_dir: Option<PathBuf>,
    #[serde(default)]
    kafka: BTreeMap<String, String>,
    #[serde(default)]
    fsync: Fsync,
    #[serde(default)]
    log_format: LogFormat,
    #[serde(default)]
    color: Color,
    drain_timeout: Option<String>,
}

impl Settings {
    /// The settings of this process.
    pub fn load(flags: &Flags) -> Result<Self, Failure> {
        let file = match std::fs::read(FILE) {
            Ok(bytes) => Some(bytes),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
            Err(e) => return Err(Failure::wrong(format!("cannot read {FILE}: {e}"))),
        };
        Self::from_layers(
            file.as_deref(),
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))),
            flags,
        )
    }

    fn from_layers(
        file: Option<&[u8]>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, Failure> {
        let mut layers = Config::builder();
        let mut registry = None;
        if let Some(file) = file {
            registry = settings_file::registry(FILE, file, &|name| std::env::var(name).ok())?;
            for (key, value) in settings_file::read(FILE, file, &|name| std::env::var(name).ok())? {
                layers = layers.set_default(key, value).map_err(unexpected)?;
            }
        }
        let known = own_variables(environment)?;
        layers = layers.add_source(Environment::with_prefix(PREFIX).ignore_empty(true).source(Some(known)));
        let path = |p: &PathBuf| p.to_string_lossy().into_owned();
        layers = layers
            .set_override_option("brokers", flags.brokers.clone())
            .and_then(|l| l.set_override_option("data_dir", flags.data_dir.as_ref().map(path)))
            .and_then(|l| l.set_override_option("fsync", flags.fsync.map(name)))
            .and_then(|l| l.set_override_option("log_format", flags.log_format.map(name)))
            .and_then(|l| l.set_override_option("color", flags.color.map(name)))
            .map_err(unexpected)?;
        let all: Layered = layers.build().and_then(Config::try_deserialize).map_err(unexpected)?;
        all.choose(flags).map(|settings| Settings { registry, ..settings })
    }
}

impl Layered {
    fn choose(self, flags: &Flags) -> Result<Settings, Failure> {
        let log = match self.brokers.filter(|b| !b.trim().is_empty()) {
            Some(brokers) => {
                let unused = [("--data-dir", flags.data_dir.is_some()), ("--fsync", flags.fsync.is_some())];
                if let Some((flag, _)) = unused.into_iter().find(|(_, given)| *given) {
                    return Err(Failure::wrong(format!(
                        "`{flag}` is of the embedded log, but `{brokers}` is named as Kafka cluster"
                    ))
                    .help(format!("unset {PREFIX}_BROKERS, or `brokers` in {FILE}, to use the embedded log")));
                }
                let mut properties = self.kafka;
                properties.extend(flags.kafka.iter().cloned());
                LogChoice::Kafka { brokers, properties }
            }
            None if !flags.kafka.is_empty() => {
                return Err(Failure::wrong("`--kafka` sets a property of a Kafka client, but no cluster is named")
                    .help("name one with `--brokers HOST:PORT`"));
            }
            None => LogChoice::Embedded { dir: self.data_dir.unwrap_or_else(|| DATA_DIR.into()), fsync: self.fsync },
        };
        let drain_timeout = match self.drain_timeout {
            Some(text) => units::duration(&text).map_err(Failure::wrong)?,
            None => DRAIN_TIMEOUT,
        };
        Ok(Settings { log, log_format: self.log_format, color: self.color, drain_timeout, registry: None })
    }
}

/// Our own variables, checked. Others of the prefix are not ours to refuse: a Kubernetes service named `millstream`
/// puts MILLSTREAM_PORT and the like into every pod.
fn own_variables(all: impl Iterator<Item = (String, String)>) -> Result<config::Map<String, String>, Failure> {
    let mut own = config::Map::new();
    for (name, value) in all {
        let Some(key) = name.strip_prefix(PREFIX).and_then(|rest| rest.strip_prefix('_')) else { continue };
        let Some(word) = WORDS.iter().find(|w| w.key.to_uppercase() == key) else { continue };
        if !value.is_empty() {
            (word.check)(&value).map_err(|e| Failure::wrong(format!("environment variable {name}: {e}")))?;
        }
        own.insert(name, value);
    }
    Ok(own)
}

fn name<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
}

/// Each layer was checked before; what still goes wrong is said as it is.
fn unexpected(error: ConfigError) -> Failure {
    Failure::wrong(format!("settings: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, env: &[(&str, &str)], flags: &Flags) -> Result<Settings, String> {
        let env = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        Settings::from_layers(Some(file.as_bytes()), env, flags).map_err(|e| {
            e.message().map(|m| format!("{} ({})", m.what, m.help.as_deref().unwrap_or(""))).unwrap_or_default()
        })
    }

    #[test]
    fn flags_over_environment_over_file() -> Result<(), String> {
        let file = "data_dir: from-file\nfsync: off\ndrain_timeout: 5s\n";
        let Settings { log: LogChoice::Embedded { dir, fsync }, drain_timeout, .. } =
            load(file, &[], &Flags::default())?
        else {
            return Err("not embedded".to_owned());
        };
        assert_eq!((dir, fsync, drain_timeout), ("from-file".into(), Fsync::Off, Duration::from_secs(5)));

        let env = [("MILLSTREAM_DATA_DIR", "from-env"), ("MILLSTREAM_FSYNC", ""), ("MILLSTREAM_PORT", "tcp://1.2.3.4")];
        let flags = Flags { fsync: Some(Fsync::Always), ..Flags::default() };
        let Settings { log: LogChoice::Embedded { dir, fsync }, .. } = load(file, &env, &flags)? else {
            return Err("not embedded".to_owned());
        };
        assert_eq!((dir, fsync), ("from-env".into(), Fsync::Always));
        Ok(())
    }

    #[test]
    fn kafka_properties_keep_their_dots_and_flags_win() -> Result<(), String> {
        let file = "brokers: [a:9092, 'b:9092']\nkafka:\n  session.timeout.ms: 6000\n  ssl.ca.location: /ca\n";
        let flags = Flags { kafka: vec![("session.timeout.ms".into(), "9000".into())], ..Flags::default() };
        let Settings { log: LogChoice::Kafka { brokers, properties }, .. } = load(file, &[], &flags)? else {
            return Err("not Kafka".to_owned());
        };
        assert_eq!(brokers, "a:9092,b:9092");
        let all: Vec<_> = properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(all, [("session.timeout.ms", "9000"), ("ssl.ca.location", "/ca")]);
        Ok(())
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        let kafka = Flags { kafka: vec![("acks".into(), "1".into())], ..Flags::default() };
        assert!(load("{}", &[], &kafka).is_err_and(|e| e.contains("no cluster is named")));
        let dir = Flags { data_dir: Some("x".into()), ..Flags::default() };
        let refused = load("{}", &[("MILLSTREAM_BROKERS", "a:1")], &dir);
        assert!(refused.is_err_and(|e| e.contains("--data-dir") && e.contains("unset MILLSTREAM_BROKERS")));
        let nobody = Flags { brokers: Some(String::new()), ..Flags::default() };
        assert!(
            load("{}", &[("MILLSTREAM_BROKERS", "a:1")], &nobody)
                .is_ok_and(|s| matches!(s.log, LogChoice::Embedded { .. }))
        );
    }

    #[test]
    fn a_bad_variable_is_named() {
        let refused = load("{}", &[("MILLSTREAM_FSYNC", "sometimes")], &Flags::default());
        assert!(refused.is_err_and(|e| e.contains("MILLSTREAM_FSYNC: `sometimes` is none of `always`")));
    }

    #[test]
    fn pairs() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
