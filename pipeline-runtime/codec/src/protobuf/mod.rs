//! Protobuf: a message type compiled once, and one message a payload.
//!
//! `.proto` files and descriptor sets are judged by protox-parse and prost-reflect. Messages are read and written here, straight
//! from and to values: what is read is bounded by the payload whatever it claims, and costs no tree in between.
//!
//! | Protobuf | value |
//! |---|---|
//! | `int32` … `sfixed64` | integer; 64 bits without sign as text where that is wanted |
//! | `float` `double` | float |
//! | `bool` `string` `bytes` | boolean, text, bytes |
//! | enum | text: the name; an integer where an open enum has no name for it |
//! | message, group | object, by the names of the `.proto` file; extensions as `[full.name]` |
//! | `repeated` `map` | array, object |
//! | `Timestamp` | timestamp |
//! | `Duration` | text: `"1.500s"` |
//! | wrappers (`Int32Value` …) | what they wrap |
//! | `Struct` `Value` `ListValue` | object, anything, array |
//! | `Any`, `FieldMask`, `Empty` and all others | the messages that they are |
//!
//! A field that can be absent is absent; one that cannot has its default.

mod decode;
mod encode;
mod files;
mod fit;
mod kind;
mod known;
mod leaf;
mod left;
mod schema;
mod wire;

pub use files::ProtobufFiles;
pub use schema::ProtobufSchema;

#[cfg(test)]
mod random_tests;
#[cfg(test)]
mod tests;
