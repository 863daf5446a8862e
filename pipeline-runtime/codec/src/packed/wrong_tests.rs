//! Payloads that are none, and values that cannot be carried: an error that says where, no panic, and no memory that is not
//! behind bytes.

use bytes::Bytes;
use chrono::DateTime;
use millstream_filter_api::Value;
use proptest::prelude::*;
use vrl::value;

use super::tests::{BOTH, any_value};
use super::*;

fn wrong(packed: Packed, raw: &[u8]) -> String {
    let error = packed.decode(&Bytes::copy_from_slice(raw)).expect_err("no payload");
    assert_eq!(error.code, format!("invalid_{}", packed.word()));
    error.message
}

#[test]
fn what_has_no_value_is_refused_by_its_place() {
    let cases: &[(Packed, &[u8], &str)] = &[
        (
            Packed::Msgpack,
            b"\x81\xa1a\x92\x01\xcf\x80\0\0\0\0\0\0\0",
            "`.a[1]`: 9223372036854775808 is beyond the integers of expressions (64 bits with a sign) at byte 5 of 14",
        ),
        (Packed::Msgpack, b"\x91\xca\x7f\xc0\0\0", "`[0]`: a float is not a number (NaN)"),
        (Packed::Msgpack, b"\x81\x01\x02", "a key of a map is not text"),
        (Packed::Msgpack, b"\x81\xc4\x01a\x02", "a key of a map is not text"),
        (Packed::Msgpack, b"\x82\xa1a\x01\xa1a\x01", "the key `a` is there a second time at byte 4"),
        (Packed::Msgpack, b"\xd4\x05\x00", "an extension of type 5 has no value"),
        (Packed::Msgpack, b"\xd5\xff\x00\x00", "a time has 2 bytes"),
        (Packed::Msgpack, b"\xd7\xff\xff\xff\xff\xff\0\0\0\0", "a time is beyond"),
        (Packed::Msgpack, b"\xc7\x0c\xff\0\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", "a time is beyond"),
        (Packed::Msgpack, b"\xa1\xff", "text is not UTF-8 at byte 0"),
        (Packed::Msgpack, b"\xc1", "the byte 0xc1 begins nothing"),
        (Packed::Msgpack, b"\x01\x02", "1 bytes are left at byte 1 of 2"),
        (Packed::Msgpack, b"", "the payload ends too early at byte 0 of 0"),
        (Packed::Cbor, b"\xa1\x61a\x1b\x80\0\0\0\0\0\0\0", "`.a`: 9223372036854775808 is beyond"),
        (Packed::Cbor, b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff", "-18446744073709551616 is beyond"),
        (Packed::Cbor, b"\xc2\x49\x01\0\0\0\0\0\0\0\0", "a number of 9 bytes is beyond"),
        (Packed::Cbor, b"\xc3\x48\x80\0\0\0\0\0\0\0", "-9223372036854775809 is beyond"),
        (Packed::Cbor, b"\xc2\x01", "a big number is not made of bytes"),
        (Packed::Cbor, b"\xf9\x7e\x00", "a float is not a number (NaN)"),
        (Packed::Cbor, b"\xa1\x01\x02", "a key of a map is not text"),
        (Packed::Cbor, b"\xbf\x61a\x01\x61a\x01\xff", "the key `a` is there a second time at byte 4"),
        (Packed::Cbor, b"\xe0", "the simple value 0 has no value"),
        (Packed::Cbor, b"\xf8\x18", "a simple value is written with a byte too many"),
        (Packed::Cbor, b"\xf8\x20", "the simple value 32 has no value"),
        (Packed::Cbor, b"\xc4\x82\x01\x02", "what has the tag 4 has no value"),
        (Packed::Cbor, b"\xd9\xd9\xf7\xd9\xd9\xf7\x01", "what has the tag 55799 has no value"),
        (Packed::Cbor, b"\xc0\x61x", "a time is none of RFC 3339"),
        (Packed::Cbor, b"\xc0\x01", "a time is neither text nor a number"),
        (Packed::Cbor, b"\xc0\x78\x1e2026-11-22T08:30:00.000000000Z", "the payload"),
        (
            Packed::Cbor,
            b"\xc0\x78\x1f2026-11-22T08:30:00.0000000001Z",
            "a time is none of RFC 3339 in whole nanoseconds",
        ),
        (Packed::Cbor, b"\xc1\xfb\x3d\x71\x97\x99\x81\x2d\xea\x11", "is no whole number of nanoseconds"),
        (Packed::Cbor, b"\xc1\xf9\x7c\x00", "is no whole number of nanoseconds"),
        (Packed::Cbor, b"\xc1\x1b\xff\xff\xff\xff\xff\xff\xff\xff", "a time is beyond"),
        (Packed::Cbor, b"\xff", "an end without a beginning"),
        (Packed::Cbor, b"\xa1\x61a\xff", "`.a`: an end without a beginning"),
        (Packed::Cbor, b"\x81\xff", "`[0]`: an end without a beginning"),
        (Packed::Cbor, b"\xbf\x61a\xff", "`.a`: an end without a beginning"),
        (Packed::Cbor, b"\x7f\x41a\xff", "a piece of a string is none"),
        (Packed::Cbor, b"\x7f\x7f\x61a\xff\xff", "a piece of a string is none"),
        (Packed::Cbor, b"\x7f\x61\xc3\x61\xa9\xff", "text is not UTF-8 at byte 1"),
        (Packed::Cbor, b"\x1c", "the byte 0x1c begins nothing"),
        (Packed::Cbor, b"\x1f", "the byte 0x1f begins nothing"),
        (Packed::Cbor, b"\x01\x02", "1 bytes are left at byte 1 of 2"),
        (Packed::Cbor, b"", "the payload ends too early at byte 0 of 0"),
    ];
    for (packed, raw, wanted) in cases {
        let said = if wanted == &"the payload" { "the payload".to_owned() } else { wrong(*packed, raw) };
        assert!(said.contains(wanted), "{packed:?} {raw:02x?}: {said}");
    }
}

#[test]
fn claims_take_no_memory() {
    // Lengths up to 2^64, and heads of huge arrays inside of each other.
    let claims: [(Packed, &[u8]); 9] = [
        (Packed::Msgpack, b"\xdd\xff\xff\xff\xff"),
        (Packed::Msgpack, b"\xdf\xff\xff\xff\xff"),
        (Packed::Msgpack, b"\xdb\xff\xff\xff\xff"),
        (Packed::Msgpack, b"\xc6\xff\xff\xff\xff"),
        (Packed::Msgpack, b"\xc9\xff\xff\xff\xff\x01"),
        (Packed::Cbor, b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Packed::Cbor, b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Packed::Cbor, b"\x7b\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Packed::Cbor, b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
    ];
    for (packed, raw) in claims {
        assert!(wrong(packed, raw).contains("are announced, and 0"), "{packed:?} {raw:02x?}");
        let nested = [raw.repeat(100), vec![0; 1000]].concat();
        assert!(wrong(packed, &nested).contains("are announced, and"), "{packed:?} {raw:02x?}");
    }
}

#[test]
fn bombs_of_depth_end_in_an_error() {
    let bombs: [(Packed, &[u8]); 5] = [
        (Packed::Msgpack, b"\x91"),
        (Packed::Msgpack, b"\x81\xa1a"),
        (Packed::Cbor, b"\x9f"),
        (Packed::Cbor, b"\x81"),
        (Packed::Cbor, b"\xbf\x61a"),
    ];
    for (packed, head) in bombs {
        assert!(wrong(packed, &head.repeat(100_000)).contains("nested more than 127 deep"), "{packed:?} {head:02x?}");
    }
    assert!(wrong(Packed::Cbor, &b"\xc2".repeat(100_000)).contains("a big number is not made of bytes"));
    for packed in BOTH {
        let deep = |levels: usize| (0..levels).fold(value!(1), |value, _| Value::Array(vec![value]));
        let fits = packed.encode(&deep(127), None).expect("it can be read again");
        assert_eq!(packed.decode(&fits), Ok(deep(127)));
        let error = packed.encode(&deep(128), None).expect_err("too deep");
        assert!(error.code == "encode_failed" && error.message.contains("nested more than 127"), "{error}");
    }
}

#[test]
fn what_cannot_be_written_is_named() {
    let far = DateTime::from_timestamp(253_402_300_800, 0).expect("a time");
    let leap = DateTime::from_timestamp(1_795_336_199, 1_500_000_000).expect("a time");
    let cases = [
        (Packed::Cbor, far, "`.a[0].b` is a time beyond the years 0 to 9999"),
        (Packed::Msgpack, leap, "`.a[0].b` is a leap second"),
    ];
    for (packed, time, wanted) in cases {
        let error = packed.encode(&value!({ a: [{ b: (Value::Timestamp(time)) }] }), None).expect_err("no such time");
        assert!(error.code == "encode_failed" && error.message.starts_with(wanted), "{error}");
    }
}

proptest! {
    #[test]
    fn a_payload_that_is_cut_off_is_refused(value in any_value()) {
        for packed in BOTH {
            let raw = packed.encode(&value, None).expect("it fits");
            for end in 0..raw.len() {
                prop_assert!(packed.decode(&raw.slice(..end)).is_err(), "{} of {:02x?}", end, raw);
            }
        }
    }

    #[test]
    fn mutated_payloads_are_decoded_or_refused(
        value in any_value(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for packed in BOTH {
            let mut raw = packed.encode(&value, None).expect("it fits").to_vec();
            for (at, byte) in &changes {
                let at = at.index(raw.len());
                raw[at] = *byte;
            }
            let raw = Bytes::from(raw);
            if let Ok(value) = packed.decode(&raw) {
                // What can be read can be written, and what is equal stays.
                prop_assert_eq!(packed.splice(&raw, &value), Ok(raw));
            }
        }
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let raw = Bytes::from(bytes);
        for packed in BOTH {
            if let Ok(value) = packed.decode(&raw) {
                prop_assert_eq!(packed.splice(&raw, &value), Ok(raw.clone()));
            }
        }
    }
}
