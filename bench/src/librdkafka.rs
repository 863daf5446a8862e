//! The C API of librdkafka, as much of it as a copy loop needs, behind calls that are safe. The bench measures against the
//! least that can be done with this library, and rust-rdkafka's consumer and producer are more than that.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::bindings as sys;
use sys::rd_kafka_resp_err_t as Code;
use sys::rd_kafka_vtype_t as Kind;

const OK: Code = Code::RD_KAFKA_RESP_ERR_NO_ERROR;

/// A client: consumer or producer.
struct Client(NonNull<sys::rd_kafka_t>);

impl Client {
    fn new(kind: sys::rd_kafka_type_t, settings: &[(&str, &str)]) -> Result<Self, String> {
        let mut text = [0u8; 512];
        // SAFETY: the configuration is new; names, values and the buffer live through the calls, `rd_kafka_new` takes the
        // configuration when it succeeds.
        unsafe {
            let config = sys::rd_kafka_conf_new();
            for (name, value) in settings {
                let (name, value) = (c(name)?, c(value)?);
                let buffer = text.as_mut_ptr().cast();
                let set = sys::rd_kafka_conf_set(config, name.as_ptr(), value.as_ptr(), buffer, text.len());
                if set != sys::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK {
                    sys::rd_kafka_conf_destroy(config);
                    return Err(said(&text));
                }
            }
            if kind == sys::rd_kafka_type_t::RD_KAFKA_PRODUCER {
                // As events and not as callbacks, which `flush` would wait for in steps of 10 ms.
                sys::rd_kafka_conf_set_events(config, sys::RD_KAFKA_EVENT_DR);
            }
            match NonNull::new(sys::rd_kafka_new(kind, config, text.as_mut_ptr().cast(), text.len())) {
                Some(client) => Ok(Self(client)),
                None => {
                    sys::rd_kafka_conf_destroy(config);
                    Err(said(&text))
                }
            }
        }
    }

    fn ptr(&self) -> *mut sys::rd_kafka_t {
        self.0.as_ptr()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once.
        unsafe { sys::rd_kafka_destroy(self.0.as_ptr()) }
    }
}

/// A member of a group, read in batches.
pub(crate) struct Consumer {
    queue: NonNull<sys::rd_kafka_queue_t>,
    /// The last batch, which is owned here.
    batch: Vec<*mut sys::rd_kafka_message_t>,
    client: Client,
}

impl Consumer {
    /// Joins the group named in the settings and reads one topic.
    pub(crate) fn subscribe(settings: &[(&str, &str)], topic: &str) -> Result<Self, String> {
        let client = Client::new(sys::rd_kafka_type_t::RD_KAFKA_CONSUMER, settings)?;
        let mut list = TopicPartitionList::new();
        list.add_topic_unassigned(topic);
        // SAFETY: client and list are alive; the queue is owned here and destroyed once, in `drop`.
        unsafe {
            check(sys::rd_kafka_poll_set_consumer(client.ptr()))?;
            check(sys::rd_kafka_subscribe(client.ptr(), list.ptr()))?;
            let queue =
                NonNull::new(sys::rd_kafka_queue_get_consumer(client.ptr())).ok_or("a consumer has no queue")?;
            Ok(Self { queue, batch: Vec::new(), client })
        }
    }

    /// Takes what is there, up to `limit` records, or waits for one.
    pub(crate) fn read(&mut self, limit: usize, wait: Duration) -> Result<(), String> {
        self.give_back();
        self.batch.reserve(limit);
        let queue = self.queue.as_ptr();
        // SAFETY: there is room for `limit` pointers; the calls write as many as they say, each owned by us from then on.
        unsafe {
            let count = sys::rd_kafka_consume_batch_queue(queue, 0, self.batch.as_mut_ptr(), limit).max(0);
            self.batch.set_len(count as usize);
            if count == 0 {
                // With a time to wait the call above would use it up, however many come.
                let one = sys::rd_kafka_consume_queue(queue, millis(wait));
                if !one.is_null() {
                    self.batch.push(one);
                }
            }
            for message in &self.batch {
                if (**message).err != OK {
                    return Err(text(sys::rd_kafka_message_errstr(*message)));
                }
            }
        }
        Ok(())
    }

