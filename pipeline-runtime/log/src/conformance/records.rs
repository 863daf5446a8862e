//! What goes in comes out, byte by byte and in order.

use bytes::Bytes;
use millstream_filter_api::Headers;

use super::Bench;
use super::kit::{Kit, numbered, record};
use crate::{Isolation, Outgoing, Retention};

pub(super) fn null_and_empty_keys_and_values_differ(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("null", 1);
    let choices = [None, Some(Bytes::new()), Some(Bytes::from_static(&[0, 0xff, b'x']))];
    let pairs: Vec<_> = choices.iter().flat_map(|k| choices.iter().map(move |v| (k.clone(), v.clone()))).collect();
    kit.write(pairs.iter().cloned().map(|(key, value)| Outgoing { key, value, ..record(&topic, 0, "", "") }).collect());
    let found: Vec<_> =
        kit.read(&topic, 0, Isolation::Committed).into_iter().map(|record| (record.key, record.value)).collect();
    assert_eq!(found, pairs);
}

pub(super) fn headers_keep_order_repeats_nulls_and_bytes(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("headers", 1);
    let lists: Vec<Headers> = vec![
        Headers::new(),
        [("b", Some(&b"1"[..])), ("a", None), ("b", Some(&[0xff, 0, 1])), ("b", Some(b"1"))].into_iter().collect(),
        [("naïve", Some(&b""[..])), ("naïve", None)].into_iter().collect(),
        (0..50).map(|_| ("again", Some(&b"x"[..]))).collect(),
    ];
    let out = |headers: &Headers| Outgoing { headers: headers.clone(), ..record(&topic, 0, "k", "v") };
    kit.write(lists.iter().map(out).collect());
    let found: Vec<_> = kit.read(&topic, 0, Isolation::Committed).into_iter().map(|r| r.headers).collect();
    assert_eq!(found, lists);
}

pub(super) fn time_stamps_are_kept(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("time", 1);
    // 1970, a moment later, 2024, 2099; not in order. (0 itself is stored as 1 where the client takes 0 for now.)
    let stamps = [1_704_067_200_123, 1, 4_070_908_800_000, 2];
    kit.write(stamps.iter().map(|t| Outgoing { timestamp: *t, ..record(&topic, 0, "k", "v") }).collect());
    let found: Vec<_> = kit.read(&topic, 0, Isolation::Committed).iter().map(|r| r.timestamp).collect();
    assert_eq!(found, stamps);
}

pub(super) fn a_large_record_passes(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic_with("large", 1, Retention::Kept, Some(4 << 20));
    let large: Bytes = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let around = |value: &str| record(&topic, 0, "small", value);
    let big = || Outgoing { value: Some(large.clone()), ..record(&topic, 0, "large", "") };
    kit.write(vec![around("before"), big(), big(), big(), around("after")]);
    let found = kit.read(&topic, 0, Isolation::Committed);
    assert_eq!(found.len(), 5);
    for record in &found[1..4] {
        assert!(record.value.as_ref() == Some(&large), "the large value came back changed");
    }
    assert_eq!(super::kit::text(&found[4]), "after");
}

pub(super) fn order_within_a_partition_is_kept(bench: &dyn Bench) {
    let kit = Kit::new(bench);
    let topic = kit.topic("order", 3);
    let many = 3_000;
    kit.write((0..many).map(|i| numbered(&topic, (i % 3) as i32, i)).collect());
    for partition in 0..3 {
        let found = kit.read(&topic, partition, Isolation::Committed);
        let offsets: Vec<i64> = found.iter().map(|r| r.offset).collect();
        assert_eq!(offsets, (0..many as i64 / 3).collect::<Vec<_>>());
        let values: Vec<String> = found.iter().map(super::kit::text).collect();
        let wanted: Vec<String> = (partition as usize..many).step_by(3).map(|i| i.to_string()).collect();
        assert_eq!(values, wanted);
    }
}
