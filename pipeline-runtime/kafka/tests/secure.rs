//! Logins and TLS.

mod support;

use millstream_log::{Class, Granted, Log, Right, Rights};
use millstream_test_kafka::{GUEST, GUEST_PASSWORD, KafkaCluster, Options, PASSWORD, Secure, USER, tool, unique};
use support::{committed_values, fill, log_with, topic, until};

/// Writes and reads back.
fn works(log: &dyn Log) {
    let name = topic(log, "secure", 1, None);
    fill(log, &name, 1, 0..3);
    assert_eq!(committed_values(log, &name, 0), ["0", "1", "2"]);
}

fn login<'a>(protocol: &'a str, mechanism: &'a str, password: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("security.protocol", protocol),
        ("sasl.mechanism", mechanism),
        ("sasl.username", USER),
        ("sasl.password", password),
    ]
}

/// Negative controls are in it: the wrong password and the unknown certificate are refused, so neither check can pass
/// by not being made.
#[test]
fn sasl_and_tls() {
    let Some(cluster) = KafkaCluster::start_or_skip(Options { secure: true, ..Options::default() }) else { return };
    let Secure { sasl, tls, sasl_tls, ca } = cluster.secure().expect("asked for");
    let ca = ca.display().to_string();
    let trust = ("ssl.ca.location", ca.as_str());
    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        works(&*log_with(sasl, &login("SASL_PLAINTEXT", mechanism, PASSWORD)));
    }
    works(&*log_with(tls, &[("security.protocol", "SSL"), trust]));
    let mut both = login("SASL_SSL", "SCRAM-SHA-512", PASSWORD).to_vec();
    both.push(trust);
    works(&*log_with(sasl_tls, &both));

    let wrong = log_with(sasl, &login("SASL_PLAINTEXT", "SCRAM-SHA-256", "wrong"));
    let error = wrong.topics().expect_err("a wrong password is refused");
    assert_eq!((error.class, error.code), (Class::Denied, "login_refused"), "{error}");
    assert!(!error.message.contains("wrong"), "a password in a message: {error}");

    let error = log_with(tls, &[("security.protocol", "SSL")]).topics().expect_err("an unknown certificate is refused");
    assert_eq!((error.class, error.code), (Class::Config, "tls_failed"), "{error}");
}

/// What a user without rights is told, and after each grant. Negative control: without the wish to be told the authorized
/// operations everything is `Unknown`.
#[test]
fn rights_are_told() {
    let Some(cluster) = KafkaCluster::start_or_skip(Options::guarded()) else { return };
    let sasl = &cluster.secure().expect("asked for").sasl;
    let owner = log_with(sasl, &login("SASL_PLAINTEXT", "PLAIN", PASSWORD));
    let (there, absent, group) = (topic(&*owner, "there", 1, None), unique("absent"), unique("group"));
    let mut login = login("SASL_PLAINTEXT", "PLAIN", GUEST_PASSWORD);
    login[2].1 = GUEST;
    let guest = log_with(sasl, &login);
    let ask = |log: &dyn Log| log.rights(&[&there, &absent], &[&group]).expect("it tells").expect("there are users");

    let all = ask(&*owner);
    for right in [Right::Read, Right::Write, Right::Create, Right::Delete, Right::Describe] {
        assert!(matches!(&all.topics[0], Granted::These(these) if these.contains(&right)), "{all:?}");
    }
    assert_eq!(all.topics[1], Granted::Absent { create: true });
    assert!(matches!(&all.groups[0], Granted::These(these) if these.contains(&Right::Read)), "{all:?}");

    let none = ask(&*guest);
    assert_eq!(none.topics, [Granted::These(Vec::new()), Granted::These(Vec::new())]);
    assert_eq!(none.groups, [Granted::These(Vec::new())]);

    let grant = |arguments: &[&str]| {
        let output = tool("org.apache.kafka.tools.AclCommand")
            .expect("the tools are there")
            .args(["--bootstrap-server", cluster.bootstrap(), "--add", "--allow-principal", "User:guest"])
            .args(arguments)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    grant(&["--operation", "Read", "--topic", &there]);
    grant(&["--operation", "Describe", "--topic", &absent]);
    grant(&["--operation", "Describe", "--group", &group]);
    let wanted = Rights {
        topics: vec![Granted::These(vec![Right::Describe, Right::Read]), Granted::Absent { create: false }],
        groups: vec![Granted::These(vec![Right::Describe])],
    };
    until("the grants hold", || {
        let mut told = ask(&*guest);
        for one in told.topics.iter_mut().chain(&mut told.groups) {
            if let Granted::These(these) = one {
                these.sort();
            }
        }
        (told == wanted).then_some(())
    });
    grant(&["--operation", "Create", "--topic", &absent]);
    until("it may be made", || (ask(&*guest).topics[1] == Granted::Absent { create: true }).then_some(()));
}
