//! What differs between the sources of two pipelines of one name. Pure.
//!
//! A source keeps its place by its name; one that has another name and reads the same goes on where it stood.

use serde::Serialize;

use super::compare::{ADDED, Facts, ORDER, differs};
use super::fingerprint::{Fingerprint, SourceMark};

/// A source that writes goes on under another name, and so with another topic and group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SourceTakeover {
    /// The topic and group that it had.
    pub from: String,
    /// The topic and group that it has.
    pub to: String,
    /// Its name now.
    pub name: String,
}

/// One difference of a source.
pub struct Seen {
    pub kind: &'static str,
    pub what: String,
    /// What would come of it; `None` is safe.
    pub why: Option<String>,
    /// The topic that the source had, where readers of it are concerned.
    pub topic: Option<String>,
}

/// The same source in both: by its name, else by what it reads.
fn pairs<'a>(
    old: &'a Fingerprint,
    new: &'a Fingerprint,
) -> (Vec<(&'a SourceMark, &'a SourceMark)>, Vec<&'a SourceMark>, Vec<&'a SourceMark>) {
    let named = |all: &'a [SourceMark], name: &str| all.iter().find(|s| s.name == name);
    let mut gone: Vec<&SourceMark> = old.sources.iter().filter(|s| named(&new.sources, &s.name).is_none()).collect();
    let (mut both, mut came) = (Vec::new(), Vec::new());
    for source in &new.sources {
        let same = |g: &&SourceMark| {
            let reads = |s: &SourceMark| if s.writes() { s.file.clone() } else { s.topic.clone() };
            let made = |s: &SourceMark| ["generate", "schedule"].contains(&s.kind.as_str()).then(|| s.options.clone());
            // What takes requests in has no place that it would go on from, and what was seen of objects lies under the
            // name.
            g.kind == source.kind
                && !["http", "objects"].contains(&g.kind.as_str())
                && reads(g) == reads(source)
                && made(g) == made(source)
        };
        if let Some(before) = named(&old.sources, &source.name) {
            both.push((before, source));
        } else if let Some(at) = gone.iter().position(same) {
            both.push((gone.remove(at), source));
        } else {
            came.push(source);
        }
    }
    (both, came, gone)
}

/// Sources that go on under another name.
pub fn takeovers(old: &Fingerprint, new: &Fingerprint) -> Vec<SourceTakeover> {
    let moved =
        |(before, now): &(&SourceMark, &SourceMark)| now.writes() && before.topic != now.topic && before.writes();
    let takeover = |(before, now): (&SourceMark, &SourceMark)| SourceTakeover {
        from: before.topic.clone(),
        to: now.topic.clone(),
        name: if now.name.is_empty() { "source".to_owned() } else { now.name.clone() },
    };
    pairs(old, new).0.into_iter().filter(moved).map(takeover).collect()
}

/// All differences, in the order of the new pipeline, then what is gone.
pub fn compare(old: &Fingerprint, new: &Fingerprint, facts: &Facts) -> Vec<Seen> {
    let (both, came, gone) = pairs(old, new);
    let mut all = Vec::new();
    for (before, now) in both {
        let mut seen = Vec::new();
        one(before, now, &mut seen);
        let concerned = |seen: Seen| Seen { topic: seen.why.as_ref().map(|_| before.topic.clone()), ..seen };
        all.extend(seen.into_iter().map(concerned));
    }
    for now in came {
        let what = format!("{} is new: {}", now.called(), reads(now));
        let seen = match facts.stands.get(&now.topic) {
            None => Seen { kind: "source_added", what, why: None, topic: None },
            Some(records) => {
                let why = format!(
                    "a source of that name was here before and gave {records} records: this one would go on after them; \
                     with another name it begins at its beginning"
                );
                Seen { kind: "source_added", what, why: Some(why), topic: None }
            }
        };
        all.push(seen);
    }
    for before in gone {
        let what = format!("{} is gone: {}", before.called(), reads(before));
        let why = (before.writes() && before.kind != "http")
            .then(|| format!("what it has not given yet is never given; `{}` and its position stay", before.topic));
        let topic = why.as_ref().map(|_| before.topic.clone());
        all.push(Seen { kind: "source_removed", what, why, topic });
    }
    all
}

fn reads(source: &SourceMark) -> String {
    match source.kind.as_str() {
        "file" => format!("file {}", source.file),
        "objects" => format!("objects {}", source.file),
        "topic" => format!("topic {}", source.topic),
        kind => kind.to_owned(),
    }
}

fn one(old: &SourceMark, new: &SourceMark, all: &mut Vec<Seen>) {
    let mut add = |kind, what: String, why: Option<&str>| {
        all.push(Seen { kind, what, why: why.map(str::to_owned), topic: None });
    };
    let called = match new.name.as_str() {
        "" => "the source".to_owned(),
        name => format!("source `{name}`"),
    };
    // As it was said before sources had names.
    let of = |what: &str| format!("{what} of {called}");
    if old.name != new.name {
        let why = "under another name it would give all its records again; `apply` lets it go on where it stands";
        let what = match new.name.as_str() {
            "" => format!("{} has no name any more", old.called()),
            name => format!("{} is named `{name}` now", old.called()),
        };
        add("source_renamed", what, new.writes().then_some(why));
    }
    if old.kind != new.kind || old.file != new.file || (!old.writes() && old.topic != new.topic && !old.name.is_empty())
    {
        let what = if new.name.is_empty() { "`source`".to_owned() } else { called.clone() };
        let why = match new.writes() && old.writes() {
            true if new.kind == "objects" => {
                "what is there comes as `created`, and nothing is said of what was seen before"
            }
            true => {
                "the position in the old source is taken for one in the new: records are passed over or written again"
            }
            false => "what it gave before and what it gives now are not the same records",
        };
        add("source", differs(&what, &reads(old), &reads(new)), Some(why));
    }
    if old.id != new.id {
        let why =
            "records get other ids: repeats of what was read before are not noticed, and the ids of all outputs change";
        add("id", differs(&of("`id`"), &old.id, &new.id), Some(why));
    }
    if old.key != new.key {
        add("key", differs(&of("`key`"), &old.key, &new.key), Some(ORDER));
    }
    if old.format != new.format {
        let why = "records that are there and not read yet are decoded as what they are not, and become dead letters";
        add("format", differs(&of("`format`"), &old.format, &new.format), Some(why));
    }
    if old.kind == new.kind && old.partitions != new.partitions {
        let what = differs(&format!("partitions of `{}`", new.topic), &old.partitions, &new.partitions);
        add("partitions", what, Some(ADDED));
    }
    if old.kind == new.kind && old.options != new.options {
        add("options", format!("other options of {called}"), None);
    }
}
