//! Items of CBOR.

use bytes::Bytes;
use chrono::{DateTime, Datelike, Utc};
use ciborium_ll::{Decoder, Encoder, Error, Header, simple};
use millstream_filter_api::Value;
use vrl::value::value::timestamp_to_string;

use super::read::{Form, Item, Read, Reader};

/// The end of what has no length.
pub(super) const BREAK: u8 = 0xff;

// Tags.
const TIME_TEXT: u64 = 0;
const TIME_SECONDS: u64 = 1;
const POSITIVE: u64 = 2;
const NEGATIVE: u64 = 3;
/// Says that this is CBOR, and nothing else.
const CBOR: u64 = 55_799;

pub(super) struct Cbor;

impl Form for Cbor {
    const NAME: &'static str = "CBOR";
    const CODE: &'static str = "invalid_cbor";

    fn item(reader: &mut Reader<'_>) -> Read<Item> {
        let start = reader.at;
        match head(reader)? {
            Header::Positive(integer) => reader.integer(start, integer),
            Header::Negative(below) => reader.integer(start, -1 - i128::from(below)),
            Header::Float(float) => reader.float(start, float),
            Header::Simple(simple::FALSE) => Ok(Item::Leaf(Value::Boolean(false))),
            Header::Simple(simple::TRUE) => Ok(Item::Leaf(Value::Boolean(true))),
            // As RFC 8949 wants it where there is no such thing.
            Header::Simple(simple::NULL | simple::UNDEFINED) => Ok(Item::Leaf(Value::Null)),
            Header::Simple(other) => {
                reader.fault_at(start, format_args!("the simple value {other} has no value in expressions,"))
            }
            Header::Text(length) => {
                let text = string(reader, length, true)?;
                reader.text(start, text)
            }
            Header::Bytes(length) => string(reader, length, false).map(Item::Bytes),
            Header::Array(count) => Ok(Item::Array(count)),
            Header::Map(count) => Ok(Item::Object(count)),
            Header::Tag(CBOR) if start == 0 => {
                reader.body = reader.at;
                Self::item(reader)
            }
            Header::Tag(tag) => tagged(reader, start, tag),
            Header::Break => reader.fault_at(start, "an end without a beginning"),
        }
    }

    fn null(out: &mut Vec<u8>) {
        push(out, Header::Simple(simple::NULL));
    }

    fn boolean(out: &mut Vec<u8>, yes: bool) {
        push(out, Header::Simple(if yes { simple::TRUE } else { simple::FALSE }));
    }

    fn integer(out: &mut Vec<u8>, integer: i64) {
        match u64::try_from(integer) {
            Ok(positive) => push(out, Header::Positive(positive)),
            Err(_) => push(out, Header::Negative(!integer as u64)),
        }
    }

    /// As narrow as holds it.
    fn float(out: &mut Vec<u8>, float: f64) {
        push(out, Header::Float(float));
    }

    fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
        push(out, Header::Text(Some(text.len())));
        out.extend_from_slice(text);
        Ok(())
    }

    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), &'static str> {
        push(out, Header::Bytes(Some(bytes.len())));
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// As text, which keeps it to the nanosecond.
    fn time(out: &mut Vec<u8>, time: DateTime<Utc>) -> Result<(), &'static str> {
        if !(0..=9_999).contains(&time.year()) {
            return Err("is a time beyond the years 0 to 9999, which times of CBOR have not");
        }
        push(out, Header::Tag(TIME_TEXT));
        Self::text(out, timestamp_to_string(&time).as_bytes())
    }

    fn array(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str> {
        push(out, Header::Array(Some(count)));
        Ok(())
    }

    fn object(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str> {
        push(out, Header::Map(Some(count)));
        Ok(())
    }
}

fn push(out: &mut Vec<u8>, header: Header) {
    // The longest head fills it.
    let mut room = [0; 9];
    let mut left = &mut room[..];
    let _ = Encoder::from(&mut left).push(header);
    let used = 9 - left.len();
    out.extend_from_slice(&room[..used]);
}

fn head(reader: &mut Reader<'_>) -> Read<Header> {
    // Such a byte may be a simple value only where one byte could not say it.
    if let [0xf8, ..=31, ..] = reader.raw[reader.at..] {
        return reader.fault("a simple value is written with a byte too many");
    }
    let mut decoder = Decoder::from(&reader.raw[reader.at..]);
    match decoder.pull() {
        Ok(header) => {
            reader.at += decoder.offset();
            Ok(header)
        }
        Err(Error::Io(_)) => reader.fault("the payload ends too early"),
        Err(Error::Syntax(_)) => reader.fault(format_args!("the byte 0x{:02x} begins nothing", reader.raw[reader.at])),
    }
}

/// A string behind its head, in one piece or several.
fn string(reader: &mut Reader<'_>, length: Option<usize>, text: bool) -> Read<Bytes> {
    if let Some(length) = length {
        return reader.take(length);
    }
    let mut whole = Vec::new();
    loop {
        let start = reader.at;
        let piece = match (head(reader)?, text) {
            (Header::Break, _) => return Ok(whole.into()),
            (Header::Text(Some(length)), true) | (Header::Bytes(Some(length)), false) => reader.take(length)?,
            _ => return reader.fault_at(start, "a piece of a string is none"),
        };
        if text && std::str::from_utf8(&piece).is_err() {
            return reader.fault_at(start, "text is not UTF-8");
        }
        whole.extend_from_slice(&piece);
    }
}

fn tagged(reader: &mut Reader<'_>, start: usize, tag: u64) -> Read<Item> {
    match (tag, head(reader)?) {
        (TIME_TEXT, Header::Text(length)) => {
            let text = string(reader, length, true)?;
            match std::str::from_utf8(&text).ok().filter(|text| is_whole(text)).map(DateTime::parse_from_rfc3339) {
                Some(Ok(time)) => Ok(Item::Leaf(Value::Timestamp(time.to_utc()))),
                _ => reader.fault_at(start, "a time is none of RFC 3339 in whole nanoseconds"),
            }
        }
        (TIME_SECONDS, Header::Positive(seconds)) => match i64::try_from(seconds) {
            Ok(seconds) => reader.time(start, seconds, 0),
            Err(_) => reader.time(start, i64::MAX, 0),
        },
        (TIME_SECONDS, Header::Negative(below)) => match i64::try_from(below) {
            Ok(below) => reader.time(start, !below, 0),
            Err(_) => reader.time(start, i64::MIN, 0),
        },
        (TIME_SECONDS, Header::Float(seconds)) => match split(seconds) {
            Some((seconds, nanos)) => reader.time(start, seconds, nanos),
            None => reader.fault_at(start, format_args!("the time {seconds} is no whole number of nanoseconds")),
        },
        (POSITIVE | NEGATIVE, Header::Bytes(length)) => {
            let bytes = string(reader, length, false)?;
            let digits = bytes.len() - bytes.iter().take_while(|byte| **byte == 0).count();
            if digits > 8 {
                let what = "is beyond the integers of expressions (64 bits with a sign)";
                return reader.fault_at(start, format_args!("a number of {digits} bytes {what}"));
            }
            let size = bytes.iter().fold(0i128, |size, byte| size << 8 | i128::from(*byte));
            reader.integer(start, if tag == POSITIVE { size } else { -1 - size })
        }
        (TIME_TEXT | TIME_SECONDS, _) => reader.fault_at(start, "a time is neither text nor a number"),
        (POSITIVE | NEGATIVE, _) => reader.fault_at(start, "a big number is not made of bytes"),
        (other, _) => reader.fault_at(start, format_args!("what has the tag {other} has no value in expressions,")),
    }
}

/// Whether the text of a time has no parts finer than nanoseconds, which would be cut off.
fn is_whole(text: &str) -> bool {
    let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
    let digits = fraction.bytes().take_while(u8::is_ascii_digit);
    digits.skip(9).all(|digit| digit == b'0')
}

/// Seconds and nanoseconds of seconds with a fraction: of all numbers that the float may stand for the shortest, as that is what
/// was written.
fn split(seconds: f64) -> Option<(i64, u32)> {
    let text = seconds.to_string();
    let unsigned = text.strip_prefix('-').unwrap_or(&text);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole: i64 = whole.parse().ok()?;
    if fraction.len() > 9 {
        return None;
    }
    let nanos: u32 = format!("{fraction:0<9}").parse().ok()?;
    Some(match (text.starts_with('-'), nanos) {
        (false, _) => (whole, nanos),
        (true, 0) => (-whole, 0),
        (true, _) => (-whole - 1, 1_000_000_000 - nanos),
    })
}
