//! Threads beside the stages and sources of a pipeline.

use std::sync::Arc;
use std::thread::Scope;

use super::{Process, Running};
use crate::run::RunOptions;
use crate::topics::Partitions;
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
