//! What differs between two pipelines of one name, and what comes of it. Pure.
//!
//! A stage keeps its place by the name of its group and of the topics it reads. A change is unsafe if records would be
//! read again, passed over or left behind; it then waits for a person.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::compare_sources::{self, SourceTakeover};
use super::fingerprint::{Fingerprint, InputMark, OutputMark, StageMark};
use crate::growth::keeps_order;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which stage; empty for the pipeline or its source.
    pub stage: String,
    /// Stable, such as `stage_inserted`.
    pub kind: &'static str,
    /// Whether `run` applies it by itself.
    pub safe: bool,
    /// What differs.
    pub what: String,
    /// What would come of it, where it is not safe.
    pub why: String,
}

/// A stage goes on with a topic where another one stood.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Takeover {
    /// The topic.
    pub topic: String,
    /// The stage that read it.
    pub from: String,
    /// Its group.
    pub from_group: String,
    /// The stage that reads it.
    pub to: String,
    /// Its group.
    pub to_group: String,
}

/// A topic that is neither written nor read any more, and the stage that read it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Orphan {
    /// The topic.
    pub topic: String,
    /// The stage that read it.
    pub stage: String,
    /// Its group.
    pub group: String,
}

/// What the log says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Partitions of the topics that are there.
    pub partitions: BTreeMap<String, i32>,
    /// Offsets that a group has not committed, by group and topic.
    pub unread: BTreeMap<(String, String), i64>,
    /// How many records were given to the topic of a source that is new, by one of that name before; by topic.
    pub stands: BTreeMap<String, u64>,
}

/// All differences, and what follows for positions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In the order of the new pipeline, then what is gone.
    pub differences: Vec<Difference>,
    /// Stages that begin where another one stands.
    pub takeovers: Vec<Takeover>,
    /// Topics that must be worked off first, as nobody reads them later.
    pub orphans: Vec<Orphan>,
    /// Sources that go on under another name.
    pub sources: Vec<SourceTakeover>,
    /// Topics of the old sources whose change is not safe.
    pub touched: BTreeSet<String>,
}

impl Comparison {
    /// Whether a person must agree.
    pub fn is_safe(&self) -> bool {
        self.differences.iter().all(|d| d.safe)
    }
}

/// Compares what ran last with what shall run.
pub fn compare(old: &Fingerprint, new: &Fingerprint, facts: &Facts) -> Comparison {
    let renames = renames(old, new);
    let takeovers = takeovers(old, new, &renames);
    let mut seen = Seen { old, new, facts, renames, takeovers, touched: BTreeSet::new(), found: Vec::new() };
    seen.pipeline();
    for stage in &new.stages {
        match old.stage(&stage.name) {
            Some(before) => seen.stage(before, stage),
            None => seen.came(stage),
        }
    }
    for stage in old.stages.iter().filter(|s| new.stage(&s.name).is_none()) {
        seen.went(stage);
    }
    let orphans = orphans(old, new, &seen.takeovers);
    Comparison {
        differences: seen.found,
        takeovers: seen.takeovers,
        orphans,
        sources: compare_sources::takeovers(old, new),
        touched: seen.touched,
    }
}

/// New name -> old name, of stages that do the same with the same input.
fn renames<'a>(old: &'a Fingerprint, new: &'a Fingerprint) -> BTreeMap<&'a str, &'a str> {
    let topics = |s: &StageMark| s.inputs.iter().map(|i| i.topic.clone()).collect::<Vec<_>>();
    let mut gone: Vec<&StageMark> = old.stages.iter().filter(|s| new.stage(&s.name).is_none()).collect();
    let mut renames = BTreeMap::new();
    for came in new.stages.iter().filter(|s| old.stage(&s.name).is_none()) {
        let same = |g: &&StageMark| topics(g) == topics(came) && g.filters == came.filters;
        if let Some(at) = gone.iter().position(same) {
            renames.insert(came.name.as_str(), gone.remove(at).name.as_str());
        }
    }
    renames
}

