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
mod schema;
mod text;

#[cfg(test)]
mod tests;

pub use schema::AvroSchema;
