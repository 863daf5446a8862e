use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::limits::Limits;
use super::*;

fn note<'a>(stage: &'a str, what: What<'a>) -> Note<'a> {
    Note::new(stage, what, 1_000)
}

fn forwarded(births: u32) -> What<'static> {
    What::Forwarded { births, result: None, into: Vec::new() }
}

fn dead() -> What<'static> {
    What::Dead { code: "x".into(), message: "why".into(), ends_job: false }
}

fn sum(notes: &[Note<'_>]) -> JobStatus {
    let mut status = JobStatus::begin(&notes[0]);
    notes.iter().for_each(|note| status.add(note, 0));
    status
}

fn within(ms: i64) -> Limits {
    Limits { job: Some(ms), ..Limits::default() }
}

fn root(note: Note<'_>) -> Note<'_> {
    Note { root: true, ..note }
}

#[test]
fn a_job_is_done_when_its_last_record_has_ended() {
    let mut notes = vec![note("", What::Accepted)];
    assert_eq!(sum(&notes).state, JobState::Accepted);
    notes.push(root(note("split", forwarded(2))));
    assert_eq!((sum(&notes).state, sum(&notes).open), (JobState::Running, 2));
    notes.push(note("bill", forwarded(0)));
    assert_eq!(sum(&notes).state, JobState::Running);
    notes.push(note("bill", What::Dropped));
    let done = sum(&notes);
    assert_eq!((done.state, done.open, done.accepted), (JobState::Done, 0, 1_000));
    let stages: Vec<_> = done.stages.iter().map(|s| (s.stage.as_str(), s.forwarded, s.dropped)).collect();
    assert_eq!(stages, [("split", 1, 0), ("bill", 1, 1)]);
}

#[test]
fn a_dead_letter_fails_it_until_it_is_sent_back() {
    let mut notes = vec![root(note("split", forwarded(2))), note("bill", dead())];
    let failed = sum(&notes);
    assert_eq!((failed.state, failed.open, failed.letters), (JobState::Failed, 1, 1));
    assert_eq!(failed.error.as_ref().map(|e| (e.stage.as_str(), e.code.as_str())), Some(("bill", "x")));
    notes.push(note("bill", forwarded(0)));
    assert_eq!(sum(&notes).state, JobState::Failed, "one that goes on does not mend the other");
    notes.push(note("bill", What::Redriven));
    assert_eq!((sum(&notes).state, sum(&notes).error), (JobState::Running, None));
    notes.push(note("bill", forwarded(0)));
    assert_eq!(sum(&notes).state, JobState::Done);
}

#[test]
fn what_is_set_aside_is_waited_for() {
    let aside = |note| Note { aside: true, ..note };
    let mut notes = vec![root(note("bill", What::Parked))];
    assert_eq!((sum(&notes).state, sum(&notes).open), (JobState::Waiting, 1));
    notes.push(aside(note("bill", forwarded(1))));
    assert_eq!((sum(&notes).state, sum(&notes).waiting), (JobState::Running, 0));
    notes.push(note("mail", dead()));
    assert_eq!(sum(&notes).state, JobState::Failed);
}

#[test]
fn a_record_that_comes_again_changes_nothing() {
    let mut notes = vec![root(note("bill", forwarded(1))), root(note("bill", What::Duplicate))];
    assert_eq!((sum(&notes).state, sum(&notes).open), (JobState::Running, 1));
    notes.push(note("mail", forwarded(0)));
    assert_eq!(sum(&notes).state, JobState::Done);
}

#[test]
fn a_job_of_which_the_beginning_is_not_known_does_not_go_below_nothing() {
    let done = sum(&[note("mail", What::Dropped)]);
    assert_eq!((done.state, done.open), (JobState::Done, 0));
    let two = sum(&[note("mail", forwarded(0)), note("mail", forwarded(0))]);
    assert_eq!((two.state, two.open), (JobState::Done, 0));
}

#[test]
fn only_the_last_result_counts() {
    let result = |text: &[u8]| What::Forwarded { births: 0, result: Some(Payload::of(text)), into: Vec::new() };
    let status = sum(&[root(note("split", forwarded(2))), note("bill", result(b"1")), note("bill", result(b"\xff"))]);
    assert_eq!(status.result, Some(Payload::Base64("/w==".into())));
    assert_eq!(Payload::of(&vec![0; Payload::MAX + 1]), Payload::TooLarge(Payload::MAX + 1));
}

#[test]
fn a_cancelled_job_is_that_until_somebody_wants_it_again() {
    let mut status = sum(&[root(note("split", forwarded(2))), note("bill", dead()), note("", What::Cancel)]);
    assert_eq!((status.state, status.open), (JobState::Cancelled, 1));
    assert_eq!(status.news(), Some(Some(Stopped::Cancelled)), "the stages are told");
    assert_eq!(status.news(), None, "once");
    status.add(&note("bill", What::Dropped), 0);
    assert_eq!((status.state, status.open, status.is_open()), (JobState::Cancelled, 0, true));
    assert_eq!(status.news(), Some(None), "nothing is left");
    status.add(&note("bill", What::Redriven), 0);
    assert_eq!((status.state, status.news()), (JobState::Running, None));
    status.add(&note("bill", forwarded(0)), 0);
    assert_eq!((status.state, status.is_open()), (JobState::Done, false));
    status.add(&note("", What::Cancel), 0);
    assert_eq!(status.state, JobState::Done, "too late");
}

#[test]
fn an_accepted_job_that_is_cancelled_is_told_until_its_record_has_ended() {
    let mut status = sum(&[note("", What::Accepted), note("", What::Cancel)]);
    assert_eq!((status.state, status.news()), (JobState::Cancelled, Some(Some(Stopped::Cancelled))));
    status.add(&root(note("split", What::Dropped)), 0);
    assert_eq!((status.news(), status.is_open()), (Some(None), false));
}

#[test]
fn a_job_for_later_is_scheduled_until_it_starts() {
    let scheduled = || note("", What::Scheduled { due: 5_000 });
    let mut notes = vec![scheduled(), scheduled()];
    let mut waits = sum(&notes);
    assert_eq!((waits.state, waits.open, waits.due, waits.is_open()), (JobState::Scheduled, 0, Some(5_000), true));
    assert!(!waits.expire(&within(1), i64::MAX), "its time begins when it starts");
    notes.push(Note { time: 5_000, at: 5_001, ..note("", What::Accepted) });
    let started = sum(&notes);
    assert_eq!((started.state, started.accepted, started.begun), (JobState::Accepted, 5_000, 5_001));
    // Where the source is a topic of others nobody says that it is accepted.
    let met = sum(&[scheduled(), root(note("split", forwarded(1)))]);
    assert_eq!((met.state, met.open), (JobState::Running, 1));

    waits.add(&note("", What::TakenBack), 0);
    assert_eq!((waits.state, waits.due, waits.is_open()), (JobState::Cancelled, None, false));
    assert_eq!(waits.news(), None, "no stage has to drop anything");
    // Cancelled, and not taken back: its record is dropped when it comes.
    let mut dropped = sum(&[scheduled(), note("", What::Cancel)]);
    assert_eq!((dropped.state, dropped.news()), (JobState::Cancelled, Some(Some(Stopped::Cancelled))));
    dropped.add(&note("", What::Accepted), 0);
    dropped.add(&root(note("split", What::Dropped)), 0);
    assert_eq!((dropped.news(), dropped.is_open()), (Some(None), false));
    // A job of the same id that has begun before is another matter.
    let before = sum(&[root(note("split", dead())), scheduled(), note("", What::TakenBack)]);
    assert_eq!(before.state, JobState::Failed);
}

#[test]
fn a_late_job_has_failed() {
    let at = |note: Note<'static>, at| Note { at, ..note };
    let mut status = sum(&[at(root(note("split", forwarded(1))), 5_000)]);
    assert!(!status.expire(&within(60_000), 64_999), "the time of the record says nothing: it may be old");
    assert!(status.expire(&within(60_000), 65_000) && !status.expire(&within(60_000), 65_001));
    let error = status.error.clone().map(|e| (e.code, e.message));
    assert_eq!((status.state, error), (JobState::Failed, Some(("deadline".into(), "not done within 1m".into()))));
    assert_eq!(status.news(), Some(Some(Stopped::Deadline)));
    status.add(&note("bill", What::Dropped), 0);
    assert_eq!((status.state, status.error.is_some()), (JobState::Failed, true));
    let mut done = sum(&[root(note("split", forwarded(0)))]);
    assert!(!done.expire(&within(0), i64::MAX));
}

#[test]
fn a_stage_with_a_deadline_is_watched_while_it_has_something_of_the_job() {
    let limits = Limits {
        job: None,
        stages: vec![("first".into(), 5_000), ("ship".into(), 60_000)],
        first: Some("first".into()),
    };
    let at = |note: Note<'static>, at| Note { at, ..note };
    let into = |n| What::Forwarded { births: n, result: None, into: vec![("ship".into(), n)] };
    let accepted = sum(&[at(note("", What::Accepted), 1_000)]);
    assert!(!accepted.clone().expire(&limits, 5_999) && accepted.clone().expire(&limits, 6_000));
    let mut status = sum(&[at(note("", What::Accepted), 1_000), at(root(note("first", into(2))), 2_000)]);
    assert!(!status.clone().expire(&limits, 61_999) && status.clone().expire(&limits, 62_000));
    status.add(&at(note("ship", What::Parked), 30_000), 0);
    assert!(status.clone().expire(&limits, 62_000), "what is set aside is no progress");
    status.add(&at(note("ship", forwarded(0)), 40_000), 0);
    assert!(!status.clone().expire(&limits, 99_999), "one of them has ended");
    let mut late = status.clone();
    assert!(late.expire(&limits, 100_000));
    let error = late.error.clone().map(|e| (e.stage, e.code));
    assert_eq!((late.state, error), (JobState::Failed, Some(("ship".into(), "deadline".into()))));
    status.add(&at(Note { aside: true, ..note("ship", What::Dropped) }, 50_000), 0);
    assert_eq!((status.state, status.at.len()), (JobState::Done, 0));
    // Of one that a source does not announce, it is known when it is set aside.
    let mut silent = sum(&[at(Note { timed: true, ..root(note("first", What::Parked)) }, 1_000)]);
    assert!(!silent.expire(&limits, 5_999) && silent.expire(&limits, 6_000));
}

#[test]
fn a_dead_letter_that_ends_its_job_has_the_rest_dropped() {
    let ends = What::Dead { code: "x".into(), message: "why".into(), ends_job: true };
    let passed = Note { root: true, ..note("split", What::Passed) };
    let mut status = sum(&[passed, root(note("split", forwarded(2))), note("bill", ends)]);
    assert_eq!((status.state, status.open), (JobState::Compensating, 1));
    assert_eq!((status.news(), status.compensate(&["split".to_owned()])), (Some(Some(Stopped::Failed)), None));
    assert!(status.is_given_up() && !status.state.is_final());
    status.add(&note("bill", What::Dropped), 4);
    let step = status.compensate(&["split".to_owned()]);
    assert_eq!(step.map(|step| (step.stage, step.at)), Some((Some(0), vec![0])));
    // The stage that undoes it is not stopped.
    assert_eq!((status.news(), status.open), (Some(None), 0));
    status.add(&note("split.compensate", forwarded(0)), 5);
    assert_eq!((status.compensate(&[]), status.state), (None, JobState::Compensated));
    assert_eq!(status.failure().map(|e| e.stage.as_str()), Some("bill"));
    // Sent back with force, it goes on.
    status.add(&note("bill", What::Redriven), 6);
    assert_eq!((status.state, status.news()), (JobState::Running, None));
}

/// A durable form: change it with its version.
#[test]
fn its_form_is_stable() {
    let mut first = root(note("bill", forwarded(0)));
    first.at = 7;
    let text = serde_json::to_string(&sum(&[first])).unwrap_or_default();
    assert_eq!(
        text,
        r#"{"v":1,"state":"done","accepted":1000,"begun":7,"changed":7,"notes":0,"open":0,"waiting":0,"letters":0,"stages":[{"stage":"bill","forwarded":1,"attempts":1,"first":7,"last":7}]}"#
    );
}

/// A record of a job that has not ended, in the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    /// It came from a source.
    Root,
    /// A stage wrote it.
    Read,
    /// Its copy waits.
    Aside,
    /// It is a dead letter that was sent back.
    Back,
}

proptest! {
    /// Whatever happens to the records of a job, in any order that a log can give (each end behind its birth): the sum is
    /// the number of records that have not ended, it is done exactly when there is none, and failed exactly while there is
    /// a dead letter. Negative control: with `births` counted as one for each output, or without the `+ 1` of what is sent
    /// back, this is red at once.
    #[test]
    fn the_sum_is_the_number_of_records_on_their_way(steps in prop::collection::vec((0usize..64, 0u8..10, 0u32..4), 1..200)) {
        let (mut open, mut letters) = (vec![Open::Root], 0u32);
        let mut status: Option<JobStatus> = None;
        for (which, what, births) in steps {
            let note = if what == 9 && letters > 0 {
                letters -= 1;
                open.push(Open::Back);
                note("s", What::Redriven)
            } else {
                if open.is_empty() { continue }
                let which = which % open.len();
                let record = open[which];
                let what = match what {
                    0..=3 => forwarded(births),
                    4 => What::Dropped,
                    5 if record != Open::Aside => What::Parked,
                    6 => What::Duplicate,
                    _ => dead(),
                };
                match what {
                    What::Parked => open[which] = Open::Aside,
                    _ => drop(open.swap_remove(which)),
                }
                match what {
                    What::Forwarded { births, .. } => open.extend((0..births).map(|_| Open::Read)),
                    What::Dead { .. } => letters += 1,
                    _ => {}
                }
                Note { root: record == Open::Root, aside: record == Open::Aside, ..note("s", what) }
            };
            let status = status.get_or_insert_with(|| JobStatus::begin(&note));
            status.add(&note, 0);
            let waiting = open.iter().filter(|o| **o == Open::Aside).count();
            prop_assert_eq!((status.open, status.waiting, status.letters), (open.len() as i64, waiting as i64, i64::from(letters)));
            let expected = match (letters, open.len()) {
                (1.., _) => JobState::Failed,
                (0, 0) => JobState::Done,
                (0, n) if n == waiting => JobState::Waiting,
                _ => JobState::Running,
            };
            prop_assert_eq!(status.state, expected);
        }
    }

    /// Counts of stages are those of the notes.
    #[test]
    fn stages_are_counted(ends in prop::collection::vec(("[ab]", 0u8..4), 1..50)) {
        let mut wanted: BTreeMap<String, [u64; 4]> = BTreeMap::new();
        let notes: Vec<Note<'_>> = ends.iter().map(|(stage, what)| {
            wanted.entry(stage.clone()).or_default()[usize::from(*what)] += 1;
            note(stage, match what { 0 => forwarded(1), 1 => What::Dropped, 2 => What::Duplicate, _ => dead() })
        }).collect();
        let status = sum(&notes);
        let found: BTreeMap<String, [u64; 4]> = status.stages.iter()
            .map(|s| (s.stage.clone(), [s.forwarded, s.dropped, s.duplicates, s.dead_lettered])).collect();
        prop_assert_eq!(found, wanted);
    }
}

