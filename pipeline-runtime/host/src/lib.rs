//! The shell around the engine: threads, topics, filters, sources, the way a run begins and ends.
//!
//! It must never know: rdkafka, a file format of the embedded log, the command line. Everything of the log comes
//! through `millstream-log`; every decision on a record's delivery is the engine's.
//!
//! Start reading at [`run`], then `replica` (the loop of one replica) and `source` (files, generators and clocks).

mod apart;
mod aside;
mod backoff;
mod calls;
mod chain;
mod changes;
mod checkpoints;
mod clock;
mod control;
mod crew;
mod dead_letter;
mod growth;
mod guard;
mod held;
mod idle;
mod ids;
mod input;
pub mod intake;
pub mod jobs;
mod keeping;
pub mod letters;
mod levels;
mod outputs;
mod plan;
mod reason;
pub mod replay;
mod replica;
mod restore;
mod retention;
mod retry_topic;
mod run;
mod running;
mod shared;
mod singleton;
mod source;
mod summary;
mod tap;
mod topics;
pub mod trigger;
mod waiting;

pub use apart::{NotApart, apart};
pub use changes::{
    Applied, ApplyOptions, ChangePlan, Difference, GroupPlan, GrowPlan, PlacePlan, TopicPlan, apply,
    look as plan_changes,
};
#[doc(hidden)]
pub use clock::set_clock_off;
pub use control::{
    Change, Control, Counts, Entries, Entry, Follower, LevelStatus, Orders, PipelineStatus, ProcessStatus, Rates,
    ReplicasStatus, SourceStatus, StageStatus, Trouble, WaitingStatus, Watcher,
};
pub use ids::{ID_HEADER, key_fields, root};
pub use outputs::partition_for;
pub use restore::read as read_committed;
pub use run::{Progress, RunError, RunOptions, run};
pub use shared::{Stop, Totals};
pub use singleton::lease_group;
pub use source::ticks::{id as tick_id, rfc3339, stem as tick_stem};
pub use source::{
    Alive, Fault, Maker, Makers, Next, NoMakers, Opening, SourcePosition, check_generator, check_schedule,
};
pub use summary::{PipelineSummary, StageSummary, Summary};
pub use tap::RecordFilter;
pub use topics::{counts as partition_counts, differing as differing_partitions, missing as missing_topics};
