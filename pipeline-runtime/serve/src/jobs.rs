//! `/api/v1/jobs/ID`: what became of a job. GET answers, at once or when there is news; `/events` goes on telling; DELETE
//! cancels.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use futures::stream;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use millstream_host::intake::Served;
use millstream_host::jobs::{JobDocument, JobsView, Seen, ViewError};
use millstream_spec::units;

use crate::access::Access;
use crate::body::Room;
use crate::problem::Problem;
use crate::starting::{self, Starting};

/// A long poll takes this long at most, whatever is asked for.
const LONGEST: Duration = Duration::from_secs(60);
/// For a job that was just begun to be known: a status is written about every tenth of a second.
const APPEARS: Duration = Duration::from_secs(1);
/// Between two signs of life of a stream of events.
const ALIVE: Duration = Duration::from_secs(15);

/// The paths, for those who may ask.
pub(crate) fn routes(served: &Served, access: &Arc<Access>, room: &Room) -> Router {
    let access = Arc::clone(access);
    let guard = middleware::from_fn(move |request: Request, next: Next| {
        let access = Arc::clone(&access);
        async move {
            match access.check(request.headers()) {
                Ok(()) => next.run(request).await,
                Err(problem) => problem.into_response(),
            }
        }
    });
    let starting = Arc::new(Starting { served: served.clone(), room: room.clone() });
    let start = post(starting::start).with_state(starting).fallback(starting::only_post);
    Router::new()
        .route("/api/v1/pipelines/{pipeline}/jobs", start)
        .route("/api/v1/jobs/{job}", get(show).delete(cancel).fallback(not_this))
        .route("/api/v1/jobs/{job}/events", get(events).fallback(only_get))
        .layer(guard)
        .with_state(served.clone())
}

async fn not_this() -> Problem {
    let detail = "a job is asked for by GET and cancelled by DELETE";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        .header(hyper::header::ALLOW, "GET, DELETE")
}

async fn only_get() -> Problem {
    let detail = "the events of a job are read by GET";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).header(hyper::header::ALLOW, "GET")
}

/// A job, and the pipeline that it belongs to.
async fn find(served: &Served, job: &str, patience: Duration) -> Result<(JobsView, Seen), Problem> {
    let views = served.all_jobs();
    if views.is_empty() {
        let detail = "no pipeline here tracks its jobs; `jobs: { track: true }` in its file does";
        return Err(Problem::new(StatusCode::NOT_FOUND, "jobs_not_tracked", detail));
    }
    // Of several pipelines the first that knows it.
    for view in &views {
        if let Some(seen) = view.get(job.as_bytes()).await.map_err(away)? {
            return Ok((view.clone(), seen));
        }
    }
    if let [view] = &views[..]
        && let Some(seen) = view.wait(job.as_bytes(), patience, |_| true).await.map_err(away)?
    {
        return Ok((view.clone(), seen));
    }
    let detail = format!("no job `{job}` is known: it never began, or ended longer ago than `jobs: retention`");
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_job", detail))
}

async fn show(
    State(served): State<Served>,
    Path(job): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let wait = wait_of(query.as_deref())?;
    let (view, seen) = find(&served, &job, wait.unwrap_or(APPEARS).max(APPEARS)).await?;
    let known = headers.get(IF_NONE_MATCH).map(|value| value.to_str().unwrap_or_default().to_owned());
    let is_known = |seen: &Seen| known.as_deref().is_some_and(|known| matches_tag(known, seen.version));
    let seen = match wait {
        // Who names what it knows waits for anything else; others wait for the end.
        Some(wait) if known.is_some() && is_known(&seen) => {
            view.wait(job.as_bytes(), wait, |seen| !is_known(seen)).await.map_err(away)?.unwrap_or(seen)
        }
        Some(wait) if known.is_none() && !seen.status.state.is_final() => {
            let ended = view.wait(job.as_bytes(), wait, |seen| seen.status.state.is_final()).await;
            ended.map_err(away)?.unwrap_or(seen)
        }
        _ => seen,
    };
    if is_known(&seen) {
        let mut response = StatusCode::NOT_MODIFIED.into_response();
        response.headers_mut().insert(ETAG, tag(seen.version));
        return Ok(response);
    }
    Ok(document(StatusCode::OK, &job, &seen))
}

