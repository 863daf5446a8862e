//! Threads beside the stages and sources of a pipeline.

use std::sync::Arc;
use std::thread::Scope;

use super::{Process, Running};
use crate::jobs::{Allowed, Callbacks, JobsView, Ledger, Limits, Replies, UndoPlan};
use crate::run::RunOptions;
use crate::topics::Partitions;
use crate::trigger::Desk;
use crate::{retention, trigger};

impl Running<'_> {
    /// Starts jobs that were ordered for later.
    pub(super) fn start_mover<'s>(&'s self, scope: &'s Scope<'s, '_>, process: &Process, options: &'s RunOptions) {
        let (log, name) = (Arc::clone(&process.log), format!("{}.later", process.id));
        scope.spawn(move || {
            self.supervise("what waits for its time", &options.stop, None, || {
                trigger::move_due(&*log, self.pipeline, &name, &options.stop)
            });
        });
    }

    /// Keeps what is known of jobs at hand for those who ask over HTTP.
    pub(super) fn start_view<'s>(&'s self, scope: &'s Scope<'s, '_>, process: &Process, options: &'s RunOptions) {
        let (Some(jobs), Some(served)) = (&self.pipeline.jobs, &self.served) else { return };
        let view = JobsView::new(Arc::clone(&process.log), jobs);
        served.show_jobs(&self.pipeline.name, view.clone());
        scope.spawn(move || {
            self.supervise("the view of jobs", &options.stop, None, || view.follow(&options.stop.child()));
            view.stop();
        });
    }

    /// Starts jobs that are ordered over HTTP.
    pub(super) fn start_desk<'s>(&'s self, scope: &'s Scope<'s, '_>, process: &Process, options: &'s RunOptions) {
        let Some(served) = &self.served else { return };
        let (desk, orders) = Desk::new();
        served.open_desk(&self.pipeline.name, desk);
        let log = Arc::clone(&process.log);
        scope.spawn(move || {
            self.supervise("jobs that are ordered", &options.stop, None, || {
                orders.run(&*log, self.pipeline, &options.stop);
                Ok(())
            });
        });
    }

    /// Adds up what becomes of jobs.
    pub(super) fn start_ledger<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        process: &Process,
        options: &'s RunOptions,
        topics: &Partitions,
    ) {
        let Some(jobs) = &self.pipeline.jobs else { return };
        let (undo, limits) = (UndoPlan::all(self.pipeline, topics), Limits::of(self.pipeline));
        let (log, id) = (Arc::clone(&process.log), &process.id);
        let (name, instance) = (format!("{id}.jobs"), options.instance.as_ref().map(|name| format!("{name}.jobs")));
        let events = jobs.events.as_ref().map_or(1, |topic| topics.of(topic));
        let callbacks = Callbacks::of(self.pipeline, topics);
        scope.spawn(move || {
            self.supervise("the count of jobs", &options.stop, None, || {
                let (log, name, instance) = (Arc::clone(&log), name.clone(), instance.clone());
                // An order of its own for each member, so that what one leaves behind goes with it.
                let stop = options.stop.child();
                let allowed = Allowed::of(self.pipeline, jobs);
                let (undo, limits, callbacks) = (undo.clone(), limits.clone(), callbacks.clone());
                let pipeline = &self.pipeline.name;
                Ledger { log, stop, pipeline, jobs, undo, limits, name, instance, allowed, events, callbacks }.run()
            });
        });
    }

    /// Tells who asked what became of their jobs.
    pub(super) fn start_replies<'s>(&'s self, scope: &'s Scope<'s, '_>, process: &Process, options: &'s RunOptions) {
        let name = format!("{}.replies", process.id);
        let Some(replies) = Replies::new(Arc::clone(&process.log), self.pipeline, name) else { return };
        scope.spawn(move || {
            self.supervise("replies to jobs", &options.stop, None, || replies.run(&options.stop.child()));
        });
    }

    pub(super) fn start_keeper<'s>(
        &'s self,
        scope: &'s Scope<'s, '_>,
        process: &Process,
        options: &'s RunOptions,
        topics: &Partitions,
    ) {
        let kept = retention::kept(self.pipeline, topics);
        if kept.is_empty() {
            return;
        }
        let log = Arc::clone(&process.log);
        scope.spawn(move || {
            self.supervise("the keeper of retention", &options.stop, None, || {
                retention::keep(&*log, &self.pipeline.name, &kept, &options.stop)
            });
        });
    }
}
