//! One attempt: a request, an answer, and what it does to the record.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::http::response::Parts;
use millstream_expr::ExprState;
use millstream_filter_api::units::show_duration;
use millstream_filter_api::{Call, CallContext, CallFuture, Called, Class, Failure, Outcome, Record};

use super::answer::{self, Answer, Verdict};
use super::body::{self, Body};
use super::config::{Plan, Taken};

/// The draft standard's name for what makes a repeated request harmless.
pub(super) static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Of an answer whose content nobody needs, this much is read, for this long, so that the connection can be used again.
const DRAINED: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// The filter of one replica. The plan, with its client, is the stage's.
pub(super) struct Http {
    pub(super) plan: Arc<Plan>,
    /// Held while an expression runs, never across an await.
    state: Mutex<ExprState>,
}

impl Http {
    pub(super) fn new(plan: Arc<Plan>) -> Self {
        Self { plan, state: Mutex::new(ExprState::new()) }
    }
}

impl Call for Http {
    fn call(self: Arc<Self>, mut record: Record, cx: CallContext) -> CallFuture {
        Box::pin(async move {
            // A tombstone says that something is gone; there is nothing to call about.
            if record.payload.is_null() {
                cx.no_call();
                return Called { record, outcome: Outcome::Forward };
            }
            let attempted = self.attempt(&mut record, &cx).await;
            Called { record, outcome: self.plan.secrets.outcome(attempted) }
        })
    }
}

impl Http {
    async fn attempt(&self, record: &mut Record, cx: &CallContext) -> Result<(), Failure> {
        let plan = &*self.plan;
        if let Taken::Field(into) = &plan.taken {
            // Before the call: its effect would be for nothing.
            into.room(&record.payload)?;
        }
        let answer = match &plan.poll {
            Some(poll) => Some(self.poll(poll, record, cx).await?),
            None => {
                let exchange = self.exchange(self.request(record, cx)?);
                match plan.timeout {
                    None => exchange.await,
                    Some(limit) => within(limit, &plan.label, exchange).await,
                }?
            }
        };
        match (&plan.taken, answer) {
            (Taken::Nothing, _) | (_, None) => Ok(()),
            (Taken::Payload, Some(answer)) => body::replace(&mut record.payload, answer),
            (Taken::Field(into), Some(answer)) => body::insert(&mut record.payload, into, answer),
        }
        .map_err(|f| about(&plan.label, f))
    }

    pub(super) fn request(&self, record: &Record, cx: &CallContext) -> Result<Request<Full<Bytes>>, Failure> {
        let plan = &*self.plan;
        let mut headers = plan.headers.clone();
        let key = HeaderValue::from_str(&cx.call_id)
            .map_err(|_| Failure::new(Class::Bug, "http_request_invalid", "the call's id cannot stand in a header"))?;
        headers.insert(&IDEMPOTENCY_KEY, key);
        let content = match self.body(record)? {
            Some((content, kind)) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static(kind));
                content
            }
            None => Bytes::new(),
        };
        let mut request = Request::new(Full::new(content));
        *request.method_mut() = plan.method.clone();
        *request.uri_mut() = plan.uri.clone();
        *request.headers_mut() = headers;
        Ok(request)
    }

    fn body(&self, record: &Record) -> Result<Body, Failure> {
        match &self.plan.body {
            Some(expression) => body::of_value(self.with_state(|state| expression.value(state, record))?),
            None if self.plan.sends_payload => body::of_payload(&record.payload),
            None => Ok(None),
        }
    }

    /// Sends the request and reads the answer; `None` where its content is not wanted.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Option<Answer>, Failure> {
        let label = &self.plan.label;
        let (head, content) = self.send(request, label).await?;
        if matches!(self.plan.taken, Taken::Nothing) {
            beginning(content).await;
            return Ok(None);
        }
        self.read(&head.headers, content, label).await.map(Some)
    }

    /// Sends a request, named by `label` in messages, and reads the answer.
    pub(super) async fn ask(&self, request: Request<Full<Bytes>>, label: &str) -> Result<(Parts, Answer), Failure> {
        let (head, content) = self.send(request, label).await?;
        let answer = self.read(&head.headers, content, label).await?;
        Ok((head, answer))
    }

    /// Sends a request; the answer is one of success.
    async fn send(&self, request: Request<Full<Bytes>>, label: &str) -> Result<(Parts, Incoming), Failure> {
        let client = self.plan.client().map_err(|why| unreachable(label, why))?;
        let response = client.send(request).await.map_err(|e| unreachable(label, &chain(&e)))?;
        let (head, content) = response.into_parts();
        let verdict = answer::verdict(head.status);
        if verdict != Verdict::Success {
            let beginning = beginning(content).await;
            let message = format!("{label} {}", answer::describe(head.status, &beginning));
            return Err(match verdict {
                Verdict::Permanent => Failure::permanent("http_status", message),
                _ => {
                    let wait = answer::retry_after(&head.headers, SystemTime::now());
                    Failure::transient("http_status", message).retry_after(wait)
                }
            });
        }
        Ok((head, content))
    }

    async fn read(&self, headers: &HeaderMap, content: Incoming, label: &str) -> Result<Answer, Failure> {
        let limit = self.plan.max_response;
        let too_large = || {
            let message =
                format!("{label}: the answer is larger than {limit} bytes; raise `max_response` if it may be");
            Failure::permanent("http_response_too_large", message)
        };
        if content.size_hint().lower() > limit as u64 {
            return Err(too_large());
        }
        let content = match Limited::new(content, limit).collect().await {
            Ok(read) => read.to_bytes(),
            Err(e) if e.is::<LengthLimitError>() => return Err(too_large()),
            Err(e) => return Err(unreachable(label, &chain(&*e))),
        };
        answer::read(headers, content).map_err(|f| about(label, f))
    }

    /// Runs something with the state of expressions.
    pub(super) fn with_state<T>(&self, run: impl FnOnce(&mut ExprState) -> T) -> T {
        run(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Bounds an exchange in time.
pub(super) async fn within<T>(
    limit: Duration,
    label: &str,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::time::timeout(limit, exchange).await.unwrap_or_else(|_| {
        let message = format!("{label} did not answer within {}", show_duration(limit));
        Err(Failure::transient("http_timeout", message))
    })
}

fn about(label: &str, mut failure: Failure) -> Failure {
    failure.message = format!("{label}: {}", failure.message);
    failure
}

fn unreachable(label: &str, why: &str) -> Failure {
    Failure::transient("http_connection", format!("{label}: {why}"))
}

/// What a body begins with. Best effort: the status has said what matters.
pub(crate) async fn beginning(mut content: Incoming) -> Vec<u8> {
    let mut read = Vec::new();
    let reading = async {
        while let Some(Ok(frame)) = content.frame().await {
            read.extend_from_slice(frame.data_ref().map_or(&[][..], |d| d));
            if read.len() > DRAINED {
                break;
            }
        }
    };
    // Out of time: what has come is enough, and the connection goes.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
    read
}

/// An error with its causes; the outer ones alone say little.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_said = cause.to_string();
        if !said.contains(&cause_said) {
            said.push_str(": ");
            said.push_str(&cause_said);
        }
        next = cause.source();
    }
    said
}
