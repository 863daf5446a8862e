//! What Kafka's own tools print, parsed.

use crate::checker::Committed;

/// Record as the console consumer shows it: partition, offset, key and `ce_id`.
pub type Shown = (i32, i64, Option<String>, Option<String>);

/// Arguments of `org.apache.kafka.tools.consumer.ConsoleConsumer` whose output [`shown`] reads; it ends when nothing
/// comes for ten seconds.
pub fn console_consumer(bootstrap: &str, topic: &str) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning", "--isolation-level", "read_committed"]
            .map(String::from)
            .into();
    arguments.extend(["--timeout-ms".into(), "10000".into()]);
    for property in ["print.partition", "print.offset", "print.headers", "print.key"] {
        arguments.extend(["--formatter-property".into(), format!("{property}=true")]);
    }
    arguments.extend(["--formatter-property".into(), "print.value=false".into()]);
    arguments
}

/// Lines like `Partition:0⇥Offset:3⇥step:1,ce_id:r-1~0f…⇥a17`.
pub fn shown(out: &str) -> Result<Vec<Shown>, String> {
    out.lines().filter(|l| l.starts_with("Partition:")).map(|line| one(line).ok_or_else(|| line.to_owned())).collect()
}

fn one(line: &str) -> Option<Shown> {
    let mut fields = line.split('\t');
    let partition = fields.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let offset = fields.next()?.strip_prefix("Offset:")?.parse().ok()?;
    let headers = fields.next()?;
    let id = headers.split(',').find_map(|h| h.strip_prefix("ce_id:")).map(str::to_owned);
    let key = fields.next()?;
    Some((partition, offset, (key != "null").then(|| key.to_owned()), id))
}

/// Arguments of `org.apache.kafka.tools.consumer.group.ConsumerGroupCommand` whose output [`positions`] reads.
pub fn describe_groups(bootstrap: &str, groups: &[String]) -> Vec<String> {
    let mut arguments: Vec<String> =
        ["--bootstrap-server", bootstrap, "--describe", "--offsets"].map(String::from).into();
    for group in groups {
        arguments.extend(["--group".into(), group.clone()]);
    }
    arguments
}

/// The table has a line of heads before each group; columns are found by them, because versions add some.
pub fn positions(out: &str) -> Vec<Committed> {
    let mut heads: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in out.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"GROUP") {
            heads = words;
            continue;
        }
        let cell = |head: &str| heads.iter().position(|h| *h == head).and_then(|at| words.get(at).copied());
        let (Some(group), Some(topic)) = (cell("GROUP"), cell("TOPIC")) else { continue };
        let (Some(partition), Some(offset)) = (cell("PARTITION"), cell("CURRENT-OFFSET")) else { continue };
        if let (Ok(partition), Ok(offset)) = (partition.parse(), offset.parse()) {
            found.push(Committed { group: group.into(), topic: topic.into(), partition, offset });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_consumers_lines() {
        let out = "Partition:3\tOffset:17\tstep:1,ce_id:r-1~ab\ta7\nPartition:0\tOffset:2\tNO_HEADERS\tnull\nProcessed a total of 2 messages\n";
        let records = shown(out).expect("lines");
        assert_eq!(records[0], (3, 17, Some("a7".into()), Some("r-1~ab".into())));
        assert_eq!(records[1], (0, 2, None, None));
        assert!(shown("Partition:x\tOffset:1\tNO_HEADERS\tk").is_err());
    }

    #[test]
    fn the_group_commands_table() {
        let out = "\nGROUP  TOPIC PARTITION LEADER-EPOCH CURRENT-OFFSET LOG-END-OFFSET LAG CONSUMER-ID HOST CLIENT-ID\n\
                   p.clean p.raw 2 0 41 42 1 - - -\np.clean p.raw 3 - - 42 - - - -\n";
        let all = positions(out);
        assert_eq!(all, [Committed { group: "p.clean".into(), topic: "p.raw".into(), partition: 2, offset: 41 }]);
    }
}
