//! Letters of other systems: read, and sent again, from a topic of theirs.

use millstream_test_kafka::{KafkaCluster, unique};
use millstream_tests::site::Site;
use serde_json::json;

use crate::letters::{SESSION, json, lines, read, topic};

fn connect(site: &Site, name: &str) {
    let (dlq, to) = (format!("{name}-dlq"), format!("{name}-mended"));
    let header = |name: &str, value: &str| ["--header".to_owned(), format!("__connect.errors.{name}={value}")];
    let headers: Vec<String> = [
        header("topic", "orders"),
        header("partition", "2"),
        header("offset", "41"),
        header("connector.name", "sink"),
        header("stage", "VALUE_CONVERTER"),
        header("exception.class.name", "org.apache.kafka.connect.errors.DataException"),
        header("exception.message", "no schema"),
    ]
    .concat();
    let mut options: Vec<&str> = headers.iter().map(String::as_str).collect();
    options.extend(["--header", "origin=shop", "--create", "--partitions", "2", "--key", ".k"]);
    let rows: Vec<String> = (0..10).map(|n| format!("{{\"k\":\"k{n}\",\"n\":{n}}}")).collect();
    site.produce(&dlq, &rows, &options);
    topic(site, &to);

    let groups = json(site, &["ls", "--topic", &dlq]);
    let group = &groups["groups"][0];
    assert_eq!(
        [&group["code"], &group["stage"], &group["count"]],
        [&json!("DataException"), &json!("VALUE_CONVERTER"), &json!(10)]
    );
    let one =
        lines(site, &["export", "--topic", &dlq, "--where", "int!(.n) == 3 && %topic == \"orders\" && %offset == 41"]);
    assert_eq!(one[0]["error"]["message"], "no schema");
    assert_eq!(one[0]["headers"], json!([["origin", "shop"]]));
    assert_eq!(json(site, &["redrive", "--topic", &dlq, "--to", &to, "--key", "k3"])["letters"], 1);
    assert_eq!(json(site, &["redrive", "--topic", &dlq, "--to", &to])["letters"], 9);
    assert_eq!(json(site, &["ls", "--topic", &dlq])["groups"], json!([]));
    let sent = read(site, &to, 10);
    assert_eq!(sent.len(), 10);
    assert!(sent.iter().all(|r| r.headers.len() == 2 && r.header("origin") == Some("shop")), "{sent:?}");
}

#[test]
fn letters_of_kafka_connect_on_the_embedded_log() {
    connect(&Site::embedded(), "sink");
}

#[test]
fn letters_of_kafka_connect_on_kafka() {
    let Some(cluster) = KafkaCluster::shared() else { return };
    connect(&Site::kafka(cluster.bootstrap(), SESSION), &unique("sink"));
}
