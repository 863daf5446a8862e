//! A cluster for a test: found, or started.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::broker::Broker;
use crate::properties::{Ports, server_properties};
use crate::{HarnessError, HarnessResult, Secure, jars, secure, unique};

/// How a cluster is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// 1, or 3 where a test takes one away (replication 3, two in sync suffice).
    pub brokers: usize,
    /// Listeners with SASL and TLS beside the plain one.
    pub secure: bool,
    /// Java heap of each broker in MiB.
    pub heap_mib: u32,
    /// Compiled by Java as well as it can: slower to start, faster later. For measurements.
    pub optimised: bool,
    /// Features of the cluster by level, such as `transaction.version=1`; Kafka's defaults otherwise.
    pub features: Vec<String>,
    /// Further lines of `server.properties`, last.
    pub properties: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            brokers: 1,
            secure: false,
            heap_mib: 512,
            optimised: false,
            features: Vec::new(),
            properties: Vec::new(),
        }
    }
}

impl Options {
    /// A secure cluster that asks for rights. Whoever comes in plain text and [`USER`](crate::USER) may do everything,
    /// [`GUEST`](crate::GUEST) nothing until it is granted.
    pub fn guarded() -> Self {
        let properties = [
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned()),
            ("super.users", format!("User:ANONYMOUS;User:{}", crate::USER)),
        ];
        let properties = properties.map(|(name, value)| (name.to_owned(), value)).into();
        Self { secure: true, properties, ..Self::default() }
    }
}

/// A running Kafka. Dropping it ends the brokers it started and removes their data.
pub struct KafkaCluster {
    brokers: Vec<Broker>,
    bootstrap: String,
    secure: Option<Secure>,
    root: Option<PathBuf>,
}

impl KafkaCluster {
    /// Starts an own cluster and waits until it answers.
    pub fn start(options: Options) -> HarnessResult<Self> {
        jars::check_java()?;
        let jars = jars::folder()?;
        let mut last = None;
        // A port that was free a moment ago may be taken when the broker asks for it.
        for _ in 0..3 {
            match Self::try_start(&options, &jars) {
                Err(HarnessError::Failed(text)) if text.contains("Address already in use") => last = Some(text),
                result => return result,
            }
        }
        Err(HarnessError::Failed(last.unwrap_or_default()))
    }

