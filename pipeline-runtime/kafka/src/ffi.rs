//! The only unsafe code that ships: what librdkafka offers and rust-rdkafka does not wrap. A data queue read in
//! batches, commits with a deadline, the group's generation, records produced through cached topic handles.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use millstream_filter_api::Headers;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::{self as sys, rd_kafka_resp_err_t as Err};
use rdkafka::consumer::Consumer;
use rdkafka::producer::Producer;
use rdkafka::types::{RDKafka, RDKafkaErrorCode};

use crate::context::{KafkaConsumer, KafkaProducer};
use crate::signal::Signal;

mod group;
pub(crate) mod rights;

pub(crate) use group::GroupMetadata;

const OK: Err = Err::RD_KAFKA_RESP_ERR_NO_ERROR;

/// A queue that holds fetched records of chosen partitions, apart from the group's events.
pub(crate) struct DataQueue {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// What the queue's callback points to; leaves after the callback is off.
    signal: Arc<Signal>,
    /// The client lives longer than its queue.
    client: Arc<KafkaConsumer>,
    pointers: Vec<*mut sys::rd_kafka_message_t>,
}

// SAFETY: librdkafka's queues may be used from any thread; `pointers` is empty between calls.
unsafe impl Send for DataQueue {}

impl DataQueue {
    /// An empty queue that raises the signal when something comes in.
    pub(crate) fn new(client: Arc<KafkaConsumer>, signal: Arc<Signal>) -> Option<Self> {
        // SAFETY: the client is alive; the returned queue is owned here and destroyed once, in `drop`.
        let queue = NonNull::new(unsafe { sys::rd_kafka_queue_new(client.client().native_ptr()) })?;
        // SAFETY: the pointer stays valid because `signal` is kept until the callback is switched off in `drop`.
        unsafe {
            let opaque = Arc::as_ptr(&signal).cast_mut().cast::<c_void>();
            sys::rd_kafka_queue_cb_event_enable(queue.as_ptr(), Some(raise), opaque);
        }
        Some(Self { queue, signal, client, pointers: Vec::new() })
    }

    /// Lets a partition's records come here instead of to the group's queue. To be called before each assignment of
    /// it: stopping to read it undoes this.
    pub(crate) fn take_partition(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: client and queue are alive; the partition's queue is a counted reference, given back at once.
        unsafe {
            let source = sys::rd_kafka_queue_get_partition(self.rk(), topic.as_ptr(), partition);
            if source.is_null() {
                return false;
            }
            sys::rd_kafka_queue_forward(source, self.queue.as_ptr());
            sys::rd_kafka_queue_destroy(source);
        }
        true
    }

    /// Starts to read a partition without any group.
    pub(crate) fn start(&self, topic: &Topic, partition: i32, offset: i64) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: the topic handle belongs to this client, the queue is alive.
        let failed = unsafe {
            sys::rd_kafka_consume_start_queue(topic.handle.as_ptr(), partition, offset, self.queue.as_ptr()) != 0
        };
        // SAFETY: plain read of this thread's last error.
        if failed { Err(unsafe { sys::rd_kafka_last_error() }.into()) } else { Ok(()) }
    }

    /// Ends [`DataQueue::start`]; waits until it is done.
    pub(crate) fn stop(&self, topic: &Topic, partition: i32) {
        // SAFETY: as in `start`. A failure means that it was not started.
        unsafe { sys::rd_kafka_consume_stop(topic.handle.as_ptr(), partition) };
    }

    /// Takes up to `limit` records that are there now; never waits.
    pub(crate) fn drain(&mut self, limit: usize, into: &mut impl Extend<Message>) {
        self.pointers.clear();
        self.pointers.reserve(limit);
        // SAFETY: there is room for `limit` pointers; the call writes as many as it says, each owned by us from then on.
        let count = unsafe {
            let count =
                sys::rd_kafka_consume_batch_queue(self.queue.as_ptr(), 0, self.pointers.as_mut_ptr(), limit).max(0);
            self.pointers.set_len(count as usize);
            count
        };
        if count > 0 {
            into.extend(self.pointers.drain(..).filter_map(NonNull::new).map(Message));
        }
    }

    fn rk(&self) -> *mut RDKafka {
        self.client.client().native_ptr()
    }
}

