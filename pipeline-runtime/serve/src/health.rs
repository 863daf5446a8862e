//! Whether the process lives, and whether it is ready for work.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use millstream_host::intake::Served;

use crate::problem::Problem;

/// `/livez`: whoever answers lives.
pub(crate) async fn livez() -> &'static str {
    "ok\n"
}

/// `/readyz`: the replicas here have their partitions, sources take in, the log answers.
pub(crate) async fn readyz(State(served): State<Served>) -> Response {
    match served.standing().ready() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).retry_after(1).into_response(),
    }
}
