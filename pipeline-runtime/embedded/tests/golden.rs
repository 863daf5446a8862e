//! A folder written by version 1 of the format must be readable by every later version, or refused by name.
//!
//! `tests/golden/v1.seg` was written by [`write_golden`] once and is not written again: a test that fails here says
//! that the format changed, and a changed format needs a new version and a new file beside this one: the segment that
//! `write_golden` leaves behind.

mod common;

use std::path::Path;
use std::time::Duration;

use common::*;
use millstream_embedded::{EmbeddedLog, EmbeddedOptions};
use millstream_log::{Committed, End, NewTopic, Outgoing, Position, Retention};

const GOLDEN: &[u8] = include_bytes!("golden/v1.seg");

#[test]
fn a_folder_of_version_1_is_read() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("0000000001.seg"), GOLDEN).unwrap();
    let log = open(dir.path());
    assert_eq!(log.topics().unwrap(), ["compacted", "kept", "written"]);
    let kept = read(&*log, "kept", 1);
    assert_eq!(kept.len(), 3);
    let headers: Vec<_> = kept[0].headers.iter().map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect();
    assert_eq!(headers, [("h".to_owned(), Some(b"1".to_vec())), ("h".to_owned(), None)]);
    assert_eq!((kept[0].key.as_deref(), kept[0].value.as_deref()), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert_eq!((kept[1].key.as_deref(), kept[1].value.as_deref()), (None, Some(&b""[..])));
    assert_eq!((kept[2].key.as_deref(), kept[2].value.as_deref()), (Some(&b""[..]), None));
    assert_eq!(
        kept.iter().map(|r| (r.offset, r.timestamp)).collect::<Vec<_>>(),
        [(0, 0), (1, -5), (2, 4_070_908_800_000)]
    );
    assert_eq!(log.ends(&[tp("kept", 0)], End::Low).unwrap(), [1]);
    assert_eq!(log.ends(&[tp("kept", 0)], End::High).unwrap(), [2]);
    let committed = log.committed("group", &[tp("kept", 1)]).unwrap().remove(0);
    assert_eq!(committed, Some(Committed { offset: 2, metadata: "meta".into() }));
    // It keeps its settings: so large a record is refused, and one without key.
    let mut writer = log.writer().unwrap();
    assert!(writer.send(&mut vec![record("kept", 0, "k", vec![b'x'; 2000])]).is_err());
    assert!(writer.send(&mut vec![Outgoing { key: None, ..record("compacted", 0, "", "v") }]).is_err());
    writer.send(&mut vec![record("kept", 0, "k", "more")]).unwrap();
    assert_eq!(read(&*log, "kept", 0).len(), 2);
}

#[test]
fn what_is_written_today_is_what_was_written_then() {
    let dir = tempfile::tempdir().unwrap();
    write_golden(dir.path());
    let today = std::fs::read(&segments(dir.path())[0]).unwrap();
    // Times of writing, and the checksums over them, differ; everything else is the same byte for byte.
    assert_eq!(today.len(), GOLDEN.len(), "the format changed: it needs a new version and a new golden file");
    assert_eq!(today[..16], GOLDEN[..16], "the header of a segment");
    let frames = |bytes: &[u8]| -> Vec<Vec<u8>> {
        let (mut at, mut found) = (16, Vec::new());
        while at < bytes.len() {
            let len = |from: usize| u32::from_le_bytes(bytes[from..from + 4].try_into().unwrap()) as usize;
            let end = at + 32 + len(at + 4) + len(at + 8);
            let mut frame = bytes[at..end].to_vec();
            let written = frame[32..40].to_vec();
            while let Some(place) = frame.windows(8).position(|w| w == written) {
                frame[place..place + 8].fill(0);
            }
            // What was on the disk by then, and the checksum.
            frame[20..32].fill(0);
            found.push(frame);
            at = end;
        }
        found
    };
    assert_eq!(frames(&today), frames(GOLDEN));
}

/// A whole frame at the end that cannot be read is no unfinished write: cut off, its transaction would be lost. Tried
/// by hand: without the check the folder opens, shorter than it was.
#[test]
fn a_frame_of_a_later_version_is_refused_and_not_cut_off() {
    let u32_at = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut last = 16;
    loop {
        let end = last + 32 + u32_at(GOLDEN, last + 4) + u32_at(GOLDEN, last + 8);
        if end == GOLDEN.len() {
            break;
        }
        last = end;
    }
    // Its version; its first operation, after the time and the count.
    for (at, value) in [(last + 3, 2), (last + 32 + 12, 77)] {
        let mut later = GOLDEN.to_vec();
        assert_ne!(later[at], value);
        later[at] = value;
        let head = last + 32..last + 32 + u32_at(&later, last + 4);
        let crc = crc32c::crc32c_append(crc32c::crc32c(&later[last..last + 28]), &later[head]);
        later[last + 28..last + 32].copy_from_slice(&crc.to_le_bytes());
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0000000001.seg");
        std::fs::write(&path, &later).unwrap();
        let error = EmbeddedLog::open(dir.path(), EmbeddedOptions::default()).err().expect("it was opened");
        assert_eq!(error.code, "log_version", "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), later, "a refused file was changed");
    }
}

/// Everything the format has.
fn write_golden(dir: &Path) {
    let log =
        EmbeddedLog::open(dir, EmbeddedOptions { retention_every: Duration::from_secs(3600), ..Default::default() });
    let log = log.unwrap();
    let create = |name: &str, partitions, retention| {
        let (name, replication, settings) = (name.to_owned(), None, Vec::new());
        log.create(&[NewTopic { name, partitions, retention, replication, max_record_bytes: Some(1024), settings }])
            .unwrap();
    };
    create("kept", 2, Retention::Kept);
    create("gone", 1, Retention::Kept);
    create("written", 1, Retention::Written(Duration::from_secs(86_400)));
    create("compacted", 1, Retention::Compacted);
    let headers = [("h", Some(&b"1"[..])), ("h", None)].into_iter().collect();
    let mut member = started(&*log, "group", "kept", 2);
    member
        .send(&mut vec![
            Outgoing { timestamp: 0, headers, ..record("kept", 1, "key", "value") },
            Outgoing { timestamp: -5, key: None, ..record("kept", 1, "", "") },
            Outgoing { timestamp: 4_070_908_800_000, value: None, ..record("kept", 1, "", "") },
            record("kept", 0, "a", "1"),
            record("kept", 0, "a", "2"),
        ])
        .unwrap();
    member.commit(&[Position { partition: tp("kept", 1), offset: 2, metadata: "meta".into() }]).unwrap();
    log.delete_before(&[(tp("kept", 0), 1)]).unwrap();
    log.delete(&["gone"]).unwrap();
    drop(member);
    drop(log);
}