impl Drop for DataQueue {
    fn drop(&mut self) {
        // SAFETY: after the first call no callback runs any more, so `signal` may go; the queue is destroyed once.
        unsafe {
            sys::rd_kafka_queue_cb_event_enable(self.queue.as_ptr(), None, ptr::null_mut());
            sys::rd_kafka_queue_destroy(self.queue.as_ptr());
        }
        self.signal.raise();
    }
}

/// Called by librdkafka's threads.
unsafe extern "C" fn raise(_: *mut RDKafka, signal: *mut c_void) {
    // SAFETY: the pointer was made from an `Arc<Signal>` that outlives the callback; see `DataQueue::new`.
    let signal = unsafe { &*signal.cast_const().cast::<Signal>() };
    signal.raise();
}

/// A fetched record, or an error or end-of-partition mark in its place, as librdkafka holds it.
pub(crate) struct Message(NonNull<sys::rd_kafka_message_t>);

// SAFETY: a message is owned memory of librdkafka that any thread may read and give back.
unsafe impl Send for Message {}

impl Message {
    fn raw(&self) -> &sys::rd_kafka_message_t {
        // SAFETY: owned and alive until `drop`.
        unsafe { self.0.as_ref() }
    }

    /// `None` for a record.
    pub(crate) fn error(&self) -> Option<RDKafkaErrorCode> {
        let code = self.raw().err;
        (code != OK).then(|| code.into())
    }

    /// What an error says.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the returned text lives as long as the message and is copied here.
        let text = unsafe { sys::rd_kafka_message_errstr(self.0.as_ptr()) };
        text_of(text)
    }

    pub(crate) fn topic(&self) -> &str {
        let topic = self.raw().rkt;
        if topic.is_null() {
            return "";
        }
        // SAFETY: a message keeps its topic alive, and topic names are ASCII.
        unsafe { CStr::from_ptr(sys::rd_kafka_topic_name(topic)) }.to_str().unwrap_or("")
    }

    /// Whether both are of one partition. Handles of a topic are equal while one of them is held.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        self.raw().rkt == other.raw().rkt && self.raw().partition == other.raw().partition
    }

    pub(crate) fn partition(&self) -> i32 {
        self.raw().partition
    }

    /// Of a record its own, of an end-of-partition mark the next one to come.
    pub(crate) fn offset(&self) -> i64 {
        self.raw().offset
    }

    pub(crate) fn timestamp(&self) -> i64 {
        let mut kind = sys::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive.
        unsafe { sys::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) }
    }

    pub(crate) fn key(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: librdkafka gives pointer and length of memory that lives as long as the message.
        (!raw.key.is_null()).then(|| unsafe { std::slice::from_raw_parts(raw.key.cast::<u8>(), raw.key_len) })
    }

    pub(crate) fn value(&self) -> Option<&[u8]> {
        let raw = self.raw();
        // SAFETY: as for the key.
        (!raw.payload.is_null()).then(|| unsafe { std::slice::from_raw_parts(raw.payload.cast::<u8>(), raw.len) })
    }

    /// Calls `each` with every header in order.
    pub(crate) fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let mut list = ptr::null_mut();
        // SAFETY: the message is alive and keeps the list; names end with NUL, values have the length given.
        unsafe {
            if sys::rd_kafka_message_headers(self.0.as_ptr(), &mut list) != OK {
                return;
            }
            for index in 0.. {
                let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
                if sys::rd_kafka_header_get_all(list, index, &mut name, &mut value, &mut size) != OK {
                    return;
                }
                let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
                each(CStr::from_ptr(name).to_bytes(), value);
            }
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once.
        unsafe { sys::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

/// A topic handle of one client, so that a name is looked up once and not for each record.
pub(crate) struct Topic {
    handle: NonNull<sys::rd_kafka_topic_t>,
}

// SAFETY: handles are counted references that any thread may use.
unsafe impl Send for Topic {}

impl Topic {
    /// Of a client that outlives the handle (librdkafka counts the references).
    pub(crate) fn new(client: *mut RDKafka, name: &str) -> Option<Self> {
        let name = CString::new(name).ok()?;
        // SAFETY: the client is alive; without a configuration of its own the topic has the client's.
        NonNull::new(unsafe { sys::rd_kafka_topic_new(client, name.as_ptr(), ptr::null_mut()) })
            .map(|handle| Self { handle })
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once.
        unsafe { sys::rd_kafka_topic_destroy(self.handle.as_ptr()) }
    }
}

/// A record to be queued.
pub(crate) struct Produce<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a Bytes>,
    pub(crate) value: Option<&'a Bytes>,
    pub(crate) headers: &'a Headers,
    pub(crate) timestamp: i64,
    pub(crate) tag: u64,
}

/// Queues a record; its bytes are copied.
pub(crate) fn produce(producer: &KafkaProducer, topic: &Topic, record: &Produce<'_>) -> Result<(), RDKafkaErrorCode> {
    use sys::rd_kafka_vtype_t as Kind;
    let bytes = |b: Option<&Bytes>| sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: b.map_or(ptr::null_mut(), |b| b.as_ptr().cast_mut().cast()),
        size: b.map_or(0, Bytes::len),
    };
    type Value = sys::rd_kafka_vu_s__bindgen_ty_1;
    let part = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
    let headers = native_headers(record.headers);
    let parts = [
        part(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.handle.as_ptr() }),
        part(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: record.partition }),
        part(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: sys::RD_KAFKA_MSG_F_COPY }),
        part(Kind::RD_KAFKA_VTYPE_KEY, Value { mem: bytes(record.key) }),
        part(Kind::RD_KAFKA_VTYPE_VALUE, Value { mem: bytes(record.value) }),
        part(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: record.timestamp }),
        part(Kind::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: record.tag as usize as *mut c_void }),
        part(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers }),
    ];
    // Without headers the last part is left out: a list would be allocated for each record.
    let count = if headers.is_null() { parts.len() - 1 } else { parts.len() };
    // SAFETY: all pointers live through the call, which copies key and value and takes the headers when it succeeds;
    // when it fails they are still ours.
    unsafe {
        let error = sys::rd_kafka_produceva(producer.client().native_ptr(), parts.as_ptr(), count);
        if error.is_null() {
            return Ok(());
        }
        if !headers.is_null() {
            sys::rd_kafka_headers_destroy(headers);
        }
        let code = sys::rd_kafka_error_code(error);
        sys::rd_kafka_error_destroy(error);
        Err(code.into())
    }
}

