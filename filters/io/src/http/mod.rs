//! `http`: calls a server with each record.
//!
//! `config.rs` is what may be written, `body.rs` and `answer.rs` are the decisions (what is sent, what an answer means),
//! `call.rs` is one attempt, `poll.rs` what follows where the server has only accepted, `client.rs` the pool of connections.

pub(crate) mod answer;
pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod client;
mod config;
mod poll;
pub(crate) mod resolver;

use std::sync::Arc;

use hyper::Method;
use millstream_filter_api::{
    Built, CheckContext, Checked, Example, FilterSpec, Issue, Kind, Node, Outputs, Page, Reads,
};

use config::{Plan, Taken};

/// The filter `http`.
pub(crate) struct HttpSpec;

impl FilterSpec for HttpSpec {
    fn name(&self) -> &'static str {
        "http"
    }

    fn page(&self) -> Page {
        Page {
            summary: "calls a server with each record",
            description: "\
`http: { url: https://stock.example.com/reserve }` sends each record and takes the answer as its payload. One call per \
key is in flight at a time, and up to `concurrency` in all; while one key's call fails and waits, other keys go on.

- `url`: the address, `http://` or `https://`, plain text. `${env:…}` may stand in it, as in every value.
- `method`: `POST` (the default), `PUT`, `PATCH`, `GET` or `DELETE`.
- `headers`: a map of texts, as `{ Authorization: \"Bearer ${env:TOKEN}\" }`. What a reference brought in is never printed.
- `body`: an expression; text is sent as it is, anything else as JSON, null as nothing. Without it `POST`, `PUT` and \
`PATCH` send the payload as it is, byte for byte, and the others nothing. `Content-Type` is JSON for JSON, unless \
`headers` has one.
- `into`: a field that takes the answer; the rest of the payload keeps its text.
- `keep: true`: the payload stays and the content of the answer is left aside.
- `timeout`: for the whole call; the default is the stage's `timeout`, which then ends it with code `timeout`.
- `connect_timeout`: for the connection, TLS included (default `5s`).
- `max_response`: largest content of an answer (default `1MiB`, at most `64MiB`).

Each call carries `Idempotency-Key`: equal on every attempt for a record, also after a crash and in another process, \
different for each stage and each filter. A server that heeds it makes a repeated call harmless.

An answer is read as JSON if it says so or parses, else as text; an empty one is null. JSON keeps its text.

| Answer | What happens |
|---|---|
| 2xx | the record goes on |
| 408, 425, 429, 5xx | code `http_status`, transient: tried again as `retry` says, not before `Retry-After` (at most a day) |
| any other status | code `http_status`, permanent: a dead letter at once. Redirects are not followed. |
| no connection, or one that breaks | `http_connection`, transient |
| none within `timeout` | `http_timeout`, transient |
| larger than `max_response` | `http_response_too_large`, permanent |
| not what it says it is | `http_response_invalid`, permanent |

Where the server only accepts and works on for minutes or hours, `poll: {}` follows it: after an answer of 202 the \
address in its `Location` is asked with `GET` until it answers something else, and that answer is the call's. Where to \
ask is kept as a checkpoint in the topic `<pipeline>.<stage>.checkpoints`: after a crash, a rebalance or a restart the next \
process asks on, and does not send the record again.

- `poll.until`: a condition on an answer, the first one included: `.` is its content, `%headers.x` a header. It says alone \
when the server is done: `.state != \"running\"`. What has gone wrong there is for a filter behind to tell.
- `poll.url`: an expression over the first answer for the address, as `.links.self`. It may be relative, and must lead to the \
same scheme, host and port as `url`: whoever answers shall not choose whom we call.
- `poll.every`: how long it waits in between (default `2s`), `Retry-After` being obeyed.
- `poll.timeout`: from the first answer on (default `1h`, at most `7d`). It takes the place of the stage's `timeout`, which bounds each \
request; then the code is `http_poll_timeout`, permanent.
- `poll.progress`: an expression over an answer for how far it is, in percent; shown by `jobs show`.

While it asks, 408, 425, 429, 5xx and broken connections are asked again, without counting as attempts; any other bad \
status is a dead letter. An address that cannot be asked is `http_poll_url`, permanent. A letter that is sent back begins \
anew, with the same `Idempotency-Key`. Each record that is followed takes one of the stage's `concurrency`.

Connections are pooled, one pool for a stage. TLS trusts the machine's root certificates, or those of the file that the \
environment variable `SSL_CERT_FILE` names. No proxy is used. A tombstone passes without a call.",
            examples: EXAMPLES,
        }
    }

    fn config_schema(&self) -> &'static str {
        r#"{
  "type": "object",
  "required": ["url"],
  "properties": {
    "url": {"type": "string", "description": "the address, http:// or https://"},
    "method": {"enum": ["POST", "PUT", "PATCH", "GET", "DELETE"], "default": "POST"},
    "headers": {"type": "object", "additionalProperties": {"type": "string"}},
    "body": {"type": ["string", "number", "boolean"], "description": "an expression; the payload if there is none"},
    "into": {"type": "string", "pattern": "^\\.", "description": "the field that takes the answer"},
    "keep": {"type": "boolean", "default": false, "description": "the payload stays as it is"},
    "timeout": {"type": "string", "description": "for the whole call; the stage's if there is none"},
    "connect_timeout": {"type": "string", "default": "5s"},
    "max_response": {"type": "string", "default": "1MiB"},
    "poll": {
      "type": "object",
      "description": "asks until the server is done with what it has accepted",
      "properties": {
        "url": {"type": ["string", "number", "boolean"], "description": "an expression over the first answer; its Location if there is none"},
        "every": {"type": "string", "default": "2s"},
        "until": {"type": ["string", "boolean"], "description": "a condition on an answer; without one any status but 202"},
        "timeout": {"type": "string", "default": "1h"},
        "progress": {"type": ["string", "number"], "description": "how far it is, 0 to 100: an expression over an answer"}
      },
      "additionalProperties": false
    }
  },
  "additionalProperties": false
}"#
    }

    fn check(&self, with: &Node, cx: &CheckContext<'_>) -> Result<Checked, Vec<Issue>> {
        let plan = Arc::new(Plan::check(with, cx)?);
        let kind = match &plan.taken {
            Taken::Payload => Kind::any(),
            Taken::Nothing => cx.input.clone(),
            Taken::Field(into) => into.kind(cx.input),
        };
        Ok(Checked {
            outputs: Outputs::Single,
            types: vec![kind],
            // What a GET does outside is nothing, by its definition.
            effects: plan.method != Method::GET,
            reads: Reads::Everything,
            long: plan.poll.as_ref().map(poll::Poll::longest),
            warnings: plan.body.as_ref().map_or_else(Vec::new, |b| b.warnings().to_vec()),
            build: Arc::new(move || Built::Call(Arc::new(call::Http::new(Arc::clone(&plan))))),
        })
    }
}

