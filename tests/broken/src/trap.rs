//! A fault that waits for its moment: the commit of a certain record. No chance is in it, so that a control needs one
//! run and no luck.

use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use millstream_log::Outgoing;

/// What happens, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9` inside the commit: where a promise is broken, between the steps that should be one.
    DieInCommit,
    /// `kill -9` after positions and outputs are committed, before anything else.
    DieAfterCommit,
    /// The whole process stands still inside the commit until it is sent SIGCONT.
    FreezeProcess,
    /// This replica alone stands still inside the commit, until another one has committed what it holds.
    FreezeReplica,
}

/// A moment at which a fault may be due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Between the steps of a commit. Unbroken it is one step, and this is before it: outputs are sent.
    InCommit,
    /// After the commit.
    AfterCommit,
}

/// Which commit it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The one that holds the output of the record with this id at the source; or the record itself, where the source
    /// writes it.
    Record(String),
    /// The first one that holds both the dead letter of a record and, as it was mended and sent again, its output.
    Mended,
    /// The first one that holds a record that is set aside.
    Parked,
    /// The first one that holds a reply to a job.
    Reply,
    /// The first one that holds something to be told of a job at an address.
    Callback,
}

/// One fault of this process, for all its members. It springs once.
pub(crate) struct Trap {
    fault: Fault,
    target: Target,
    sprung: AtomicBool,
    /// Another replica has committed the target.
    overtaken: Mutex<bool>,
    changed: Condvar,
}

/// What a member has sent since its last commit, as far as it matters here.
#[derive(Default)]
pub(crate) struct Watched {
    /// Ids at the source of dead letters.
    letters: HashSet<String>,
    /// The transaction is the target.
    pub(crate) is_target: bool,
}

/// For another replica to take over and commit: a session, and the work.
const OVERTAKING: Duration = Duration::from_secs(60);

/// What is to be told at addresses.
pub(crate) fn is_callback(record: &Outgoing) -> bool {
    record.to.topic.ends_with(".jobs.callbacks")
}

/// Who asks for replies in these tests wants them in topics of such names.
pub(crate) fn is_reply(record: &Outgoing) -> bool {
    record.to.topic.starts_with("replies.")
}

impl Trap {
    pub(crate) fn new(fault: Fault, target: Target) -> Self {
        Self { fault, target, sprung: AtomicBool::new(false), overtaken: Mutex::new(false), changed: Condvar::new() }
    }

    /// Looks at records that go into a transaction.
    pub(crate) fn watch(&self, records: &[Outgoing], seen: &mut Watched) {
        for record in records {
            seen.is_target |= self.target == Target::Parked && record.to.topic.ends_with(".retry");
            seen.is_target |= self.target == Target::Reply && is_reply(record);
            seen.is_target |= self.target == Target::Callback && is_callback(record);
            if let Some(id) = record.headers.get_str("millstream.dlq.id") {
                seen.letters.insert(id.to_owned());
            } else if let Some(id) = record.headers.get_str("ce_id") {
                let root = id.rsplit_once('~').map_or(id, |(root, _)| root);
                seen.is_target |= match &self.target {
                    Target::Record(wanted) => root == wanted,
                    Target::Mended => seen.letters.contains(root),
                    Target::Parked | Target::Reply | Target::Callback => false,
                };
            }
        }
    }

    /// The target is at this moment. Returns whether it was frozen here; does not return from death.
    pub(crate) fn spring(&self, moment: Moment) -> bool {
        let due = match self.fault {
            Fault::DieAfterCommit => Moment::AfterCommit,
            Fault::DieInCommit | Fault::FreezeProcess | Fault::FreezeReplica => Moment::InCommit,
        };
        if due != moment || self.sprung.swap(true, Ordering::AcqRel) {
            return false;
        }
        eprintln!("{:?} at {:?}", self.fault, self.target);
        match self.fault {
            Fault::DieInCommit | Fault::DieAfterCommit => signal_itself("-KILL"),
            Fault::FreezeProcess => signal_itself("-STOP"),
            Fault::FreezeReplica => self.wait_until_overtaken(),
        }
        true
    }

    /// A replica has committed the target.
    pub(crate) fn committed(&self) {
        *self.overtaken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    fn wait_until_overtaken(&self) {
        let guard = self.overtaken.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, OVERTAKING, |overtaken| !*overtaken);
        if waited.unwrap_or_else(PoisonError::into_inner).1.timed_out() {
            eprintln!("no other replica has committed {:?} within {OVERTAKING:?}", self.target);
        }
    }
}

/// The signal is there before `kill` has ended: nothing is done after it.
fn signal_itself(signal: &str) {
    let sent = Command::new("kill").args([signal, &std::process::id().to_string()]).status();
    if !sent.is_ok_and(|s| s.success()) {
        eprintln!("kill {signal} of this process failed");
    }
}
