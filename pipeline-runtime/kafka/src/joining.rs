//! What keeps a member without partitions: a group that refuses it, or one that never gets ready.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use millstream_log::{Class, LogError};
use rdkafka::admin::ResourceSpecifier;
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::groups::GroupInfo;

use crate::admin::options;
use crate::config::Reading;
use crate::shared::Shared;

/// A member waits this long for its first partition before it asks why none comes.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two such questions.
const AGAIN: Duration = Duration::from_secs(30);
/// The member's thread has nothing else to do meanwhile, but it must end soon when told to.
const QUESTION: Duration = Duration::from_secs(1);

/// When a member without partitions asks about its group.
pub(crate) struct Waiting {
    next: Instant,
}

impl Waiting {
    pub(crate) fn new() -> Self {
        Self { next: Instant::now() + PATIENCE }
    }

    /// It has partitions: should they go, the wait begins anew.
    pub(crate) fn over(&mut self) {
        *self = Self::new();
    }

    /// Whether it is time to ask.
    pub(crate) fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.next;
        if due {
            self.next = Instant::now() + AGAIN;
        }
        due
    }
}

/// The group as its coordinator sees it, when that is no reason for a member to be without partitions.
pub(crate) fn why_none(reading: &Reading, group: &str, lead: &str) -> Option<String> {
    let found = reading.client.fetch_group_list(Some(group), QUESTION).ok()?;
    let found = found.groups().iter().find(|g| g.name() == group);
    complaint(found.map(GroupInfo::state), found.map_or(0, |g| g.members().len()))
        .map(|why| format!("no partition of `{lead}` comes to this member of group `{group}`: {why}"))
}

/// A stable group has given all partitions to its members: those without one are spare.
fn complaint(state: Option<&str>, members: usize) -> Option<String> {
    match state.unwrap_or("Dead") {
        "Stable" if members > 0 => None,
        "PreparingRebalance" | "CompletingRebalance" => Some(format!(
            "it is rebalancing, and waits for one of its {members} members; one that died is given up when its \
                 session ends"
        )),
        "Stable" | "Empty" | "Dead" => Some("nobody has joined it, and the brokers give no reason".to_owned()),
        state => Some(format!("it is in the state {state}")),
    }
}

/// What a coordinator's refusal to let a member join means; `None` for what passes or is told elsewhere.
pub(crate) fn refused(
    shared: &Shared,
    reading: &Reading,
    group: &str,
    lead: &str,
    code: RDKafkaErrorCode,
) -> Option<LogError> {
    let why = match code {
        RDKafkaErrorCode::InvalidSessionTimeout => {
            let bound =
                |name| broker_setting(shared, reading, lead, name).map_or_else(String::new, |ms| format!(" ({ms})"));
            format!(
                "`session.timeout.ms` is below the brokers' `group.min.session.timeout.ms`{} or above their \
                 `group.max.session.timeout.ms`{}; set one in between",
                bound("group.min.session.timeout.ms"),
                bound("group.max.session.timeout.ms")
            )
        }
        RDKafkaErrorCode::InconsistentGroupProtocol => {
            "a member that is no Millstream is in it, with another assignment strategy; end it, or rename the \
             pipeline or stage"
                .to_owned()
        }
        RDKafkaErrorCode::GroupMaxSizeReached => {
            "it has as many members as the brokers' `group.max.size` allows; run fewer replicas".to_owned()
        }
        RDKafkaErrorCode::InvalidGroupId => "the brokers do not take its name".to_owned(),
        _ => return None,
    };
    let message = format!("group `{group}` does not let this member join: {why}");
    Some(LogError::new(Class::Config, "refused_by_broker", message))
}

/// A setting of one broker, where it may be read.
fn broker_setting(shared: &Shared, reading: &Reading, lead: &str, name: &str) -> Option<String> {
    let broker = reading.client.fetch_metadata(Some(lead), QUESTION).ok()?.brokers().first()?.id();
    let admin = shared.admin().ok()?;
    let found = block_on(admin.describe_configs(&[ResourceSpecifier::Broker(broker)], &options())).ok()?;
    found.into_iter().next()?.ok()?.get(name)?.value.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative control: a complaint about every member without partitions fails the first line.
    #[test]
    fn a_spare_member_is_no_trouble() {
        assert_eq!(complaint(Some("Stable"), 3), None);
        for (state, members) in [(Some("Empty"), 0), (Some("Dead"), 0), (None, 0), (Some("PreparingRebalance"), 2)] {
            assert!(complaint(state, members).is_some(), "{state:?}");
        }
    }
}
