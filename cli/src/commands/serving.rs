//! What `run` serves: whether, where, and which sources.

use std::collections::BTreeSet;
use std::sync::Arc;

use millstream_host::Stop;
use millstream_host::intake::{Fits, Served};
use millstream_log::{Class, LogError, LogResult};
use millstream_serve::{Config, Listen, Route, ServeError, Server, TlsFiles};
use millstream_spec::model::{HttpAuth, Pipeline, Secret, Source};

use super::run::sources_here;
use crate::failure::Failure;

/// The variable that says the token of the API. Not on the command line, which others on the machine can see.
const TOKEN: &str = "MILLSTREAM_TOKEN";

/// What the command line says of it.
pub struct Asked {
    /// `--listen`
    pub listen: Option<String>,
    /// `--no-listen`
    pub no_listen: bool,
    /// `--until-idle`
    pub until_idle: bool,
    /// `--tls-cert`, `--tls-key`
    pub tls: Option<TlsFiles>,
}

/// A server, and what it shares with the run.
pub struct Serving {
    /// The server.
    pub server: Server,
    /// Its share.
    pub served: Served,
}

/// The sources that are served by what runs here; what is asked for must serve them.
pub fn routes(asked: &Asked, pipelines: &[Pipeline], stages: Option<&BTreeSet<String>>) -> Result<Vec<Route>, Failure> {
    let here = pipelines.iter().flat_map(|p| sources_here(p, stages).into_iter().map(move |source| (p, source)));
    let routes: Vec<Route> = here.filter_map(|(pipeline, source)| route(pipeline, source)).collect();
    match routes.first().filter(|_| asked.no_listen) {
        None => Ok(routes),
        Some(route) => {
            let what = format!("`--no-listen`: nobody could send to the source at `{}`", route.source.path);
            Err(Failure::wrong(what).help("leave it out, or run other stages here with `--stages`"))
        }
    }
}

/// Starts to serve. `None` where nothing is to be served.
pub fn start(asked: &Asked, routes: Vec<Route>, stop: &Stop) -> Result<Option<Serving>, Failure> {
    // A run that ends by itself, and takes nothing in, needs no port.
    let needless = routes.is_empty() && asked.until_idle && asked.listen.is_none();
    if asked.no_listen || needless {
        return Ok(None);
    }
    let served = Served::new(Box::new(fits));
    let is_open = |route: &&Route| route.source.auth == HttpAuth::None;
    let open: Vec<String> = routes.iter().filter(is_open).map(|route| route.source.path.clone()).collect();
    let (asks, takes_in) = (asked.listen.is_some(), !routes.is_empty());
    let config = Config {
        listen: asked.listen.clone().map_or(Listen::Usual, Listen::At),
        tls: asked.tls.clone(),
        routes,
        token: std::env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(Secret::new),
        served: served.clone(),
        stop: stop.clone(),
    };
    match Server::start(config) {
        Ok(server) => {
            tracing::info!("serving at {}", server.url());
            if !server.is_local() {
                open.iter().for_each(|path| tracing::warn!("whoever reaches {} may send to {path}", server.url()));
            }
            Ok(Some(Serving { server, served }))
        }
        Err(ServeError::Address(what)) => Err(Failure::wrong(what)),
        Err(ServeError::Tls(what)) => Err(Failure::failed(what).help("`--tls-cert` and `--tls-key` name PEM files")),
        Err(error) if asks || takes_in => {
            Err(Failure::failed(error.to_string()).help("another address goes by `--listen HOST:PORT`"))
        }
        Err(error) => {
            tracing::warn!("{error}; nothing is served");
            Ok(None)
        }
    }
}

fn route(pipeline: &Pipeline, source: &Source) -> Option<Route> {
    let http = source.http()?;
    // By these a sender asks to be told what became of its job.
    let reply = pipeline.jobs.iter().filter_map(|jobs| jobs.reply.as_ref());
    let reply = reply.flat_map(|reply| std::iter::once(&reply.to).chain(&reply.correlation));
    let callback = pipeline.jobs.iter().filter_map(|jobs| jobs.callback.as_ref()).map(|callback| &callback.url);
    let keep = reply.chain(callback).cloned().collect();
    let (topic, format) = (source.topic.clone(), source.format.clone());
    Some(Route { pipeline: pipeline.name.clone(), topic, format, source: http.clone(), keep })
}

/// What looks at payloads of a source, as the filter `validate` does.
fn fits(source: &Source) -> LogResult<Fits> {
    let schema = source.schema.as_ref().map(|(path, text)| (path.as_str(), text.as_str()));
    millstream_filters_std::fits(&source.types, schema)
        .map(|fits| Arc::clone(&fits) as Fits)
        .map_err(|why| LogError::new(Class::Config, "schema_invalid", why))
}
