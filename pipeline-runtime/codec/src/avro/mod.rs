//! Avro: a schema compiled once, and one datum a payload, without a header: whoever reads it knows the schema.
//!
//! Schemas are judged by apache-avro. Data are read and written here, straight from and to values: what is read keeps
//! logical types without loss, is bounded by the payload whatever it claims, and costs no tree in between.
//!
//! | Avro | value |
//! |---|---|
//! | `int` `long` | integer |
//! | `float` `double` | float |
//! | `string`, `enum`, `uuid` | text |
//! | `bytes` `fixed` | bytes |
//! | `array` `map` `record` | array, object |
//! | union | the value of its branch; written, the first branch that takes the value |
//! | `decimal` | text with as many digits behind the point as its scale says: `"12.50"` |
//! | `date` | text: `"2026-11-22"` |
//! | `time-millis` `time-micros` | text: `"08:30:00.000"` |
//! | `timestamp-*` | timestamp; RFC 3339 text is taken as well |
//! | `local-timestamp-*` | text: `"2026-11-22T08:30:00.000"` |
//! | `duration` | object of `months`, `days` and `milliseconds` |

mod decode;
mod encode;
mod fit;
mod kind;
mod resolve;
mod schema;
mod text;

use bytes::Bytes;
use decode::{Reader, Why};
use millstream_filter_api::Value;

pub(crate) use resolve::Resolution;
pub use schema::AvroSchema;

impl AvroSchema {
    /// Why data of another schema cannot be read as values of this one, whatever is in them: by the specification's rules of
    /// resolution, one line for each place.
    pub fn cannot_read(&self, written: &AvroSchema) -> Vec<String> {
        if self == written { Vec::new() } else { Resolution::new(written, self).misfits() }
    }
}

/// How a datum behind a head is read.
pub(crate) enum Framed<'a> {
    /// By the schema that has written it.
    Own(&'a AvroSchema),
    /// As another one.
    As(&'a Resolution),
}

impl Framed<'_> {
    /// The value, or a code and what is wrong.
    pub(crate) fn decode(&self, datum: &Bytes) -> Result<Value, (&'static str, String)> {
        let read = match self {
            Self::Own(schema) => {
                let mut reader = Reader::new(schema.types(), datum);
                let value = reader.value(schema.root());
                reader.end(value)
            }
            Self::As(resolution) => resolution.read(datum),
        };
        read.map_err(|fault| {
            let code = match fault.why {
                Why::Corrupt => "invalid_avro",
                Why::Short => "avro_truncated",
                Why::Unfit => "avro_schema_mismatch",
            };
            (code, fault.tell())
        })
    }
}

#[cfg(test)]
mod resolve_tests;
#[cfg(test)]
mod tests;