    /// The cluster that all tests of this process share: the one named in `MILLSTREAM_TEST_BROKERS`, else one started
    /// on the first call. `None`, after saying loudly what is skipped, where Java or Maven is missing.
    ///
    /// # Panics
    /// When Kafka should start and does not; and when it cannot be started and `CI` or
    /// `MILLSTREAM_TEST_REQUIRE_KAFKA` says that it must.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<KafkaCluster>> = OnceLock::new();
        SHARED
            .get_or_init(|| match std::env::var("MILLSTREAM_TEST_BROKERS") {
                Ok(bootstrap) if !bootstrap.is_empty() => {
                    Some(Self { brokers: Vec::new(), bootstrap, secure: None, root: None })
                }
                _ => Self::or_skip(Self::start(Options::default())),
            })
            .as_ref()
    }

    /// An own cluster, or `None` after saying loudly what is skipped, as [`KafkaCluster::shared`] does.
    ///
    /// # Panics
    /// As [`KafkaCluster::shared`].
    pub fn start_or_skip(options: Options) -> Option<Self> {
        Self::or_skip(Self::start(options))
    }

    /// `host:port,…` of the plain listeners.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The secure listeners, when asked for.
    pub fn secure(&self) -> Option<&Secure> {
        self.secure.as_ref()
    }

    /// The brokers that this process started, for faults; none of a cluster that was found running.
    pub fn brokers(&mut self) -> &mut [Broker] {
        &mut self.brokers
    }

    fn or_skip(result: HarnessResult<Self>) -> Option<Self> {
        match result {
            Ok(cluster) => Some(cluster),
            Err(HarnessError::Unavailable(why)) => {
                let required = std::env::var("CI").is_ok_and(|v| v == "true")
                    || std::env::var("MILLSTREAM_TEST_REQUIRE_KAFKA").is_ok_and(|v| v == "1");
                assert!(!required, "Kafka is required here and cannot be started: {why}");
                eprintln!(
                    "\n*** SKIPPED: tests on a real Kafka: {why}. Set MILLSTREAM_TEST_BROKERS to use a running one. ***\n"
                );
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn try_start(options: &Options, jars: &std::path::Path) -> HarnessResult<Self> {
        let root = std::env::temp_dir().join(unique("millstream-test-kafka"));
        fs::create_dir_all(&root).map_err(|e| HarnessError::failed("cannot make a data folder", e))?;
        // Made before anything can fail, so that the folder is removed whatever happens.
        let mut cluster =
            Self { brokers: Vec::new(), bootstrap: String::new(), secure: None, root: Some(root.clone()) };
        let ports: Vec<Ports> = free_ports(options)?;
        if options.secure {
            secure::make_store(&root)?;
            let address = |i: usize| {
                ports
                    .iter()
                    .filter_map(|p| p.secure)
                    .map(|s| format!("127.0.0.1:{}", s[i]))
                    .collect::<Vec<_>>()
                    .join(",")
            };
            cluster.secure =
                Some(Secure { sasl: address(0), tls: address(1), sasl_tls: address(2), ca: root.join("ca.pem") });
        }
        for (i, own) in ports.iter().enumerate() {
            let folder = root.join(format!("node-{}", i + 1));
            fs::create_dir_all(&folder).map_err(|e| HarnessError::failed("cannot make a data folder", e))?;
            let text = server_properties(i + 1, &ports, &root, &folder.join("data"), &options.properties);
            let broker = Broker {
                plain_port: own.plain,
                folder,
                java: jars::java(jars, options.heap_mib, options.optimised),
                guard: None,
            };
            fs::write(broker.properties_file(), text)
                .map_err(|e| HarnessError::failed("cannot write server.properties", e))?;
            cluster.brokers.push(broker);
        }
        let id = cluster_id();
        std::thread::scope(|scope| {
            let formats: Vec<_> = cluster
                .brokers
                .iter()
                .map(|b| scope.spawn(|| b.format(&id, options.secure, &options.features)))
                .collect();
            formats
                .into_iter()
                .try_for_each(|f| f.join().map_err(|_| HarnessError::Failed("a format panicked".into()))?)
        })?;
        for broker in &mut cluster.brokers {
            broker.restart()?;
        }
        for broker in &cluster.brokers {
            broker.wait_ready(options.brokers)?;
        }
        cluster.bootstrap = cluster.brokers.iter().map(Broker::address).collect::<Vec<_>>().join(",");
        Ok(cluster)
    }
}

impl Drop for KafkaCluster {
    fn drop(&mut self) {
        self.brokers.clear();
        if let Some(root) = &self.root {
            // The guards have removed most of it already.
            let _ = fs::remove_dir_all(root);
        }
    }
}

/// Ports nobody listens on right now, all distinct because all are held at once.
fn free_ports(options: &Options) -> HarnessResult<Vec<Ports>> {
    let each = if options.secure { 5 } else { 2 };
    let mut held = Vec::new();
    for _ in 0..each * options.brokers {
        held.push(TcpListener::bind("127.0.0.1:0").map_err(|e| HarnessError::failed("cannot find a free port", e))?);
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|l| l.local_addr().map(|a| a.port()))
        .collect::<Result<_, _>>()
        .map_err(|e| HarnessError::failed("cannot find a free port", e))?;
    Ok(ports
        .chunks(each)
        .map(|p| Ports { plain: p[0], controller: p[1], secure: options.secure.then(|| [p[2], p[3], p[4]]) })
        .collect())
}

/// 16 random bytes in URL-safe base64 without padding; its last character carries two bits.
fn cluster_id() -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    // A leading dash would look like an option.
    std::iter::once('M').chain((0..20).map(|_| char::from(ALPHABET[fastrand::usize(..64)]))).chain(['A']).collect()
}
