//! `millstream run PATH…`: pipelines until they are told to stop, or until all input is worked off.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use millstream_host::{RunOptions, Stop};
use millstream_serve::TlsFiles;
use millstream_spec::model::{Pipeline, Source, SourceKind, Timing};
use millstream_spec::units::show_duration;

use super::serving;
use super::{print, print_json};
use crate::args::Output;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::logging::LogFormat;
use crate::makers::AllMakers;
use crate::progress::{Rates, summary_table};
use crate::{pipelines, signals, units};

/// What is left of the drain timeout for leaving the groups and closing the log.
pub(in crate::commands) const LEAVE: Duration = Duration::from_secs(2);

/// Run pipelines
///
/// Ctrl-C or SIGTERM finishes and commits what is begun; a second one stops at once, and what was not committed is done
/// again by the next run.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline files, or names of pipelines in this folder
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// End when all input is worked off
    #[arg(long)]
    until_idle: bool,
    /// Run only these stages here, as STAGE or PIPELINE.STAGE; others run elsewhere
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    stages: Vec<String>,
    /// Make a source topic that does not exist instead of waiting for it
    #[arg(long)]
    create_source: bool,
    /// Go on where retention has taken records that were not read yet, and count them
    #[arg(long)]
    accept_gap: bool,
    /// How long finishing may take after Ctrl-C [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    drain_timeout: Option<Duration>,
    /// Name of this process for static membership: equal after a restart, and of no other process
    #[arg(long, value_name = "NAME")]
    instance: Option<String>,
    /// Serve at this address [default: 127.0.0.1:7447, or a free port where it is taken]
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "no_listen")]
    listen: Option<String>,
    /// Serve nothing
    #[arg(long)]
    no_listen: bool,
    /// Serve over TLS, with the certificate of this file (PEM, with those that lead to its root)
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "no_listen")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// How the summary is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
    /// Apply a changed pipeline first, also what is not safe by itself; `plan` shows it
    #[arg(long)]
    apply: bool,
}

/// Runs the command.
pub fn run(args: RunArgs, cx: &Context) -> Outcome {
    let runs = |pipeline: &str, stage: &str| {
        let is = |name: &String| name == stage || name.split_once('.') == Some((pipeline, stage));
        args.stages.is_empty() || args.stages.iter().any(is)
    };
    let pipelines = pipelines::load_to_run(&args.paths, &cx.registry, cx.paint_errors(), &runs)?;
    let stages = chosen(&args.stages, &pipelines)?;
    millstream_host::apart(&pipelines, stages.as_ref()).map_err(|e| Failure::wrong(e.what).help(e.help))?;
    if args.until_idle {
        for pipeline in &pipelines {
            let here = sources_here(pipeline, stages.as_ref());
            here.into_iter().try_for_each(|source| can_be_idle(pipeline, source))?;
        }
    }
    let drain_timeout = args.drain_timeout.unwrap_or(cx.settings.drain_timeout);
    let stop = Stop::new(drain_timeout.saturating_sub(LEAVE.min(drain_timeout / 4)));
    stop_on_signals(&stop, drain_timeout)?;
    let asked = args.serving();
    let routes = serving::routes(&asked, &pipelines, stages.as_ref())?;
    let log = cx.open_log()?;
    let serving = serving::start(&asked, routes, &stop)?;
    tracing::info!(log = %log.name(), pipelines = pipelines.len(), "running");
    let options = RunOptions {
        until_idle: args.until_idle,
        feed: true,
        create_source: args.create_source,
        accept_gap: args.accept_gap,
        apply: args.apply,
        stages,
        instance: args.instance,
        served: serving.as_ref().map(|serving| serving.served.clone()),
        makers: Arc::new(AllMakers),
        stop: stop.clone(),
        progress: progress(cx),
    };
    let ended = millstream_host::run(log, &pipelines, &options);
    // Whatever ended the run: nobody is to wait for an answer that does not come.
    stop.drain();
    if let Some(serving) = serving {
        serving.server.join();
    }
    cx.screen.progress("");
    let (summary, reasons) = match ended {
        Ok(summary) => (summary, Vec::new()),
        Err(error) => (error.summary, error.reasons),
    };
    match args.output {
        Output::Text => print(&summary_table(&summary, cx.paint()))?,
        Output::Json => print_json(&summary)?,
    }
    if !reasons.is_empty() {
        return Err(Failure::failed(reasons.join("\n")));
    }
    if stop.aborted() {
        return Err(Failure::failed("stopped at once").help("what was not committed is done again by the next run"));
    }
    Ok(())
}

impl RunArgs {
    fn serving(&self) -> serving::Asked {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        serving::Asked {
            listen: self.listen.clone(),
            no_listen: self.no_listen,
            until_idle: self.until_idle,
            tls: files.map(|(cert, key)| TlsFiles { cert, key }),
        }
    }
}

