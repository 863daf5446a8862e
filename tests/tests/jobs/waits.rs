//! Records that wait for an event of another topic: each goes on once, with its event, in time or not at all, whoever is killed.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::http_client::{HttpClient, authority, wait_ready};
use millstream_tests::http_server::{HttpServer, Reply};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use millstream_tests::workspace;
use serde_json::Value;

use crate::{PATIENCE, SESSION, jobs, said};

/// What becomes of a request is in its name: `early` ones were approved before they came, `late` ones while they wait, `never` ones
/// never; `gone` ones are cancelled; `blank` ones do not say by what they would meet their approval.
const KINDS: [&str; 5] = ["early", "late", "never", "gone", "blank"];
const REQUESTS: usize = 20;

fn requests(kinds: &[&str]) -> Vec<String> {
    let all = (0..REQUESTS).map(|n| format!("{}-{n}", KINDS[n % KINDS.len()]));
    all.filter(|id| kinds.iter().any(|kind| id.starts_with(kind))).collect()
}

fn pipeline(site: &Site, name: &str, timeout: &str) -> PathBuf {
    let text = format!(
        "apiVersion: millstream/v1\npipeline: {name}\njobs: {{ track: true }}\n\
         defaults: {{ topics: {{ partitions: 2 }} }}\n\
         source: {{ topic: {name}.raw, format: json, id: .id }}\nstages:\n  - name: take\n    filter: map\n    with: .taken = true\n  \
         - name: approve\n    wait_for: {{ topic: {name}.approvals, by: .uid, timeout: {timeout} }}\n    \
         filter: map\n    with: .approved_by = .event.by\n"
    );
    site.write(&format!("{name}.yaml"), &text)
}

fn produce(site: &Site, name: &str, ids: &[String]) {
    let row = |id: &String| {
        let uid = if id.starts_with("blank") { String::new() } else { format!("\"uid\":\"u-{id}\",") };
        format!("{{\"id\":\"{id}\",{uid}\"team\":\"team {id}\"}}")
    };
    let rows: Vec<String> = ids.iter().map(row).collect();
    site.produce(&format!("{name}.raw"), &rows, &["--create", "--partitions", "2", "--key", ".team"]);
}

fn approve(site: &Site, name: &str, ids: &[String]) {
    let mut rows: Vec<String> =
        ids.iter().map(|id| format!("{{\"uid\":\"u-{id}\",\"by\":\"ada\",\"of\":\"{id}\"}}")).collect();
    // Not of one that anybody waits for, and none at all.
    rows.extend(["{\"uid\":\"u-nobody\"}".to_owned(), "{\"by\":\"ada\"}".to_owned()]);
    site.produce(&format!("{name}.approvals"), &rows, &["--create", "--partitions", "3"]);
}

/// Waits until the requests of these kinds are in these states.
#[track_caller]
fn stand(site: &Site, name: &str, wanted: &[(&str, &str)]) -> BTreeMap<String, Value> {
    let state = |id: &str| wanted.iter().find(|(kind, _)| id.starts_with(kind)).map(|(_, state)| (*state).to_owned());
    let wanted: BTreeMap<String, String> =
        requests(&KINDS).into_iter().filter_map(|id| Some((id.clone(), state(&id)?))).collect();
    let (mut last, mut found) = (BTreeMap::new(), BTreeMap::new());
    wait_until(PATIENCE, || {
        last = jobs(site, name);
        let state =
            |id: &String| last.get(id).map_or(String::new(), |job| job["state"].as_str().unwrap_or("").to_owned());
        found = wanted.keys().map(|id| (id.clone(), state(id))).collect();
        found == wanted
    });
    assert_eq!(found, wanted, "{last:?}");
    last
}

/// What came out: id, key, and whose approval it has.
fn approved(site: &Site, name: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = site
        .read(&format!("{name}.approve"))
        .into_iter()
        .map(|seen| (text(&seen.value["id"]), seen.key.clone().unwrap_or_default(), text(&seen.value["event"]["of"])))
        .collect();
    all.sort();
    all
}

