//! From what a sender sends to a record of the source's topic, or to what is wrong with it. Nothing is written here.

use std::sync::Arc;

use bytes::Bytes;
use millstream_codec::{Codec, Coercion};
use millstream_filter_api::{HeadersBuilder, Payload, Value};
use millstream_log::{Outgoing, TopicPartition};
use millstream_spec::model::{KeyRule, Source};

use super::desk::{Item, NO_TAG};
use super::names::{Name, PayloadHash, fresh_job, job_of, job_of_id};
use crate::clock::wall_ms;
use crate::ids::{self, ID_HEADER};
use crate::jobs::{JobsPlan, Note, What};
use crate::outputs::partition_for;
use crate::plan::codec_of;

/// Looks whether a payload is as the source's file says; else the field at fault and what is wrong with it.
pub type Fits = Arc<dyn Fn(&Value) -> Option<(String, String)> + Send + Sync>;

/// What a sender sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The payload.
    pub payload: Bytes,
    /// Headers of the record, in order.
    pub headers: Vec<(String, Bytes)>,
    /// What it is called.
    pub name: Name,
}

/// Why a message is no record of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// It is not what its format says: a code and a message.
    Undecodable(String, String),
    /// A field, and what is wrong with it.
    Field(String, String),
}

/// Makes records of one source.
pub struct Recorder {
    topic: Arc<str>,
    codec: Codec,
    coercion: Coercion,
    key: Option<KeyRule>,
    partitions: i32,
    fits: Option<Fits>,
    /// Whether ids are claimed.
    claims: bool,
    /// Where it says which jobs have begun, if they are tracked.
    jobs: Option<JobsPlan>,
}

impl Recorder {
    /// For a source whose topic has so many partitions.
    pub(crate) fn new(source: &Source, partitions: i32, fits: Option<Fits>, jobs: Option<JobsPlan>) -> Self {
        Self {
            topic: Arc::from(source.topic.as_str()),
            codec: codec_of(&source.format),
            coercion: Coercion::new(&source.types),
            key: source.key.clone(),
            partitions,
            fits: fits.filter(|_| source.typed),
            claims: source.ids_topic().is_some(),
            jobs,
        }
    }

    /// The record of a message, and how it is claimed.
    pub fn record(&self, message: Message) -> Result<Item, Unfit> {
        let Message { payload, headers, name } = message;
        let decoded = self.codec.decode(payload.clone(), &self.coercion);
        let decoded = decoded.map_err(|e| Unfit::Undecodable(e.code.to_owned(), e.message))?;
        if let Some((field, what)) = self.misfit(&decoded) {
            return Err(Unfit::Field(field, what));
        }
        let id = name.id(&self.topic);
        let claim = id.filter(|_| self.claims).map(|id| (id, PayloadHash::of(&payload)));
        let job = match (claim, id) {
            (Some((id, payload)), _) => job_of(id, payload),
            (None, Some(id)) => job_of_id(id),
            (None, None) => fresh_job(),
        };
        let mut all = HeadersBuilder::default();
        all.push(ID_HEADER, Some(job.as_bytes()));
        headers.iter().for_each(|(name, value)| all.push(name, Some(value)));
        let headers = all.finish();
        let key = self.key.as_ref().and_then(|rule| {
            ids::of_output_key(Some(rule), None, &decoded, Some(&payload), &headers).filter(|key| !key.is_empty())
        });
        let partition = partition_for(key.as_ref(), job.as_bytes(), self.partitions);
        let to = TopicPartition::new(Arc::clone(&self.topic), partition);
        let record = Outgoing { to, key, value: Some(payload), headers, timestamp: wall_ms(), tag: 0 };
        let note = self.jobs.as_ref().map(|jobs| {
            let note = Note::new("", What::Accepted, record.timestamp).write(jobs, job.as_bytes());
            Outgoing { tag: NO_TAG, ..note }
        });
        Ok(Item { job, record, note, claim })
    }

    fn misfit(&self, payload: &Payload) -> Option<(String, String)> {
        let fits = self.fits.as_ref()?;
        fits(payload.value()?)
    }
}
