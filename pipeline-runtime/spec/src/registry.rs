//! The filters that a pipeline may use. Which ones there are is the business of the binary; this crate knows none.

use std::collections::BTreeMap;
use std::sync::Arc;

use millstream_codec::{RegistryAddress, SchemaRegistry};
use millstream_filter_api::{Checked, FilterSpec, Issue, Kind, Node};

use crate::model::Judge;

/// Checks the expression of a `generate` or `schedule` source: the type of what it makes, or what is wrong with it.
pub type GeneratorCheck = dyn Fn(&Node) -> Result<Kind, Vec<Issue>> + Send + Sync;

/// Checks what stands under `callback`: the filter that calls back, and who says which addresses may be named; or what is
/// wrong with it.
pub type CallbackCheck = dyn Fn(&Node) -> Result<(Checked, Judge), Vec<Issue>> + Send + Sync;

/// Checks an expression over the payloads of all stages.
pub type ExpressionCheck = dyn Fn(&Node) -> Result<(), Vec<Issue>> + Send + Sync;

/// Makes the client of a schema registry; the error is lower case, without a full stop. Nothing is asked yet.
pub type SchemaRegistryMaker = dyn Fn(&RegistryAddress) -> Result<Arc<dyn SchemaRegistry>, String> + Send + Sync;

/// How schema registries are reached.
#[derive(Clone)]
pub(crate) struct SchemaRegistries {
    pub make: Arc<SchemaRegistryMaker>,
    /// The one that the settings name.
    pub settings: Option<RegistryAddress>,
}

/// Filters by name, and the check of generators.
#[derive(Default, Clone)]
pub struct Registry {
    filters: BTreeMap<&'static str, Arc<dyn FilterSpec>>,
    generator: Option<Arc<GeneratorCheck>>,
    schedule: Option<Arc<GeneratorCheck>>,
    callback: Option<Arc<CallbackCheck>>,
    progress: Option<Arc<ExpressionCheck>>,
    pub(crate) schemas: Option<SchemaRegistries>,
    /// The schema registry of the pipeline that is being checked.
    pub(crate) in_force: Option<Arc<dyn SchemaRegistry>>,
}

impl Registry {
    /// A registry of these filters; of two with one name the later wins, so that a binary can replace a built-in one.
    pub fn new(filters: impl IntoIterator<Item = Arc<dyn FilterSpec>>) -> Self {
        Self { filters: filters.into_iter().map(|f| (f.name(), f)).collect(), ..Self::default() }
    }

    /// The same with a check for the expression of `generate` sources. Without one they are refused.
    #[must_use]
    pub fn with_generator(mut self, check: impl Fn(&Node) -> Result<Kind, Vec<Issue>> + Send + Sync + 'static) -> Self {
        self.generator = Some(Arc::new(check));
        self
    }

    /// The same with a check for the expression of `schedule` sources. Without one they tick with their time alone.
    #[must_use]
    pub fn with_schedule(mut self, check: impl Fn(&Node) -> Result<Kind, Vec<Issue>> + Send + Sync + 'static) -> Self {
        self.schedule = Some(Arc::new(check));
        self
    }

    /// The same with a check for `jobs: { callback }`. Without one it is refused.
    #[must_use]
    pub fn with_callback(
        mut self,
        check: impl Fn(&Node) -> Result<(Checked, Judge), Vec<Issue>> + Send + Sync + 'static,
    ) -> Self {
        self.callback = Some(Arc::new(check));
        self
    }

    /// The same with a check for `jobs: { progress }`. Without one it is refused.
    #[must_use]
    pub fn with_progress(mut self, check: impl Fn(&Node) -> Result<(), Vec<Issue>> + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(check));
        self
    }

    /// The same with schema registries, and the one that the settings name. Without them none is in force.
    #[must_use]
    pub fn with_schemas(
        mut self,
        make: impl Fn(&RegistryAddress) -> Result<Arc<dyn SchemaRegistry>, String> + Send + Sync + 'static,
        settings: Option<RegistryAddress>,
    ) -> Self {
        self.schemas = Some(SchemaRegistries { make: Arc::new(make), settings });
        self
    }

    /// A filter by name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn FilterSpec>> {
        self.filters.get(name)
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<&'static str> {
        self.filters.keys().copied().collect()
    }

    /// All filters, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn FilterSpec>> {
        self.filters.values()
    }

    pub(crate) fn generator(&self) -> Option<&GeneratorCheck> {
        self.generator.as_deref()
    }

    pub(crate) fn progress(&self) -> Option<&ExpressionCheck> {
        self.progress.as_deref()
    }

    pub(crate) fn schedule(&self) -> Option<&GeneratorCheck> {
        self.schedule.as_deref()
    }

    pub(crate) fn callback(&self) -> Option<&CallbackCheck> {
        self.callback.as_deref()
    }
}
