//! Several processes on one folder.
#![allow(clippy::print_stdout, reason = "a child tells its parent, and a test its seed")]

mod common;

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::*;
use millstream_log::{Class, Event, Isolation, Position, Retention, Sent};

const FOLDER: &str = "MILLSTREAM_SHARING_FOLDER";

/// The process that owns the folder; as a test of its own it has nothing to do.
#[test]
fn owner() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let log = open(Path::new(&folder));
    topic(&*log, "t", 2, Retention::Kept);
    println!("\nready");
    // Until it is killed, or its parent is gone.
    let _ = std::io::stdin().read(&mut [0]);
    drop(log);
}

struct Owner(Child);

impl Owner {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["owner", "--exact", "--nocapture", "--test-threads=1"]).env(FOLDER, folder);
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "ready"), "the owner did not start");
        Self(child)
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn when_the_owner_is_killed_a_client_takes_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let owner = Owner::start(dir.path());
    let log = open(dir.path());
    let mut reader = log.reader(Isolation::Committed).unwrap();
    reader.assign(&[(tp("t", 0), 0)]).unwrap();
    let mut writer = log.writer().unwrap();
    writer.send(&mut vec![record("t", 0, "k", "before")]).unwrap();
    writer.flush(PATIENCE).unwrap();
    let next = |reader: &mut Box<dyn millstream_log::Reader>| {
        until("a record is read", || {
            let batches = match reader.poll(PLENTY, Duration::from_millis(50)) {
                Err(e) if e.class == Class::Retry => return None,
                other => other.unwrap(),
            };
            let records: Vec<_> = batches.into_iter().flat_map(|b| b.records).collect();
            (!records.is_empty()).then(|| records.iter().map(|r| r.value.clone().unwrap()).collect::<Vec<_>>())
        })
    };
    assert_eq!(next(&mut reader), ["before"]);
    let mut member = started(&*log, "g", "t", 2);
    member.send(&mut vec![record("t", 0, "k", "never committed")]).unwrap();
    owner.kill();

    let gone = member.commit(&[Position { partition: tp("t", 0), offset: 1, metadata: String::new() }]);
    assert!(matches!(&gone, Err(Sent::Failed(e)) if e.class == Class::Fenced), "{gone:?}");
    let lost = writer.send(&mut vec![record("t", 0, "k", "never sent")]);
    assert!(matches!(&lost, Err(Sent::Failed(e)) if e.class == Class::Fenced), "{lost:?}");
    // Whoever asks next becomes the owner; a reader goes on where it was.
    let mut member = started(&*log, "g", "t", 2);
    member.send(&mut vec![record("t", 0, "k", "after")]).unwrap();
    member.commit(&[Position { partition: tp("t", 0), offset: 1, metadata: String::new() }]).unwrap();
    assert_eq!(next(&mut reader), ["after"]);
    // And a third process finds the new owner.
    let third = open(dir.path());
    assert_eq!(third.committed("g", &[tp("t", 0)]).unwrap()[0].as_ref().unwrap().offset, 1);
    assert_eq!(read(&*third, "t", 0).len(), 2);
}

#[test]
fn members_of_two_processes_share_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let ours = open(dir.path());
    topic(&*ours, "t", 2, Retention::Kept);
    let theirs = open(dir.path());
    let mut a = started(&*ours, "g", "t", 2);
    let mut b = member(&*theirs, "g", "t");
    let revoked = until("a is asked for one", || {
        let events = a.poll(PLENTY, Duration::from_millis(20), &mut Vec::new()).unwrap();
        events.into_iter().find_map(|e| if let Event::Revoking(all) = e { Some(all) } else { None })
    });
    a.release(&revoked).unwrap();
    let events = until("b gets it", || {
        let events = b.poll(PLENTY, Duration::from_millis(20), &mut Vec::new()).unwrap();
        (!events.is_empty()).then_some(events)
    });
    assert!(matches!(&events[..], [Event::Assigned(all)] if all[0].partition == revoked[0]), "{events:?}");
    // A process that ends without a word gives everything back.
    drop(b);
    let events = until("a has it again", || {
        let events = a.poll(PLENTY, Duration::from_millis(20), &mut Vec::new()).unwrap();
        (!events.is_empty()).then_some(events)
    });
    assert!(matches!(&events[..], [Event::Assigned(all)] if all[0].partition == revoked[0]), "{events:?}");
}

#[test]
fn a_folder_with_a_long_name_is_shared_too() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    let ours = open(&deep);
    topic(&*ours, "t", 1, Retention::Kept);
    let theirs = open(&deep);
    write(&*theirs, vec![record("t", 0, "k", "v")]);
    assert_eq!(read(&*ours, "t", 0).len(), 1);
    let elsewhere = std::fs::read_to_string(deep.join("millstream.socket")).unwrap();
    drop(theirs);
    drop(ours);
    assert!(!Path::new(&elsewhere).exists() && !Path::new(&elsewhere).parent().unwrap().exists(), "{elsewhere}");
}

#[test]
fn what_an_owner_left_behind_is_no_hindrance() {
    let dir = tempfile::tempdir().unwrap();
    Owner::start(dir.path()).kill();
    assert!(dir.path().join("millstream.sock").exists(), "the kill left a socket behind");
    let log = open(dir.path());
    assert_eq!(log.topics().unwrap(), ["t"]);
    assert_eq!(open(dir.path()).topics().unwrap(), ["t"], "over the new socket");
}

#[test]
fn nonsense_on_the_socket_ends_its_connection_only() {
    use std::io::Write;
    use std::os::unix::net::UnixStream;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    topic(&*log, "t", 1, Retention::Kept);
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"MSK\x01\xff\xff\xff\xff\x0a", b"MSK\x01\x04\0\0\0\x0a\xff\xff\xff\xff"]
    {
        let mut stream = UnixStream::connect(dir.path().join("millstream.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // Reset or closed in order: either is an end.
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 200, "{answer:?}");
    }
    assert_eq!(open(dir.path()).topics().unwrap(), ["t"]);
}
