//! The words for how a job stands, and for why it was stopped.

use serde::{Deserialize, Serialize};

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Its record is in the log, and no stage has ended with it.
    Accepted,
    /// Its record is to be written later.
    Scheduled,
    /// Some record of it is on its way.
    Running,
    /// All that is left of it was set aside.
    Waiting,
    /// Every record that came from it has ended.
    Done,
    /// A record of it is a dead letter, or its deadline has passed.
    Failed,
    /// Somebody wanted no more of it.
    Cancelled,
    /// It failed, was cancelled or late, and what it has passed is being undone.
    Compensating,
    /// What it had passed is undone.
    Compensated,
}

impl JobState {
    /// All there are, in the order a job takes them.
    pub const ALL: [Self; 9] = [
        Self::Accepted,
        Self::Scheduled,
        Self::Running,
        Self::Waiting,
        Self::Done,
        Self::Failed,
        Self::Cancelled,
        Self::Compensating,
        Self::Compensated,
    ];

    /// As people type and read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Scheduled => "scheduled",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Compensating => "compensating",
            Self::Compensated => "compensated",
        }
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled | Self::Compensated)
    }
}

/// Why what is left of a job is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stopped {
    /// Somebody has cancelled it.
    Cancelled,
    /// It was not done in time, or a stage with it.
    Deadline,
    /// A record of it became a dead letter that ends it.
    Failed,
}

impl Stopped {
    /// The reason with which its records are dropped, and the code of a job that was late.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Deadline => "deadline",
            Self::Failed => "failed",
        }
    }
}