async fn cancel(State(served): State<Served>, Path(job): Path<String>) -> Result<Response, Problem> {
    let (view, seen) = find(&served, &job, APPEARS).await?;
    if seen.status.is_stopped() {
        let detail = format!("the job is {}: nothing is left to be cancelled", seen.status.state.word());
        return Err(Problem::new(StatusCode::CONFLICT, "job_ended", detail));
    }
    view.cancel(job.as_bytes()).await.map_err(away)?;
    // So that who asks next is not told of a time before.
    let stopped = |seen: &Seen| seen.status.is_stopped();
    let seen = view.wait(job.as_bytes(), APPEARS * 5, stopped).await.map_err(away)?.unwrap_or(seen);
    Ok(document(StatusCode::ACCEPTED, &job, &seen))
}

/// Server-sent events: one for each status, the present one first, until the job has ended.
async fn events(State(served): State<Served>, Path(job): Path<String>) -> Result<Response, Problem> {
    let (view, _) = find(&served, &job, APPEARS).await?;
    let watching = view.watch(job.as_bytes()).await.map_err(away)?;
    let first = true;
    let stream =
        stream::unfold((view, watching, job, first, false), |(view, mut watching, job, first, over)| async move {
            if over {
                return None;
            }
            if !first {
                tokio::select! {
                    changed = watching.changed() => changed.ok()?,
                    () = view.stopped() => return None,
                    () = tokio::time::sleep(ALIVE) => {
                        let sign = Bytes::from_static(b":\n\n");
                        return Some((Ok::<_, Infallible>(sign), (view, watching, job, false, false)));
                    }
                }
            }
            let seen = watching.borrow_and_update().clone();
            let Some(seen) = seen else {
                return Some((Ok(Bytes::from_static(b":\n\n")), (view, watching, job, false, false)));
            };
            let text = serde_json::to_string(&JobDocument::new(job.as_bytes(), &seen.status)).unwrap_or_default();
            // A result may have line breaks of its own.
            let data: String = text.lines().map(|line| format!("data: {line}\n")).collect();
            let event = format!("event: {}\nid: {}\n{data}\n", seen.status.state.word(), seen.version);
            let over = seen.status.state.is_final();
            Some((Ok(Bytes::from(event)), (view, watching, job, false, over)))
        });
    let mut response = Body::from_stream(stream).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn document(status: StatusCode, job: &str, seen: &Seen) -> Response {
    let text = serde_json::to_string(&JobDocument::new(job.as_bytes(), &seen.status)).unwrap_or_default();
    let mut response = (status, text + "\n").into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.headers_mut().insert(ETAG, tag(seen.version));
    response
}

fn tag(version: i64) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names this version.
fn matches_tag(header: &str, version: i64) -> bool {
    let own = format!("\"{version}\"");
    header.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == own)
}

/// `wait=30s`.
fn wait_of(query: Option<&str>) -> Result<Option<Duration>, Problem> {
    let bad = |field: &str, detail: String| {
        Err(Problem::new(StatusCode::BAD_REQUEST, "bad_query", detail).field(field.to_owned()))
    };
    let mut wait = None;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            ("wait", value) => match units::duration(value) {
                Some(time) => wait = Some(time.min(LONGEST)),
                None => return bad("wait", format!("`wait` is a duration such as 30s, not `{value}`")),
            },
            (other, _) => return bad(other, format!("there is no `{other}` here; `wait=30s` waits")),
        }
    }
    Ok(wait)
}

fn away(error: ViewError) -> Problem {
    if error.again {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.code, error.message).retry_after(1)
    } else {
        Problem::new(StatusCode::BAD_REQUEST, error.code, error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_waits() {
        assert!(matches_tag("\"7\"", 7) && matches_tag("W/\"7\", \"9\"", 9) && matches_tag("*", 1));
        assert!(!matches_tag("\"7\"", 8) && !matches_tag("7", 7));
        assert_eq!(wait_of(None).ok(), Some(None));
        assert_eq!(wait_of(Some("wait=2s")).ok(), Some(Some(Duration::from_secs(2))));
        assert_eq!(wait_of(Some("wait=9h")).ok(), Some(Some(LONGEST)), "nobody is kept for hours");
        for bad in ["wait=soon", "wait", "until=2s"] {
            assert!(wait_of(Some(bad)).is_err(), "{bad}");
        }
    }
}
