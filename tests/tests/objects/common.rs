//! Pipelines that watch, and what must come of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use millstream_tests::checker::Seen;
use millstream_tests::process::wait_until;
use millstream_tests::site::Site;

pub const SESSION: Duration = Duration::from_secs(6);
pub const PATIENCE: Duration = Duration::from_secs(180);

/// A pipeline that watches `objects`, in flow style.
pub fn pipeline(name: &str, objects: &str) -> String {
    format!(
        "pipeline: {name}\ndefaults: {{ topics: {{ partitions: 3 }} }}\nsource: {{ objects: {{ {objects} }} }}\n\
         stages:\n  - {{ name: note, filter: map, with: '.seen = true' }}\n"
    )
}

/// What was told: name, event and size, and how often.
pub type Told = BTreeMap<(String, String, u64), usize>;

/// What records tell, and that their keys and ids are right.
pub fn told(records: &[Seen]) -> Told {
    let mut all = Told::new();
    let mut ids = BTreeMap::new();
    for record in records {
        let text = |field: &str| record.value[field].as_str().unwrap_or_else(|| panic!("{record:?}")).to_owned();
        let name = text("name");
        assert_eq!(record.key.as_deref(), Some(name.as_str()), "the key is the name");
        let id = record.headers.iter().find(|(name, _)| name == "ce_id").and_then(|(_, id)| id.clone()).expect("an id");
        assert!(id.starts_with(&format!("{}#", name.replace(' ', "%20"))), "{id}");
        assert_eq!(ids.insert(id.clone(), ()), None, "{id} is there twice");
        *all.entry((name, text("event"), record.value["size"].as_u64().expect("a size"))).or_default() += 1;
    }
    all
}

/// What is wrong with what was told.
pub fn wrong(told: &Told, wanted: &Told) -> Vec<String> {
    let lost = wanted.keys().filter(|event| !told.contains_key(*event)).map(|event| format!("{event:?} is lost"));
    let more = told.iter().filter_map(|(event, times)| match (wanted.contains_key(event), times) {
        (false, _) => Some(format!("{event:?} never happened")),
        (true, 1) => None,
        (true, _) => Some(format!("{event:?} is doubled")),
    });
    lost.chain(more).collect()
}

/// The folder that is watched.
pub fn inbox(site: &Site) -> PathBuf {
    let path = site.folder().join("inbox");
    fs::create_dir_all(&path).expect("a folder");
    path
}

/// Writes a file of this size, whole or not at all.
pub fn put(site: &Site, name: &str, size: usize) {
    let path = inbox(site).join(name);
    fs::create_dir_all(path.parent().expect("within")).expect("a folder");
    let beside = site.folder().join("beside");
    fs::write(&beside, "x".repeat(size)).expect("written");
    fs::rename(beside, path).expect("moved");
}

/// Waits until a topic has this many records.
pub fn flows(site: &Site, topic: &str, records: usize) -> Vec<Seen> {
    let mut last = Vec::new();
    let came = wait_until(PATIENCE, || {
        last = site.read(topic);
        last.len() >= records
    });
    assert!(came, "{topic} has {} records, not {records}", last.len());
    last
}
