//! A bucket that speaks S3, as far as a listing and a read need it: pages, faults, and what changes between two looks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millstream_tests::http_server::{HttpServer, Received, Reply};
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

use crate::common::{PATIENCE, Told, flows, pipeline, told, wrong};

/// Objects of a page, so that there are several.
const PAGE: usize = 3;

#[derive(Default)]
struct Bucket {
    /// By key: the content, and which version it is.
    objects: Mutex<BTreeMap<String, (String, usize)>>,
    versions: AtomicUsize,
    /// The next requests fail with these.
    faults: Mutex<Vec<u16>>,
    denied: Mutex<bool>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bucket {
    fn put(&self, key: &str, content: &str) {
        let version = self.versions.fetch_add(1, Ordering::SeqCst);
        lock(&self.objects).insert(key.to_owned(), (content.to_owned(), version));
    }

    fn answer(&self, request: &Received) -> Reply {
        if let Some(status) = lock(&self.faults).pop() {
            return Reply::status(status);
        }
        let signed = request.header("authorization").is_some_and(|a| a.contains("Credential=key/"));
        if *lock(&self.denied) || !signed {
            let text = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
            return Reply::Answer(403, Vec::new(), text.into());
        }
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        if query.contains("list-type=2") {
            return self.list(query);
        }
        let key = decode(path.strip_prefix("/uploads/").unwrap_or(path));
        match lock(&self.objects).get(&key) {
            Some((content, version)) => Reply::Answer(200, Vec::new(), content.clone().into_bytes())
                .header("ETag", &etag(*version))
                .header("Last-Modified", "Mon, 23 Nov 2026 09:00:00 GMT"),
            None => Reply::Answer(404, Vec::new(), b"<Error><Code>NoSuchKey</Code></Error>".to_vec()),
        }
    }

    fn list(&self, query: &str) -> Reply {
        let parameter = |name: &str| {
            let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
            value.map(decode)
        };
        let (prefix, after) =
            (parameter("prefix").unwrap_or_default(), parameter("continuation-token").unwrap_or_default());
        let objects = lock(&self.objects);
        let all: Vec<_> =
            objects.iter().filter(|(key, _)| key.starts_with(&prefix) && (after.is_empty() || **key > after)).collect();
        let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult>");
        let more = all.len() > PAGE;
        for (key, (content, version)) in all.iter().take(PAGE) {
            text.push_str(&format!(
                "<Contents><Key>{key}</Key><LastModified>2026-11-23T09:00:00.{version:03}Z</LastModified>\
                 <ETag>{}</ETag><Size>{}</Size></Contents>",
                etag(*version).replace('"', "&quot;"),
                content.len()
            ));
        }
        text.push_str(&format!("<IsTruncated>{more}</IsTruncated>"));
        if let (true, Some((last, _))) = (more, all.get(PAGE - 1)) {
            text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
        }
        text.push_str("</ListBucketResult>");
        Reply::Answer(200, vec![("Content-Type".into(), "application/xml".into())], text.into_bytes())
    }
}

fn etag(version: usize) -> String {
    format!("\"{version:032x}\"")
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut digit = || char::from(rest.next().unwrap_or(b'0')).to_digit(16).unwrap_or(0);
        bytes.push(if byte == b'%' { (digit() * 16 + digit()) as u8 } else { byte });
    }
    String::from_utf8(bytes).expect("a key")
}

fn watched(server: &HttpServer) -> String {
    format!(
        "url: 's3://uploads/in', match: '**/*.txt', on: [created, changed, deleted], emit: content, every: 300ms, \
         endpoint: '{}', region: eu-west-1, auth: {{ access_key: key, secret_key: secret }}",
        server.url("")
    )
}

#[test]
fn a_bucket_is_listed_page_by_page_through_faults_and_kills() {
    let bucket = Arc::new(Bucket::default());
    let answering = Arc::clone(&bucket);
    let server = HttpServer::start(move |request| answering.answer(request));
    let site = Site::embedded();
    let file = site.write("pipeline.yaml", &pipeline("watch", &watched(&server)));
    let mut wanted = Told::new();
    let mut tell = |name: &str, event: &str, size: usize| wanted.insert((name.into(), event.into(), size as u64), 1);
    let name = |n: usize| format!("a b/{n}.txt");
    for n in 0..10 {
        bucket.put(&format!("in/{}", name(n)), &"x".repeat(n + 1));
        tell(&name(n), "created", n + 1);
    }
    bucket.put("in/not-asked-for.csv", "x");
    bucket.put("elsewhere/5.txt", "x");
    bucket.put("in/folder/", "");
    // The third request fails for good after its tries, then the same once more.
    *lock(&bucket.faults) = vec![500; 9];
    let mut worker = site.run("worker", &file);
    worker.wait_for_stderr("objects_unreachable", PATIENCE);
    flows(&site, "watch.note", 10);
    for n in 0..4 {
        bucket.put(&format!("in/{}", name(n)), &"y".repeat(n + 21));
        tell(&name(n), "changed", n + 21);
        lock(&bucket.objects).remove(&format!("in/{}", name(n + 6)));
        tell(&name(n + 6), "deleted", n + 7);
    }
    flows(&site, "watch.note", 11);
    worker.kill();
    let mut worker = site.run("again", &file);
    flows(&site, "watch.note", 18);
    // Nothing that cannot be listed is taken for deleted.
    *lock(&bucket.denied) = true;
    worker.wait_for_stderr("objects_denied", PATIENCE);
    bucket.put("in/last.txt", "last");
    tell("last.txt", "created", 4);
    *lock(&bucket.denied) = false;
    let records = flows(&site, "watch.in", 19);
    assert!(records.iter().any(|r| r.value["url"] == "s3://uploads/in/a%20b/7.txt"), "{records:?}");
    let contents = |event: &str| {
        records.iter().filter(|r| r.value["event"] == event).all(|r| {
            r.value.get("content").map_or(0, |c| c.as_str().unwrap_or_default().len()) as u64
                == r.value["size"].as_u64().unwrap_or(0)
        })
    };
    assert!(contents("created") && contents("changed") && !contents("deleted"), "{records:?}");
    assert!(wait_until(PATIENCE, || site.read("watch.note").len() == 19));
    worker.signal("TERM");
    worker.succeed(PATIENCE);
    let found = wrong(&told(&site.read("watch.in")), &wanted);
    assert!(found.is_empty(), "{found:?}");
    assert!(!worker.stderr().contains("secret"), "{}", worker.stderr());
}
