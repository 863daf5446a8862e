//! A member's generation, which commits of positions carry.

use std::ptr::NonNull;

use rdkafka::bindings as sys;
use rdkafka::consumer::Consumer;

use crate::context::KafkaConsumer;

/// The member's place in its group at one moment.
pub(crate) struct GroupMetadata(pub(super) NonNull<sys::rd_kafka_consumer_group_metadata_t>);

// SAFETY: an immutable value that any thread may read and give back.
unsafe impl Send for GroupMetadata {}

impl GroupMetadata {
    /// As it is now.
    pub(crate) fn of(consumer: &KafkaConsumer) -> Option<Self> {
        // SAFETY: the client is alive; the value is owned here.
        NonNull::new(unsafe { sys::rd_kafka_consumer_group_metadata(consumer.client().native_ptr()) }).map(Self)
    }

    /// Negative before the group is joined; a broker would take a commit with it without fencing.
    pub(crate) fn generation(&self) -> i32 {
        // SAFETY: alive.
        unsafe { sys::rd_kafka_consumer_group_metadata_generation_id(self.0.as_ptr()) }
    }
}

impl Drop for GroupMetadata {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once.
        unsafe { sys::rd_kafka_consumer_group_metadata_destroy(self.0.as_ptr()) }
    }
}