const EXAMPLES: &[Example] = &[
    Example {
        title: "The answer goes into a field; a server that says 404 makes a dead letter",
        yaml: "http: { url: \"http://stock.example/reserve\", body: \"{ \\\"sku\\\": .sku }\", into: .stock }",
        fields: "{ sku: string }",
        input: "{\"sku\":\"A\",\"n\":1.10}\n{\"sku\":\"?\"}",
        output: "{\"value\":{\"sku\":\"A\",\"n\":1.10,\"stock\":{\"left\":7}}}\n{\"failed\":\"http_status\"}",
    },
    Example {
        title: "The whole payload is sent, and the answer takes its place",
        yaml: "http: { url: \"http://stock.example/reserve\", headers: { X-Tenant: blue }, timeout: 10s }",
        fields: "{ sku: string }",
        input: "{\"sku\":\"A\"}",
        output: "{\"value\":{\"left\":7}}",
    },
    Example {
        title: "A server that says where to ask is asked until it is done",
        yaml: "http: { url: \"http://stock.example/reports\", poll: { every: 50ms, until: .state == \"done\" } }",
        fields: "{ sku: string }",
        input: "{\"sku\":\"A\"}",
        output: "{\"value\":{\"state\":\"done\",\"pages\":3}}",
    },
    Example {
        title: "A notice: only whether it arrived counts",
        yaml: "http: { url: \"http://stock.example/notices\", method: PUT, keep: true }",
        fields: "{ sku: string }",
        input: "{\"sku\":\"A\",\"n\":1.10}",
        output: "{\"value\":{\"sku\":\"A\",\"n\":1.10}}",
    },
];
