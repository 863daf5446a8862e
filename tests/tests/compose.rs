//! `docker-compose.yml` and the `Dockerfile`, as far as they can be tried without a Docker engine: what they name is
//! there, the commands of Millstream are run as they stand, the topic commands run on a real Kafka.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cargo_metadata::MetadataCommand;
use millstream_test_kafka::{KafkaCluster, Options, tool};
use millstream_tests::{binary, workspace};
use serde_json::Value;

/// How services reach the cluster.
const INTERNAL: &str = "kafka:29092";

#[test]
fn services_wait_for_what_is_there_and_tells_its_health() {
    let compose = compose();
    let services = compose["services"].as_object().expect("services");
    let others = stages().into_iter().chain(["kafka".to_owned(), "topics".to_owned()]);
    assert_eq!(services.keys().cloned().collect::<BTreeSet<_>>(), others.collect(), "one service per stage");
    for (name, service) in services {
        let once = service["restart"] == "no";
        assert!(once != service["healthcheck"]["test"].is_array(), "{name}: a service that stays has a health check");
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let wanted =
                if services[other]["restart"] == "no" { "service_completed_successfully" } else { "service_healthy" };
            assert_eq!(how["condition"], wanted, "{name} waits for {other}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().and_then(|v| v.split(':').next()).expect("short form");
            let there = if from.starts_with('.') {
                workspace().join(from).is_dir()
            } else {
                compose["volumes"].as_object().is_some_and(|v| v.contains_key(from))
            };
            assert!(there, "{name}: no volume {from}");
        }
    }
    assert!(services["kafka"]["volumes"].is_array(), "records outlive the container");
}

#[test]
fn kafka_is_a_broker_that_both_sides_can_reach() {
    let compose = compose();
    let kafka = &compose["services"]["kafka"];
    let env = |name: &str| kafka["environment"][name].as_str().unwrap_or_else(|| panic!("no {name}")).to_owned();
    let names =
        |list: &str| list.split(',').map(|l| l.split(':').next().unwrap_or("").to_owned()).collect::<BTreeSet<_>>();
    let listeners = names(&env("KAFKA_LISTENERS"));
    assert_eq!(listeners, names(&env("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP")));
    assert!(listeners.is_superset(&names(&env("KAFKA_ADVERTISED_LISTENERS"))));
    assert!(listeners.contains(&env("KAFKA_CONTROLLER_LISTENER_NAMES")));
    assert!(listeners.contains(&env("KAFKA_INTER_BROKER_LISTENER_NAME")));
    assert!(env("KAFKA_ADVERTISED_LISTENERS").contains(&format!("//{INTERNAL}")));
    for stage in stages() {
        assert_eq!(compose["services"][&stage]["environment"]["MILLSTREAM_BROKERS"], INTERNAL);
    }
    assert!(env("KAFKA_ADVERTISED_LISTENERS").contains("//localhost:9092"), "what the README says");
    assert_eq!(kafka["ports"][0], "127.0.0.1:9092:9092", "and not open to the network");
    assert!(kafka["image"].as_str().is_some_and(|i| i.starts_with("apache/kafka:4.")));
}

#[test]
fn the_topics_the_run_and_the_health_check_work_on_a_real_kafka() {
    let Some(cluster) = KafkaCluster::start_or_skip(Options::default()) else { return };
    let compose = compose();
    for command in topic_commands(compose["services"]["topics"]["command"][0].as_str().expect("a script")) {
        let arguments = command.iter().map(|a| if a == INTERNAL { cluster.bootstrap() } else { a.as_str() });
        succeeds(tool("org.apache.kafka.tools.TopicCommand").expect("Kafka's jars").args(arguments));
    }
    let mut last = String::new();
    // In the order of the file each has all of its input when it starts, so that each can end.
    for stage in stages() {
        let service = &compose["services"][&stage];
        let replicas = service["environment"]["RETAIL_REPLICAS"].as_str().and_then(default_of).expect("a default");
        let here = |arguments: &[String]| {
            let mut command = Command::new(binary());
            let pipelines = workspace().join("pipelines");
            command.args(arguments.iter().map(|a| {
                a.replace(INTERNAL, cluster.bootstrap()).replace("/pipelines", &pipelines.display().to_string())
            }));
            command.env("MILLSTREAM_BROKERS", cluster.bootstrap()).env("RETAIL_REPLICAS", replicas);
            command.current_dir(std::env::temp_dir());
            command
        };
        let run = strings(&service["command"]);
        assert_eq!(run[2..], ["--stages".to_owned(), stage], "each service runs its stage");
        last = succeeds(&mut here(&[run, vec!["--until-idle".to_owned()]].concat()));
        let check = strings(&service["healthcheck"]["test"]);
        assert_eq!(check[..2], ["CMD", "millstream"]);
        succeeds(&mut here(&check[2..]));
    }
    assert_eq!(read(&last), read(&alone()), "stages apart read what they read together");
}

