//! What the user may do, as far as brokers tell: they name the operations on what is there, and whether a topic may be
//! made. Of transactional ids they tell nothing without one being used.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use millstream_log::{Granted, LogResult, Rights};
use rdkafka::admin::{NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use crate::admin::options;
use crate::error::{kafka_error, log_error};
use crate::ffi::rights::{self, Described};
use crate::shared::{ASK, Shared};

const WHAT: &str = "cannot ask what the user may do";

impl Shared {
    /// See [`millstream_log::Log::rights`]. Asks again while coordinators change.
    pub(crate) fn rights(&self, topics: &[&str], groups: &[&str]) -> LogResult<Rights> {
        let until = Instant::now() + ASK;
        loop {
            match self.rights_now(topics, groups) {
                Err(error) if error.code == "broker_busy" && Instant::now() < until => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                other => return other,
            }
        }
    }

    fn rights_now(&self, topics: &[&str], groups: &[&str]) -> LogResult<Rights> {
        // An admin client says only that time is over when no broker answers; this question says why.
        self.topics()?;
        let admin = self.admin()?;
        let client = admin.inner().native_ptr();
        let names = |all: &[&str]| rights::names(all).map_err(|code| log_error(WHAT, code));
        let mut told = Rights::default();
        if !topics.is_empty() {
            let found = rights::topics(client, &names(topics)?, ASK).map_err(|code| log_error(WHAT, code))?;
            for (name, one) in topics.iter().zip(found) {
                told.topics.push(match one {
                    Described::Refused(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                        Granted::Absent { create: self.may_create(name)? }
                    }
                    other => granted(other)?,
                });
            }
        }
        if !groups.is_empty() {
            let found = rights::groups(client, &names(groups)?, ASK).map_err(|code| log_error(WHAT, code))?;
            told.groups = found.into_iter().map(granted).collect::<LogResult<_>>()?;
        }
        Ok(told)
    }

    /// Asks for the topic to be made, without its being made.
    fn may_create(&self, topic: &str) -> LogResult<bool> {
        let topic = NewTopic::new(topic, 1, TopicReplication::Fixed(-1));
        let results = block_on(self.admin()?.create_topics(&[topic], &options().validate_only(true)))
            .map_err(|e| kafka_error(WHAT, &e))?;
        let refused = results.into_iter().filter_map(Result::err).any(|(_, code)| is_refusal(code));
        Ok(!refused)
    }
}

fn granted(one: Described) -> LogResult<Granted> {
    match one {
        Described::Allowed(Some(all)) => Ok(Granted::These(all)),
        Described::Allowed(None) => Ok(Granted::Unknown),
        // Without the right to look nothing else is told, and nothing else is of use.
        Described::Refused(code) if is_refusal(code) => Ok(Granted::These(Vec::new())),
        Described::Refused(code) => Err(log_error(WHAT, code)),
    }
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed)
}
