//! The way of a request to an `http` source.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION};
use hyper::{HeaderMap, Method, StatusCode};
use millstream_host::intake::{Answer, Intake, Item, Message, Name, Served, Unfit};
use serde_json::json;

use crate::body::{self, Room};
use crate::media::{self, Media};
use crate::problem::Problem;
use crate::rate::Bucket;
use crate::server::Route;
use crate::{auth, events, result, signature};

/// For the log, from the last byte of a request to its answer.
const ANSWER: Duration = Duration::from_secs(15);
/// Bytes of an idempotency key at most.
const MAX_KEY: usize = 255;
/// Headers of a request that are kept with the record.
const KEPT: &[&str] = &["content-type", "traceparent", "tracestate"];

/// What stands behind a path.
pub(crate) struct Door {
    route: Route,
    served: Served,
    room: Room,
    rate: Option<Bucket>,
}

impl Door {
    pub(crate) fn new(route: &Route, served: Served, room: Room) -> Self {
        let rate = route.source.rate.map(|rate| Bucket::new(rate, Instant::now()));
        Self { route: route.clone(), served, room, rate }
    }
}

/// Takes a request in, or says why not.
pub(crate) async fn take_in(State(door): State<Arc<Door>>, request: Request<Body>) -> Response {
    match door.take_in(request).await {
        Ok(answer) => answer,
        Err(problem) => problem.into_response(),
    }
}

