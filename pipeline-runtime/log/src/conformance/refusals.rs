//! Records that the log will never take.

use bytes::Bytes;

use super::Bench;
use super::kit::{Kit, class, record, tp};
use super::player::position;
use crate::{Class, Outgoing, Retention, Sent};

const LIMIT: usize = 64 << 10;

fn too_large(topic: &str, tag: u64) -> Outgoing {
    // Nothing that a codec could make small.
    let value: Bytes = (0..4 * LIMIT as u32).map(|i| crate::murmur2(&i.to_be_bytes()) as u8).collect();
    Outgoing { value: Some(value), tag, ..record(topic, 0, "k", "") }
}

pub(super) fn a_record_over_the_limit_is_refused_by_its_tag(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic_with("refused", 1, Retention::Kept, Some(LIMIT));
    let mut writer = kit.log.writer().unwrap();
    let result = writer.send(&mut vec![too_large(&topic, 7)]).and_then(|()| writer.flush(bench.patience()));
    refused_for(result, 7);
    // The writer goes on.
    writer.send(&mut vec![record(&topic, 0, "k", "small")]).unwrap();
    writer.flush(bench.patience()).unwrap();
    assert_eq!(kit.values(&topic, 0), ["small"]);
}

pub(super) fn a_refused_transaction_is_aborted_and_the_member_goes_on(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let input = kit.topic("refused-in", 1);
    let output = kit.topic_with("refused-out", 1, Retention::Kept, Some(LIMIT));
    let group = bench.unique("refused");
    kit.fill(&input, 2);
    let at = tp(&input, 0);
    let mut player = kit.join(&group, &input, "a");
    kit.play("both records are read", &mut [&mut player], |p| p[0].read(&at) == 2);

    let mut records = vec![record(&output, 0, "k", "lost with it"), too_large(&output, 9)];
    let result = player.member.send(&mut records).and_then(|()| player.member.commit(&[position(&at, 1)]));
    refused_for(result, 9);
    player.member.abort().unwrap();
    player.start(&[position(&at, 0)]);
    assert_ne!(kit.committed(&group, &at).map(|c| c.offset), Some(1), "the refused transaction moved the position");

    player.send(vec![record(&output, 0, "k", "instead")]);
    player.commit(&[position(&at, 2)]);
    assert_eq!(kit.values(&output, 0), ["instead"]);
    assert_eq!(kit.committed(&group, &at).map(|c| c.offset), Some(2));
}

pub(super) fn a_compacted_topic_refuses_a_record_without_key(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic_with("no-key", 1, Retention::Compacted, None);
    let mut writer = kit.log.writer().unwrap();
    let mut records = vec![Outgoing { key: None, tag: 3, ..record(&topic, 0, "", "v") }];
    refused_for(writer.send(&mut records).and_then(|()| writer.flush(bench.patience())), 3);
}

fn refused_for(result: Result<(), Sent>, tag: u64) {
    match result {
        Err(Sent::Refused(tags)) => {
            assert_eq!(tags.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [tag]);
            assert!(!tags[0].1.is_empty(), "a refusal says why");
        }
        Err(other) => {
            assert_ne!(class(&other), Some(Class::Retry), "a record that is never taken must not be tried for ever");
            panic!("not refused by its tag: {other:?}");
        }
        Ok(()) => panic!("the record was taken"),
    }
}
