//! Clocks as sources: what is read, and what is wrong with them at its place.

mod common;

use std::time::Duration;

use common::{bad, good};
use millstream_filter_api::Severity;
use millstream_spec::graph;
use millstream_spec::model::{Format, Missed, ScheduleSource, SourceKind, Timing};

fn yaml(schedule: &str) -> String {
    format!(
        "pipeline: p\nsource: {{ schedule: {{ {schedule} }} }}\nstages: [{{ name: a, filter: where, with: 'true' }}]\n"
    )
}

fn read(schedule: &str) -> ScheduleSource {
    let (mut pipeline, warnings) = good(&yaml(schedule));
    assert_eq!(warnings, []);
    match pipeline.sources.remove(0).kind {
        SourceKind::Schedule(schedule) => schedule,
        _ => panic!("{schedule}"),
    }
}

#[test]
fn each_form_is_read() {
    let nightly = read("cron: '0 2 * * MON-FRI', timezone: Europe/Berlin, missed: all, jitter: 30s, overlap: allow");
    assert_eq!(nightly.timing.describe(), "cron 0 2 * * MON-FRI in Europe/Berlin");
    assert_eq!((nightly.missed, nightly.jitter), (Missed::All, Duration::from_secs(30)));
    assert!(nightly.value.is_none());
    let often = read("every: 15m, value: '{}'");
    assert!(matches!(often.timing, Timing::Every(900_000)) && often.missed == Missed::Once && often.value.is_some());
    let once = read("at: 2026-12-01T09:00:00+01:00");
    assert!(matches!(&once.timing, Timing::At(all) if *all == [1_796_112_000_000]), "{:?}", once.timing);
    let twice = read("at: [2026-12-01T09:00:00+01:00, 2026-11-01T09:00:00+01:00, 2026-12-01T08:00:00Z]");
    assert!(matches!(&twice.timing, Timing::At(all) if all.len() == 2 && all[0] < all[1]));
    assert_eq!(read("cron: '@daily'").timing.zone_name(), "UTC");
}

#[test]
fn the_default_payload_has_the_time_as_text() {
    let typed = |with: &str| yaml("every: 1m").replace("'true'", with);
    good(&typed("'.tick != null'"));
    let (pipeline, _) = good(&yaml("every: 1m").replace("} }", "}, key: .tick }"));
    assert!(pipeline.sources[0].writes() && pipeline.sources[0].format == Format::Json);
    assert_eq!(pipeline.sources[0].topic, "p.in");
    assert!(graph::text(&pipeline).contains("every 1m"), "{}", graph::text(&pipeline));
}

#[test]
fn what_is_wrong_is_said_at_its_place() {
    let cases = [
        ("cron: '0 §24 * * *'", "bad_cron", "hour: `24` is not in 0-23 did you mean `0`?"),
        ("cron: 0 2 * * §MOM", "bad_cron", "did you mean `MON`?"),
        ("cron: §'0 0 30 2 *'", "bad_cron", "never comes"),
        ("cron: '§0 2 * *'", "bad_cron", "did you mean `0 2 * * *`?"),
        ("cron: '0 2 * * *', timezone: §Europe/Berlni", "unknown_timezone", "did you mean `Europe/Berlin`?"),
        ("every: 15m, timezone: §Europe/Berlin", "conflicting_keys", "grid"),
        ("at: 2026-12-01T09:00:00Z, timezone: §Europe/Berlin", "conflicting_keys", "its own offset"),
        ("every: 15m, §cron: '0 2 * * *'", "conflicting_keys", "exclude each other"),
        ("every: §15", "wrong_type", "did you mean `15s`?"),
        ("every: §0s", "bad_duration", "duration"),
        ("at: §tomorrow", "bad_time", "tomorrow"),
        ("§at: []", "wrong_count", "at least 1"),
        ("every: 1s, missed: §onec", "unknown_word", "did you mean `once`?"),
        ("every: 1s, jitter: §1s", "conflicting_keys", "not shorter"),
        ("every: 1s, overlap: §wait", "unknown_word", "`queue`"),
        ("every: 1s, §evry: 2s", "unknown_key", "did you mean `every`?"),
        ("every: 1s, value: §!x", "yaml_tag", "quote it"),
    ];
    let mut wrong = Vec::new();
    for (marked, code, words) in cases {
        let marked = yaml(marked);
        let col = marked
            .lines()
            .nth(1)
            .and_then(|line| line.split('§').next())
            .map_or(0, |before| before.chars().count() + 1);
        let text = marked.replacen('§', "", 1);
        let issues = bad(&text);
        let errors: Vec<_> = issues.iter().filter(|i| i.severity == Severity::Error).collect();
        let right = matches!(errors.as_slice(), [one] if (one.span.line, one.span.col as usize, one.code) == (2, col, code)
            && format!("{} {}", one.message, one.help.as_deref().unwrap_or("")).contains(words));
        if !right {
            let shown = millstream_spec::render(std::path::Path::new("p"), text.as_bytes(), &issues);
            wrong.push(format!("wanted 2:{col} {code} {words:?}, got:\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let none = bad(&yaml("missed: all"));
    assert!(
        none.iter().any(|i| i.code == "missing_key" && i.message.contains("`cron` or `every` or `at`")),
        "{none:?}"
    );
}

#[test]
fn two_clocks_have_ids_of_their_own() {
    let text = "pipeline: p\nsources: { a: { schedule: { every: 1m } }, b: { schedule: { every: 1m } } }\n\
                stages: [{ name: s, from: [a, b], filter: where, with: 'true' }]\n";
    let (pipeline, _) = good(text);
    assert!(pipeline.sources.iter().all(|source| source.id_prefix.is_none()), "their names are in their ids");
}
