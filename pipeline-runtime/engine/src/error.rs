//! What can go wrong inside the engine.

/// Who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The settings: a person must change them.
    Config,
    /// Durable data cannot be read: by this version, or at all.
    Data,
    /// The host broke the engine's contract.
    Bug,
}

/// The engine cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The window holds more ids than allowed.
    #[error(
        "partition {slot} has {max_ids} message ids within the dedup window, as many as `dedup.max_ids` allows; \
         shorten `dedup.window` or raise `dedup.max_ids`"
    )]
    DedupFull {
        /// Which partition.
        slot: u32,
        /// The bound.
        max_ids: usize,
    },
    /// The changelog has more ids than allowed.
    #[error(
        "the dedup state holds more than the {max_ids} message ids that `dedup.max_ids` allows; shorten \
         `dedup.window` or raise `dedup.max_ids`"
    )]
    RestoreFull {
        /// The bound.
        max_ids: usize,
    },
    /// A durable format from a newer version.
    #[error("{what} has format version {found}, and this version reads up to {known}; run the version that wrote it")]
    NewerVersion {
        /// Which format.
        what: &'static str,
        /// What was found.
        found: u8,
        /// What is known.
        known: u8,
    },
    /// A durable format that does not decode.
    #[error("{what} cannot be read: {why}")]
    Corrupt {
        /// Which format.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A slot is assigned that is assigned already.
    #[error("partition {slot} was assigned twice without being given up between")]
    AssignedTwice {
        /// Which partition.
        slot: u32,
    },
    /// Not one start per input, or too many inputs.
    #[error("partition {slot} was assigned with {found} starting points for {expected} inputs (at most 256)")]
    Inputs {
        /// Which partition.
        slot: u32,
        /// What was given.
        found: usize,
        /// What the settings say.
        expected: u16,
    },
}

impl EngineError {
    /// Stable, lower case with underscores; it has a page in the docs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::DedupFull { .. } | Self::RestoreFull { .. } => "dedup_full",
            Self::NewerVersion { .. } => "newer_version",
            Self::Corrupt { .. } => "state_corrupt",
            Self::AssignedTwice { .. } => "assigned_twice",
            Self::Inputs { .. } => "inputs_mismatch",
        }
    }

    /// Who has to act.
    pub fn class(&self) -> Class {
        match self {
            Self::DedupFull { .. } | Self::RestoreFull { .. } => Class::Config,
            Self::NewerVersion { .. } | Self::Corrupt { .. } => Class::Data,
            Self::AssignedTwice { .. } | Self::Inputs { .. } => Class::Bug,
        }
    }
}
