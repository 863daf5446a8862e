//! Which rights a pipeline needs on a cluster with users, which of them are missing, and what grants them.

use std::collections::BTreeSet;

use millstream_log::{Granted, Right, Rights};
use millstream_spec::model::Pipeline;

use Right::{Create, Delete, Describe, Read, Write};

/// What a pipeline asks for.
pub struct Needs {
    topics: Vec<Need>,
    groups: Vec<Need>,
}

/// What is asked for on one topic or group.
struct Need {
    name: String,
    rights: Vec<Right>,
    /// One of many that are named alike: granted for all of them at once.
    owned: bool,
}

impl Needs {
    /// As `docs/kafka.md` has them.
    pub fn of(pipeline: &Pipeline) -> Self {
        let owned = |name: &str, more: &[Right]| {
            let rights = [Create, Describe, Read, Write].iter().chain(more).copied().collect();
            Need { name: name.to_owned(), rights, owned: true }
        };
        let mut topics = vec![owned(&format!("{}.control", pipeline.name), &[])];
        let mut groups = Vec::new();
        let group = |name: &str| Need { name: name.to_owned(), rights: vec![Describe, Read], owned: true };
        if let Some(jobs) = &pipeline.jobs {
            topics.extend([owned(&jobs.topic, &[]), owned(&jobs.notes, &[Delete])]);
            groups.push(group(&jobs.group));
            topics.extend(jobs.callback.iter().map(|callback| owned(&callback.topic, &[Delete])));
            if let Some(events) = &jobs.events {
                topics.push(owned(events, &[]));
                groups.push(group(&format!("{}.replies", jobs.topic)));
            }
        }
        for source in &pipeline.sources {
            if source.writes() {
                topics.push(owned(&source.topic, &[]));
                topics.extend(source.seen_topic().map(|seen| owned(&seen, &[])));
                topics.extend(source.ids_topic().map(|ids| owned(&ids, &[])));
                groups.push(group(&source.topic));
            } else {
                topics.push(Need { name: source.topic.clone(), rights: vec![Describe, Read], owned: false });
            }
        }
        let read: BTreeSet<&str> = pipeline.stages.iter().flat_map(|s| &s.inputs).map(|i| i.topic.as_str()).collect();
        for stage in &pipeline.stages {
            groups.push(group(&stage.group));
            groups.extend(stage.singleton.then(|| group(&millstream_host::lease_group(&stage.group))));
            topics.push(owned(&stage.dlq, &[]));
            if stage.dedup.is_some() || stage.meets.is_some() {
                topics.push(owned(&stage.state, &[Delete]));
            }
            if stage.meets.is_some() {
                topics.push(owned(&stage.retry_topic, &[Delete]));
            }
            if stage.of_events {
                let foreign = |name: &String| Need { name: name.clone(), rights: vec![Describe, Read], owned: false };
                topics.extend(stage.inputs.iter().map(|input| foreign(&input.topic)));
            }
            let waited_in = pipeline.stages.iter().filter(|s| s.meets.is_some()).flat_map(|s| &s.inputs);
            let waited_in: BTreeSet<&str> = waited_in.map(|i| i.topic.as_str()).collect();
            if stage.keeps_checkpoints() {
                topics.push(owned(&stage.checkpoints, &[]));
            }
            for output in &stage.outputs {
                let deletes = output.settings.retention.is_some() || waited_in.contains(output.topic.as_str());
                let delete = if deletes { &[Delete][..] } else { &[] };
                if !output.given {
                    topics.push(owned(&output.topic, delete));
                    continue;
                }
                let reads = if read.contains(output.topic.as_str()) { &[Read][..] } else { &[] };
                let rights = [Create, Describe, Write].iter().chain(reads).chain(delete).copied().collect();
                topics.push(Need { name: output.topic.clone(), rights, owned: false });
            }
        }
        Self { topics, groups }
    }

    /// Names of the topics it asks for.
    pub fn topics(&self) -> Vec<&str> {
        self.topics.iter().map(|n| n.name.as_str()).collect()
    }

    /// Names of the groups it asks for.
    pub fn groups(&self) -> Vec<&str> {
        self.groups.iter().map(|n| n.name.as_str()).collect()
    }