/// Who goes on with a topic that its reader gives up: a stage that has its new name, or that stands between the topic and
/// what came after that reader (so that the same records arrive there).
fn takeovers(old: &Fingerprint, new: &Fingerprint, renames: &BTreeMap<&str, &str>) -> Vec<Takeover> {
    let mut all = Vec::new();
    for to in &new.stages {
        let before = old.stage(&to.name);
        for input in to.inputs.iter().filter(|i| !before.is_some_and(|b| b.reads(&i.topic))) {
            let gives_up =
                |s: &&StageMark| s.reads(&input.topic) && !new.stage(&s.name).is_some_and(|n| n.reads(&input.topic));
            for from in old.stages.iter().filter(gives_up) {
                let renamed = renames.get(to.name.as_str()) == Some(&from.name.as_str());
                let leads_on = !below(new, &to.name).is_disjoint(&below(old, &from.name));
                if renamed || leads_on {
                    all.push(Takeover {
                        topic: input.topic.clone(),
                        from: from.name.clone(),
                        from_group: from.group.clone(),
                        to: to.name.clone(),
                        to_group: to.group.clone(),
                    });
                }
            }
        }
    }
    all
}

/// A stage and all stages that its records reach.
fn below(pipeline: &Fingerprint, name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::from([name.to_owned()]);
    let mut next = vec![name.to_owned()];
    while let Some(stage) = next.pop().and_then(|name| pipeline.stage(&name)) {
        for reader in &pipeline.stages {
            if stage.outputs.iter().any(|o| reader.reads(&o.topic)) && all.insert(reader.name.clone()) {
                next.push(reader.name.clone());
            }
        }
    }
    all
}

/// Topics that the old pipeline wrote and the new one does not write any more: what lies in them unread would never be read.
fn orphans(old: &Fingerprint, new: &Fingerprint, takeovers: &[Takeover]) -> Vec<Orphan> {
    let mut all = BTreeSet::new();
    for stage in &old.stages {
        for input in stage.inputs.iter().filter(|i| old.writes(&i.topic) && !new.writes(&i.topic)) {
            let read_on = new.stage(&stage.name).is_some_and(|n| n.reads(&input.topic))
                || takeovers.iter().any(|t| t.topic == input.topic && t.from == stage.name);
            if !read_on {
                let (topic, stage, group) = (input.topic.clone(), stage.name.clone(), stage.group.clone());
                all.insert(Orphan { topic, stage, group });
            }
        }
    }
    all.into_iter().collect()
}

/// Whether a run takes the partitions up by itself that `input` of a stage was given.
pub fn takes_up(pipeline: &Fingerprint, old: &StageMark, new: &StageMark, input: &InputMark, is: i32) -> bool {
    let kept = is > input.partitions && keeps_order(input.partitions, is);
    let no_dedup = old.dedup.is_none() && new.dedup.is_none();
    kept && no_dedup && !pipeline.writes(&input.topic) && new.inputs.len() == 1
}

struct Seen<'a> {
    old: &'a Fingerprint,
    new: &'a Fingerprint,
    facts: &'a Facts,
    renames: BTreeMap<&'a str, &'a str>,
    takeovers: Vec<Takeover>,
    touched: BTreeSet<String>,
    found: Vec<Difference>,
}

/// What comes of another key or partition count.
pub const ORDER: &str = "records of a key lie in other partitions from now on: their order is not kept across that moment, \
                     and repeats are not noticed";

/// Of partitions: what `apply --repartition` makes of them keeps the order.
pub const ADDED: &str = "keys lie in other partitions from now on: read side by side, their order would be lost, and repeats are \
                     not noticed across that moment; it takes `apply --repartition`";

/// The same where order can be kept only by working everything off first.
const MIXED: &str = "the number is no multiple of what it was: keys go from one old partition to another too, where their \
                     order is kept only if all was worked off before; repeats are not noticed across that moment; it takes \
                     `apply --repartition`";