/// The stages that `--stages` names, each as `pipeline.stage`; `None` is all.
fn chosen(names: &[String], pipelines: &[Pipeline]) -> Result<Option<BTreeSet<String>>, Failure> {
    if names.is_empty() {
        return Ok(None);
    }
    let all = || pipelines.iter().flat_map(|p| p.stages.iter().map(move |s| (s, format!("{}.{}", p.name, s.name))));
    let mut chosen = BTreeSet::new();
    for name in names {
        let before = chosen.len();
        chosen.extend(all().filter(|(s, full)| s.name == *name || full == name).map(|(_, full)| full));
        if chosen.len() == before && !chosen.iter().any(|full| full == name || full.ends_with(&format!(".{name}"))) {
            let unknown = Failure::wrong(format!("`--stages`: there is no stage `{name}`"));
            let known: Vec<String> = all().map(|(s, _)| s.name.clone()).collect();
            return Err(match millstream_spec::nearest(name, known.iter().map(String::as_str)) {
                Some(near) => unknown.help(format!("did you mean `{near}`?")),
                None => unknown.help(format!("there are {}", known.join(", "))),
            });
        }
    }
    if let Some(none) = pipelines.iter().find(|p| !p.stages.iter().any(|s| chosen.contains(&full_name(p, &s.name)))) {
        let what = format!("`--stages` leaves nothing of pipeline `{}` to run", none.name);
        return Err(Failure::wrong(what).help("name one of its stages, or leave the pipeline out"));
    }
    Ok(Some(chosen))
}

fn full_name(pipeline: &Pipeline, stage: &str) -> String {
    format!("{}.{stage}", pipeline.name)
}

/// The sources that run here: where a stage does that reads them.
pub(in crate::commands) fn sources_here<'p>(
    pipeline: &'p Pipeline,
    stages: Option<&BTreeSet<String>>,
) -> Vec<&'p Source> {
    let here = |name: &str| stages.is_none_or(|all| all.contains(&full_name(pipeline, name)));
    let read = |n: usize| pipeline.stages.iter().any(|s| here(&s.name) && s.inputs.iter().any(|i| i.source == Some(n)));
    pipeline.sources.iter().enumerate().filter(|(n, _)| read(*n)).map(|(_, source)| source).collect()
}

/// A source without an end is never worked off.
fn can_be_idle(pipeline: &Pipeline, source: &Source) -> Outcome {
    let why = match &source.kind {
        SourceKind::File(file) if file.follow => "follows its file",
        SourceKind::Generate(generate) if generate.count.is_none() => "generates without a `count`",
        SourceKind::Objects(_) => "watches for objects",
        SourceKind::Schedule(schedule) if !matches!(schedule.timing, Timing::At(_)) => "ticks without an end",
        SourceKind::Postgres(_) => "watches its table",
        _ => return Ok(()),
    };
    let which = if source.named { format!("source `{}`", source.name) } else { "the source".to_owned() };
    Err(Failure::wrong(format!("`--until-idle` would never end: {which} of `{}` {why}", pipeline.name)))
}

/// Drains at the first signal, stops at once at the second, and in any case when the time is over: a client library
/// that does not come back must not keep the process.
pub(in crate::commands) fn stop_on_signals(stop: &Stop, drain_timeout: Duration) -> Outcome {
    let stop = stop.clone();
    let mut deadline = None;
    signals::listen(move |times| match times {
        1 => {
            tracing::info!(
                "finishing what is begun, {} at most; once more stops at once",
                show_duration(drain_timeout)
            );
            stop.drain();
            deadline = Some(Instant::now() + drain_timeout);
            exit_at(drain_timeout, "did not finish in time");
        }
        2 => {
            tracing::warn!("stopping at once");
            stop.abort();
            let left = deadline.map_or(LEAVE, |at| at.saturating_duration_since(Instant::now()));
            exit_at(LEAVE.min(left), "did not stop in time");
        }
        _ => std::process::exit(1),
    })
    .map_err(|e| Failure::failed(format!("cannot listen for signals: {e}")))
}

fn exit_at(after: Duration, why: &'static str) {
    // Without a thread there is no deadline, and draining goes on all the same.
    let _ = std::thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        std::thread::sleep(after);
        tracing::error!("{why}; what was not committed is done again by the next run");
        std::process::exit(1);
    });
}

pub(in crate::commands) type Progress = Box<dyn Fn(&millstream_host::Summary) + Send + Sync>;

/// A line of progress, where somebody sees it.
pub(in crate::commands) fn progress(cx: &Context) -> Option<Progress> {
    if !std::io::stderr().is_terminal() || cx.settings.log_format == LogFormat::Json {
        return None;
    }
    let (screen, rates) = (cx.screen.clone(), Rates::default());
    Some(Box::new(move |summary| screen.progress(&rates.line(summary, Instant::now()))))
}
