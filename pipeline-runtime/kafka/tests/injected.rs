//! What each answer of a broker means for the member: librdkafka's mock cluster gives the answers.

mod support;

use std::sync::Arc;

use millstream_log::{Class, Event, Log, Member, Position, Sent, TopicPartition};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use support::{PLENTY, TURN, log_on, member, record, until};

type Cluster = MockCluster<'static, DefaultProducerContext>;

fn cluster() -> (Cluster, Arc<dyn Log>) {
    let cluster = MockCluster::new(1).expect("a mock cluster");
    for topic in ["in", "out"] {
        cluster.create_topic(topic, 1, 1).expect("a topic");
    }
    let log = log_on(&cluster.bootstrap_servers());
    (cluster, log)
}

/// A member with its partition started.
fn started(log: &dyn Log) -> Box<dyn Member> {
    let mut a = log.join(member("group", "in", "a")).expect("it joins");
    until("the partition is assigned", || {
        let events = a.poll(PLENTY, TURN, &mut Vec::new()).expect("it polls");
        events.iter().any(|e| matches!(e, Event::Assigned(_))).then_some(())
    });
    a.start(&[position(0)]).expect("it starts");
    a
}

fn position(offset: i64) -> Position {
    Position { partition: TopicPartition::new("in", 0), offset, metadata: String::new() }
}

fn send_and_commit(member: &mut dyn Member, offset: i64) -> Result<(), Sent> {
    member.send(&mut vec![record("out", 0, "v")]).and_then(|()| member.commit(&[position(offset)]))
}

fn class(result: Result<(), Sent>) -> Class {
    match result {
        Err(Sent::Failed(error)) => error.class,
        other => panic!("{other:?}"),
    }
}

/// Negative control: a commit that gives up at the first retriable error fails it.
#[test]
fn a_busy_coordinator_is_asked_again() {
    use RDKafkaRespErr as E;
    let (cluster, log) = cluster();
    let mut a = started(&*log);
    cluster.request_errors(RDKafkaApiKey::AddPartitionsToTxn, &[E::RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS; 2]);
    cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[E::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS; 2]);
    cluster.request_errors(RDKafkaApiKey::EndTxn, &[E::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE; 2]);
    send_and_commit(&mut *a, 1).expect("it commits");
}

/// The group says no: the transaction is lost and nothing else. Negative control: `IllegalGeneration` classed as
/// fenced, or an abort that leaves the producer unusable.
#[test]
fn a_stale_generation_loses_the_transaction_only() {
    let (cluster, log) = cluster();
    let mut a = started(&*log);
    cluster.request_errors(RDKafkaApiKey::TxnOffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION]);
    assert_eq!(class(send_and_commit(&mut *a, 1)), Class::Abort);
    // Until it is aborted nothing goes on.
    assert_eq!(class(send_and_commit(&mut *a, 1)), Class::Abort);
    a.abort().expect("aborted");
    a.start(&[position(0)]).expect("it goes back");
    send_and_commit(&mut *a, 1).expect("it commits");
}

/// Another producer has the id, or nobody knows how the commit ended: the member is of no use any more. Negative
/// control: without `KafkaMember::broken` the next commit goes through.
#[test]
fn a_fenced_commit_ends_the_member() {
    let (cluster, log) = cluster();
    let mut a = started(&*log);
    cluster.request_errors(RDKafkaApiKey::EndTxn, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_PRODUCER_FENCED]);
    assert_eq!(class(send_and_commit(&mut *a, 1)), Class::Fenced);
    a.abort().expect("an abort is always possible");
    assert_eq!(class(send_and_commit(&mut *a, 1)), Class::Fenced);
}

/// Negative control: `TransactionalIdAuthorizationFailed` tried again for ever.
#[test]
fn a_missing_right_is_told() {
    let (cluster, log) = cluster();
    let denied = RDKafkaRespErr::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    cluster.request_errors(RDKafkaApiKey::InitProducerId, &[denied]);
    let mut a = log.join(member("group", "in", "a")).expect("it joins");
    let error = until("the error comes", || a.poll(PLENTY, TURN, &mut Vec::new()).err());
    assert_eq!((error.class, error.code), (Class::Denied, "not_authorized"), "{error}");
    assert!(error.message.contains("transactional id group."), "{error}");
}