fn met_through_kills(site: &Site, name: &str) {
    let file = pipeline(site, name, "1h");
    approve(site, name, &requests(&["early"]));
    let mut running = [site.run("run-0", &file), site.run("run-1", &file)];
    produce(site, name, &requests(&KINDS));
    stand(site, name, &[("early", "done"), ("late", "waiting"), ("never", "waiting"), ("gone", "waiting")]);
    running[0].kill();
    approve(site, name, &requests(&["late"]));
    running[0] = site.run("run-2", &file);
    for id in requests(&["gone"]) {
        let out = site.command(["jobs", "cancel", name, &id]).output().expect("jobs starts");
        assert_eq!(String::from_utf8_lossy(&out.stdout), format!("{id} cancelled\n"), "{}", said(&out));
    }
    running[1].kill();
    running[1] = site.run("run-3", &file);
    let late = [("early", "done"), ("late", "done"), ("never", "waiting"), ("gone", "cancelled"), ("blank", "failed")];
    let all = stand(site, name, &late);
    for id in requests(&["blank"]) {
        assert_eq!(all[&id]["error"]["code"], "no_correlation", "{}", all[&id]);
    }
    // How many wait is to be seen; those that are cancelled do not, not even for a moment longer than it takes to say so.
    let (mut stage, never) = (Value::Null, requests(&["never"]));
    wait_until(PATIENCE, || {
        let out = site.command(["status", name, "-o", "json"]).output().expect("status starts");
        let status: Value = serde_json::from_slice(&out.stdout).unwrap_or_default();
        let stages = status["pipelines"][0]["stages"].as_array().or(status["stages"].as_array()).cloned();
        stage = stages.unwrap_or_default().into_iter().find(|s| s["name"] == "approve-wait").unwrap_or_default();
        stage["parked"] == never.len()
    });
    assert_eq!(stage["parked"], never.len(), "{stage}");
    for process in &mut running {
        process.signal("TERM");
        process.succeed(PATIENCE);
    }

    // A shorter time is a safe change, and holds for those that wait already.
    let file = pipeline(site, name, "1s");
    let mut run = site.run("run-4", &file);
    let all = stand(site, name, &[("never", "failed"), ("early", "done"), ("late", "done"), ("gone", "cancelled")]);
    for id in &never {
        let error = &all[id]["error"];
        assert_eq!((&error["code"], &error["stage"]), (&"wait_timed_out".into(), &"approve-wait".into()), "{error}");
    }
    run.signal("TERM");
    run.succeed(PATIENCE);
    let letters = site.read(&format!("{name}.approve-wait.dlq"));
    assert_eq!(letters.len(), never.len());
    assert!(letters.iter().all(|letter| letter.value["taken"] == true && letter.key.as_deref().is_some_and(|k| k.starts_with("team"))));

    // One of them is sent back, and is approved after all.
    let file = pipeline(site, name, "1h");
    let out = site.command(["jobs", "retry", name, &never[0]]).output().expect("jobs starts");
    assert!(said(&out).contains("1 letter sent back"), "{}", said(&out));
    approve(site, name, &never[..1]);
    let summary = site.until_idle("last", &file, PATIENCE);
    assert_eq!(summary["pipelines"][0]["balanced"], true, "{summary}");
    let mut wanted: Vec<_> = requests(&["early", "late"]);
    wanted.push(never[0].clone());
    let mut wanted: Vec<_> = wanted.into_iter().map(|id| (id.clone(), format!("team {id}"), id)).collect();
    wanted.sort();
    assert_eq!(approved(site, name), wanted);
    assert_eq!(jobs(site, name)[&never[0]]["state"], "done");
    assert_eq!(site.read(&format!("{name}.approve-events.dlq")).len(), 3, "what says of nobody that it approves");
    assert!(!jobs(site, name).keys().any(|id| id.contains("approvals")), "an event is no job");

    // What a change of it means, and what is not done yet.
    let plan = |from: &str, to: &str| {
        let text = std::fs::read_to_string(&file).expect("the pipeline").replace(from, to);
        site.write("other.yaml", &text);
        said(&site.command(["plan", "other.yaml"]).output().expect("plan starts"))
    };
    let safe = plan("timeout: 1h", "timeout: 2h");
    assert!(safe.contains("1 change") && safe.contains("safe  ") && !safe.contains("unsafe"), "{safe}");
    assert!(plan("by: .uid", "by: .id").contains("unsafe  stage `approve-records`: `key`"));
    assert!(plan(".approvals,", ".others,").contains("unsafe  stage `approve-events`: reads"));
    for how in [&["--in-place"][..], &["--beside", "again"]] {
        let arguments = ["replay", name, "--from", "start", "--to", "end"];
        let out = site.command(arguments.iter().chain(how)).output().expect("replay starts");
        assert!(said(&out).contains("is not supported yet"), "{}", said(&out));
    }
}

#[test]
fn what_waits_meets_its_event_through_kills_on_the_embedded_log() {
    met_through_kills(&Site::embedded(), "jobs-wait");
}

#[test]
fn what_waits_meets_its_event_through_kills_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    met_through_kills(&Site::kafka(cluster.bootstrap(), SESSION), &unique("jobs-wait"));
}

