//! Senders that send again until they know, and what must come of what they sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use millstream_tests::checker::Seen;
use millstream_tests::http_client::{HttpClient, authority, wait_ready};
use millstream_tests::process::Process;
use millstream_tests::site::Site;

pub const SESSION: Duration = Duration::from_secs(6);
pub const PATIENCE: Duration = Duration::from_secs(150);
/// For one answer: longer than a process may take for a 503.
pub const ANSWER: Duration = Duration::from_secs(40);

/// A pipeline that takes in orders at `/orders`.
pub fn pipeline(name: &str, more: &str) -> String {
    format!(
        "pipeline: {name}\n\
         defaults: {{ topics: {{ partitions: 3 }} }}\n\
         source:\n\
         \x20 http: {{ path: /orders, auth: none{more} }}\n\
         \x20 fields: {{ n: integer, by: string, key: string }}\n\
         \x20 key: .key\n\
         stages:\n\
         \x20 - {{ name: take, filter: map, with: .twice = .n * 2 }}\n"
    )
}

/// With ids.
pub const IDS: &str = ", id: { header: idempotency-key }";

/// A process that serves on a free port, ready.
pub fn serve(site: &Site, name: &str, file: &Path) -> (Process, String) {
    let mut command = site.command(["run", "--listen", "127.0.0.1:0"]);
    let mut process = Process::start(command.arg(file), site.folder(), name);
    let at = authority(&mut process, PATIENCE);
    wait_ready(&mut HttpClient::new(&at, ANSWER), PATIENCE);
    (process, at)
}

/// What a number's order is.
pub fn order(n: usize, by: &str) -> String {
    format!("{{\"n\":{n},\"by\":\"{by}\",\"key\":\"k{}\"}}", n % 7)
}

/// Sends numbers, each until it is answered, to whoever serves.
pub struct Senders {
    /// `host:port` of each process; one may be gone.
    servers: Mutex<Vec<String>>,
    next: AtomicUsize,
    stopped: AtomicBool,
    /// The job of each number that was answered.
    pub jobs: Mutex<BTreeMap<usize, String>>,
    /// Requests that were no answer: connections that broke, 503.
    pub again: AtomicUsize,
}

impl Senders {
    pub fn new(servers: Vec<String>) -> Self {
        Self {
            servers: Mutex::new(servers),
            next: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            jobs: Mutex::default(),
            again: AtomicUsize::new(0),
        }
    }

    /// Another process serves in place of one.
    pub fn replace(&self, at: usize, server: String) {
        self.servers.lock().expect("no panic")[at] = server;
    }

    pub fn answered(&self) -> usize {
        self.jobs.lock().expect("no panic").len()
    }

    /// No number after those that are under way.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// One sender, until it is told to stop.
    pub fn run(&self, which: usize) {
        let mut at = which;
        let mut client: Option<(String, HttpClient)> = None;
        while !self.stopped.load(Ordering::SeqCst) {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            let (key, body) = (format!("order-{n}"), order(n, "sender"));
            let began = Instant::now();
            loop {
                let server = {
                    let servers = self.servers.lock().expect("no panic");
                    servers[at % servers.len()].clone()
                };
                if client.as_ref().is_none_or(|(known, _)| *known != server) {
                    client = Some((server.clone(), HttpClient::new(&server, ANSWER)));
                }
                let Some((_, open)) = &mut client else { continue };
                match open.post("/orders", &[("idempotency-key", &key)], &body) {
                    Ok(answer) if answer.status == 202 => {
                        let job = answer.job().expect("a job");
                        let location = answer.header("location").expect("a location").to_owned();
                        assert_eq!(location.rsplit('/').next(), Some(job.as_str()));
                        self.jobs.lock().expect("no panic").insert(n, job);
                        break;
                    }
                    Ok(answer) if answer.status != 503 => panic!("order {n}: {answer:?}"),
                    _ => {
                        self.again.fetch_add(1, Ordering::SeqCst);
                        assert!(began.elapsed() < PATIENCE, "order {n} is never taken in");
                        // The other one, with the same key.
                        at += 1;
                        std::thread::sleep(Duration::from_millis(10));
                    }
                }
            }
            at += 1;
        }
    }
}

/// The root of a record's id.
pub fn root(record: &Seen) -> String {
    let id =
        record.headers.iter().rfind(|(name, _)| name == "ce_id").and_then(|(_, id)| id.clone()).unwrap_or_default();
    id.split('~').next().unwrap_or_default().to_owned()
}

/// What is wrong with what came out: jobs that were answered and are not there, or twice; records of no answer are fine,
/// as long as they are of one job.
pub fn wrong(records: &[Seen], jobs: &BTreeMap<usize, String>) -> Vec<String> {
    let mut found: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    for record in records {
        found.entry(record.value["n"].as_u64().unwrap_or_default() as usize).or_default().push(root(record));
    }
    let mut wrong = Vec::new();
    for (n, job) in jobs {
        match found.get(n).map(Vec::as_slice) {
            None => wrong.push(format!("order {n} was answered and is lost")),
            Some([one]) if one == job => {}
            Some([one]) => wrong.push(format!("order {n} is job {one}, and was answered as {job}")),
            Some(several) => wrong.push(format!("order {n} came out {} times", several.len())),
        }
    }
    wrong.extend(
        found
            .iter()
            .filter(|(n, all)| !jobs.contains_key(n) && all.len() > 1)
            .map(|(n, _)| format!("order {n} is doubled")),
    );
    wrong
}