    /// One sentence for each thing on which rights are missing, with the command that grants them.
    pub fn missing(&self, pipeline: &str, told: &Rights, cluster: &Cluster<'_>) -> Vec<String> {
        let mut wrong = list(pipeline, "topic", &self.topics, &told.topics, cluster);
        wrong.extend(list(pipeline, "group", &self.groups, &told.groups, cluster));
        wrong
    }
}

/// Who asks, and whom.
pub struct Cluster<'a> {
    /// `HOST:PORT,…`
    pub brokers: &'a str,
    /// Of SASL; another user's name is not known here.
    pub user: Option<&'a str>,
}

/// What is missing on the pipeline's own things is one sentence; each of the others has its own.
fn list(pipeline: &str, kind: &str, needs: &[Need], told: &[Granted], cluster: &Cluster<'_>) -> Vec<String> {
    let mut own: BTreeSet<Right> = BTreeSet::new();
    let mut wrong = Vec::new();
    for (need, granted) in needs.iter().zip(told) {
        let lacking = lacking(need, granted);
        if need.owned {
            own.extend(lacking);
        } else if !lacking.is_empty() {
            let what = format!("{kind} `{}`", need.name);
            wrong.push(sentence(&what, &lacking, &format!("--{kind} {}", need.name), cluster));
        }
    }
    if !own.is_empty() {
        let what = format!("{kind}s `{pipeline}.…`");
        let pattern = format!("--resource-pattern-type prefixed --{kind} {pipeline}.");
        wrong.insert(0, sentence(&what, &own, &pattern, cluster));
    }
    wrong
}

fn lacking(need: &Need, granted: &Granted) -> BTreeSet<Right> {
    let lacks = |right: &Right| match granted {
        Granted::Unknown => false,
        Granted::These(all) => {
            // A topic that is there need not be made. Without a look at it nobody knows whether it is.
            !all.contains(right) && (*right != Create || !all.contains(&Describe))
        }
        Granted::Absent { create } => *right == Create && !create,
    };
    need.rights.iter().copied().filter(lacks).collect()
}

fn sentence(what: &str, rights: &BTreeSet<Right>, pattern: &str, cluster: &Cluster<'_>) -> String {
    let names: Vec<String> = rights.iter().map(|right| format!("{right:?}")).collect();
    let operations: Vec<String> = names.iter().map(|name| format!("--operation {name}")).collect();
    format!(
        "the user may not {} {what}; `kafka-acls.sh --bootstrap-server {} --add --allow-principal User:{} {} {pattern}` \
         grants it",
        names.join(", "),
        cluster.brokers,
        cluster.user.unwrap_or("NAME"),
        operations.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Cluster<'_> = Cluster { brokers: "k:9092", user: Some("mill") };

    fn need(name: &str, rights: &[Right], owned: bool) -> Need {
        Need { name: name.into(), rights: rights.into(), owned }
    }

    /// Negative control: `lacking` that is empty for topics that are not there, or that wants `Create` on those that are.
    #[test]
    fn only_what_is_missing_is_named_with_the_command_that_grants_it() {
        let needs = Needs {
            topics: vec![
                need("p.control", &[Create, Describe, Read, Write], true),
                need("p.a", &[Create, Describe, Read, Write], true),
                need("raw", &[Describe, Read], false),
                need("out", &[Create, Describe, Write], false),
            ],
            groups: vec![need("p.a", &[Describe, Read], true)],
        };
        let told = Rights {
            topics: vec![
                Granted::These(vec![Describe, Read]),
                Granted::Absent { create: false },
                Granted::These(vec![Describe]),
                Granted::These(vec![Describe, Write]),
            ],
            groups: vec![Granted::Unknown],
        };
        let add = "`kafka-acls.sh --bootstrap-server k:9092 --add --allow-principal User:mill";
        assert_eq!(
            needs.missing("p", &told, &CLUSTER),
            [
                format!(
                    "the user may not Create, Write topics `p.…`; {add} --operation Create --operation Write \
                     --resource-pattern-type prefixed --topic p.` grants it"
                ),
                format!("the user may not Read topic `raw`; {add} --operation Read --topic raw` grants it"),
            ]
        );
    }
}
