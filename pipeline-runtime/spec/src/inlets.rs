//! How the records of sources come to stages: as the source gives them, or through a stage of ours that keys them anew, or
//! that begins their jobs where several stages read them.

use millstream_filter_api::{Issue, Span};

use crate::defaults::Options;
use crate::link::{Linking, stage};
use crate::model::{Dedup, Input, Output, Source, SourceKind, Stage};
use crate::source::Said;
use crate::stage::{Draft, Flow};

/// Which sources some stage reads, and where each is then.
pub(crate) struct Inlets {
    /// By source of the file; nothing for one that is not read.
    places: Vec<Option<Place>>,
    /// By source of the file: the stage between it and its readers begins jobs, with this dedup.
    begins: Vec<Option<Begins>>,
}

/// The stage of ours that begins the jobs of a source which several stages read: one job, one first record.
#[derive(Clone, Debug)]
pub(crate) struct Begins {
    /// The shortest of its readers' windows, where all have one: what comes again begins no job.
    pub dedup: Option<Dedup>,
}

/// The place of a source among those that are read, and that of the stage that stands before its readers.
type Place = (usize, Option<usize>);

impl Inlets {
    /// `read` and `begins` by source of the file.
    pub(crate) fn new(sources: &[Source], read: &[bool], begins: Vec<Option<Begins>>) -> Self {
        let (mut places, mut ingests) = (0.., 0..);
        let place = |((source, read), begins): ((&Source, &bool), &Option<Begins>)| {
            let ingest = (*read && (has_ingest(source) || begins.is_some())).then(|| ingests.next()).flatten();
            Some((read.then(|| places.next()).flatten()?, ingest))
        };
        Self { places: sources.iter().zip(read).zip(&begins).map(place).collect(), begins }
    }

    /// How many stages of ours come before those of the file.
    pub(crate) fn ingests(&self) -> usize {
        self.places.iter().flatten().filter(|(_, ingest)| ingest.is_some()).count()
    }

    /// What a stage reads of a source that is read.
    pub(crate) fn input(&self, n: usize, source: &Source, pipeline: &str) -> Input {
        let (place, ingest) = self.places[n].unwrap_or_default();
        Input {
            topic: if ingest.is_some() { ingest_topic(source, pipeline) } else { source.topic.clone() },
            format: source.format.clone(),
            types: source.types.clone(),
            from_stage: ingest,
            source: ingest.is_none().then_some(place),
        }
    }

    /// The stages that key records anew, and where the key of each is said.
    pub(crate) fn stages(&self, cx: &Linking<'_>) -> Vec<(Stage, Span)> {
        let between = |((source, said), n): ((&Source, &Said<'_>), usize)| {
            let (place, Some(_)) = self.places[n]? else { return None };
            let span = said.node.get("key").map_or(said.node.span, |k| k.span);
            Some((ingest(cx, source, place, self.begins[n].as_ref(), span), span))
        };
        cx.sources.iter().zip(cx.said).zip(0..).filter_map(between).collect()
    }
}

/// The topic that the stage before the readers writes. What a source writes itself lies in `inlet` already.
fn ingest_topic(source: &Source, pipeline: &str) -> String {
    if source.writes() { format!("{pipeline}.{}", ingest_name(source)) } else { source.inlet.clone() }
}

/// Whether records are re-keyed by a stage of ours before the first one of the file.
pub(crate) fn has_ingest(source: &Source) -> bool {
    !source.writes() && source.key.is_some()
}

/// The name of that stage.
fn ingest_name(source: &Source) -> String {
    if source.named { format!("ingest-{}", source.name) } else { "ingest".to_owned() }
}

/// The stage that gives the records of a topic their key, or begins their jobs. It passes the very bytes on. Where it keys
/// them it leaves dedup to the stages behind it, where records with equal keys have met; and it holds no key, as one that
/// fails here has none yet.
fn ingest(cx: &Linking<'_>, source: &Source, place: usize, begins: Option<&Begins>, span: Span) -> Stage {
    let input = Input {
        topic: source.topic.clone(),
        format: source.format.clone(),
        types: source.types.clone(),
        from_stage: None,
        source: Some(place),
    };
    let output = Output {
        name: None,
        topic: ingest_topic(source, cx.pipeline),
        format: source.format.clone(),
        key: if source.writes() { None } else { source.key.clone() },
        types: source.types.clone(),
        settings: cx.topics.clone(),
        given: false,
        undo: false,
    };
    let dedup = begins.filter(|_| !has_ingest(source)).and_then(|begins| begins.dedup.clone());
    let options = Options { dedup, hold_key: false, ..cx.defaults.clone() };
    let flow = Flow { filters: Vec::new(), outputs: None, kind: source.types.clone(), taint: None };
    stage(cx.pipeline, &ingest_name(source), span, &options, vec![input], flow, vec![output])
}

/// A stage that has the name of a source, or of a stage of ours.
pub(crate) fn taken_name(draft: &Draft<'_>, sources: &[Source], tracked: bool) -> Option<Issue> {
    if let Some(source) = sources.iter().find(|s| s.name == draft.name) {
        let message = match source.named {
            true => format!("`{}` is the name of a source", draft.name),
            false => format!("`{}` is the name of the source", draft.name),
        };
        return Some(Issue::error(draft.span, "duplicate_name", message));
    }
    let source = sources.iter().find(|s| (has_ingest(s) || tracked) && ingest_name(s) == draft.name)?;
    let message = format!("`{}` is the stage between source `{}` and its readers", draft.name, source.name);
    Some(Issue::error(draft.span, "reserved_name", message).help("name this one otherwise"))
}

/// Warns of sources that no stage reads: they do not run.
pub(crate) fn unread<'s>(said: &'s [Said<'_>], read: &'s [bool]) -> impl Iterator<Item = Issue> + 's {
    said.iter().zip(read).filter(|(_, read)| !**read).map(|(said, _)| {
        let message = format!("no stage reads the source `{}`: it does not run", said.name);
        Issue::warning(said.span, "unread_source", message)
            .help(format!("name it in the `from` of a stage: `from: {}`", said.name))
    })
}

/// Two inputs of one stage that are one topic.
pub(crate) fn read_twice(draft: &Draft<'_>, inputs: &[Input]) -> Option<Issue> {
    let twice = (1..inputs.len()).find(|n| inputs[..*n].iter().any(|i| i.topic == inputs[*n].topic))?;
    let span = draft.from.get(twice).map_or(draft.span, |n| n.span);
    let message = format!("`{}` reads the topic `{}` twice", draft.name, inputs[twice].topic);
    Some(Issue::error(span, "duplicate_topic", message).help("read one of the sources that are this topic"))
}

/// Whether a source has a topic of its own that is not this one's to write.
pub(crate) fn reads_topic(source: &Source, topic: &str) -> bool {
    matches!(source.kind, SourceKind::Topic { .. }) && source.topic == topic
}
