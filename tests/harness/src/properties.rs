//! `server.properties` of one broker.

use std::path::Path;

use crate::secure::{GUEST, GUEST_PASSWORD, PASSWORD, STORE_PASSWORD, USER};

/// Ports of one broker.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    pub(crate) plain: u16,
    pub(crate) controller: u16,
    /// SASL, TLS, SASL over TLS.
    pub(crate) secure: Option<[u16; 3]>,
}

/// The text of the file. `node` counts from 1; `all` are the ports of every broker.
pub(crate) fn server_properties(
    node: usize,
    all: &[Ports],
    root: &Path,
    data: &Path,
    extra: &[(String, String)],
) -> String {
    let own = &all[node - 1];
    // A majority must do with one broker away, where there are several.
    let (copies, min_in_sync) = if all.len() >= 3 { (3, 2) } else { (1, 1) };
    let mut listeners = vec![format!("PLAINTEXT://127.0.0.1:{}", own.plain)];
    if let Some([sasl, tls, sasl_tls]) = own.secure {
        listeners.push(format!("SASL://127.0.0.1:{sasl}"));
        listeners.push(format!("TLS://127.0.0.1:{tls}"));
        listeners.push(format!("SASLTLS://127.0.0.1:{sasl_tls}"));
    }
    let advertised = listeners.join(",");
    listeners.push(format!("CONTROLLER://127.0.0.1:{}", own.controller));
    let voters: Vec<String> =
        all.iter().enumerate().map(|(i, p)| format!("{}@127.0.0.1:{}", i + 1, p.controller)).collect();
    let mut lines = vec![
        "process.roles=broker,controller".to_owned(),
        format!("node.id={node}"),
        format!("listeners={}", listeners.join(",")),
        format!("advertised.listeners={advertised}"),
        "controller.listener.names=CONTROLLER".into(),
        "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL:SASL_PLAINTEXT,TLS:SSL,SASLTLS:SASL_SSL".into(),
        "inter.broker.listener.name=PLAINTEXT".into(),
        format!("controller.quorum.voters={}", voters.join(",")),
        format!("log.dirs={}", data.display()),
        format!("offsets.topic.replication.factor={copies}"),
        "offsets.topic.num.partitions=8".into(),
        format!("transaction.state.log.replication.factor={copies}"),
        format!("transaction.state.log.min.isr={min_in_sync}"),
        "transaction.state.log.num.partitions=8".into(),
        format!("share.coordinator.state.topic.replication.factor={copies}"),
        format!("share.coordinator.state.topic.min.isr={min_in_sync}"),
        "share.coordinator.state.topic.num.partitions=1".into(),
        format!("default.replication.factor={copies}"),
        format!("min.insync.replicas={min_in_sync}"),
        "group.initial.rebalance.delay.ms=0".into(),
        "auto.create.topics.enable=false".into(),
        // A killed broker is noticed, and may register again, after this; less takes one for dead on a busy machine.
        format!("broker.session.timeout.ms={}", if all.len() > 1 { 6_000 } else { 10_000 }),
        "broker.heartbeat.interval.ms=500".into(),
        "log.index.size.max.bytes=1048576".into(),
    ];
    if own.secure.is_some() {
        lines.extend(secure_lines(root));
    }
    lines.extend(extra.iter().map(|(name, value)| format!("{name}={value}")));
    lines.join("\n") + "\n"
}

fn secure_lines(root: &Path) -> Vec<String> {
    let mut lines = vec![
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned(),
        format!("ssl.keystore.location={}", root.join("store.p12").display()),
        "ssl.keystore.type=PKCS12".into(),
        format!("ssl.keystore.password={STORE_PASSWORD}"),
    ];
    for listener in ["sasl", "sasltls"] {
        lines.push(format!(
            "listener.name.{listener}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\" user_{GUEST}=\"{GUEST_PASSWORD}\";"
        ));
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            lines.push(format!(
                "listener.name.{listener}.{mechanism}.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
            ));
        }
    }
    lines
}