fn native_headers(headers: &Headers) -> *mut sys::rd_kafka_headers_t {
    if headers.is_empty() {
        return ptr::null_mut();
    }
    // SAFETY: the list is new and ours; names and values are given with their lengths and copied.
    unsafe {
        let list = sys::rd_kafka_headers_new(8);
        for (name, value) in headers.iter_bytes() {
            let (bytes, size) = value.map_or((ptr::null(), 0), |v| (v.as_ptr().cast(), v.len() as isize));
            // It fails only for lists that are read-only.
            sys::rd_kafka_header_add(list, name.as_ptr().cast(), name.len() as isize, bytes, size);
        }
        list
    }
}

/// What a call of the transaction API says went wrong.
#[derive(Clone, Debug)]
pub(crate) struct TxnError {
    pub(crate) code: RDKafkaErrorCode,
    pub(crate) text: String,
    /// The same call again may succeed.
    pub(crate) retriable: bool,
    /// The transaction is lost.
    pub(crate) abort: bool,
}

impl TxnError {
    /// # Safety
    /// `error` is null or an owned error.
    unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: not null, alive until destroyed below.
        unsafe {
            let taken = Self {
                code: sys::rd_kafka_error_code(error).into(),
                text: text_of(sys::rd_kafka_error_string(error)),
                retriable: sys::rd_kafka_error_is_retriable(error) != 0,
                abort: sys::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            sys::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }
}

/// One call of the transaction API of a producer; each blocks up to its time-out.
pub(crate) fn init_transactions(producer: &KafkaProducer, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    unsafe { TxnError::take(sys::rd_kafka_init_transactions(producer.client().native_ptr(), millis(timeout))) }
}

pub(crate) fn begin_transaction(producer: &KafkaProducer) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    unsafe { TxnError::take(sys::rd_kafka_begin_transaction(producer.client().native_ptr())) }
}

pub(crate) fn send_offsets(
    producer: &KafkaProducer,
    offsets: &TopicPartitionList,
    group: &GroupMetadata,
    timeout: Duration,
) -> Result<(), TxnError> {
    // SAFETY: client, list and metadata are alive.
    unsafe {
        TxnError::take(sys::rd_kafka_send_offsets_to_transaction(
            producer.client().native_ptr(),
            offsets.ptr(),
            group.0.as_ptr(),
            millis(timeout),
        ))
    }
}

