//! What a broker's or librdkafka's error means for the caller.

use millstream_log::{Class, LogError};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Class and stable code of an error. What is not listed is fatal: it is never ignored.
pub(crate) fn classify(code: RDKafkaErrorCode) -> (Class, &'static str) {
    use RDKafkaErrorCode as E;
    match code {
        E::BrokerTransportFailure
        | E::AllBrokersDown
        | E::Resolve
        | E::OperationTimedOut
        | E::TimedOutQueue
        | E::MessageTimedOut
        | E::RequestTimedOut
        | E::NetworkException
        | E::BrokerNotAvailable
        | E::BrokerDestroy
        | E::DestroyBroker
        | E::UnknownBroker => (Class::Retry, "broker_away"),
        E::LeaderNotAvailable
        | E::NotLeaderForPartition
        | E::ReplicaNotAvailable
        | E::NotCoordinator
        | E::CoordinatorNotAvailable
        | E::CoordinatorLoadInProgress
        | E::WaitingForCoordinator
        | E::NotController
        | E::NotEnoughReplicas
        | E::NotEnoughReplicasAfterAppend
        | E::ISRInsufficient
        | E::KafkaStorageError
        | E::EligibleLeadersNotAvailable
        | E::FencedLeaderEpoch
        | E::UnknownLeaderEpoch
        | E::OffsetNotAvailable
        | E::ConcurrentTransactions
        | E::UnstableOffsetCommit
        | E::RebalanceInProgress
        | E::ThrottlingQuotaExceeded
        | E::WaitCache
        | E::Retry
        | E::InProgress
        | E::PreviousInProgress => (Class::Retry, "broker_busy"),
        E::QueueFull => (Class::Retry, "queue_full"),
        E::TopicAuthorizationFailed
        | E::GroupAuthorizationFailed
        | E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::SecurityDisabled => (Class::Denied, "not_authorized"),
        E::SaslAuthenticationFailed | E::Authentication | E::IllegalSASLState => (Class::Denied, "login_refused"),
        E::UnsupportedSASLMechanism => (Class::Config, "sasl_mechanism"),
        E::SSL => (Class::Config, "tls_failed"),
        E::UnknownTopic | E::UnknownPartition | E::UnknownTopicOrPartition | E::UnknownTopicId => {
            (Class::Config, "unknown_topic")
        }
        E::AutoOffsetReset | E::OffsetOutOfRange => (Class::Config, "offset_out_of_range"),
        // Also said, wrongly, of a broker that comes back. Joining again begins at the committed position, and whoever
        // joins is told when that is beyond the end.
        E::LogTruncation => (Class::Fenced, "offset_out_of_range"),
        E::InvalidTopic
        | E::InvalidPartitions
        | E::InvalidReplicationFactor
        | E::InvalidReplicaAssignment
        | E::InvalidConfig
        | E::PolicyViolation
        | E::InvalidGroupId
        | E::InvalidSessionTimeout
        | E::InconsistentGroupProtocol
        | E::InvalidTransactionTimeout
        | E::GroupMaxSizeReached
        | E::OffsetMetadataTooLarge
        | E::TopicDeletionDisabled
        | E::UnsupportedVersion
        | E::UnsupportedFeature
        | E::UnsupportedCompressionType
        | E::UnsupportedForMessageFormat => (Class::Config, "refused_by_broker"),
        E::ProducerFenced
        | E::InvalidProducerEpoch
        | E::Fenced
        | E::UnknownMemberId
        | E::AssignmentLost
        | E::FencedMemberEpoch
        | E::StaleMemberEpoch => (Class::Fenced, "fenced"),
        // Joining again would take the name back from who has it now.
        E::FencedInstanceId => (Class::Config, "instance_taken"),
        E::IllegalGeneration => (Class::Abort, "stale_generation"),
        E::PurgeQueue | E::PurgeInflight => (Class::Abort, "purged"),
        E::BadMessage | E::BadCompression | E::InvalidMessage => (Class::Fatal, "corrupt_record"),
        _ => (Class::Fatal, "kafka_error"),
    }
}

/// Whether the broker refuses the record itself, whatever is tried.
pub(crate) fn refuses_record(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    refuses_size(code) || matches!(code, E::InvalidRecord | E::InvalidTimestamp | E::UnsupportedForMessageFormat)
}

/// Whether the broker refuses a record, or the batch it was in, for its size.
pub(crate) fn refuses_size(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as E;
    matches!(code, E::MessageSizeTooLarge | E::MessageBatchTooLarge | E::InvalidMessageSize)
}

/// An error while doing `what`.
pub(crate) fn log_error(what: impl std::fmt::Display, code: RDKafkaErrorCode) -> LogError {
    let (class, name) = classify(code);
    LogError::new(class, name, format!("{what}: {}", describe(code)))
}

/// An error of rust-rdkafka while doing `what`.
pub(crate) fn kafka_error(what: impl std::fmt::Display, error: &KafkaError) -> LogError {
    match code_of(error) {
        Some(code) => log_error(what, code),
        None => {
            let class = match error {
                KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_) => Class::Config,
                KafkaError::Canceled => Class::Retry,
                _ => Class::Fatal,
            };
            LogError::new(class, "kafka_error", format!("{what}: {error}"))
        }
    }
}

/// The code inside, also where rust-rdkafka does not tell it.
pub(crate) fn code_of(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        KafkaError::Transaction(inner) => Some(inner.code()),
        other => other.rdkafka_error_code(),
    }
}

/// librdkafka's sentence, without its capital.
pub(crate) fn describe(code: RDKafkaErrorCode) -> String {
    let text = code.to_string();
    // `BrokerTransportFailure (Local: Broker transport failure)`: the part in brackets is for people.
    match text.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')) {
        Some(inner) => inner.trim_start_matches("Local: ").trim_start_matches("Broker: ").to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Negative control: a `_ => Retry` at the end of `classify` fails it.
    #[test]
    fn unknown_is_fatal_and_fencing_is_never_retried() {
        assert_eq!(classify(RDKafkaErrorCode::Unknown).0, Class::Fatal);
        assert_eq!(classify(RDKafkaErrorCode::InvalidTransactionalState).0, Class::Fatal);
        for code in [RDKafkaErrorCode::ProducerFenced, RDKafkaErrorCode::Fenced] {
            assert_eq!(classify(code).0, Class::Fenced);
        }
        assert_eq!(classify(RDKafkaErrorCode::FencedInstanceId).0, Class::Config);
    }

    #[test]
    fn a_message_is_for_people() {
        let error = log_error("cannot read a/0", RDKafkaErrorCode::BrokerTransportFailure);
        assert_eq!(error.to_string(), "cannot read a/0: Broker transport failure [broker_away]");
    }
}
