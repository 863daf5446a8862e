//! `POST /api/v1/pipelines/PIPELINE/jobs`: starts a job by hand, now or later, as `millstream trigger` does.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, StatusCode};
use millstream_host::intake::Served;
use millstream_host::rfc3339;
use millstream_host::trigger::{Order, OrderError};
use millstream_spec::units;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::body::{self, Room};
use crate::problem::Problem;
use crate::requests::accepted;

/// Bytes of a request at most: a job that waits may have half of it.
const MAX_BODY: usize = 1 << 20;

/// What it needs.
#[derive(Clone)]
pub(crate) struct Starting {
    pub served: Served,
    pub room: Room,
}

/// What is asked for. Everything may be left out.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// The payload: JSON as it stands, or text where the source gives text.
    value: Option<Box<RawValue>>,
    key: Option<String>,
    id: Option<String>,
    source: Option<String>,
    /// RFC 3339.
    at: Option<String>,
    /// A duration.
    after: Option<String>,
}

pub(crate) async fn start(
    State(starting): State<Arc<Starting>>,
    Path(pipeline): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    // Pages of others can have a browser send anything but this without asking.
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        let detail = "a job is ordered with `content-type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
            .field(CONTENT_TYPE.as_str()));
    }
    let Some(desk) = starting.served.desk(&pipeline) else {
        let detail = format!("no pipeline `{pipeline}` runs here");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_pipeline", detail));
    };
    let (bytes, _held) = body::read(body, MAX_BODY, &starting.room).await?;
    let order = order(&bytes, jiff::Timestamp::now().as_millisecond())?;
    let ordered = desk.order(order).await.map_err(problem)?;
    let mut document = json!({ "job": ordered.job });
    if let Some(due) = ordered.due {
        document["at"] = json!(rfc3339(due));
    }
    Ok(accepted(&document, Some(&ordered.job)))
}

pub(crate) async fn only_post() -> Problem {
    let detail = "a job is started by POST";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).header(hyper::header::ALLOW, "POST")
}

/// The order in a body.
fn order(body: &[u8], now: i64) -> Result<Order, Problem> {
    let bad = |field: &str, detail: String| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_order", detail).field(field.to_owned())
    };
    let asked: Asked = if body.iter().all(u8::is_ascii_whitespace) {
        Asked::default()
    } else {
        serde_json::from_slice(body).map_err(|e| {
            let detail = format!("expected a JSON object with `value`, `key`, `id`, `source`, `at` or `after`: {e}");
            Problem::new(StatusCode::BAD_REQUEST, "bad_order", detail)
        })?
    };
    let due = match (&asked.at, &asked.after) {
        (Some(_), Some(_)) => return Err(bad("after", "`at` and `after` say the same; leave one out".to_owned())),
        (Some(at), None) => {
            let time = at.parse::<jiff::Timestamp>();
            let time = time.map_err(|_| bad("at", format!("`{at}` is no time such as 2026-12-01T09:00:00+01:00")))?;
            Some(time.as_millisecond())
        }
        (None, Some(after)) => {
            let time = units::duration(after);
            let time = time.ok_or_else(|| bad("after", format!("`{after}` is no duration such as 30m")))?;
            Some(now.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX)))
        }
        (None, None) => None,
    };
    let Asked { value, key, id, source, .. } = asked;
    Ok(Order { source, value, key, id: id.filter(|id| !id.is_empty()), due })
}

fn problem(error: OrderError) -> Problem {
    let OrderError { code, message, again } = error;
    match code {
        _ if again => Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(1),
        "job_waits" => Problem::new(StatusCode::CONFLICT, code, message),
        _ => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_and_bad_ones_name_the_field() {
        let read = |body: &str| order(body.as_bytes(), 1_000);
        let full = read(r#"{"value": {"a" : 1.50}, "key": "k", "id": "i", "source": "web", "after": "2s"}"#).unwrap();
        assert_eq!(full.value.as_ref().map(|value| value.get()), Some(r#"{"a" : 1.50}"#), "as it was written");
        assert_eq!((full.id.as_deref(), full.source.as_deref(), full.due), (Some("i"), Some("web"), Some(3_000)));
        let at = read(r#"{"at": "1970-01-01T01:00:05+01:00"}"#).unwrap();
        assert!(at.due == Some(5_000) && at.value.is_none());
        assert_eq!(read(" \n").unwrap().due, None);
        for (bad, status, field) in [
            ("[1]", 400, None),
            ("{", 400, None),
            (r#"{"valu": 1}"#, 400, None),
            (r#"{"id": 7}"#, 400, None),
            (r#"{"at": "soon"}"#, 422, Some("at")),
            (r#"{"after": "soon"}"#, 422, Some("after")),
            (r#"{"at": "1970-01-01T00:00:00Z", "after": "1s"}"#, 422, Some("after")),
        ] {
            let problem = read(bad).err().unwrap_or_else(|| panic!("{bad}"));
            assert_eq!((problem.status(), problem.said().2), (status, field), "{bad}");
        }
    }
}
