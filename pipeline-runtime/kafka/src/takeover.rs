//! What a new owner of partitions does before it may read them: the transaction of the owner before is ended, then
//! the committed positions are read.
//!
//! 1. Read the claims without waiting for open transactions (a waiting read would wait for the dead owner's).
//! 2. Register each other owner's transactional id: that aborts, or finishes, what it left, and fences it.
//! 3. Read the committed positions, now stable.
//! 4. Should they not be: a broker that stood still may take a commit of positions after the end of its transaction, and
//!    then waits for an end that has been. The owners before, and this one, each abort an empty transaction of the group,
//!    whose mark ends what is left of theirs. Then again from 1.

use std::sync::Arc;

use millstream_log::{Assignment, Class, End, LogError, LogResult, TopicPartition};
use rdkafka::{Offset, TopicPartitionList};

use crate::claim;
use crate::config::Reading;
use crate::error::kafka_error;
use crate::producer::{Producer, end_transaction_of};
use crate::shared::{ASK, Raw, Shared};

/// Partitions as they are found by their new owner, with what stands committed.
pub(crate) struct Found {
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) raw: Vec<Option<Raw>>,
}

/// One end of partitions that the group has just assigned. They are there, so a client that does not know one of them has
/// old news of its topic: the partition was added. It is told to ask, and the take-over is done again.
fn ends(shared: &Shared, partitions: &[TopicPartition], end: End) -> LogResult<Vec<i64>> {
    let error = match shared.ends(partitions, end) {
        Err(error) if error.code == "unknown_topic" => error,
        other => return other,
    };
    for at in partitions {
        if shared.describe(&at.topic)?.is_none_or(|topic| topic.partitions <= at.partition) {
            return Err(error);
        }
    }
    Err(LogError::new(Class::Retry, "topic_not_there", format!("a partition was added: {}", error.message)))
}

/// See the module. `own` is the member's producer and its id, where it has transactions.
pub(crate) fn take_over(
    shared: &Arc<Shared>,
    reading: &Reading,
    group: &str,
    partitions: &[TopicPartition],
    own: Option<(&mut Producer, &str)>,
    epoch: u64,
) -> LogResult<Found> {
    let claims = shared.committed(group, partitions)?;
    let mut owners: Vec<String> = claims.iter().flatten().filter_map(|raw| raw.owner.clone()).collect();
    owners.sort();
    owners.dedup();
    let mut own = own;
    if let Some((producer, id)) = &mut own {
        if owners.iter().any(|owner| owner == *id) {
            // It lost the partition and has it back: what it left open is ended as anybody's.
            producer.renew()?;
            owners.retain(|owner| owner != *id);
        } else {
            producer.ensure()?;
        }
    }
    for owner in &owners {
        end_transaction_of(shared, owner)?;
    }
    let raw = match shared.committed_by(reading, partitions, ASK) {
        Ok(raw) => raw,
        Err(error) if error.class == Class::Retry => {
            let own = own.map(|(producer, _)| producer);
            if let Err(error) = end_positions_left(shared, reading, partitions, &claims, &owners, own) {
                tracing::info!(target: "millstream::kafka", group, %error, "positions left by an owner before are not ended yet");
            }
            return Err(held(group, error));
        }
        Err(error) => return Err(error),
    };
    let lows = ends(shared, partitions, End::Low)?;
    let highs = ends(shared, partitions, End::High)?;
    let assignments = partitions
        .iter()
        .enumerate()
        .map(|(i, partition)| Assignment {
            partition: partition.clone(),
            epoch,
            committed: raw[i].as_ref().map(|raw| raw.committed.clone()),
            low: lows[i],
            high: highs[i],
        })
        .collect();
    Ok(Found { assignments, raw })
}

/// Step 4. The mark of an aborted transaction ends all that its producer has left in the group, so one position of one
/// partition is enough, and it is the one that stands: nothing changes, whatever becomes of it.
fn end_positions_left(
    shared: &Arc<Shared>,
    reading: &Reading,
    partitions: &[TopicPartition],
    claims: &[Option<Raw>],
    owners: &[String],
    own: Option<&mut Producer>,
) -> LogResult<()> {
    let Some((at, claim)) = partitions.iter().zip(claims).max_by_key(|(_, claim)| claim.is_some()) else {
        return Ok(());
    };
    let position = || {
        let mut list = TopicPartitionList::with_capacity(1);
        let mut element = list.add_partition(&at.topic, at.partition);
        let offset = claim.as_ref().map_or(0, |raw| raw.committed.offset);
        element
            .set_offset(Offset::Offset(offset))
            .map_err(|e| kafka_error(format!("cannot name offset {offset}"), &e))?;
        if let Some(raw) = claim {
            element.set_metadata(claim::write(raw.owner.as_deref(), &raw.committed.metadata));
        }
        Ok(list)
    };
    for owner in owners {
        let mut producer = Producer::new(shared.clone(), format!("takeover of {owner}"), Some(owner.clone()));
        producer.abort_positions(position()?, reading)?;
    }
    match own {
        Some(producer) => producer.abort_positions(position()?, reading),
        None => Ok(()),
    }
}

/// The claims could be read, the stable positions not: a transaction holds them.
fn held(group: &str, error: LogError) -> LogError {
    let message = format!(
        "positions of group {group} are held by an open transaction; trying again. Should it stay so, a broker that \
         crashed has lost the end of it: `kafka-transactions.sh find-hanging` shows it ({})",
        error.message
    );
    LogError::new(Class::Retry, "positions_held", message)
}
