//! `check --brokers` on a cluster that asks for rights: what is missing is named, and the commands it prints grant it.

use std::time::Duration;

use millstream_test_kafka::{GUEST, GUEST_PASSWORD, KafkaCluster, Options, tool, unique};
use millstream_tests::process::{Process, wait_until};
use millstream_tests::site::Site;

const PATIENCE: Duration = Duration::from_secs(180);

/// Negative control: `rights` of the command that finds nothing says "is right" at once.
#[test]
fn missing_rights_are_named_with_what_grants_them() {
    let Some(cluster) = KafkaCluster::start_or_skip(Options::guarded()) else { return };
    let sasl = cluster.secure().expect("asked for").sasl.clone();
    let name = unique("rights");
    let raw = format!("{name}-raw");
    let owner = Site::kafka(cluster.bootstrap(), Duration::from_secs(6));
    owner.produce(&raw, &["{}".to_owned()], &["--create", "--partitions", "1"]);

    let site = Site::kafka(&sasl, Duration::from_secs(6));
    site.write(
        "millstream.yaml",
        &format!(
            "kafka: {{ security.protocol: sasl_plaintext, sasl.mechanism: PLAIN, sasl.username: {GUEST}, \
             sasl.password: {GUEST_PASSWORD} }}\n"
        ),
    );
    let pipeline = format!(
        "pipeline: {name}\nsource: {{ topic: {raw}, format: json }}\n\
         stages: [{{ name: all, filter: where, with: \"true\" }}]\n"
    );
    let file = site.write("pipeline.yaml", &pipeline);
    let check = |round: &str| {
        let mut check = Process::start(site.command(["check"]).arg(&file), site.folder(), round);
        (check.wait(PATIENCE).code(), check.stdout())
    };
    let (code, said) = check("before");
    assert_eq!(code, Some(1), "{said}");
    for what in [
        format!("may not Create, Describe, Read, Write, Delete topics `{name}.…`"),
        format!("may not Describe, Read topic `{raw}`"),
        format!("may not Describe, Read groups `{name}.…`"),
    ] {
        assert!(said.contains(&what), "{what} is not in {said}");
    }
    assert!(!said.contains("does not exist"), "nobody may tell: {said}");

    let commands: Vec<&str> = said.split('`').filter_map(|part| part.strip_prefix("kafka-acls.sh ")).collect();
    assert_eq!(commands.len(), 3, "{said}");
    for command in commands {
        // The guest may not grant itself anything: the words are the same for another listener.
        let command = command.replace(&sasl, cluster.bootstrap());
        let output = tool("org.apache.kafka.tools.AclCommand")
            .expect("the tools are there")
            .args(command.split_whitespace())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut said = String::new();
    let mut rounds = 0;
    let right = wait_until(PATIENCE, || {
        rounds += 1;
        let (code, out) = check(&format!("after-{rounds}"));
        said = out;
        code == Some(0)
    });
    assert!(right && said.contains("is right"), "{said}");
}
