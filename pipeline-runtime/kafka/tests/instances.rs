//! Static membership: a name for a process that is equal after a restart.

mod support;

use std::collections::BTreeSet;

use millstream_log::{Class, Event, Log, Member, MemberConfig, Position, Sent, TopicPartition};
use millstream_test_kafka::{KafkaCluster, unique};
use support::{PLENTY, TURN, fill, log_on, member, record, topic, until};

/// A member with what it owns, and how often that changed.
struct Played {
    member: Box<dyn Member>,
    owned: BTreeSet<TopicPartition>,
    changes: usize,
}

impl Played {
    fn join(log: &dyn Log, config: MemberConfig) -> Self {
        Self { member: log.join(config).expect("it joins"), owned: BTreeSet::new(), changes: 0 }
    }

    fn poll(&mut self) {
        for event in self.member.poll(PLENTY, TURN, &mut Vec::new()).expect("it polls") {
            match event {
                Event::Assigned(found) => {
                    self.changes += 1;
                    self.owned.extend(found.iter().map(|a| a.partition.clone()));
                    let from = |at| Position { partition: at, offset: 0, metadata: String::new() };
                    let positions: Vec<Position> = found.into_iter().map(|a| from(a.partition)).collect();
                    self.member.start(&positions).expect("it starts");
                }
                Event::Revoking(going) => {
                    self.changes += 1;
                    self.owned.retain(|at| !going.contains(at));
                    self.member.release(&going).expect("nothing is open");
                }
                Event::Lost(gone) => {
                    self.changes += 1;
                    self.owned.retain(|at| !gone.contains(at));
                }
                Event::BrokerAway(..) => {}
            }
        }
    }
}

fn named(group: &str, lead: &str, name: &str, instance: &str) -> MemberConfig {
    MemberConfig { instance: Some(instance.to_owned()), ..member(group, lead, name) }
}

/// Killed and clean, both come back. Negative control: a member without its instance name in `KafkaConfig::member` is
/// missed for its whole session, or moves the partitions of the other one.
#[test]
fn a_restart_moves_no_partition_of_others() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, group) = (topic(&*log, "static", 4, None), unique("static"));
    fill(&*log, &input, 4, 0..8);
    let mut comes = Played::join(&*log, named(&group, &input, "a", "one"));
    let mut stays = Played::join(&*log, named(&group, &input, "b", "two"));
    until("each owns two", || {
        comes.poll();
        stays.poll();
        (comes.owned.len() == 2 && stays.owned.len() == 2).then_some(())
    });
    let (before, changes) = (comes.owned.clone(), stays.changes);
    for killed in [true, false] {
        let Played { member: gone, .. } = comes;
        if killed {
            drop(gone)
        } else {
            gone.leave(support::PATIENCE)
        }
        // Time for the group to give the partitions away, if it did.
        (0..40).for_each(|_| stays.poll());
        comes = Played::join(&*log, named(&group, &input, "again", "one"));
        until("it has its partitions back", || {
            comes.poll();
            stays.poll();
            (comes.owned == before).then_some(())
        });
        assert_eq!((comes.changes, stays.changes), (1, changes), "killed: {killed}; somebody was rebalanced");
    }
}

/// Who comes last has the name. The other one ends with an error that is final: joining again would take the name back.
/// Negative control: `is_taken` that is always false.
#[test]
fn a_name_that_is_taken_ends_the_member_before() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    let log = log_on(cluster.bootstrap());
    let (input, output) = (topic(&*log, "taken-in", 1, None), topic(&*log, "taken-out", 1, None));
    for idle in [true, false] {
        let group = unique("taken");
        let mut first = Played::join(&*log, named(&group, &input, "a", "same"));
        until("it is assigned", || {
            first.poll();
            (!first.owned.is_empty()).then_some(())
        });
        let mut second = Played::join(&*log, named(&group, &input, "b", "same"));
        until("the second one has it", || {
            second.poll();
            (!second.owned.is_empty()).then_some(())
        });
        let error = if idle {
            until("it is told", || first.member.poll(PLENTY, TURN, &mut Vec::new()).err())
        } else {
            // Its producer is fenced by the take-over, before any answer to a heartbeat is looked at.
            let position =
                Position { partition: TopicPartition::new(input.as_str(), 0), offset: 0, metadata: String::new() };
            let sent =
                first.member.send(&mut vec![record(&output, 0, "v")]).and_then(|()| first.member.commit(&[position]));
            match sent {
                Err(Sent::Failed(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!((error.class, error.code), (Class::Config, "instance_taken"), "{error}");
        assert!(error.message.contains("`same`") && error.message.contains("--instance"), "{error}");
        second.poll();
        assert_eq!(second.owned.len(), 1);
    }
}
