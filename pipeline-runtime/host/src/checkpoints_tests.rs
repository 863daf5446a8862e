use std::collections::BTreeMap;

use super::*;

fn id(text: &str) -> Arc<str> {
    Arc::from(text)
}

fn of(all: &Checkpoints, slot: u32, record: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = all.of(slot, record).into_iter().map(|(c, s)| (c.to_string(), s.to_vec())).collect();
    found.sort();
    found
}

/// A durable form: change it with its version.
#[test]
fn its_form_is_stable_and_a_newer_one_is_refused() {
    let mut all = Checkpoints::default();
    let (key, value) = all.keep(3, &id("aa"), &id("aa"), Bytes::from_static(b"x"));
    assert_eq!((&*key, &*value), (&b"aa"[..], &b"\x01\0\0\0\0\0\0\0\x01x"[..]));
    let (key, value) = all.keep(3, &id("aa"), &id("bb"), Bytes::new());
    assert_eq!((&*key, &*value), (&b"aa/bb"[..], &b"\x01\0\0\0\0\0\0\0\x01"[..]));
    let mut read = |value: &'static [u8]| all.restore(0, b"cc", Some(&Bytes::from_static(value)));
    assert_eq!(read(b"\x02new"), Err(Unreadable::Newer(2)));
    for broken in [&b""[..], b"\0", b"\x01short"] {
        assert_eq!(read(broken), Err(Unreadable::Broken), "{broken:?}");
    }
    assert_eq!(all.restore(0, b"\xff", None), Err(Unreadable::Broken));
}

#[test]
fn what_an_overtaken_owner_writes_late_counts_for_nothing() {
    let mut mine = Checkpoints::default();
    let old = mine.keep(0, &id("aa"), &id("aa"), Bytes::from_static(b"old"));
    let new = mine.keep(0, &id("aa"), &id("aa"), Bytes::from_static(b"new"));
    for order in [[&old, &new], [&new, &old]] {
        let mut read = Checkpoints::default();
        for (key, value) in order {
            read.restore(0, key, Some(value)).unwrap();
        }
        assert_eq!(of(&read, 0, "aa"), [("aa".to_owned(), b"new".to_vec())]);
        // Who takes over counts on from there.
        assert_eq!(read.keep(0, &id("aa"), &id("aa"), Bytes::new()).1[8], 3);
    }
}

/// What is known after any row of saves, ends, commits and aborts is what a new owner reads from the log.
#[test]
fn what_is_known_is_what_the_log_says() {
    let seed = fastrand::u64(..);
    // Printed where the test fails.
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..300 {
        let (mut all, mut open) = (Checkpoints::default(), Vec::new());
        let mut log: Vec<(Bytes, Option<Bytes>)> = Vec::new();
        let mut model: [BTreeMap<(String, String), u8>; 2] = Default::default();
        for step in 0..40u8 {
            let record = id(["aa", "bb"][rng.usize(..2)]);
            let call = if rng.bool() { Arc::clone(&record) } else { id("part") };
            match rng.u8(..10) {
                0..5 => {
                    let (key, value) = all.keep(0, &record, &call, Bytes::copy_from_slice(&[step]));
                    open.push((key, Some(value)));
                    model[1].insert((record.to_string(), call.to_string()), step);
                }
                5..7 => {
                    open.extend(all.end(0, &record).into_iter().map(|key| (key, None)));
                    model[1].retain(|(of, _), _| **of != *record);
                }
                7..9 => {
                    all.committed();
                    log.append(&mut open);
                    model[0] = model[1].clone();
                }
                _ => {
                    all.aborted();
                    open.clear();
                    model[1] = model[0].clone();
                }
            }
            let mut read = Checkpoints::default();
            for (key, value) in &log {
                read.restore(0, key, value.as_ref()).unwrap();
            }
            for record in ["aa", "bb"] {
                let want = |n: usize| -> Vec<(String, Vec<u8>)> {
                    let mine = model[n].iter().filter(|((of, _), _)| of == record);
                    mine.map(|((_, call), step)| (call.clone(), vec![*step])).collect()
                };
                assert_eq!(of(&all, 0, record), want(1));
                assert_eq!(of(&read, 0, record), want(0));
            }
            let nothing = |all: &Checkpoints| all.is_empty(0);
            assert_eq!(nothing(&read), model[0].is_empty());
        }
        all.forget(0);
        assert!(all.is_empty(0) && all.end(0, "aa").is_empty());
    }
}
