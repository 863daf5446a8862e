//! Objects as a source: what may stand there, and what comes of it.

mod common;

use std::path::Path;
use std::time::Duration;

use common::{bad, good};
use millstream_filter_api::Severity;
use millstream_spec::graph;
use millstream_spec::model::{Access, Emit, On, Place, Service};

fn yaml(objects: &str) -> String {
    of(&format!("objects: {{ {objects} }}"))
}

fn of(source: &str) -> String {
    format!("pipeline: p\nsource: {{ {source} }}\nstages:\n  - {{ name: a, filter: where, with: 'true' }}\n")
}

fn one(yaml: &str, code: &str, words: &str) {
    let wrong = bad(yaml).into_iter().filter(|i| i.severity == Severity::Error);
    let found: Vec<_> = wrong.map(|i| (i.code, format!("{} {}", i.message, i.help.unwrap_or_default()))).collect();
    assert!(matches!(found.as_slice(), [(c, said)] if *c == code && said.contains(words)), "{found:?}\n{yaml}");
}

#[test]
fn a_folder() {
    let (p, warnings) = good(&yaml("url: 'file:///srv/a%20b', match: '**/*.jpg'"));
    assert_eq!(warnings, []);
    let source = &p.sources[0];
    let objects = source.objects().expect("objects");
    assert!(matches!(&objects.place, Place::Folder(path) if path == Path::new("/srv/a b")), "{objects:?}");
    let fits = |name: &str| objects.matching.as_ref().is_some_and(|m| m.glob.is_match(name));
    assert!(fits("a.jpg") && fits("x/y/a.jpg") && !fits("a.jpeg"));
    assert_eq!(objects.on, On { created: true, changed: true, deleted: false });
    assert_eq!(
        (objects.settle, objects.every, objects.notify),
        (Duration::from_secs(2), Duration::from_secs(10), true)
    );
    assert_eq!(objects.emit, Emit::Reference);
    assert_eq!((source.topic.as_str(), source.seen_topic().as_deref()), ("p.in", Some("p.in.seen")));
    assert!(graph::text(&p).contains("objects file:///srv/a%20b (**/*.jpg)"), "{}", graph::text(&p));
    let (p, _) =
        good(&yaml("url: 'file:inbox', settle: 0s, watch: poll, emit: content, max_content: 2MiB, on: [deleted]"));
    let objects = p.sources[0].objects().expect("objects");
    assert!(matches!(&objects.place, Place::Folder(path) if path.ends_with("inbox")), "{objects:?}");
    assert_eq!((objects.settle, objects.notify), (Duration::ZERO, false));
    assert_eq!(objects.emit, Emit::Content { max: 2 << 20, base64: false });
    assert!(p.sources[0].topic_settings.max_record_bytes > objects.max_payload());
    good(&yaml("url: 'file://localhost/srv/in'"));
}

#[test]
fn buckets() {
    let bucket = |objects: &str| {
        let (p, warnings) = good(&yaml(objects));
        assert_eq!(warnings, []);
        match p.sources[0].objects().expect("objects").place.clone() {
            Place::Bucket(bucket) => *bucket,
            Place::Folder(path) => panic!("{}", path.display()),
        }
    };
    let s3 = bucket(
        "url: 's3://b.c/in/x/', region: eu, endpoint: 'http://localhost:9000', auth: { access_key: k, secret_key: sss }",
    );
    assert_eq!((s3.service, s3.name.as_str(), s3.prefix.as_str()), (Service::S3, "b.c", "in/x"));
    assert!(matches!(&s3.access, Access::Keys(key, secret, None) if key == "k" && secret.reveal() == "sss"));
    assert!(!format!("{s3:?}").contains("sss"), "{s3:?}");
    let azure = bucket("url: 'azblob://c', account: a, auth: { account_key: k }");
    assert_eq!((azure.service, azure.account.as_deref(), azure.prefix.as_str()), (Service::Azblob, Some("a"), ""));
    assert!(matches!(azure.access, Access::AccountKey(_)));
    assert!(matches!(bucket("url: 'azblob://c/x', account: a, auth: { sas: k }").access, Access::Sas(_)));
    assert!(matches!(bucket("url: 'gs://c/x', auth: { credential: k }").access, Access::Credential(_)));
    assert_eq!(bucket("url: 'gs://c/x', auth: none").access, Access::Anonymous);
    assert_eq!(bucket("url: 's3://c'").access, Access::Environment);
}

#[test]
fn what_is_wrong() {
    for (objects, code, words) in [
        ("match: '*'", "missing_key", "url"),
        ("url: /srv/in", "bad_objects_url", "such as `file:///srv/uploads`"),
        ("url: 'ftp://x/y'", "bad_objects_url", "such as `file:///srv/uploads`"),
        ("url: 'file://server/srv'", "bad_objects_url", "another machine"),
        ("url: 'file:///a?b'", "bad_objects_url", "%3F"),
        ("url: 'file:///a%0'", "bad_objects_url", "hexadecimal"),
        ("url: 's3:///x'", "bad_objects_url", "name of a bucket"),
        ("url: 's3://b/../c'", "bad_objects_url", "`..`"),
        ("url: 's3://b', endpoint: 'localhost:9000'", "bad_objects_url", "URL of a server"),
        ("url: 'file:in', match: '[a'", "bad_pattern", "no pattern"),
        ("url: 'file:in', match: '/a'", "bad_pattern", "without `/`"),
        ("url: 'file:in', on: []", "wrong_count", ""),
        ("url: 'file:in', on: [renamed]", "unknown_word", "`created`"),
        ("url: 'file:in', max_content: 1MiB", "conflicting_keys", "emit: content"),
        ("url: 'file:in', emit: content, max_content: 5MiB", "out_of_range", "4 MiB"),
        ("url: 'file:in', region: eu", "conflicting_keys", "folder"),
        ("url: 'file:in', auth: none", "conflicting_keys", "folder"),
        ("url: 's3://b', watch: notify", "conflicting_keys", "folders"),
        ("url: 's3://b', account: a", "conflicting_keys", "s3://"),
        ("url: 's3://b', auth: { access_key: k }", "missing_key", "secret_key"),
        ("url: 's3://b', auth: { access_key: k, secret_key: s, sas: x }", "conflicting_keys", "`sas`"),
        ("url: 'azblob://b'", "missing_key", "account"),
        ("url: 'file:in', every: 0s", "bad_duration", ""),
    ] {
        one(&yaml(objects), code, words);
    }
    for key in ["format: json", "fields: { a: string }"] {
        one(&of(&format!("objects: {{ url: 'file:in' }}, {key}")), "conflicting_keys", "take the content apart");
    }
    one(&of("objects: { url: 'file:in' }, id: { header: x }"), "no_headers", "");
    one(
        "pipeline: p\nsources: { seen: { objects: { url: 'file:in' } } }\nstages: [{ name: a, from: seen, filter: where, with: 'true' }]\n",
        "reserved_name",
        "",
    );
}

#[test]
fn several_are_told_apart_by_their_names() {
    let (p, _) = good(
        "pipeline: p\nsources: { x: { objects: { url: 'file:x' } }, y: { objects: { url: 'file:y' } } }\n\
         stages: [{ name: a, from: [x, y], filter: where, with: 'true' }]\n",
    );
    let prefixes: Vec<_> = p.sources.iter().map(|s| s.id_prefix.as_deref()).collect();
    assert_eq!(prefixes, [Some("x"), Some("y")]);
    assert_eq!(p.sources[1].seen_topic().as_deref(), Some("p.in.y.seen"));
}