impl Seen<'_> {
    fn safe(&mut self, stage: &str, kind: &'static str, what: String) {
        self.add(stage, kind, true, what, String::new());
    }

    fn unsafe_(&mut self, stage: &str, kind: &'static str, what: String, why: impl Into<String>) {
        self.add(stage, kind, false, what, why.into());
    }

    fn add(&mut self, stage: &str, kind: &'static str, safe: bool, what: String, why: String) {
        let named = stage.is_empty() || kind.starts_with("stage_");
        let what = if named { what } else { format!("stage `{stage}`: {what}") };
        self.found.push(Difference { stage: stage.to_owned(), kind, safe, what, why });
    }

    fn pipeline(&mut self) {
        if self.old.delivery != self.new.delivery {
            self.safe("", "delivery", differs("`delivery`", &self.old.delivery, &self.new.delivery));
        }
        for seen in compare_sources::compare(self.old, self.new, self.facts) {
            self.touched.extend(seen.topic);
            match seen.why {
                Some(why) => self.unsafe_("", seen.kind, seen.what, why),
                None => self.safe("", seen.kind, seen.what),
            }
        }
    }

    fn unread(&self, group: &str, topic: &str) -> i64 {
        self.facts.unread.get(&(group.to_owned(), topic.to_owned())).copied().unwrap_or(0)
    }

    /// A stage that the old pipeline does not have.
    fn came(&mut self, stage: &StageMark) {
        let name = &stage.name;
        if let Some(before) = self.renames.get(name.as_str()).and_then(|old| self.old.stage(old)) {
            let topics: Vec<&str> = stage.inputs.iter().map(|i| i.topic.as_str()).collect();
            let why = format!(
                "as a new group it would read {} again from the beginning, and what lies unread in topics of `{}` would \
                 be orphaned; what it knows of repeats is lost",
                list(&topics),
                before.name
            );
            self.unsafe_(name, "stage_renamed", format!("stage `{}` is named `{name}` now", before.name), why);
            return;
        }
        let from: Vec<Takeover> = self.takeovers.iter().filter(|t| t.to == *name).cloned().collect();
        let Some(first) = from.first() else {
            let topics: Vec<&str> = stage.inputs.iter().map(|i| i.topic.as_str()).collect();
            let what = format!("stage `{name}` is new and reads {} from where a new group begins", list(&topics));
            return self.safe(name, "stage_added", what);
        };
        let why = format!(
            "as a new group it would read `{}` again from the beginning, also what `{}` has worked off",
            first.topic, first.from
        );
        self.unsafe_(name, "stage_inserted", format!("stage `{name}` is inserted before `{}`", first.from), why);
    }

    /// A stage that the new pipeline does not have.
    fn went(&mut self, stage: &StageMark) {
        let name = &stage.name;
        if self.renames.values().any(|old| old == name) {
            return;
        }
        let unread: i64 = stage.inputs.iter().map(|i| self.unread(&stage.group, &i.topic)).sum();
        let topics: Vec<&str> = stage.outputs.iter().map(|o| o.topic.as_str()).collect();
        let why = format!(
            "it has {unread} offsets of its input not read; its topics ({}), dead letters and position stay, and nobody \
             works on them",
            topics.join(", ")
        );
        self.unsafe_(name, "stage_removed", format!("stage `{name}` is gone"), why);
    }

    fn stage(&mut self, old: &StageMark, new: &StageMark) {
        self.inputs(old, new);
        for output in &new.outputs {
            match old.outputs.iter().find(|o| o.name == output.name) {
                Some(before) => self.output(&new.name, before, output),
                None => self.safe(&new.name, "output_added", format!("a new output to `{}`", output.topic)),
            }
        }
        for output in old.outputs.iter().filter(|o| !new.outputs.iter().any(|n| n.name == o.name)) {
            let why = "what lies there unread is orphaned, and readers elsewhere get nothing more";
            self.unsafe_(&new.name, "output_removed", format!("nothing goes to `{}` any more", output.topic), why);
        }
        self.options(old, new);
    }

    fn inputs(&mut self, old: &StageMark, new: &StageMark) {
        let name = &new.name;
        let topics = |s: &StageMark| s.inputs.iter().map(|i| i.topic.clone()).collect::<Vec<_>>();
        let (before, now) = (topics(old), topics(new));
        let (gone, came): (Vec<&str>, Vec<&str>) = (
            before.iter().filter(|t| !now.contains(t)).map(String::as_str).collect(),
            now.iter().filter(|t| !before.contains(t)).map(String::as_str).collect(),
        );
        if !gone.is_empty() || !came.is_empty() {
            let mut why = Vec::new();
            for topic in &gone {
                why.push(format!(
                    "{} offsets of `{topic}` are not read and would be passed over",
                    self.unread(&old.group, topic)
                ));
            }
            for topic in &came {
                why.push(format!("`{topic}` would be read from where a new group begins"));
            }
            let what = format!("reads {} instead of {}", list(&now), list(&before));
            self.unsafe_(name, "from", what, why.join("; "));
        } else if before != now {
            self.safe(name, "options", "its inputs in another order".to_owned());
        }
        for input in &old.inputs {
            let is = self.facts.partitions.get(&input.topic).copied();
            if let Some(is) = is.filter(|is| *is != input.partitions && now.contains(&input.topic)) {
                let what = format!("`{}` has {is} partitions now and had {}", input.topic, input.partitions);
                let kept = is > input.partitions && keeps_order(input.partitions, is);
                if takes_up(self.new, old, new, input, is) {
                    let what = format!("{what}: the new ones wait until the old ones are worked off");
                    self.safe(name, "partitions", what);
                } else {
                    self.unsafe_(name, "partitions", what, if kept { ADDED } else { MIXED });
                }
            }
        }
    }

    fn output(&mut self, stage: &str, old: &OutputMark, new: &OutputMark) {
        if old.topic != new.topic {
            let why = "readers of the old topic get nothing more, and the new one begins empty";
            self.unsafe_(stage, "to", differs("its output", &old.topic, &new.topic), why);
        } else if old.partitions != new.partitions {
            let what = differs(&format!("partitions of `{}`", new.topic), &old.partitions, &new.partitions);
            self.unsafe_(stage, "partitions", what, ADDED);
        }
        if old.key != new.key {
            let what = differs(&format!("`key` of `{}`", new.topic), &old.key, &new.key);
            self.unsafe_(stage, "key", what, ORDER);
        }
        if old.format != new.format && old.topic == new.topic {
            let why =
                "records that are there and not read yet are decoded as what they are not, and become dead letters";
            let what = differs(&format!("`format` of `{}`", new.topic), &old.format, &new.format);
            self.unsafe_(stage, "format", what, why);
        }
    }

    fn options(&mut self, old: &StageMark, new: &StageMark) {
        let name = &new.name;
        let names = |s: &StageMark| s.filters.iter().map(|f| f.name.clone()).collect::<Vec<_>>();
        if names(old) != names(new) {
            self.safe(name, "filters", differs("filters", &names(old).join(", "), &names(new).join(", ")));
        } else {
            for (before, now) in old.filters.iter().zip(&new.filters).filter(|(a, b)| a != b) {
                debug_assert_eq!(before.name, now.name);
                self.safe(name, "options", format!("other options of `{}`", now.name));
            }
        }
        if old.order != new.order {
            self.safe(name, "options", differs("`order`", &old.order, &new.order));
        }
        if old.dedup != new.dedup {
            let show = |d: Option<u64>| d.map_or_else(|| "off".to_owned(), |ms| format!("{ms} ms"));
            self.safe(name, "options", differs("`dedup`", &show(old.dedup), &show(new.dedup)));
        }
        if old.replicas != new.replicas {
            self.safe(name, "replicas", differs("`replicas`", &old.replicas, &new.replicas));
        }
        if old.options != new.options {
            self.safe(name, "options", "other options of the stage".to_owned());
        }
    }
}

/// What is instead of what.
pub fn differs(what: &str, old: &impl ToString, new: &impl ToString) -> String {
    let show = |s: String| if s.is_empty() { "none".to_owned() } else { s };
    format!("{what}: {} instead of {}", show(new.to_string()), show(old.to_string()))
}

fn list(topics: &[impl AsRef<str>]) -> String {
    topics.iter().map(|t| format!("`{}`", t.as_ref())).collect::<Vec<_>>().join(", ")
}