/// A worker dies in the commit in which `late-1` meets its approval, having written what waits as `breaks` says; how often it has
/// gone on in the end.
fn after_a_death_in_the_commit(breaks: &str) -> usize {
    let (site, name) = (Site::embedded(), "jobs-wait-broken");
    let (file, id) = (pipeline(&site, name, "1h"), vec!["late-1".to_owned()]);
    approve(&site, name, &[]);
    produce(&site, name, &id);
    site.until_idle("waits", &file, PATIENCE);
    approve(&site, name, &id);
    site.run_broken("broken", &file, breaks, "die_in_commit", &id[0]).wait(PATIENCE);
    site.until_idle("whole", &file, PATIENCE);
    approved(&site, name).len()
}

/// Negative control: what waits is written outside the transaction of what goes on, before it. Also: `until-idle` does not wait for
/// what waits.
#[test]
fn what_is_taken_back_before_the_transaction_never_goes_on() {
    assert_eq!(after_a_death_in_the_commit("nothing"), 1, "the fault alone breaks nothing");
    assert_eq!(after_a_death_in_the_commit("marks_first"), 0);
}

/// `pipelines/provision-tenant`: a tenant that is approved, and one that nobody approves.
#[test]
fn tenants_are_provisioned_or_taken_back() {
    let site = Site::embedded();
    let server = HttpServer::start(|request| Reply::json(&format!("{{\"by\":\"{}\"}}", request.path)));
    let file = workspace().join("pipelines/provision-tenant");
    let start = |name: &str, timeout: &str| {
        let mut command = site.command(["run", "--create-source", "--listen", "127.0.0.1:0"]);
        command.env("ACCOUNTS", server.url("")).env("DATABASES", server.url("")).env("APPROVAL_TIMEOUT", timeout);
        let mut run = Process::start(command.arg(&file), site.folder(), name);
        let mut client = HttpClient::new(&authority(&mut run, PATIENCE), PATIENCE);
        wait_ready(&mut client, PATIENCE);
        (run, client)
    };
    let stands = |client: &mut HttpClient, job: &str, wanted: &str| {
        let mut state = Value::Null;
        wait_until(PATIENCE, || {
            let path = format!("/api/v1/jobs/{job}");
            state = client.request("GET", &path, &[], b"").expect("an answer").json()["state"].clone();
            state == wanted
        });
        assert_eq!(state, wanted, "{job}");
    };
    let (mut run, mut client) = start("run", "2d");
    let mut tenant = |name: &str| {
        let headers =
            [("authorization", "Bearer only-to-try"), ("content-type", "application/json"), ("idempotency-key", name)];
        let body = format!("{{\"tenant\":\"{name}\",\"plan\":\"gold\",\"mail\":\"ops@example.com\"}}");
        let taken = client.request("POST", "/tenants", &headers, body.as_bytes()).expect("an answer");
        taken.json()["job"].as_str().expect("a job").to_owned()
    };
    let all = ["acme", "hasty", "shy"].map(&mut tenant);
    all.iter().for_each(|job| stands(&mut client, job, "waiting"));
    let decisions = ["acme\",\"approved\":true", "shy\",\"approved\":false"];
    let decisions = decisions.map(|what| format!("{{\"tenant\":\"{what},\"by\":\"ada\"}}"));
    site.produce("tenant-approvals", &decisions, &[]);
    for (job, state) in all.iter().zip(["done", "waiting", "compensated"]) {
        stands(&mut client, job, state);
    }
    run.signal("TERM");
    run.succeed(PATIENCE);
    // Nobody says anything about the other in time.
    let (mut run, mut client) = start("again", "1s");
    stands(&mut client, &all[1], "compensated");
    run.signal("TERM");
    run.succeed(PATIENCE);

    let mut called: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for request in server.received() {
        let body: Value = serde_json::from_slice(&request.body).expect("JSON");
        called.entry(body["tenant"].as_str().expect("a tenant").to_owned()).or_default().push(request.path);
    }
    let made = ["/accounts", "/databases"];
    let taken_back = [&made[..], &["/databases/drop", "/accounts/close"]].concat();
    assert_eq!(called["acme"], [&made[..], &["/accounts/activate"]].concat());
    assert_eq!(
        (&called["hasty"], &called["shy"]),
        (&taken_back.iter().map(ToString::to_string).collect(), &taken_back.iter().map(ToString::to_string).collect())
    );
    let mails = site.read("provision-tenant.mails");
    assert_eq!(mails.len(), 1, "one mail, to the tenant that is approved");
    assert_eq!(mails[0].value["subject"], "Welcome, acme");
}