impl Door {
    async fn take_in(&self, request: Request<Body>) -> Result<Response, Problem> {
        let source = &self.route.source;
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            let detail = format!("this path takes POST, not {}", head.method);
            return Err(
                Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail).header(ALLOW, "POST")
            );
        }
        auth::check(&source.auth, &head.headers)?;
        if let Some(Err(seconds)) = self.rate.as_ref().map(|rate| rate.take(Instant::now())) {
            let detail = "more requests a second than `rate` says; nothing was taken in";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail).retry_after(seconds));
        }
        let intake = self.served.intake(&self.route.topic).ok_or_else(|| away("it is starting"))?;
        let begun = intake.begin().map_err(|why| away(&why))?;
        let media = media::of(&self.route.format, &head.headers)?;
        let key = match media {
            Media::Plain => self.key(&head.headers)?,
            Media::Binary | Media::Structured | Media::Batch => None,
        };
        let (body, _room) = body::read(body, source.max_body, &self.room).await?;
        signature::check(&source.auth, &head.headers, &body, seconds())?;
        let messages = self.messages(media, key, &head.headers, body)?;
        let items = records(&intake, messages, media == Media::Batch)?;
        let answer = tokio::time::timeout(ANSWER, intake.take_in(items)).await;
        let answer = answer.unwrap_or_else(|_| Answer::Unknown(format!("the log took over {} s", ANSWER.as_secs())));
        let waits = self.route.source.respond.filter(|_| media != Media::Batch);
        match (&answer, waits, self.served.jobs(&self.route.pipeline)) {
            (Answer::Accepted(jobs), Some(time), Some(view)) if let [job] = &jobs[..] => {
                // Nothing is written for it any more: the end of the run need not wait for it.
                drop(begun);
                result::of(&view, job, time).await
            }
            _ => self.answer(answer, media == Media::Batch),
        }
    }

    /// The idempotency key, where the source has one.
    fn key(&self, headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
        let Some(name) = &self.route.source.id else { return Ok(None) };
        let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "bad_idempotency_key", detail).field(name);
        let mut all = headers.get_all(name).iter();
        let Some(value) = all.next() else {
            let detail =
                format!("the header `{name}` is missing: an id of the sender's own, equal when it sends again");
            return Err(bad(detail));
        };
        if all.next().is_some() {
            return Err(bad(format!("the header `{name}` is there twice")));
        }
        let text = value.to_str().map(str::trim).unwrap_or_default();
        if text.is_empty() || text.len() > MAX_KEY {
            return Err(bad(format!("the header `{name}` has 1 to {MAX_KEY} printable ASCII characters")));
        }
        Ok(Some(Bytes::copy_from_slice(text.as_bytes())))
    }

    fn messages(
        &self,
        media: Media,
        key: Option<Bytes>,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Vec<Message>, Problem> {
        let format = &self.route.format;
        let mut messages = match media {
            Media::Plain => {
                let kept = headers.get(CONTENT_TYPE).map(|c| (CONTENT_TYPE.as_str().to_owned(), bytes_of(c)));
                let name = key.map_or(Name::Fresh, Name::Key);
                vec![Message { payload: body, headers: kept.into_iter().collect(), name }]
            }
            Media::Binary => vec![events::binary(headers, body)?],
            Media::Structured => vec![events::structured(format, &body)?],
            Media::Batch => events::batch(format, &body)?,
        };
        let traces = KEPT.iter().filter(|name| **name != CONTENT_TYPE.as_str());
        let traces = traces.filter_map(|name| Some(((*name).to_owned(), bytes_of(headers.get(*name)?))));
        // Names of headers are told apart by case in the log, and not in a request.
        let wanted = self.route.keep.iter().filter_map(|name| Some((name.clone(), bytes_of(headers.get(name)?))));
        let traces: Vec<(String, Bytes)> = traces.chain(wanted).collect();
        messages.iter_mut().for_each(|message| message.headers.extend(traces.iter().cloned()));
        Ok(messages)
    }

    fn answer(&self, answer: Answer, is_batch: bool) -> Result<Response, Problem> {
        let id = self.route.source.id.as_deref();
        match answer {
            Answer::Accepted(jobs) if is_batch => Ok(accepted(&json!({ "jobs": jobs }), None)),
            Answer::Accepted(jobs) => {
                let job = jobs.into_iter().next().unwrap_or_default();
                Ok(accepted(&json!({ "job": job }), Some(&job)))
            }
            Answer::Conflict(at) => {
                let which = if is_batch { format!("event {at} of the batch: ") } else { String::new() };
                let detail =
                    format!("{which}this id was taken in before with another payload; nothing was taken in now");
                let field = id.unwrap_or("id");
                Err(Problem::new(StatusCode::CONFLICT, "id_conflict", detail).field(field))
            }
            Answer::Refused(why) => {
                Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "record_refused", format!("the log refuses it: {why}")))
            }
            Answer::Away(why) => Err(away(&why)),
            Answer::Unknown(why) => {
                let again = match id {
                    Some(_) => "send it again with the same id: it becomes one job in either case",
                    None => "if it is sent again it may become two jobs; `id` in the source prevents that",
                };
                let detail = format!("nobody knows whether it was taken in ({why}); {again}");
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", detail).retry_after(1))
            }
        }
    }
}

/// The records of all messages, or what is wrong with one of them.
fn records(intake: &Intake, messages: Vec<Message>, is_batch: bool) -> Result<Vec<Item>, Problem> {
    let record = |(at, message)| {
        intake.record(message).map_err(|unfit| {
            let which = if is_batch { format!("event {at} of the batch: ") } else { String::new() };
            match unfit {
                Unfit::Undecodable(_, why) => {
                    Problem::new(StatusCode::BAD_REQUEST, "undecodable", format!("{which}{why}"))
                }
                Unfit::Field(field, why) => {
                    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "schema_violation", format!("{which}{why}"))
                        .field(field)
                }
            }
        })
    };
    messages.into_iter().enumerate().map(record).collect()
}

pub(crate) fn accepted(body: &serde_json::Value, job: Option<&str>) -> Response {
    let mut response = (StatusCode::ACCEPTED, body.to_string() + "\n").into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(location) = job.and_then(|job| HeaderValue::try_from(format!("/api/v1/jobs/{job}")).ok()) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

fn away(why: &str) -> Problem {
    let detail = format!("nothing was taken in: {why}");
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(1)
}

fn bytes_of(value: &HeaderValue) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

fn seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX))
}
