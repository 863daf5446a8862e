//! Items of MessagePack.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use millstream_filter_api::Value;
use rmp::{Marker, encode};

use super::read::{Form, Item, Read, Reader};

/// The extension that is a time.
const TIME: i8 = -1;
const LONG: &str = "has more than the 4,294,967,295 bytes or items that MessagePack can count";

pub(super) struct Msgpack;

impl Form for Msgpack {
    const NAME: &'static str = "MessagePack";
    const CODE: &'static str = "invalid_msgpack";

    fn item(reader: &mut Reader<'_>) -> Read<Item> {
        let start = reader.at;
        let [marker] = reader.array()?;
        let leaf = |value| Ok(Item::Leaf(value));
        let count = |count: u32| Ok(Some(count as usize));
        match Marker::from_u8(marker) {
            Marker::Null => leaf(Value::Null),
            Marker::True => leaf(Value::Boolean(true)),
            Marker::False => leaf(Value::Boolean(false)),
            Marker::FixPos(integer) => leaf(Value::Integer(integer.into())),
            Marker::FixNeg(integer) => leaf(Value::Integer(integer.into())),
            Marker::U8 => leaf(Value::Integer(u8::from_be_bytes(reader.array()?).into())),
            Marker::U16 => leaf(Value::Integer(u16::from_be_bytes(reader.array()?).into())),
            Marker::U32 => leaf(Value::Integer(u32::from_be_bytes(reader.array()?).into())),
            Marker::U64 => {
                let integer = u64::from_be_bytes(reader.array()?);
                reader.integer(start, integer)
            }
            Marker::I8 => leaf(Value::Integer(i8::from_be_bytes(reader.array()?).into())),
            Marker::I16 => leaf(Value::Integer(i16::from_be_bytes(reader.array()?).into())),
            Marker::I32 => leaf(Value::Integer(i32::from_be_bytes(reader.array()?).into())),
            Marker::I64 => leaf(Value::Integer(i64::from_be_bytes(reader.array()?))),
            Marker::F32 => {
                let float = f32::from_be_bytes(reader.array()?);
                reader.float(start, float.into())
            }
            Marker::F64 => {
                let float = f64::from_be_bytes(reader.array()?);
                reader.float(start, float)
            }
            Marker::FixStr(length) => text(reader, start, length.into()),
            Marker::Str8 => length::<1>(reader).and_then(|length| text(reader, start, length)),
            Marker::Str16 => length::<2>(reader).and_then(|length| text(reader, start, length)),
            Marker::Str32 => length::<4>(reader).and_then(|length| text(reader, start, length)),
            Marker::Bin8 => length::<1>(reader).and_then(|length| bytes(reader, length)),
            Marker::Bin16 => length::<2>(reader).and_then(|length| bytes(reader, length)),
            Marker::Bin32 => length::<4>(reader).and_then(|length| bytes(reader, length)),
            Marker::FixArray(items) => count(items.into()).map(Item::Array),
            Marker::Array16 => length::<2>(reader).and_then(count).map(Item::Array),
            Marker::Array32 => length::<4>(reader).and_then(count).map(Item::Array),
            Marker::FixMap(pairs) => count(pairs.into()).map(Item::Object),
            Marker::Map16 => length::<2>(reader).and_then(count).map(Item::Object),
            Marker::Map32 => length::<4>(reader).and_then(count).map(Item::Object),
            Marker::FixExt1 => extension(reader, start, 1),
            Marker::FixExt2 => extension(reader, start, 2),
            Marker::FixExt4 => extension(reader, start, 4),
            Marker::FixExt8 => extension(reader, start, 8),
            Marker::FixExt16 => extension(reader, start, 16),
            Marker::Ext8 => length::<1>(reader).and_then(|length| extension(reader, start, length)),
            Marker::Ext16 => length::<2>(reader).and_then(|length| extension(reader, start, length)),
            Marker::Ext32 => length::<4>(reader).and_then(|length| extension(reader, start, length)),
            Marker::Reserved => reader.fault_at(start, "the byte 0xc1 begins nothing"),
        }
    }

    // Writing into memory does not fail.

    fn null(out: &mut Vec<u8>) {
        let _ = encode::write_nil(out);
    }