/// The flagship as one process on an embedded log.
fn alone() -> String {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(binary());
    command.arg("run").arg(workspace().join("pipelines/retail-orders")).args(["--until-idle", "--data-dir"]);
    succeeds(command.arg(folder.path()).current_dir(folder.path()).env_remove("MILLSTREAM_BROKERS"))
}

/// The line of the last stage up to what it read.
fn read(summary: &str) -> Vec<&str> {
    let line =
        summary.lines().find(|l| l.starts_with("orders ")).unwrap_or_else(|| panic!("no stage `orders`: {summary}"));
    line.split_whitespace().take(2).collect()
}

#[test]
fn the_image_is_built_from_what_is_there() {
    let file = fs::read_to_string(workspace().join("Dockerfile")).expect("a Dockerfile");
    let lines: Vec<Vec<&str>> = file.lines().map(|l| l.split_whitespace().collect()).collect();
    let stages: Vec<&str> =
        lines.iter().filter(|l| l.first() == Some(&"FROM")).filter_map(|l| l.get(3).copied()).collect();
    let mut copied = BTreeSet::new();
    for words in lines.iter().filter(|l| l.first() == Some(&"COPY")) {
        match words[1].strip_prefix("--from=") {
            Some(stage) => assert!(stages.contains(&stage), "no stage {stage}"),
            None => copied.extend(words[1..words.len() - 1].iter().copied()),
        }
    }
    let ignored = fs::read_to_string(workspace().join(".dockerignore")).expect("a .dockerignore");
    for path in &copied {
        assert!(workspace().join(path).exists(), "COPY {path}: it is not there");
        assert!(!ignored.lines().any(|l| l == *path), "COPY {path}: it is in .dockerignore");
    }
    // Cargo reads the manifest of every member, whatever it builds.
    let metadata =
        MetadataCommand::new().manifest_path(workspace().join("Cargo.toml")).no_deps().exec().expect("metadata");
    for package in metadata.workspace_packages() {
        let folder: PathBuf = package.manifest_path.parent().expect("a folder").into();
        let top = folder.strip_prefix(workspace()).expect("inside").components().next().expect("a name");
        assert!(
            copied.contains(Path::new(&top).to_str().expect("UTF-8")),
            "{}: its folder is not copied",
            package.name
        );
    }
    let rust = metadata.workspace_packages()[0].rust_version.clone().expect("a version");
    assert!(
        file.contains(&format!("FROM rust:{}.{}-", rust.major, rust.minor)),
        "the compiler that the workspace wants"
    );
}

#[test]
fn docker_itself_reads_the_file() {
    let client = Command::new("docker").args(["compose", "version"]).output();
    if !client.is_ok_and(|out| out.status.success()) {
        // Not by a macro: the test runner keeps what those say of a test that passes.
        writeln!(std::io::stderr(), "\n*** SKIPPED: `docker compose config`: no such client here ***\n")
            .expect("stderr");
        return;
    }
    succeeds(Command::new("docker").args(["compose", "config", "--quiet"]).current_dir(workspace()));
}

fn compose() -> Value {
    let text = fs::read_to_string(workspace().join("docker-compose.yml")).expect("a compose file");
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).expect("YAML");
    yaml.apply_merge().expect("merge keys of maps");
    serde_json::to_value(yaml).expect("JSON")
}

/// Names of the flagship's stages, in order.
fn stages() -> Vec<String> {
    let text = fs::read_to_string(workspace().join("pipelines/retail-orders/pipeline.yaml")).expect("the flagship");
    let pipeline: Value = serde_yaml_ng::from_str(&text).expect("YAML");
    let stages = pipeline["stages"].as_array().expect("stages");
    stages.iter().map(|s| s["name"].as_str().expect("a name").to_owned()).collect()
}

/// `${NAME:-default}`.
fn default_of(text: &str) -> Option<&str> {
    text.split_once(":-")?.1.strip_suffix('}')
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().expect("a list").iter().map(|a| a.as_str().expect("text").to_owned()).collect()
}

/// The arguments of each `kafka-topics.sh` in the loop `for topic in …; do … done`.
fn topic_commands(script: &str) -> Vec<Vec<String>> {
    let names = script.split_once("for topic in ").and_then(|(_, rest)| rest.split_once("; do")).expect("a loop").0;
    let line =
        script.lines().find_map(|l| l.trim().strip_prefix("/opt/kafka/bin/kafka-topics.sh ")).expect("a command");
    // `$$` is how compose writes a dollar sign.
    let of = |name: &str| line.replace("$$topic", name).split_whitespace().map(str::to_owned).collect();
    names.split_whitespace().map(of).collect()
}

fn succeeds(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {said}");
    said
}
