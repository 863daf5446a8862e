//! Where a process serves, who may do without it, and how it ends.

use std::net::TcpListener;

use millstream_tests::http_client::{HttpClient, authority};
use millstream_tests::process::{Process, tail, wait_until};
use millstream_tests::site::Site;

use crate::common::{ANSWER, IDS, PATIENCE, order, pipeline, serve};

fn ends(site: &Site, words: &[&str], status: i32, parts: &[&str]) {
    let mut process = site.start(&format!("ends-{:08x}", fastrand::u32(..)), words);
    let ended = process.wait(PATIENCE).code();
    let said = process.stdout() + &process.stderr();
    assert_eq!(ended, Some(status), "{words:?}: {}", tail(&said));
    parts.iter().for_each(|part| assert!(said.contains(part), "{words:?}: {part}: {}", tail(&said)));
}

#[test]
fn an_address_is_taken_or_not() {
    let site = Site::embedded();
    site.write("pipeline.yaml", &pipeline("shop", ""));
    let generate = "pipeline: made\nsource: { generate: { value: '{}', count: 3 } }\nstages: [{ name: all, filter: where, with: \"true\" }]\n";
    site.write("made.yaml", generate);
    ends(&site, &["run", "pipeline.yaml", "--no-listen"], 2, &["`--no-listen`", "/orders"]);
    ends(&site, &["run", "pipeline.yaml", "--listen", "nonsense"], 2, &["`--listen nonsense`"]);
    ends(&site, &["run", "pipeline.yaml", "--no-listen", "--listen", "127.0.0.1:0"], 2, &["--listen"]);
    ends(&site, &["run", "pipeline.yaml", "--tls-cert", "a.pem"], 2, &["--tls-key"]);
    ends(&site, &["run", "pipeline.yaml", "--tls-cert", "a.pem", "--tls-key", "b.pem"], 1, &["a.pem"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    ends(&site, &["run", "pipeline.yaml", "--listen", &address], 1, &["cannot listen on", &address]);
    ends(&site, &["run", "made.yaml", "--until-idle", "--listen", &address], 1, &["cannot listen on"]);
    ends(&site, &["run", "made.yaml", "--until-idle", "--no-listen"], 0, &[]);
    // Both serve, whoever has the usual address.
    let (mut one, mut two) =
        (site.start("one", &["run", "pipeline.yaml"]), site.start("two", &["run", "pipeline.yaml"]));
    assert_ne!(authority(&mut one, PATIENCE), authority(&mut two, PATIENCE));
    one.signal("TERM");
    two.signal("TERM");
    one.succeed(PATIENCE);
    two.succeed(PATIENCE);
    // What ends by itself and takes nothing in needs no port.
    let mut idle = site.start("idle", &["run", "made.yaml", "--until-idle"]);
    idle.succeed(PATIENCE);
    assert!(!idle.stderr().contains("serving at"), "{}", idle.stderr());
}

#[test]
fn what_was_taken_in_is_answered_and_worked_off() {
    let site = Site::embedded();
    let tracked = |text: String| text + "jobs: { track: true }\n";
    let file = site.write("pipeline.yaml", &tracked(pipeline("shop", IDS)));
    let (mut process, at) = serve(&site, "serves", &file);
    let mut client = HttpClient::new(&at, ANSWER);
    // A request that is under way when the order to stop comes.
    let body = order(1, "sender");
    let head = format!(
        "POST /orders HTTP/1.1\r\nhost: x\r\nidempotency-key: a\r\ncontent-type: application/json\r\nexpect: 100-continue\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    client.send(head.as_bytes()).expect("sent");
    assert_eq!(client.answer().expect("it is asked for").status, 100);
    let mut other = HttpClient::new(&at, ANSWER);
    let answer = other.post("/orders", &[("idempotency-key", "b")], &order(2, "sender")).expect("an answer");
    let job = answer.job().expect("a job");
    ends(&site, &["jobs", "show", "pipeline.yaml", &job], 0, &[&job]);
    process.signal("TERM");
    let gone = || HttpClient::new(&at, ANSWER).request("GET", "/livez", &[], &[]).is_err();
    assert!(wait_until(PATIENCE, gone), "nothing more is accepted");
    client.send(body.as_bytes()).expect("sent");
    assert_eq!(client.answer().expect("an answer").status, 202);
    process.succeed(PATIENCE);
    let summary = site.until_idle("rest", &file, PATIENCE);
    assert_eq!(site.read("shop.take").len(), 2, "{summary}");
    ends(&site, &["jobs", "show", "pipeline.yaml", &job], 0, &["done"]);
    let mut changed = site.command(["run", "--until-idle"]);
    let text =
        tracked(pipeline("shop", IDS)).replace("/orders, auth: none", "/in/orders, auth: { bearer: abc }, rate: 5/s");
    let file = site.write("other.yaml", &text);
    Process::start(changed.arg(&file), site.folder(), "changed").succeed(PATIENCE);
    let file = site.write("without.yaml", &tracked(pipeline("shop", "")));
    let mut refused = Process::start(site.command(["run", "--until-idle"]).arg(&file), site.folder(), "refused");
    assert_eq!(refused.wait(PATIENCE).code(), Some(1));
    assert!(refused.stderr().contains("pipeline_changed"), "{}", refused.stderr());
}
