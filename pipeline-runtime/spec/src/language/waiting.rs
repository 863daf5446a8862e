//! The table of `wait_for:`.

use crate::rules;
use crate::shape::{Key, MapRule, Shape};

pub(super) static WAIT_FOR: MapRule = map!(
    "`wait_for`",
    [
        required!("topic", Shape::Text(&rules::TOPIC), "an existing topic with the events, as JSON"),
        required!(
            "by",
            Shape::Text(&rules::FIELD),
            "the field that is equal in a record and the event that lets it go"
        ),
        required!(
            "timeout",
            Shape::Text(&rules::TIMEOUT),
            "how long a record waits before it is a dead letter, and how long an event that nobody waits for is kept"
        ),
    ],
);
