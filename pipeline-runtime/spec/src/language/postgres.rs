//! The tables of `postgres:`.

use crate::rules;
use crate::shape::{Key, MapRule, Shape};

pub(super) static POSTGRES: MapRule = map!(
    "`postgres`",
    [
        required!(
            "url",
            Shape::Text(&rules::SOME),
            "such as `postgres://USER:PASSWORD@HOST/DATABASE?sslmode=verify-full`; better `${env:NAME}` than in the file"
        ),
        key!("outbox", Shape::Text(&rules::TABLE), "a table whose rows are taken in the order of `id` and removed"),
        key!(
            "mark",
            Shape::Text(&rules::COLUMN),
            "the outbox's column, a time or a boolean, that says that a row was taken; default deletes the row"
        ),
        key!("table", Shape::Text(&rules::TABLE), "a table whose rows stay; each comes again when it has changed"),
        key!("cursor", Shape::Text(&rules::COLUMN), "its column that rises with each change, such as `updated_at`"),
        key!("key", Shape::Text(&rules::COLUMN), "its column that names a row"),
        key!(
            "columns",
            Shape::List(&Shape::Text(&rules::COLUMN), 1, 1600),
            "the columns of a record; default all"
        ),
        key!(
            "late",
            Shape::Text(&rules::TIMEOUT),
            "how long before the end of its transaction a row may have got its cursor; default 1h"
        ),
        key!("every", Shape::Text(&rules::TIMEOUT), "between two looks at a table that had nothing new; default 1s"),
        key!("notify", Shape::Text(&rules::COLUMN), "a channel of NOTIFY on which writers say that there is something new"),
        key!("batch", Shape::Whole(1, 10_000), "rows of one look at most; default 1000"),
    ],
    one_of: &[&["outbox", "table"]],
    needs: &[("mark", "outbox"), ("cursor", "table"), ("key", "table"), ("columns", "table"), ("late", "table")],
);
