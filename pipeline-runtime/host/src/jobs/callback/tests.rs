use std::sync::Arc;

use millstream_spec::model::{Judge, TopicSettings};

use super::super::note::What;
use super::*;

fn callbacks(on: &[&str]) -> Callbacks {
    let judge =
        |url: &str| if url.starts_with("https://a/") { Ok(()) } else { Err("is none of those that are allowed") };
    let rule = JobCallback {
        url: "callback_url".into(),
        stages: on.contains(&"stage"),
        states: on.iter().map(|word| (*word).to_owned()).collect(),
        judge: Judge::new(Arc::new(judge)),
        topic: "p.jobs.callbacks".into(),
        settings: TopicSettings {
            partitions: 1,
            partitions_said: true,
            retention: None,
            replication: None,
            max_record_bytes: None,
        },
    };
    Callbacks { pipeline: "p".into(), rule, partitions: 1 }
}

const ALL: &[&str] = &["stage", "done", "failed", "cancelled", "compensated"];

fn asks(url: &str) -> Option<Box<Callback>> {
    let headers: Headers = [("callback_url", Some(url.as_bytes()))].into_iter().collect();
    Callback::of("callback_url", &headers).map(Box::new)
}

fn forwarded(stage: &'static str, births: u32) -> Note<'static> {
    Note { at: 7, ..Note::new(stage, What::Forwarded { births, result: None, into: Vec::new() }, 5) }
}

/// A job whose first record has come past `a`, with two records for `b`.
fn begun(url: &str) -> JobStatus {
    let note = Note { root: true, callback: asks(url), ..forwarded("a", 2) };
    let mut status = JobStatus::begin(&note);
    add(&mut status, &note);
    status
}

fn add(status: &mut JobStatus, note: &Note<'_>) {
    status.add(note, status.notes);
    status.notes += 1;
}

/// Types and stages of what is told now.
fn told(callbacks: &Callbacks, status: &mut JobStatus) -> Vec<String> {
    let read = |told: &Outgoing| {
        let body: serde_json::Value = serde_json::from_slice(told.value.as_ref().unwrap()).unwrap();
        assert_eq!(
            (&body["data"]["job"], told.headers.get_str(URL_HEADER)),
            (&"j".into(), Some("https://a/x?token=1"))
        );
        format!(
            "{}{}",
            body["type"].as_str().unwrap(),
            body["stage"].as_str().map_or(String::new(), |s| format!(" {s}"))
        )
    };
    callbacks.tell(&Bytes::from_static(b"j"), status).iter().map(read).collect()
}

#[test]
fn headers_ask_and_what_they_do_wrong_is_a_reason() {
    assert_eq!(Callback::of("callback_url", &Headers::new()), None);
    assert_eq!(asks(""), None);
    assert_eq!(
        asks("https://a/x?token=1").map(|c| (c.refused.clone(), c.place().to_owned())),
        Some((None, "https://a/x".into()))
    );
    for bad in ["https://a/ä", "https://a/ x", "https://a/\r\nx: y", &format!("https://a/{}", "x".repeat(MAX_URL))] {
        let asked = asks(bad).unwrap();
        assert!(asked.refused.is_some() && asked.url.len() <= MAX_URL, "{asked:?}");
    }
}

#[test]
fn each_stage_is_told_once_and_each_end_each_time() {
    let callbacks = callbacks(ALL);
    let mut status = begun("https://a/x?token=1");
    assert_eq!(told(&callbacks, &mut status), ["job.stage a"]);
    assert_eq!(told(&callbacks, &mut status), [""; 0], "nothing is new");
    add(&mut status, &forwarded("b", 0));
    assert_eq!(told(&callbacks, &mut status), ["job.stage b"]);
    let dead = What::Dead { code: "x".into(), message: "why".into(), ends_job: false };
    add(&mut status, &Note::new("b", dead, 5));
    assert_eq!(told(&callbacks, &mut status), ["job.failed"]);
    add(&mut status, &Note::new("b", What::Redriven, 5));
    assert_eq!(told(&callbacks, &mut status), [""; 0]);
    add(&mut status, &forwarded("b", 0));
    assert_eq!(told(&callbacks, &mut status), ["job.done"]);
}

#[test]
fn what_happens_between_two_looks_is_told_in_its_order() {
    let mut status = begun("https://a/x?token=1");
    add(&mut status, &Note::new("b", What::Dropped, 5));
    add(&mut status, &Note::new("b", What::Cancel, 5));
    add(&mut status, &Note::new("b", What::Dropped, 5));
    let before = status.clone();
    assert_eq!(told(&callbacks(ALL), &mut status), ["job.stage a", "job.stage b", "job.cancelled"]);
    let mut status = before;
    assert_eq!(told(&callbacks(&["done"]), &mut status), [""; 0]);
    assert_eq!(told(&callbacks(&["done", "cancelled"]), &mut status), [""; 0], "it was not wanted then");
}

#[test]
fn a_refused_address_is_noted_once_and_the_first_one_counts() {
    let mut status = begun("https://b/");
    let callbacks = callbacks(ALL);
    let written = callbacks.tell(&Bytes::from_static(b"j"), &mut status);
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].headers.get_str(REFUSED_HEADER), Some("the address is none of those that are allowed"));
    let other = Note { root: true, callback: asks("https://a/x?token=1"), ..Note::new("a", What::Duplicate, 5) };
    add(&mut status, &other);
    add(&mut status, &forwarded("b", 0));
    assert!(callbacks.tell(&Bytes::from_static(b"j"), &mut status).is_empty());
    assert_eq!(status.callback.map(|c| c.url), Some("https://b/".to_owned()));
}

/// Durable forms, and what receivers see: change them with care.
#[test]
fn its_forms_are_stable_and_its_id_is_the_same_each_time() {
    let callbacks = callbacks(ALL);
    let make = || callbacks.tell(&Bytes::from_static(b"j"), &mut begun("https://a/x?token=1")).remove(0);
    let (once, again) = (make(), make());
    let ids = [&once, &again].map(|told| told.headers.get_str(ID_HEADER).unwrap().to_owned());
    assert!(ids[0].starts_with("msg_") && ids[0].len() == 36 && ids[0] == ids[1], "{ids:?}");
    let value = String::from_utf8(once.value.unwrap().to_vec()).unwrap();
    let golden = concat!(
        r#"{"type":"job.stage","stage":"a","timestamp":"1970-01-01T00:00:00.007Z","#,
        r#""data":{"job":"j","state":"running","#
    );
    assert!(value.starts_with(golden) && value.contains(r#""callback":{"to":"https://a/x"}"#), "{value}");
    let mut status = begun("https://a/x?token=1");
    callbacks.tell(&Bytes::from_static(b"j"), &mut status);
    let written = serde_json::to_string(&status.callback).unwrap();
    assert_eq!(written, r#"{"url":"https://a/x?token=1","judged":true,"stages":["a"]}"#);
    assert_eq!(serde_json::from_str::<Option<Box<Callback>>>(&written).unwrap(), status.callback);
    let mut later = status.clone();
    add(&mut later, &forwarded("b", 0));
    add(&mut later, &forwarded("b", 0));
    let told = callbacks.tell(&Bytes::from_static(b"j"), &mut later);
    let all: std::collections::HashSet<_> = told.iter().map(|t| t.headers.get_str(ID_HEADER).unwrap()).collect();
    assert!(all.len() == 2 && !all.contains(ids[0].as_str()), "{all:?}");
}
