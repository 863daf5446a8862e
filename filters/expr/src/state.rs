//! What one worker keeps between records.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use millstream_filter_api::Value;
use vrl::compiler::TimeZone;
use vrl::compiler::runtime::Runtime;
use vrl::value::{KeyString, ObjectMap};

/// The working memory of expressions: variables, the object behind `%`. One per worker, used by any number of
/// expressions one after the other.
#[derive(Debug)]
pub struct ExprState {
    pub(crate) runtime: Runtime,
    pub(crate) metadata: Value,
    pub(crate) timezone: TimeZone,
    extras: ObjectMap,
    seed: Option<u64>,
}

impl Default for ExprState {
    fn default() -> Self {
        Self::new()
    }
}

impl ExprState {
    /// Nothing kept yet. Times without a zone are UTC, whatever the machine's zone.
    pub fn new() -> Self {
        Self {
            runtime: Runtime::default(),
            metadata: Value::Object(ObjectMap::new()),
            timezone: TimeZone::parse("UTC").unwrap_or_default(),
            extras: ObjectMap::new(),
            seed: None,
        }
    }

    /// Sets the value of a metadata name given in [`crate::Options::extra`] for the runs that follow.
    pub fn set_extra(&mut self, name: &'static str, value: Value) {
        match self.extras.get_mut(name) {
            Some(slot) => *slot = value,
            None => drop(self.extras.insert(KeyString::from(name), value)),
        }
    }

    /// Makes `random_int`, `random_float` and `random_bool` give the same numbers in every run that starts with this
    /// seed. Holds for one run: generators set it per record.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = Some(seed);
    }

    pub(crate) fn extra(&self, name: &str) -> Option<&Value> {
        self.extras.get(name)
    }

    pub(crate) fn apply_seed(&mut self) {
        if let Some(seed) = self.seed.take() {
            fastrand::seed(seed);
        }
    }
}

/// Ends a run that takes too long. Reads the clock only now and then: most programs end before the first time.
pub(crate) fn time_limit(limit: Duration) -> impl FnMut() -> ControlFlow<()> {
    let mut steps = 0u32;
    let mut deadline = None;
    move || {
        steps = steps.wrapping_add(1);
        if !steps.is_multiple_of(512) {
            return ControlFlow::Continue(());
        }
        let now = Instant::now();
        if now >= *deadline.get_or_insert(now + limit) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}
