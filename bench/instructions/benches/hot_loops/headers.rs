//! Headers of a record that passes: its id is found, and they are written again with another, as `host/outputs.rs` does.

use std::hint::black_box;

use millstream_filter_api::HeadersBuilder;

use crate::input::records;
use crate::{Step, each};

/// Bytes the host's header buffer grows by.
const ARENA: usize = 64 * 1024;

/// Five in, the same with a new id out.
pub fn read_and_written(count: usize) -> Step {
    let mut out = HeadersBuilder::default();
    each(records(count, 1_000), move |record| {
        let id = record.headers.get("ce_id").flatten().expect("each has an id");
        black_box(record.headers.get("millstream.replay"));
        out.reserve(record.headers.size() + id.len() + 64, ARENA);
        out.extend_except(&record.headers, "ce_id");
        out.push("ce_id", Some(id));
        black_box(out.finish());
    })
}
