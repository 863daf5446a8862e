//! Events and signatures, over TLS, with programs of others: curl and openssl.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use millstream_tests::http_client::authority;
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;
use serde_json::{Value, json};

use crate::common::{PATIENCE, root};

const PIPELINE: &str = "pipeline: shop
sources:
  events: { http: { path: /events, auth: none, id: { header: idempotency-key } }, fields: { n: integer } }
  loose: { http: { path: /loose, auth: none } }
  hooks: { http: { path: /hooks, auth: { hmac: { secret: whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw } }, id: { header: webhook-id } } }
  signed: { http: { path: /signed, auth: { hmac: { secret: key, header: X-Hub-Signature-256, prefix: 'sha256=' } } } }
stages:
  - { name: events-seen, from: events, filter: where, with: 'true' }
  - { name: loose-seen, from: loose, filter: where, with: 'true' }
  - { name: hooks-seen, from: [hooks, signed], filter: where, with: 'true' }
";

fn run(program: &str, arguments: &[&str], site: &Site) -> String {
    let out = Command::new(program).args(arguments).current_dir(site.folder()).output();
    let out = out.unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(out.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Signs text with openssl, so that both sides are not one code.
fn sign(site: &Site, hex_key: &str, text: &str) -> (String, String) {
    site.write("signed.txt", text);
    let mac = format!("hexkey:{hex_key}");
    let words = ["dgst", "-sha256", "-mac", "HMAC", "-macopt", &mac, "-hex", "signed.txt"];
    let hex = run("openssl", &words, site).trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let base64 = run("sh", &["-c", &format!("printf %s {hex} | xxd -r -p | base64")], site).trim().to_owned();
    (hex, base64)
}

/// A request over TLS: its status and its document.
fn post(site: &Site, at: &str, path: &str, headers: &[&str], body: &str) -> (u16, Value) {
    let url = format!("https://{at}{path}");
    let mut words =
        vec!["-s", "--cacert", "cert.pem", "--max-time", "100", "-w", "\n%{http_code}", "--data-binary", body];
    headers.iter().for_each(|header| words.extend(["-H", header]));
    words.push(&url);
    let out = run("curl", &words, site);
    let (document, status) = out.trim_end().rsplit_once('\n').unwrap_or_default();
    (status.parse().unwrap_or_default(), serde_json::from_str(document).unwrap_or_default())
}

#[test]
fn events_and_signatures_come_in_over_tls() {
    let site = Site::embedded();
    let certificate = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 2 \
                       -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1";
    run("openssl", &certificate.split_whitespace().collect::<Vec<_>>(), &site);
    let file = site.write("pipeline.yaml", PIPELINE);
    let mut command =
        site.command(["run", "--listen", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"]);
    let mut process = Process::start(command.arg(&file), site.folder(), "serves");
    let at = authority(&mut process, PATIENCE);
    let url = format!("https://{at}/readyz");
    let ready = || {
        let curl = Command::new("curl").args(["-sf", "--cacert", "cert.pem", &url]).current_dir(site.folder()).output();
        curl.is_ok_and(|out| out.status.success())
    };
    assert!(wait_until(PATIENCE, ready), "{}", process.stderr());

    // One event in its three forms is one job.
    let event = |id: &str, n: u32| {
        format!(
            "{{\"specversion\":\"1.0\",\"id\":\"{id}\",\"source\":\"/shop\",\"type\":\"order\",\"data\":{{\"n\":{n}}}}}"
        )
    };
    let binary =
        ["ce-specversion: 1.0", "ce-id: A-1", "ce-source: /shop", "ce-type: order", "content-type: application/json"];
    let (structured, batch) =
        ("content-type: application/cloudevents+json", "content-type: application/cloudevents-batch+json");
    for (path, conflict) in [("/events", 409), ("/loose", 202)] {
        let (status, first) = post(&site, &at, path, &binary, "{\"n\":1}");
        assert_eq!(status, 202, "{first}");
        assert_eq!(post(&site, &at, path, &[structured], &event("A-1", 1)), (202, first.clone()));
        let (status, all) = post(&site, &at, path, &[batch], &format!("[{},{}]", event("A-1", 1), event("A-2", 2)));
        assert_eq!((status, &all["jobs"][0]), (202, &first["job"]), "{all}");
        assert_eq!(post(&site, &at, path, &[structured], &event("A-1", 9)).0, conflict, "another payload");
        // All or nothing.
        let (status, wrong) = post(&site, &at, path, &[batch], &format!("[{},{{}}]", event("A-3", 3)));
        assert_eq!((status, &wrong["code"]), (400, &json!("bad_event")), "{wrong}");
    }
    let (status, conflict) =
        post(&site, &at, "/events", &[batch], &format!("[{},{}]", event("A-4", 4), event("A-1", 9)));
    assert_eq!((status, &conflict["code"]), (409, &json!("id_conflict")), "{conflict}");
    let (status, wrong) = post(&site, &at, "/events", &binary[1..], "{\"n\":1}");
    assert_eq!((status, &wrong["field"]), (400, &json!("specversion")), "{wrong}");
    let (status, wrong) = post(&site, &at, "/events", &[structured], &event("A-5", 5).replace('5', "\"x\""));
    assert!(matches!(status, 400 | 422), "{wrong}");

    // Signed by openssl.
    let key = "31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0";
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let hook = |at_time: u64, signature: &str| {
        let headers = [
            "webhook-id: msg_1".to_owned(),
            format!("webhook-timestamp: {at_time}"),
            format!("webhook-signature: v1,{signature}"),
        ];
        let headers: Vec<&str> = headers.iter().map(String::as_str).chain(["content-type: application/json"]).collect();
        post(&site, &at, "/hooks", &headers, "{\"n\":7}")
    };
    let (_, good) = sign(&site, key, &format!("msg_1.{now}.{{\"n\":7}}"));
    let first = hook(now, &good);
    assert_eq!(first.0, 202, "{}", first.1);
    assert_eq!(hook(now, &good), first, "the same message again");
    assert_eq!(hook(now + 1, &good).0, 401);
    let (_, old) = sign(&site, key, &format!("msg_1.{}.{{\"n\":7}}", now - 1000));
    assert_eq!(hook(now - 1000, &old).0, 401, "too old");
    let (hex, _) = sign(&site, "6b6579", "{\"n\":8}");
    let signed = |signature: &str| {
        post(
            &site,
            &at,
            "/signed",
            &[&format!("x-hub-signature-256: {signature}"), "content-type: application/json"],
            "{\"n\":8}",
        )
        .0
    };
    assert_eq!(
        (signed(&format!("sha256={hex}")), signed(&hex), signed(&format!("sha256={}", "0".repeat(64)))),
        (202, 401, 401)
    );

    let numbers = |topic: &str| -> Vec<u64> { site.read(topic).iter().filter_map(|r| r.value["n"].as_u64()).collect() };
    assert!(wait_until(PATIENCE, || numbers("shop.hooks-seen").len() == 2 && numbers("shop.loose-seen").len() == 2));
    process.signal("TERM");
    process.succeed(PATIENCE);
    site.until_idle("rest", &file, PATIENCE);
    for topic in ["shop.events-seen", "shop.loose-seen"] {
        assert_eq!(numbers(topic).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([1, 2]));
        assert_eq!(numbers(topic).len(), 2, "{topic}: each once");
    }
    let inlet = site.read("shop.in.events");
    let of = |name: &str| inlet[0].headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.clone());
    assert_eq!(
        (of("ce_type"), of("ce_source"), of("ce_eventid")),
        (Some("order".into()), Some("/shop".into()), Some("A-1".into()))
    );
    assert_eq!(of("ce_id"), Some(root(&inlet[0])), "the job");
}
