//! The conformance suite of the log port on a real Kafka.

mod support;

use std::cell::RefCell;
use std::sync::Arc;

use millstream_log::Log;
use millstream_log::conformance::Bench;

use support::log_on;

/// A cluster shared by all tests of this binary; `None` where Kafka cannot be started, and then nothing is checked.
struct OnKafka {
    brokers: String,
    log: RefCell<Arc<dyn Log>>,
}

impl Bench for OnKafka {
    fn log(&self) -> Arc<dyn Log> {
        self.log.borrow().clone()
    }

    fn unique(&self, base: &str) -> String {
        millstream_test_kafka::unique(base)
    }

    fn reopen(&self) {
        *self.log.borrow_mut() = log_on(&self.brokers);
    }
}

fn on_kafka() -> Option<OnKafka> {
    let cluster = millstream_test_kafka::KafkaCluster::shared()?;
    let brokers = cluster.bootstrap().to_owned();
    Some(OnKafka { log: RefCell::new(log_on(&brokers)), brokers })
}

millstream_log::conformance_tests!(if on_kafka);