/// Waits for deliveries and commits. rust-rdkafka's own polls for 100 ms where nothing is to be polled.
pub(crate) fn commit_transaction(producer: &KafkaProducer, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    unsafe { TxnError::take(sys::rd_kafka_commit_transaction(producer.client().native_ptr(), millis(timeout))) }
}

pub(crate) fn abort_transaction(producer: &KafkaProducer, timeout: Duration) -> Result<(), TxnError> {
    // SAFETY: the client is alive.
    unsafe { TxnError::take(sys::rd_kafka_abort_transaction(producer.client().native_ptr(), millis(timeout))) }
}

/// Whether all that was queued is delivered or failed within the time-out.
pub(crate) fn flush(producer: &KafkaProducer, timeout: Duration) -> bool {
    // SAFETY: the client is alive.
    unsafe { sys::rd_kafka_flush(producer.client().native_ptr(), millis(timeout)) == OK }
}

/// The error after which a client is of no use any more.
pub(crate) fn fatal_error(client: *mut RDKafka) -> Option<(RDKafkaErrorCode, String)> {
    let mut text = [0u8; 512];
    // SAFETY: the client is alive, the buffer has the size given and is NUL-terminated by the call.
    unsafe {
        let code = sys::rd_kafka_fatal_error(client, text.as_mut_ptr().cast(), text.len());
        (code != OK).then(|| (code.into(), text_of(text.as_ptr().cast())))
    }
}

/// A committed position as a broker gave it.
pub(crate) struct Entry {
    pub(crate) offset: i64,
    pub(crate) metadata: String,
    pub(crate) error: Option<RDKafkaErrorCode>,
}

/// The list's entries in its order, with whatever bytes others left as metadata.
pub(crate) fn entries(list: &TopicPartitionList) -> Vec<Entry> {
    // SAFETY: the list is alive and holds `cnt` elements; metadata has the size given.
    unsafe {
        let list = &*list.ptr();
        if list.cnt <= 0 {
            return Vec::new();
        }
        std::slice::from_raw_parts(list.elems, list.cnt as usize)
            .iter()
            .map(|e| {
                let metadata = if e.metadata.is_null() {
                    &[][..]
                } else {
                    std::slice::from_raw_parts(e.metadata.cast::<u8>().cast_const(), e.metadata_size)
                };
                Entry {
                    offset: e.offset,
                    metadata: String::from_utf8_lossy(metadata).into_owned(),
                    error: (e.err != OK).then(|| e.err.into()),
                }
            })
            .collect()
    }
}

/// How a commit in the group ended.
pub(crate) enum Committing {
    Done,
    Refused(RDKafkaErrorCode),
    /// No answer in time: it may still have an effect.
    Unknown,
}

/// Commits positions as a member of the group (with its generation) and waits for the answer.
pub(crate) fn commit_offsets(
    consumer: &KafkaConsumer,
    offsets: &TopicPartitionList,
    timeout: Duration,
) -> Result<Committing, RDKafkaErrorCode> {
    let client = consumer.client().native_ptr();
    // SAFETY: client and list are alive; queue and event are owned here and given back once. librdkafka keeps its own
    // reference to the queue while the answer is under way.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let code = sys::rd_kafka_commit_queue(client, offsets.ptr(), queue, None, ptr::null_mut());
        if code != OK {
            sys::rd_kafka_queue_destroy(queue);
            return Err(code.into());
        }
        let event = sys::rd_kafka_queue_poll(queue, millis(timeout));
        sys::rd_kafka_queue_destroy(queue);
        if event.is_null() {
            return Ok(Committing::Unknown);
        }
        let mut code = sys::rd_kafka_event_error(event);
        let list = sys::rd_kafka_event_topic_partition_list(event);
        if code == OK && !list.is_null() && (*list).cnt > 0 {
            let elements = std::slice::from_raw_parts((*list).elems, (*list).cnt as usize);
            code = elements.iter().map(|e| e.err).find(|e| *e != OK).unwrap_or(OK);
        }
        sys::rd_kafka_event_destroy(event);
        Ok(if code == OK { Committing::Done } else { Committing::Refused(code.into()) })
    }
}

fn millis(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}

/// Copies a C text.
fn text_of(text: *const std::ffi::c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: librdkafka gives NUL-terminated texts, alive during this call.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
