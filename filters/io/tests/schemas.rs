//! The client of schema registries, against a registry of the tests' own.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use millstream_codec::{
    Answer, Known, Question, Registered, RegistryAddress, RegistryAuth, SchemaRegistry as Port, Subject,
};
use millstream_filters_io::SchemaRegistries;
use millstream_tests::http_server::Reply;
use millstream_tests::schema_registry::SchemaRegistry;
use serde_json::json;

const LINE: &str = r#"{"type":"record","name":"Line","namespace":"shop","fields":[{"name":"n","type":"int"},{"name":"of","type":"shop.Kind"}]}"#;
const KIND: &str = r#"{"type":"enum","name":"shop.Kind","symbols":["A","B"]}"#;
const ORDER: &str = r#"{"type":"record","name":"shop.Order","fields":[{"name":"line","type":"shop.Line"},{"name":"kind","type":"shop.Kind"}]}"#;

fn at(registry: &SchemaRegistry, auth: RegistryAuth) -> Arc<dyn Port> {
    let address = RegistryAddress { url: registry.url(), auth, ca: None };
    SchemaRegistries::default().at(&address).unwrap_or_else(|why| panic!("{why}"))
}

/// Waits for the schema of a number.
fn fetched(client: &Arc<dyn Port>, id: u32) -> Known {
    let (tell, told) = channel();
    client.fetch(
        id,
        Arc::new(move || {
            let _ = tell.send(());
        }),
    );
    told.recv_timeout(Duration::from_secs(150)).expect("an answer");
    client.known(id).expect("it is known now")
}

