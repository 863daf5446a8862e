//! What the brokers say that a user may do: the answers of `DescribeTopics` and `DescribeConsumerGroups` that name the
//! authorized operations, which rust-rdkafka does not wrap.

use std::ffi::{CString, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use millstream_log::Right;
use rdkafka::bindings as sys;
use rdkafka::types::{RDKafka, RDKafkaErrorCode};

use super::{OK, millis};

/// What was said of one topic or group.
pub(crate) enum Described {
    /// These are allowed; `None` where the brokers are too old to tell.
    Allowed(Option<Vec<Right>>),
    Refused(RDKafkaErrorCode),
}

/// In the order asked.
pub(crate) fn topics(
    client: *mut RDKafka,
    names: &[CString],
    timeout: Duration,
) -> Result<Vec<Described>, RDKafkaErrorCode> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    // SAFETY: the names outlive the call, which copies them; the collection is ours and destroyed once.
    let event = ask(client, kind, timeout, |options, queue| unsafe {
        let all = sys::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        sys::rd_kafka_DescribeTopics(client, all, options, queue);
        sys::rd_kafka_TopicCollection_destroy(all);
    })?;
    // SAFETY: what the result points to lives as long as the event; each is read within this call.
    unsafe {
        let result = sys::rd_kafka_event_DescribeTopics_result(event.0.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        Ok((0..count)
            .map(|i| {
                let one = *found.add(i);
                let mut operations = 0;
                let list = sys::rd_kafka_TopicDescription_authorized_operations(one, &mut operations);
                described(sys::rd_kafka_TopicDescription_error(one), list, operations)
            })
            .collect())
    }
}

/// In the order asked.
pub(crate) fn groups(
    client: *mut RDKafka,
    names: &[CString],
    timeout: Duration,
) -> Result<Vec<Described>, RDKafkaErrorCode> {
    let mut pointers: Vec<*const c_char> = names.iter().map(|n| n.as_ptr()).collect();
    let kind = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
    // SAFETY: the names outlive the call, which copies them.
    let event = ask(client, kind, timeout, |options, queue| unsafe {
        sys::rd_kafka_DescribeConsumerGroups(client, pointers.as_mut_ptr(), pointers.len(), options, queue);
    })?;
    // SAFETY: as in `topics`.
    unsafe {
        let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.0.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let found = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        Ok((0..count)
            .map(|i| {
                let one = *found.add(i);
                let mut operations = 0;
                let list = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(one, &mut operations);
                described(sys::rd_kafka_ConsumerGroupDescription_error(one), list, operations)
            })
            .collect())
    }
}

/// # Safety
/// `error` is null or alive, `list` null or of `count` operations.
unsafe fn described(
    error: *const sys::rd_kafka_error_t,
    list: *const sys::rd_kafka_AclOperation_t,
    count: usize,
) -> Described {
    if !error.is_null() {
        // SAFETY: alive.
        let code = unsafe { sys::rd_kafka_error_code(error) };
        if code != OK {
            return Described::Refused(code.into());
        }
    }
    if list.is_null() {
        return Described::Allowed(None);
    }
    // SAFETY: librdkafka gives pointer and length of memory that lives as long as the event. Read as numbers: an
    // operation that a later broker names is none of the enumeration.
    let all = unsafe { std::slice::from_raw_parts(list.cast::<c_int>(), count) };
    Described::Allowed(Some(all.iter().filter_map(|operation| right(*operation)).collect()))
}

fn right(operation: c_int) -> Option<Right> {
    use sys::rd_kafka_AclOperation_t as Acl;
    let known = [
        (Acl::RD_KAFKA_ACL_OPERATION_READ, Right::Read),
        (Acl::RD_KAFKA_ACL_OPERATION_WRITE, Right::Write),
        (Acl::RD_KAFKA_ACL_OPERATION_CREATE, Right::Create),
        (Acl::RD_KAFKA_ACL_OPERATION_DELETE, Right::Delete),
        (Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE, Right::Describe),
    ];
    known.into_iter().find(|(acl, _)| *acl as c_int == operation).map(|(_, right)| right)
}

struct Event(NonNull<sys::rd_kafka_event_t>);

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: owned here, given back once.
        unsafe { sys::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// One request of the admin API that wants the authorized operations told, and its answer.
fn ask(
    client: *mut RDKafka,
    kind: sys::rd_kafka_admin_op_t,
    timeout: Duration,
    call: impl FnOnce(*const sys::rd_kafka_AdminOptions_t, *mut sys::rd_kafka_queue_t),
) -> Result<Event, RDKafkaErrorCode> {
    let mut text = [0u8; 256];
    // SAFETY: client alive; options, errors and queue are made and destroyed here, the queue after its event came or was
    // given up.
    unsafe {
        let queue = sys::rd_kafka_queue_new(client);
        let options = sys::rd_kafka_AdminOptions_new(client, kind);
        // Both fail only for values out of range.
        sys::rd_kafka_AdminOptions_set_request_timeout(options, millis(timeout), text.as_mut_ptr().cast(), text.len());
        let refused = sys::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            sys::rd_kafka_error_destroy(refused);
        }
        call(options, queue);
        let event = NonNull::new(sys::rd_kafka_queue_poll(queue, millis(timeout + Duration::from_secs(1)))).map(Event);
        sys::rd_kafka_AdminOptions_destroy(options);
        sys::rd_kafka_queue_destroy(queue);
        let event = event.ok_or(RDKafkaErrorCode::OperationTimedOut)?;
        let code = sys::rd_kafka_event_error(event.0.as_ptr());
        if code == OK { Ok(event) } else { Err(code.into()) }
    }
}

/// Names for librdkafka. One with a NUL byte is nobody's.
pub(crate) fn names(all: &[&str]) -> Result<Vec<CString>, RDKafkaErrorCode> {
    all.iter().map(|name| CString::new(*name).map_err(|_| RDKafkaErrorCode::InvalidTopic)).collect()
}
