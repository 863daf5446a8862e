//! Errors as problem documents (RFC 9457).

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde_json::json;

/// What is wrong with a request, or with this process.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    /// Stable; it has an entry in `docs/codes.md`.
    code: &'static str,
    detail: String,
    /// The field, header or attribute at fault.
    field: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// One with a status, a code and a sentence for people.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self { status, code, detail: detail.into(), field: None, headers: Vec::new() }
    }

    /// Names what is at fault.
    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Adds a header to the answer.
    pub(crate) fn header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// When it is worth to try again, in seconds.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.push((RETRY_AFTER, HeaderValue::from(seconds.max(1))));
        self
    }

    /// Its status, for tests.
    #[cfg(test)]
    pub(crate) fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// What it says, for tests.
    #[cfg(test)]
    pub(crate) fn said(&self) -> (&'static str, &str, Option<&str>) {
        (self.code, &self.detail, self.field.as_deref())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = json!({
            "type": format!("urn:millstream:{}", self.code),
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if let Some(field) = self.field {
            document["field"] = json!(field);
        }
        let mut response = (self.status, document.to_string() + "\n").into_response();
        response.headers_mut().extend(self.headers);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
