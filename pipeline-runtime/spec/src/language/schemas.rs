//! The tables of schema registries: `registry`, and what `avro` and `protobuf` say of their own.

use super::BASIC;
use crate::rules;
use crate::shape::{Key, MapRule, Shape};

pub(crate) static REGISTRY: MapRule = map!(
    "`registry`",
    [
        required!("url", Shape::Text(&rules::SOME), "its address, such as `https://registry.example.com:8081`"),
        key!("auth", Shape::Map(&AUTH), "who asks: `{ basic: { user, password } }` or `{ bearer: TOKEN }`"),
        key!(
            "ca",
            Shape::Text(&rules::SOME),
            "a PEM file with what its certificate is checked by; default the machine's"
        ),
    ],
);

static AUTH: MapRule = map!(
    "`auth`",
    [
        key!("bearer", Shape::Text(&rules::SOME), "the token; better `${env:NAME}` than in the file"),
        key!("basic", Shape::Map(&BASIC), "a user and a password"),
    ],
    one_of: &[&["bearer", "basic"]],
);

pub(super) static AVRO: MapRule = map!(
    "`avro`",
    [
        key!("schema", Shape::Text(&rules::SOME), "an Avro schema: an `.avsc` file"),
        key!(
            "registry",
            Shape::Flag,
            "whether a number in a registry stands before each datum; default true where a `registry` is named"
        ),
        key!(
            "subject",
            Shape::Text(&rules::SUBJECT),
            "where an output's schema is registered: `topic` (default), `record` or `topic-record`"
        ),
        key!("register", Shape::Flag, "register an output's schema where it is not; default false"),
    ],
);

pub(super) static PROTOBUF: MapRule = map!(
    "`protobuf`",
    [
        key!(
            "schema",
            Shape::Text(&rules::SOME),
            "a `.proto` file, or a set of descriptors: a `.desc`, `.binpb` or `.pb` file"
        ),
        key!("message", Shape::Text(&rules::SOME), "which of its messages; default the only one"),
        key!(
            "include",
            Shape::List(&Shape::Text(&rules::SOME), 1, 100),
            "folders where imports are looked for; default that of the file"
        ),
        key!("uint64", Shape::Text(&rules::UINT64), "how fields of 64 bits without sign are taken; default `integer`"),
        key!(
            "registry",
            Shape::Flag,
            "whether a number in a registry stands before each message; default true where a `registry` is named"
        ),
        key!(
            "subject",
            Shape::Text(&rules::SUBJECT),
            "where an output's schema is registered: `topic` (default), `record` or `topic-record`"
        ),
        key!("register", Shape::Flag, "register an output's schema where it is not; default false"),
    ],
);
