//! The tables of `objects:`.

use crate::rules;
use crate::shape::{Key, MapRule, Shape};

pub(super) static OBJECTS: MapRule = map!(
    "`objects`",
    [
        required!(
            "url",
            Shape::Text(&rules::OBJECTS_URL),
            "where they are: `file:///srv/uploads`, `s3://bucket/prefix`, `azblob://container/prefix`, `gs://bucket/prefix`"
        ),
        key!("match", Shape::Text(&rules::SOME), "names below `url`, such as `**/*.jpg`; default all"),
        key!(
            "on",
            Shape::List(&Shape::Text(&rules::OBJECT_EVENT), 1, 3),
            "`created`, `changed`, `deleted`; default the first two"
        ),
        key!(
            "emit",
            Shape::Text(&rules::EMIT),
            "`reference` (default): what is known of the object; `content`: also what is in it"
        ),
        key!(
            "max_content",
            Shape::Text(&rules::SIZE),
            "largest object with `emit: content`, others become dead letters; default 1MiB"
        ),
        key!(
            "encoding",
            Shape::Text(&rules::CONTENT_ENCODING),
            "of the content: `text` (default; other bytes become dead letters) or `base64`"
        ),
        key!(
            "settle",
            Shape::Text(&rules::SETTLE),
            "an object is taken when it has not changed for so long; default 2s for a folder, 0s for a bucket"
        ),
        key!(
            "every",
            Shape::Text(&rules::TIMEOUT),
            "how often all is listed; default 10s for a folder, 1m for a bucket"
        ),
        key!(
            "watch",
            Shape::Text(&rules::WATCH),
            "of a folder: `notify` (default) looks at once when something happens, `poll` only by `every`"
        ),
        key!(
            "endpoint",
            Shape::Text(&rules::SOME),
            "of a service that is not at its usual place, such as `http://localhost:9000`"
        ),
        key!("region", Shape::Text(&rules::SOME), "of S3; default by the environment, else `us-east-1`"),
        key!("account", Shape::Text(&rules::SOME), "of Azure"),
        key!(
            "auth",
            Shape::Either(&[Shape::Text(&rules::NO_AUTH), Shape::Map(&OBJECTS_AUTH)]),
            "`none` for a public bucket; default what the environment or the machine gives"
        ),
    ],
);

static OBJECTS_AUTH: MapRule = map!(
    "`auth`",
    [
        key!("access_key", Shape::Text(&rules::SOME), "of S3"),
        key!("secret_key", Shape::Text(&rules::SOME), "of S3; better `${env:NAME}` than in the file"),
        key!("session_token", Shape::Text(&rules::SOME), "of S3, with keys that end"),
        key!("account_key", Shape::Text(&rules::SOME), "of Azure; better `${env:NAME}` than in the file"),
        key!("sas", Shape::Text(&rules::SOME), "of Azure: a shared access signature"),
        key!("credential", Shape::Text(&rules::SOME), "of Google: a service account's JSON, as it is or in base64"),
    ],
);