    fn boolean(out: &mut Vec<u8>, yes: bool) {
        let _ = encode::write_bool(out, yes);
    }

    fn integer(out: &mut Vec<u8>, integer: i64) {
        let _ = encode::write_sint(out, integer);
    }

    fn float(out: &mut Vec<u8>, float: f64) {
        let _ = encode::write_f64(out, float);
    }

    fn text(out: &mut Vec<u8>, text: &[u8]) -> Result<(), &'static str> {
        let _ = encode::write_str_len(out, u32::try_from(text.len()).map_err(|_| LONG)?);
        out.extend_from_slice(text);
        Ok(())
    }

    fn bytes(out: &mut Vec<u8>, bytes: &[u8]) -> Result<(), &'static str> {
        let _ = encode::write_bin_len(out, u32::try_from(bytes.len()).map_err(|_| LONG)?);
        out.extend_from_slice(bytes);
        Ok(())
    }

    /// In the shortest of the three forms.
    fn time(out: &mut Vec<u8>, time: DateTime<Utc>) -> Result<(), &'static str> {
        let (seconds, nanos) = (time.timestamp(), time.timestamp_subsec_nanos());
        if nanos >= 1_000_000_000 {
            return Err("is a leap second, which times of MessagePack have not");
        }
        match (u32::try_from(seconds), u64::try_from(seconds)) {
            (Ok(seconds), _) if nanos == 0 => {
                let _ = encode::write_ext_meta(out, 4, TIME);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            (_, Ok(seconds)) if seconds < 1 << 34 => {
                let _ = encode::write_ext_meta(out, 8, TIME);
                out.extend_from_slice(&(u64::from(nanos) << 34 | seconds).to_be_bytes());
            }
            _ => {
                let _ = encode::write_ext_meta(out, 12, TIME);
                out.extend_from_slice(&nanos.to_be_bytes());
                out.extend_from_slice(&seconds.to_be_bytes());
            }
        }
        Ok(())
    }

    fn array(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str> {
        let _ = encode::write_array_len(out, u32::try_from(count).map_err(|_| LONG)?);
        Ok(())
    }

    fn object(out: &mut Vec<u8>, count: usize) -> Result<(), &'static str> {
        let _ = encode::write_map_len(out, u32::try_from(count).map_err(|_| LONG)?);
        Ok(())
    }
}

/// A length of so many bytes.
fn length<const N: usize>(reader: &mut Reader<'_>) -> Read<u32> {
    Ok(reader.array::<N>()?.into_iter().fold(0, |length, byte| length << 8 | u32::from(byte)))
}

fn text(reader: &mut Reader<'_>, start: usize, length: u32) -> Read<Item> {
    let text = reader.take(length as usize)?;
    reader.text(start, text)
}

fn bytes(reader: &mut Reader<'_>, length: u32) -> Read<Item> {
    reader.take(length as usize).map(Item::Bytes)
}

fn extension(reader: &mut Reader<'_>, start: usize, length: u32) -> Read<Item> {
    let of = i8::from_be_bytes(reader.array()?);
    let data = reader.take(length as usize)?;
    match of {
        TIME => time(reader, start, &data),
        other => reader.fault_at(start, format_args!("an extension of type {other} has no value in expressions,")),
    }
}

fn time(reader: &Reader<'_>, start: usize, data: &Bytes) -> Read<Item> {
    if let Ok(seconds) = <[u8; 4]>::try_from(&**data) {
        return reader.time(start, u32::from_be_bytes(seconds).into(), 0);
    }
    if let Ok(both) = <[u8; 8]>::try_from(&**data) {
        let both = u64::from_be_bytes(both);
        return reader.time(start, (both & ((1 << 34) - 1)) as i64, (both >> 34) as u32);
    }
    match (data.first_chunk::<4>(), data.last_chunk::<8>()) {
        (Some(nanos), Some(seconds)) if data.len() == 12 => {
            reader.time(start, i64::from_be_bytes(*seconds), u32::from_be_bytes(*nanos))
        }
        _ => reader.fault_at(start, format_args!("a time has {} bytes, not 4, 8 or 12,", data.len())),
    }
}