#[test]
fn a_schema_comes_with_those_it_refers_to_and_is_asked_for_once() {
    let registry = SchemaRegistry::start();
    registry.register("kind", KIND);
    let to = |name: &str, subject: &str| json!({ "name": name, "subject": subject, "version": 1 });
    registry.register_as(2, "line", LINE, "AVRO", json!([to("shop.Kind", "kind")]));
    registry.register_as(3, "order", ORDER, "AVRO", json!([to("shop.Line", "line"), to("shop.Kind", "kind")]));
    registry.register_as(4, "other", ORDER, "AVRO", json!([to("shop.Line", "gone")]));
    let client = at(&registry, RegistryAuth::None);
    let Known::Schema(schema) = fetched(&client, 3) else { panic!("no schema") };
    assert_eq!(schema.name(), Some("shop.Order"));
    assert!(matches!(fetched(&client, 4), Known::Unusable(why) if why.contains("version 1 of `gone`")));
    assert!(matches!(fetched(&client, 2), Known::Schema(_)));
    let payload = Bytes::from_static(&[0, 0, 0, 0, 2, 6, 2]);
    let avro = Registered::new(Arc::clone(&client), None, None);
    assert_eq!(avro.decode(&payload).map(|value| value.to_string()), Ok(r#"{ "n": 3, "of": "B" }"#.to_owned()));
    assert!(matches!(fetched(&client, 2), Known::Schema(_)));
    assert_eq!(registry.calls("GET /api/schemas/ids/2"), 1);
}

#[test]
fn protobuf_comes_with_what_it_imports() {
    let registry = SchemaRegistry::start();
    let line = "syntax = \"proto3\"; package shop; message Line { int32 n = 1; }";
    let order = "syntax = \"proto3\"; package shop; import \"shop/line.proto\"; import \"google/protobuf/duration.proto\";\n\
                 message Other {} message Order { Line line = 1; google.protobuf.Duration took = 2; }";
    registry.register_as(1, "line", line, "PROTOBUF", json!([]));
    let to = |subject: &str| json!([{ "name": "shop/line.proto", "subject": subject, "version": 1 }]);
    registry.register_as(2, "order", order, "PROTOBUF", to("line"));
    registry.register_as(3, "other", order, "PROTOBUF", json!([]));
    let client = at(&registry, RegistryAuth::None);
    assert!(matches!(fetched(&client, 2), Known::Protobuf(_)));
    assert!(matches!(fetched(&client, 3), Known::Unusable(why) if why.contains("shop/line.proto")));
    // Its second message, with a line in it.
    let payload = Bytes::from_static(&[0, 0, 0, 0, 2, 2, 2, 10, 2, 8, 3]);
    let protobuf = Registered::protobuf(Arc::clone(&client), None, false, None);
    assert_eq!(protobuf.decode(&payload).map(|value| value.to_string()), Ok(r#"{ "line": { "n": 3 } }"#.to_owned()));
    assert_eq!(
        protobuf.decode(&Bytes::from_static(&[0, 0, 0, 0, 3, 0])).expect_err("unusable").code,
        "protobuf_unusable_schema"
    );
    let avro = Registered::new(Arc::clone(&client), None, None);
    assert_eq!(avro.decode(&payload).expect_err("of Protobuf").code, "avro_unusable_schema");
    // Registered under its type, and found again.
    let schema = line.replace("Line", "Item");
    let subject = Subject { name: "item".to_owned(), schema, protobuf: true, register: true };
    let (tell, told) = channel();
    client.find(
        &subject,
        Arc::new(move || {
            let _ = tell.send(());
        }),
    );
    told.recv_timeout(Duration::from_secs(150)).expect("an answer");
    assert_eq!(client.number(&subject), Some(Ok(4)));
    assert!(matches!(fetched(&client, 4), Known::Protobuf(_)));
    assert!(matches!(client.ask(&Question::Latest("item")), Ok(Answer::Protobuf(4, _))));
}

#[test]
fn what_is_not_there_is_told_apart_from_what_does_not_answer() {
    let registry = SchemaRegistry::start();
    registry.register("n", "\"long\"");
    registry.only_with("t0ken-of-mine");
    let client = at(&registry, RegistryAuth::Bearer("t0ken-of-mine".to_owned()));
    assert!(matches!(fetched(&client, 7), Known::Nothing));
    assert_eq!(registry.calls("GET /api/schemas/ids/7"), 3, "a registry that was just written to may not know it yet");
    // Not even asked for.
    assert!(matches!(fetched(&client, u32::MAX), Known::Nothing));
    registry.register_as(9, "p", "{}", "JSON", json!([]));
    assert!(matches!(fetched(&client, 9), Known::Unusable(why) if why.contains("JSON")));

    let subject = |name: &str, register| Subject {
        name: name.to_owned(),
        schema: "\"long\"".to_owned(),
        protobuf: false,
        register,
    };
    let found = |subject: &Subject| client.ask(&Question::Lookup(subject));
    assert!(matches!(found(&subject("n", false)), Ok(Answer::Number(1))));
    assert!(matches!(found(&subject("m", false)), Ok(Answer::Nothing)));
    assert!(matches!(client.ask(&Question::Latest("n")), Ok(Answer::Schema(1, _))));
    // Another user is told nothing, and tells no secret.
    let other = at(&registry, RegistryAuth::Basic { user: "u".to_owned(), password: "s3cret-word".to_owned() });
    let why = other.ask(&Question::Latest("n")).err().expect("it is refused");
    assert!(why.contains("40101") && !why.contains("s3cret"), "{why}");
    registry.fail(Some(Reply::status(500)));
    assert!(client.ask(&Question::Latest("n")).is_err());
    // What is known stays so.
    assert!(matches!(client.known(9), Some(Known::Unusable(_))));
}

#[test]
fn certificates_that_are_none_are_refused_before_anything_is_asked() {
    let address = |pem: &'static str| RegistryAddress {
        url: "https://localhost:1".to_owned(),
        auth: RegistryAuth::None,
        ca: Some(Bytes::from_static(pem.as_bytes())),
    };
    let why = SchemaRegistries::default().at(&address("no certificate")).err().expect("refused");
    assert!(why.contains("there is no certificate in it"), "{why}");
}
