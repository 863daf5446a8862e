//! How a running pipeline stands: what is asked by who waits for its end, and by who reports it.

use std::sync::atomic::Ordering;

use millstream_log::Log;
use millstream_spec::model::Source;

use super::{Running, lock};
use crate::control::StageReport;
use crate::crew::Crew;
use crate::intake::Served;
use crate::reason::Reason;
use crate::{held, idle};

impl Running<'_> {
    /// Why threads gave up.
    pub fn reasons(&self) -> Vec<String> {
        lock(&self.failed).iter().map(Reason::show).collect()
    }

    /// Whether the log has answered once, or was given up on.
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// What it waits for before it is ready: its replicas' partitions, and whatever takes requests in.
    pub fn waits_for(&self, served: &Served) -> Option<String> {
        let of = |why: String| format!("pipeline `{}`: {why}", self.pipeline.name);
        if let Some(why) = self.reasons().into_iter().next() {
            return Some(why);
        }
        if !self.started.load(Ordering::Acquire) {
            return Some(of("it is starting".to_owned()));
        }
        let topics: Vec<&str> = self.taken_in().map(|s| s.topic.as_str()).collect();
        if let Some(why) = served.closed(&topics) {
            return Some(of(why));
        }
        let waiting = self.crews.iter().find(|crew| !crew.settled())?;
        Some(of(format!("stage `{}` has not got its partitions yet", waiting.stage.name)))
    }

    /// Sources that take requests in here.
    fn taken_in(&self) -> impl Iterator<Item = &Source> + use<'_> {
        self.sources().into_iter().filter(|source| source.http().is_some())
    }

    /// Whether all its replicas here wait for records. Asking the log is worth it only then.
    pub fn quiet(&self) -> bool {
        let taking_in = || self.served.as_ref().is_some_and(|served| self.taken_in().any(|s| served.busy(&s.topic)));
        self.crews.iter().all(Crew::quiet) && !self.replays.busy() && !taking_in()
    }

    /// Whether all replicas have ended.
    pub(super) fn gone(&self) -> bool {
        self.crews.iter().all(Crew::gone) && self.replays.gone()
    }

    /// Whether what was read and what ended adds up in replays too.
    pub fn balanced(&self) -> bool {
        self.replays.balanced()
    }

    pub(super) fn report(&self, crew: &Crew<'_>) -> StageReport {
        let report = crew.report();
        StageReport { trouble: report.trouble.or_else(|| self.replays.trouble(&crew.stage.name)), ..report }
    }

    /// Whether nothing more can happen in this process.
    pub fn over(&self) -> bool {
        let none_left = !self.crews.is_empty() && self.crews.iter().all(Crew::gave_up);
        none_left || self.ended.load(Ordering::Acquire) || (self.dry() && self.quiet())
    }

    /// Why a stage here does not work its input off, if by order.
    pub fn held_by_order(&self) -> Option<String> {
        self.crews.iter().find_map(|crew| {
            let (pipeline, stage) = (&self.pipeline.name, &crew.stage.name);
            if crew.paused.load(Ordering::Acquire) && !crew.held_by_replay.load(Ordering::Acquire) {
                Some(format!("stage `{stage}` is paused; `millstream resume {pipeline}.{stage}` lets it go on"))
            } else if crew.wanted() == 0 {
                Some(format!("stage `{stage}` is scaled to 0; `millstream scale {pipeline}.{stage} --reset` undoes it"))
            } else {
                None
            }
        })
    }

    /// Which stages here hold keys, one line each.
    pub fn holds(&self, log: &dyn Log) -> Vec<String> {
        self.crews.iter().filter_map(|crew| held::say(log, &self.pipeline.name, crew.stage)).collect()
    }

    /// Says how many records wait for events: they are not waited for.
    pub fn say_waiting(&self) {
        for crew in &self.crews {
            let waiting = crew.waiting();
            if waiting > 0 {
                let stage = &crew.stage.group;
                tracing::warn!(%stage, "{waiting} records wait for their events, or to be over; they go on when it runs again");
            }
        }
    }

    /// Whether all input of the stages here is worked off.
    pub fn worked_off(&self, log: &dyn Log) -> bool {
        if !self.started.load(Ordering::Acquire) {
            return false;
        }
        let here = |stage: &str| self.crews.iter().any(|crew| crew.stage.name == stage);
        match idle::worked_off(log, self.pipeline, &here, &self.sources()) {
            Ok(done) => done,
            Err(e) => {
                tracing::debug!(error = %e, "cannot tell whether all input is worked off");
                false
            }
        }
    }
}
