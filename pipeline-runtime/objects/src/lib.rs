//! Objects as a source: a folder, or a bucket of S3, Azure or Google Cloud Storage, is listed again and again, and each
//! object that was created, changed or deleted becomes one record.
//!
//! It must never know: a broker, the engine, how ids and partitions are given. What was seen is written beside the records,
//! in their transaction ([`Maker::beside`](millstream_host::Maker::beside)), so that each change is told once whoever dies when.
//!
//! Start reading at [`decide`](mod@decide) (what is news, pure), then `watch` (the thread that lists), then `maker` (how the
//! host gets it).

mod bucket;
pub mod decide;
mod entry;
mod folder;
mod index;
mod maker;
mod record;
mod rest;
mod store;
mod transport;
mod watch;

use std::hash::Hasher as _;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use millstream_host::{Maker, Opening};
use millstream_log::{Class, LogError, LogResult, TopicPartition};
use millstream_spec::model::{Emit, Place};
use siphasher::sip::SipHasher13;

use bucket::Bucket;
use folder::Folder;
use maker::ObjectMaker;
use rest::Rest;
use store::Store;
use watch::{Flag, Watch};

/// News that wait for the host: references are small, and of contents there is one on its way.
const REFERENCES: usize = 1_000;

/// The maker of a source that watches objects; `None` for any other.
///
/// # Errors
/// No thread can be started.
pub fn open<'a>(opening: Opening<'a>) -> LogResult<Option<Box<dyn Maker + 'a>>> {
    let (Some(spec), Some(seen)) = (opening.source.objects().cloned(), opening.source.seen_topic()) else {
        return Ok(None);
    };
    let pattern = spec.matching.as_ref().map(|matching| matching.text.clone());
    let (store, folder): (Box<dyn Store + Send>, _) = match &spec.place {
        Place::Folder(path) => {
            let watched = spec.notify.then(|| Folder::new(path, pattern.as_deref()));
            (Box::new(Folder::new(path, pattern.as_deref())), watched)
        }
        Place::Bucket(bucket) => {
            let wrong = |why| LogError::new(Class::Config, "objects_config", format!("`{}`: {why}", spec.url));
            (Box::new(Bucket::new(bucket, opening.runtime.clone()).map_err(wrong)?), None)
        }
    };
    let (news, found) = sync_channel(if spec.emit == Emit::Reference { REFERENCES } else { 1 });
    let mut place = SipHasher13::new();
    place.write(spec.url.as_bytes());
    let over = Flag::default();
    let rest = Rest::new(spec.every, folder);
    let watch =
        Watch { spec, store, seen: TopicPartition::new(seen, 0), place: place.finish(), news, over: Arc::clone(&over) };
    let log = Arc::clone(&opening.log);
    std::thread::Builder::new()
        .name("objects".to_owned())
        .spawn(move || watch.run(&*log, rest))
        .map_err(|e| LogError::new(Class::Retry, "objects_watch_ended", format!("no thread can be started: {e}")))?;
    Ok(Some(Box::new(ObjectMaker::new(found, over, opening.position))))
}
