//! The table of `jobs: { callback }`.

use super::{CONCURRENCY, DEAD_LETTER, HEADER, RETRY, TIMEOUT};
use crate::rules;
use crate::shape::{Key, MapRule, Shape};

pub(super) static CALLBACK: MapRule = map!(
    "`callback`",
    [
        required!("url", Shape::Map(&HEADER), "the header that names the address, of the record that begins the job"),
        required!(
            "allow",
            Shape::List(&Shape::Text(&rules::SOME), 1, 100),
            "beginnings of addresses that may be named, such as `https://*.example.com/`"
        ),
        required!("secret", Shape::Text(&rules::SOME), "what bodies are signed with; several with blanks between them"),
        key!(
            "on",
            Shape::List(&Shape::Text(&rules::TOLD), 1, 5),
            "what is told: `stage`, `done`, `failed`, `cancelled`, `compensated`; default all but `stage`"
        ),
        CONCURRENCY,
        TIMEOUT,
        RETRY,
        DEAD_LETTER,
    ],
);
