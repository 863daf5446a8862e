//! Requests as a source: what may stand there, and what comes of it.

mod common;

use common::{bad, good};
use millstream_filter_api::Severity;
use millstream_spec::graph;
use millstream_spec::model::{Encoding, Format, HttpAuth};

fn yaml(source: &str, stage: &str) -> String {
    format!("pipeline: p\nsource: {source}\nstages:\n  - {{ name: a, filter: where, with: 'true'{stage} }}\n")
}

fn one(yaml: &str, code: &str, words: &str) {
    let wrong = bad(yaml).into_iter().filter(|i| i.severity == Severity::Error);
    let found: Vec<_> = wrong.map(|i| (i.code, format!("{} {}", i.message, i.help.unwrap_or_default()))).collect();
    assert!(matches!(found.as_slice(), [(c, said)] if *c == code && said.contains(words)), "{found:?}\n{yaml}");
}

#[test]
fn all_of_it() {
    let (p, warnings) = good(&yaml(
        "{ http: { path: /in/orders, auth: { bearer: abc }, id: { header: Idempotency-Key }, max_body: 64KiB, rate: 30/m, respond: accepted }, \
         format: text, key: { header: ce_subject } }",
        "",
    ));
    assert_eq!(warnings, []);
    let source = &p.sources[0];
    let http = source.http().expect("http");
    assert_eq!(
        (http.path.as_str(), http.id.as_deref(), http.max_body, http.rate),
        ("/in/orders", Some("idempotency-key"), 65_536, Some(0.5))
    );
    assert!(matches!(&http.auth, HttpAuth::Bearer(token) if token.reveal() == "abc"));
    assert!(!format!("{http:?}").contains("abc"), "{http:?}");
    assert_eq!((source.topic.as_str(), source.ids_topic().as_deref()), ("p.in", Some("p.in.ids")));
    assert_eq!((&source.format, source.topic_settings.max_record_bytes), (&Format::Text, Some(2 * 65_536)));
    assert!(graph::text(&p).contains("source: http /in/orders (text) -> p.in"), "{}", graph::text(&p));
}

#[test]
fn who_may_send() {
    let auth = |text: &str| {
        let (p, _) = good(&yaml(&format!("{{ http: {{ path: /x, auth: {text} }} }}"), ""));
        let http = p.sources[0].http().expect("http");
        assert!(p.sources[0].ids_topic().is_none());
        http.auth.clone()
    };
    assert_eq!(auth("none"), HttpAuth::None);
    assert!(matches!(auth("{ basic: { user: u, password: 'p:p' } }"), HttpAuth::Basic { user, .. } if user == "u"));
    assert!(matches!(auth("{ hmac: { secret: s } }"), HttpAuth::Webhook(_)));
    let hmac = auth("{ hmac: { secret: s, header: X-Sig, algorithm: sha256, encoding: base64, prefix: 'v=' } }");
    assert!(
        matches!(hmac, HttpAuth::Hmac { header, encoding: Encoding::Base64, prefix, .. } if header == "x-sig" && prefix == "v=")
    );
}

#[test]
fn what_is_wrong() {
    let http = |inside: &str| yaml(&format!("{{ http: {{ {inside} }} }}"), "");
    one(&http("path: /x"), "missing_key", "`auth`");
    one(&http("auth: none"), "missing_key", "`path`");
    for path in ["orders", "/", "/a//b", "/a/", "/a/../b", "/a b", "/livez", "/api/v1", "/metrics/x", "'/ä'"] {
        one(&http(&format!("path: {path}, auth: none")), "bad_url_path", "expected a path");
    }
    for path in ["/orders", "/a.b/~c/-", "/apis", "/livezz"] {
        good(&http(&format!("path: {path}, auth: none")));
    }
    one(&http("path: /x, auth: nobody"), "unknown_word", "`none`");
    one(&http("path: /x, auth: {}"), "missing_key", "`bearer` or `basic` or `hmac`");
    one(
        &http("path: /x, auth: { bearer: a, basic: { user: u, password: p } }"),
        "conflicting_keys",
        "exclude each other",
    );
    one(&http("path: /x, auth: { basic: { user: 'a:b', password: p } }"), "wrong_text", "no `:`");
    one(&http("path: /x, auth: { hmac: { secret: s, prefix: x } }"), "missing_key", "only beside `header`");
    one(&http("path: /x, auth: { hmac: { secret: s, header: h, algorithm: md5 } }"), "unknown_word", "`sha256`");
    one(&http("path: /x, auth: { hmac: { secret: 'whsec_?' } }"), "bad_secret", "base64");
    one(&http("path: /x, auth: none, id: { header: 'a b' }"), "bad_header", "idempotency-key");
    one(&http("path: /x, auth: none, id: .order"), "wrong_type", "`id`");
    one(&http("path: /x, auth: none, max_body: 17MiB"), "out_of_range", "16 MiB");
    one(&http("path: /x, auth: none, rate: 0/s"), "bad_rate", "");
    one(&http("path: /x, auth: none, respond: { result: soon }"), "bad_duration", "duration");
    one(&http("path: /x, auth: none, respond: result"), "unknown_word", "`accepted`");
    let beside = |beside: &str| yaml(&format!("{{ http: {{ path: /x, auth: none }}, {beside} }}"), "");
    one(&beside("id: .order"), "conflicting_keys", "inside `http`");
    one(&beside("format: csv"), "unknown_word", "`json`, `text` or `raw`");
    one(&beside("format: jsonl"), "unknown_word", "`json`, `text` or `raw`");
    one(&beside("start: latest"), "missing_key", "`topic`");
    one(&beside("format: text, fields: { a: string }"), "conflicting_keys", "`fields`");
}

#[test]
fn an_id_wants_a_stage_that_knows_repeats() {
    let source = "{ http: { path: /x, auth: none, id: { header: k } } }";
    one(&yaml(source, ", dedup: off"), "id_needs_dedup", "stage `a`");
    good(&yaml("{ http: { path: /x, auth: none } }", ", dedup: off"));
    one(&yaml(source, ", to: p.in.ids"), "duplicate_topic", "ids that were taken in");
    let named = "pipeline: p\nsources: { ids: { http: { path: /x, auth: none } } }\nstages: [{ name: a, from: ids, filter: where, with: 'true' }]\n";
    one(named, "reserved_name", "`ids`");
}

#[test]
fn two_sources_have_two_paths() {
    let two = "pipeline: p\nsources: { a: { http: { path: /x, auth: none } }, b: { http: { path: /x, auth: none } } }\n\
               stages: [{ name: s, from: [a, b], filter: where, with: 'true' }]\n";
    one(two, "shared_path", "the first is at 2:");
}