/// A word about progress counts nothing, wherever it stands and however often it comes.
#[test]
fn progress_is_what_was_said_last_and_counts_nothing() {
    let said = |note: Note<'static>, percent: f64| note.with(Percent::of(percent));
    let progress = |percent| said(note("split", What::Progress), percent);
    // The first word of a job may be that of a call of its first stage.
    let mut notes = vec![root(progress(10.0))];
    let first = sum(&notes);
    assert_eq!((first.state, first.open, first.progress), (JobState::Running, 0, Percent::of(10.0)));
    assert!(first.is_open() && !root(progress(1.0)).says_nothing_new() && progress(1.0).says_nothing_new());
    notes.push(root(progress(30.0)));
    notes.push(root(note("split", forwarded(2))));
    assert_eq!((sum(&notes).open, sum(&notes).progress), (2, Percent::of(30.0)));
    notes.push(said(note("bill", forwarded(0)), 60.0));
    notes.push(progress(50.0));
    assert_eq!((sum(&notes).state, sum(&notes).progress), (JobState::Running, Percent::of(50.0)));
    notes.push(note("bill", forwarded(0)));
    notes.push(progress(50.0));
    let done = sum(&notes);
    assert_eq!((done.state, done.open, done.progress), (JobState::Done, 0, Percent::of(50.0)));
    assert_eq!(done.stages.iter().map(|s| s.forwarded).collect::<Vec<_>>(), [1, 2]);
    // What an older version wrote has none.
    let old = serde_json::to_value(JobStatus { progress: None, ..done }).unwrap();
    assert!(old.get("progress").is_none() && serde_json::from_value::<JobStatus>(old).is_ok());
}
