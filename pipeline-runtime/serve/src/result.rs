//! The answer to a request that waits for the result of its job.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use millstream_host::jobs::{JobState, JobStatus, JobsView, Payload, Stopped};
use serde_json::json;

use crate::problem::Problem;
use crate::requests::accepted;

/// The result, or why there is none; 202 where the time is over before.
pub(crate) async fn of(view: &JobsView, job: &str, time: Duration) -> Result<Response, Problem> {
    let seen = view.wait(job.as_bytes(), time, |seen| seen.status.state.is_final()).await;
    let answer = match seen {
        Ok(Some(seen)) => ended(job, &seen.status),
        // It was taken in all the same.
        Ok(None) | Err(_) => None,
    };
    let mut answer = answer.unwrap_or_else(|| Ok(accepted(&json!({ "job": job }), Some(job))))?;
    if let Ok(location) = HeaderValue::try_from(format!("/api/v1/jobs/{job}")) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

/// The answer to who waits for a job, if it has ended.
fn ended(job: &str, status: &JobStatus) -> Option<Result<Response, Problem>> {
    Some(match status.state {
        JobState::Accepted | JobState::Scheduled | JobState::Running | JobState::Waiting | JobState::Compensating => {
            return None;
        }
        JobState::Done => Ok(payload(status.result.as_ref())),
        JobState::Cancelled => {
            Err(Problem::new(StatusCode::CONFLICT, "job_cancelled", format!("job {job} was cancelled")))
        }
        JobState::Compensated if status.stopped == Some(Stopped::Cancelled) => {
            let detail = format!("job {job} was cancelled, and what it had done is undone");
            Err(Problem::new(StatusCode::CONFLICT, "job_cancelled", detail))
        }
        JobState::Failed | JobState::Compensated => {
            let why = status.failure().map_or_else(String::new, |e| format!(": {} ({})", e.message, e.code));
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "job_failed", format!("job {job} has failed{why}")))
        }
    })
}

fn payload(result: Option<&Payload>) -> Response {
    let with = |kind, body: Vec<u8>| {
        let mut response = (StatusCode::OK, body).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    };
    match result {
        // Nothing came of it that would be a result.
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Payload::Text(text)) => {
            let json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
            with(if json { "application/json" } else { "text/plain; charset=utf-8" }, text.clone().into_bytes())
        }
        Some(Payload::Base64(text)) => with("application/octet-stream", STANDARD.decode(text).unwrap_or_default()),
        Some(Payload::TooLarge(bytes)) => {
            let detail = format!("the result has {bytes} bytes, more than is kept; it is in the output topic");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "result_too_large", detail).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_what_it_is() {
        let kind = |payload: Option<Payload>| {
            let response = super::payload(payload.as_ref());
            let kind = response.headers().get(CONTENT_TYPE).map(|k| k.to_str().unwrap_or_default().to_owned());
            (response.status().as_u16(), kind.unwrap_or_default())
        };
        assert_eq!(kind(None), (204, String::new()));
        assert_eq!(kind(Some(Payload::Text("{\"a\": 1}".into()))), (200, "application/json".into()));
        assert_eq!(kind(Some(Payload::Text("tea".into()))), (200, "text/plain; charset=utf-8".into()));
        assert_eq!(kind(Some(Payload::Base64("/w==".into()))), (200, "application/octet-stream".into()));
        assert_eq!(kind(Some(Payload::TooLarge(1))), (500, "application/problem+json".into()));
    }
}
