//! What a finished record becomes in the log: encoded, named, keyed, and sent to its partition.

use std::sync::Arc;

use bytes::Bytes;
use millstream_codec::Codec;
use millstream_filter_api::{Failure, HeadersBuilder, Record};
use millstream_log::{Outgoing, TopicPartition, partition_of};
use smallvec::SmallVec;

use crate::ids::{self, ID_HEADER};
use crate::plan::{OutputPlan, StagePlan};
use crate::replay::in_place::REPLAY_HEADER;

/// The records one input became; nearly always one.
pub type Written = SmallVec<[Outgoing; 1]>;

/// Writes outputs of one replica. Keeps its buffers from record to record.
#[derive(Default)]
pub struct OutputWriter {
    id: Vec<u8>,
    headers: HeadersBuilder,
}

/// Bytes the header buffer grows by: one allocation serves the headers of many records.
const HEADER_ARENA: usize = 64 * 1024;

impl OutputWriter {
    /// Turns what a chain gave into records of the stage's output topics. `input_codec` is how the payload's original
    /// bytes are encoded. `replay` is what the input says of replays.
    pub fn write(
        &mut self,
        plan: &StagePlan,
        input_codec: &Codec,
        input_id: &[u8],
        replay: Option<&Bytes>,
        ended: SmallVec<[(u16, Record); 1]>,
    ) -> Result<Written, Box<Failure>> {
        let root = ids::root(input_id);
        ended
            .into_iter()
            .enumerate()
            .map(|(index, (output, mut record))| {
                // A filter that took it away would have every stage behind it drop the record as a repeat.
                if let Some(mark) = replay
                    && record.headers.get(REPLAY_HEADER) != Some(Some(mark))
                {
                    record.headers = record.headers.with(REPLAY_HEADER, Some(mark));
                }
                let output = &plan.outputs[usize::from(output)];
                self.id.clear();
                output.ids.write(root, input_id, index as u32, &mut self.id);
                self.write_one(output, input_codec, record)
            })
            .collect()
    }

    fn write_one(
        &mut self,
        output: &OutputPlan,
        input_codec: &Codec,
        record: Record,
    ) -> Result<Outgoing, Box<Failure>> {
        let value = output
            .codec
            .encode(&record.payload, input_codec)
            .map_err(|e| Box::new(Failure::data(e.code, format!("for topic `{}`: {}", output.topic, e.message))))?;
        let key = ids::of_output_key(
            output.key.as_ref(),
            record.key.as_ref(),
            &record.payload,
            value.as_ref(),
            &record.headers,
        );
        let partition = partition_for(key.as_ref(), &self.id, output.partitions);
        self.headers.reserve(record.headers.size() + self.id.len() + 64, HEADER_ARENA);
        self.headers.extend_except(&record.headers, ID_HEADER);
        self.headers.push(ID_HEADER, Some(&self.id));
        Ok(Outgoing {
            to: TopicPartition::new(Arc::clone(&output.topic), partition),
            key,
            value,
            headers: self.headers.finish(),
            timestamp: record.timestamp,
            tag: 0,
        })
    }
}

/// By the key; a record without one goes by its id, so that repeats of it meet.
pub fn partition_for(key: Option<&Bytes>, id: &[u8], partitions: i32) -> i32 {
    partition_of(key.map_or(id, |k| k.as_ref()), partitions)
}
