//! Schemas by their numbers: for ever, but for the oldest when there are very many, and what is not there for a while.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use millstream_codec::Known;

/// Schemas that are kept, and bytes of their texts.
const MAX_SCHEMAS: usize = 1_000;
const MAX_BYTES: usize = 64 << 20;
/// How long a number that is not there is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(30);

/// What is known.
#[derive(Default)]
pub(super) struct Cache {
    known: HashMap<u32, (Known, Option<Instant>)>,
    /// Numbers in the order in which they came.
    order: VecDeque<u32>,
    bytes: usize,
}

impl Cache {
    pub(super) fn get(&self, id: u32) -> Option<Known> {
        self.known.get(&id).map(|(known, _)| known.clone())
    }

    pub(super) fn is_fresh(&self, id: u32) -> bool {
        self.known.get(&id).is_some_and(|(_, until)| until.is_none_or(|until| Instant::now() < until))
    }

    pub(super) fn insert(&mut self, id: u32, known: Known) {
        let until = match known {
            Known::Schema(_) | Known::Protobuf(_) => None,
            Known::Nothing | Known::Unusable(_) => Some(Instant::now() + ABSENT_FOR),
        };
        self.bytes += size(&known);
        match self.known.insert(id, (known, until)) {
            Some((before, _)) => self.bytes -= size(&before),
            None => self.order.push_back(id),
        }
        while self.order.len() > MAX_SCHEMAS || self.bytes > MAX_BYTES && self.order.len() > 1 {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((gone, _)) = self.known.remove(&oldest) {
                self.bytes -= size(&gone);
            }
        }
    }
}

fn size(known: &Known) -> usize {
    match known {
        Known::Schema(schema) => schema.text().len(),
        Known::Protobuf(files) => files.size(),
        Known::Nothing | Known::Unusable(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_codec::AvroSchema;

    #[test]
    fn the_oldest_go_and_what_is_not_there_is_asked_for_again() {
        let mut cache = Cache::default();
        for id in 0..MAX_SCHEMAS as u32 + 10 {
            cache.insert(id, Known::Schema(AvroSchema::parse("\"int\"").expect("a schema")));
        }
        assert!(cache.get(9).is_none() && cache.get(10).is_some() && cache.is_fresh(1_009));
        assert_eq!((cache.order.len(), cache.bytes), (MAX_SCHEMAS, MAX_SCHEMAS * 5));
        cache.insert(7, Known::Nothing);
        assert!(cache.is_fresh(7));
        cache.known.insert(7, (Known::Nothing, Some(Instant::now())));
        assert!(!cache.is_fresh(7) && cache.get(7).is_some());
    }
}
