//! What a folder may hold, and what may become of it.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::{Duration, Instant};

use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, flows, inbox, pipeline, put};

/// Content in order of names, of what came.
fn contents(site: &Site, topic: &str) -> Vec<(String, String)> {
    let records = site.read(topic);
    let text = |record: &millstream_tests::checker::Seen, field: &str| {
        record.value[field].as_str().unwrap_or_default().to_owned()
    };
    let mut all: Vec<_> = records.iter().map(|record| (text(record, "name"), text(record, "content"))).collect();
    all.sort();
    all
}

#[test]
fn odd_names_links_and_large_files_get_an_answer_each() {
    let site = Site::embedded();
    let objects = "url: 'file:inbox', emit: content, max_content: 1KiB, settle: 0s, every: 500ms";
    let file = site.write("pipeline.yaml", &pipeline("watch", objects));
    let mut worker = site.run("worker", &file);
    // The folder is not there yet.
    worker.wait_for_stderr("objects_missing", PATIENCE);
    put(&site, "plain.txt", 3);
    put(&site, "in/a/deep folder/ü #1.txt", 4);
    put(&site, ".hidden.txt", 5);
    put(&site, ".git/config", 5);
    put(&site, "unfinished.csv.part", 6);
    put(&site, "large.txt", 2_000);
    fs::write(inbox(&site).join("binary"), [0xff, 0xfe]).expect("written");
    fs::write(inbox(&site).join(OsStr::from_bytes(b"caf\xe9.txt")), "x").expect("written");
    fs::write(site.folder().join("outside"), "secret").expect("written");
    symlink(site.folder().join("outside"), inbox(&site).join("link.txt")).expect("a link");
    symlink("..", inbox(&site).join("up")).expect("a link");
    let letters = flows(&site, "watch.note.dlq", 3);
    let codes = |header: &str| {
        let value = |letter: &millstream_tests::checker::Seen| {
            letter.headers.iter().find(|(name, _)| name == header).and_then(|(_, value)| value.clone())
        };
        let mut all: Vec<String> = letters.iter().filter_map(value).collect();
        all.sort();
        all
    };
    assert_eq!(codes("millstream.dlq.code"), ["object_name_not_utf8", "object_not_text", "object_too_large"]);
    let urls: Vec<String> = letters.iter().map(|l| l.value["url"].as_str().unwrap_or_default().to_owned()).collect();
    assert!(urls.iter().any(|url| url.ends_with("/inbox/caf%E9.txt")), "{urls:?}");
    flows(&site, "watch.note", 2);
    let wanted = [("in/a/deep folder/ü #1.txt", "xxxx"), ("plain.txt", "xxx")];
    assert_eq!(contents(&site, "watch.note"), wanted.map(|(name, text)| (name.to_owned(), text.to_owned())));
    // Taken away with all that is in it, it is an outage and not a deletion; it is watched again when it is back.
    fs::rename(inbox(&site), site.folder().join("away")).expect("moved");
    let outages = || worker.stderr().matches("objects_missing").count();
    assert!(wait_until(PATIENCE, || outages() >= 2), "{}", worker.stderr());
    fs::rename(site.folder().join("away"), inbox(&site)).expect("moved");
    put(&site, "later.txt", 1);
    flows(&site, "watch.note", 3);
    worker.signal("TERM");
    worker.succeed(PATIENCE);
    assert_eq!(site.read("watch.in").len(), 6, "nothing else ever came");
}

/// A file that is written bit by bit is taken once, whole.
#[test]
fn a_half_written_file_is_not_taken() {
    let settle = Duration::from_secs(2);
    let site = Site::embedded();
    let objects = "url: 'file:inbox', emit: content, settle: 2s, every: 200ms, on: [created, changed]";
    let file = site.write("pipeline.yaml", &pipeline("watch", objects));
    put(&site, "first", 1);
    let mut worker = site.run("worker", &file);
    flows(&site, "watch.note", 1);
    let mut slow = File::create(inbox(&site).join("slow")).expect("a file");
    let (began, mut last, mut stalled) = (Instant::now(), Instant::now(), false);
    let mut parts = 0;
    // Longer than it takes to settle, with pauses that are shorter.
    while began.elapsed() < settle * 2 {
        slow.write_all(b"part ").expect("written");
        parts += 1;
        stalled |= last.elapsed() > settle / 2;
        last = Instant::now();
        wait_until(Duration::from_millis(100), || false);
    }
    drop(slow);
    let whole = "part ".repeat(parts);
    let came = |text: &str| contents(&site, "watch.note").iter().any(|(_, content)| content == text);
    assert!(wait_until(PATIENCE, || came(&whole)), "the whole file never came");
    // A machine that stands still makes the writer pause for longer than it takes to settle.
    if !stalled {
        assert_eq!(contents(&site, "watch.note").len(), 2);
    }
    worker.signal("TERM");
    worker.succeed(PATIENCE);
}

/// What may not be read is read when it may, and holds up nothing.
#[test]
fn what_cannot_be_read_waits() {
    let site = Site::embedded();
    let objects = "url: 'file:inbox', emit: content, settle: 0s, every: 500ms, watch: poll";
    let file = site.write("pipeline.yaml", &pipeline("watch", objects));
    put(&site, "closed", 1);
    fs::set_permissions(inbox(&site).join("closed"), Permissions::from_mode(0o000)).expect("closed");
    if fs::read(inbox(&site).join("closed")).is_ok() {
        return; // Root reads everything.
    }
    put(&site, "open", 2);
    let mut worker = site.run("worker", &file);
    flows(&site, "watch.note", 1);
    worker.wait_for_stderr("objects_unreadable", PATIENCE);
    fs::set_permissions(inbox(&site).join("closed"), Permissions::from_mode(0o600)).expect("open");
    flows(&site, "watch.note", 2);
    worker.signal("TERM");
    worker.succeed(PATIENCE);
}
