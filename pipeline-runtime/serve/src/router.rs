//! Which path leads where.

use std::sync::Arc;

use axum::Router;
use axum::routing::{any, get};
use hyper::{StatusCode, Uri};
use millstream_host::intake::Served;

use crate::access::Access;
use crate::body::Room;
use crate::health::{livez, readyz};
use crate::jobs;
use crate::problem::Problem;
use crate::requests::{Door, take_in};
use crate::server::Route;

/// Bytes of bodies in hand at most, over all requests of the process.
const BODIES: usize = 64 << 20;

/// All that is served. What has a path of its own is merged in here: a source cannot take the paths of
/// `rules::URL_PATH` in the spec.
pub(crate) fn router(served: &Served, routes: &[Route], access: Access) -> Router {
    let standing = Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).with_state(served.clone());
    let room = Room::new(BODIES);
    let doors = routes.iter().fold(Router::new(), |router, route| {
        let door = Arc::new(Door::new(route, served.clone(), room.clone()));
        router.route(&route.source.path, any(take_in).with_state(door))
    });
    standing.merge(doors).merge(jobs::routes(served, &Arc::new(access), &room)).fallback(nothing_here)
}

async fn nothing_here(uri: Uri) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "nothing_here", format!("nothing is served at `{}`", uri.path()))
}