    /// Commits positions and waits for the answer.
    pub(crate) fn commit(&self, positions: &TopicPartitionList) -> Result<(), String> {
        // SAFETY: client and list are alive.
        check(unsafe { sys::rd_kafka_commit(self.client.ptr(), positions.ptr(), 0) })
    }

    fn give_back(&mut self) {
        for message in self.batch.drain(..) {
            // SAFETY: owned here, given back once.
            unsafe { sys::rd_kafka_message_destroy(message) }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.give_back();
        // SAFETY: owned here, given back once, before its client.
        unsafe { sys::rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// Sends to one topic.
pub(crate) struct Producer {
    topic: NonNull<sys::rd_kafka_topic_t>,
    /// The arguments of a send: what is alike in all of them is written once.
    parts: [sys::rd_kafka_vu_t; 7],
    client: Client,
}

impl Producer {
    /// Connects.
    pub(crate) fn new(settings: &[(&str, &str)], topic: &str) -> Result<Self, String> {
        let client = Client::new(sys::rd_kafka_type_t::RD_KAFKA_PRODUCER, settings)?;
        let name = c(topic)?;
        // SAFETY: the client is alive; without a configuration of its own the topic has the client's. Destroyed in `drop`.
        let topic = NonNull::new(unsafe { sys::rd_kafka_topic_new(client.ptr(), name.as_ptr(), ptr::null_mut()) })
            .ok_or("a producer has no topic")?;
        type Value = sys::rd_kafka_vu_s__bindgen_ty_1;
        let nothing = sys::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 { ptr: ptr::null_mut(), size: 0 };
        let part = |vtype, u| sys::rd_kafka_vu_t { vtype, u };
        let parts = [
            part(Kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.as_ptr() }),
            part(Kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: sys::RD_KAFKA_MSG_F_COPY }),
            part(Kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: 0 }),
            part(Kind::RD_KAFKA_VTYPE_KEY, Value { mem: nothing }),
            part(Kind::RD_KAFKA_VTYPE_VALUE, Value { mem: nothing }),
            part(Kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: 0 }),
            part(Kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: ptr::null_mut() }),
        ];
        Ok(Self { topic, parts, client })
    }

    /// Queues the consumer's last batch as it is: key, value, headers, time and partition. `each` is told partition and
    /// offset of every record.
    pub(crate) fn forward(&mut self, batch: &mut Consumer, mut each: impl FnMut(i32, i64)) -> Result<(), String> {
        for message in &batch.batch {
            // SAFETY: the message is alive until it is given back, which is after the call that copies key and value.
            unsafe {
                let raw = &**message;
                self.parts[2].u.i32_ = raw.partition;
                self.parts[3].u.mem.ptr = raw.key;
                self.parts[3].u.mem.size = raw.key_len;
                self.parts[4].u.mem.ptr = raw.payload;
                self.parts[4].u.mem.size = raw.len;
                self.parts[5].u.i64_ = sys::rd_kafka_message_timestamp(*message, ptr::null_mut());
                let mut headers = ptr::null_mut();
                // A failure means that there are none.
                let _ = sys::rd_kafka_message_detach_headers(*message, &mut headers);
                self.parts[6].u.headers = headers;
                each(raw.partition, raw.offset);
            }
            self.queue()?;
        }
        batch.give_back();
        Ok(())
    }

    /// Queues what `parts` say, waiting while the queue is full.
    fn queue(&self) -> Result<(), String> {
        // SAFETY: the arguments point to memory that lives through the call. It takes the headers when it succeeds; when it
        // fails they are still ours.
        unsafe {
            let headers = self.parts[6].u.headers;
            let count = if headers.is_null() { self.parts.len() - 1 } else { self.parts.len() };
            loop {
                let error = sys::rd_kafka_produceva(self.client.ptr(), self.parts.as_ptr(), count);
                if error.is_null() {
                    return Ok(());
                }
                let full = sys::rd_kafka_error_code(error) == Code::RD_KAFKA_RESP_ERR__QUEUE_FULL;
                let result = take(error);
                if !full {
                    if !headers.is_null() {
                        sys::rd_kafka_headers_destroy(headers);
                    }
                    return result;
                }
                // It delivers on threads of its own.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    /// Waits until everything queued is delivered. A record that could not be delivered stays in the queue with its report, which
    /// nobody takes: then this ends with a time-out.
    pub(crate) fn flush(&self, patience: Duration) -> Result<(), String> {
        // SAFETY: the client is alive.
        check(unsafe { sys::rd_kafka_flush(self.client.ptr(), millis(patience)) })
    }

    /// Before the first transaction.
    pub(crate) fn init_transactions(&self, patience: Duration) -> Result<(), String> {
        // SAFETY: the client is alive, as in the two calls below.
        unsafe { take(sys::rd_kafka_init_transactions(self.client.ptr(), millis(patience))) }
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self) -> Result<(), String> {
        // SAFETY: the client is alive.
        unsafe { take(sys::rd_kafka_begin_transaction(self.client.ptr())) }
    }

    /// Ends the transaction, with positions of the consumer.
    pub(crate) fn commit(
        &self,
        consumer: &Consumer,
        positions: &TopicPartitionList,
        patience: Duration,
    ) -> Result<(), String> {
        // SAFETY: clients and list are alive; the metadata is ours and given back.
        unsafe {
            let group = sys::rd_kafka_consumer_group_metadata(consumer.client.ptr());
            let (client, patience) = (self.client.ptr(), millis(patience));
            let sent = sys::rd_kafka_send_offsets_to_transaction(client, positions.ptr(), group, patience);
            sys::rd_kafka_consumer_group_metadata_destroy(group);
            take(sent)?;
            take(sys::rd_kafka_commit_transaction(client, patience))
        }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once, before its client.
        unsafe { sys::rd_kafka_topic_destroy(self.topic.as_ptr()) }
    }
}

/// # Safety
/// `error` is null or an owned error.
unsafe fn take(error: *mut sys::rd_kafka_error_t) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, alive until destroyed.
    unsafe {
        let said = text(sys::rd_kafka_error_string(error));
        sys::rd_kafka_error_destroy(error);
        Err(said)
    }
}

fn check(code: Code) -> Result<(), String> {
    // SAFETY: the returned text is static.
    if code == OK { Ok(()) } else { Err(unsafe { text(sys::rd_kafka_err2str(code)) }) }
}

/// # Safety
/// `text` is null or ends with NUL.
unsafe fn text(text: *const c_char) -> String {
    // SAFETY: not null, and the caller's promise.
    if text.is_null() { String::new() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

fn said(buffer: &[u8]) -> String {
    CStr::from_bytes_until_nul(buffer).map(|t| t.to_string_lossy().into_owned()).unwrap_or_default()
}

fn c(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("{text:?} has a NUL byte"))
}

fn millis(time: Duration) -> i32 {
    time.as_millis().min(i32::MAX as u128) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_that_does_not_exist_is_named() {
        let made = Producer::new(&[("no.such.setting", "1")], "t").err();
        assert!(made.as_ref().is_some_and(|e| e.contains("no.such.setting")), "{made:?}");
    }

    #[test]
    fn clients_without_brokers_come_and_go() {
        let producer = Producer::new(&[("delivery.report.only.error", "true")], "t").expect("a producer");
        producer.flush(Duration::ZERO).expect("nothing is queued");
    }
}
