//! Everything that a configuration promises, put together: agents that can be run, what is known about
//! them, what they cost.
//!
//! May use everything up to `config`; prints nothing.

mod all;
mod broken;
mod chain;
mod children;
mod files;
mod health;
mod kept;
mod lost;
mod models;
mod native;
mod plan;
mod policy;
mod resolve;
mod resume;
mod run;
mod status;
mod step_files;
mod task;
mod task_plan;
mod team;
mod told;

pub use all::AllOrder;
pub use health::Health;
pub use models::named;
pub use plan::Plan;
pub(crate) use policy::PRICE_FILE;
pub(crate) use resolve::nearest;
pub use resume::ResumeOptions;
pub use run::{Conversation, Done, Order, deadline, new_run_id};
pub use task::RunInfo;
pub use task_plan::{StepPlan, TaskPlan};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::config::Config;
use crate::costs::{Ledger, Prices};
use crate::error::{ErrorClass, OrchError};
use crate::providers::{Provider, RecordFile};
use crate::redact::Redactor;
use crate::resilience::Resilience;
use crate::sandbox::Tier;
use crate::store::{Store, StoreError, Tidying};
use crate::tools::{Approver, Changes, Workspace};
use crate::usage::Usd;

/// What a call of the program adds to the configuration.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Another model for every agent.
    pub model: Option<String>,
    /// Cap of this run.
    pub budget: Option<Usd>,
    /// Cap of a conversation, over the configured one.
    pub session_budget: Option<Usd>,
    /// The conversation whose budget covers every call, whichever conversation that is in, if any: a task and many
    /// agents are asked from within it.
    pub charged_session: Option<Arc<str>>,
    /// Tier of the sandbox.
    pub tier: Option<Tier>,
    /// Who answers approval prompts.
    pub approver: Approver,
    /// Write no Markdown log.
    pub no_log: bool,
    /// Write every reply to this recording.
    pub record: Option<PathBuf>,
    /// Answer from this recording.
    pub replay: Option<PathBuf>,
    /// Where to keep what files held before tools changed them.
    pub changes: Option<Changes>,
}

/// A loaded configuration with everything that lives as long as the process.
pub struct Orchestrator {
    config: Arc<Config>,
    options: Options,
    store: Option<Store>,
    prices: Arc<Prices>,
    /// `None` where nothing may be spent: there is no ledger.
    resilience: Option<Arc<Resilience>>,
    redactor: Redactor,
    recorder: Option<Arc<RecordFile>>,
    providers: Mutex<BTreeMap<String, Arc<dyn Provider>>>,
    /// Agents with the same rights share one open workspace.
    workspaces: Mutex<Vec<(policy::Rights, Arc<Workspace>)>>,
}

impl Orchestrator {
    /// Opens the store for runs.
    ///
    /// # Errors
    /// When spending could not be recorded: nothing may be spent then.
    pub fn open(config: Arc<Config>, options: Options) -> Result<Self, OrchError> {
        let store = Store::open(&config.state_dir).map_err(|error| unspendable(&error))?;
        children::watch(&store);
        Self::with_store(config, options, Some(store))
    }

    /// Opens the store for one agent's run: what is written is written at once, since nothing else waits.
    ///
    /// # Errors
    /// As [`Orchestrator::open`].
    pub fn open_for_one(config: Arc<Config>, options: Options) -> Result<Self, OrchError> {
        let store = Store::open_direct(&config.state_dir).map_err(|error| unspendable(&error))?;
        children::watch(&store);
        Self::with_store(config, options, Some(store))
    }

    /// For looking only: writes nothing to the disk.
    ///
    /// # Errors
    /// When there is a store that cannot be read.
    pub fn look(config: Arc<Config>, options: Options) -> Result<Self, OrchError> {
        let store = Store::open_read_only(&config.state_dir).map_err(|error| unread(&error))?;
        Self::with_store(config, options, store)
    }

    /// For what neither calls a model nor asks what calls have cost: the store is not looked at.
    ///
    /// # Errors
    /// When the prices cannot be read, or no recording can be written.
    pub fn without_store(config: Arc<Config>, options: Options) -> Result<Self, OrchError> {
        Self::with_store(config, options, None)
    }

    fn with_store(
        config: Arc<Config>,
        options: Options,
        store: Option<Store>,
    ) -> Result<Self, OrchError> {
        let prices = Arc::new(policy::prices(&config)?);
        let redactor = Redactor::new(config.secrets());
        let recorder = options
            .record
            .as_ref()
            .map(|path| recorder(path, &redactor))
            .transpose()?;
        let ledger = store
            .clone()
            .map(|store| Ledger::new(store, Arc::clone(&prices)));
        Ok(Self {
            resilience: ledger.map(|ledger| Arc::new(Resilience::new(ledger))),
            redactor,
            store,
            prices,
            config,
            options,
            recorder,
            providers: Mutex::default(),
            workspaces: Mutex::default(),
        })
    }

    /// The same with another configuration or other options; what lives as long as the process (ledger,
    /// limits, breakers) stays.
    #[must_use]
    pub fn renewed(&self, config: Option<Arc<Config>>, options: Options) -> Self {
        let config = config.unwrap_or_else(|| Arc::clone(&self.config));
        Self {
            redactor: Redactor::new(config.secrets()),
            store: self.store.clone(),
            prices: Arc::clone(&self.prices),
            resilience: self.resilience.clone(),
            config,
            options,
            recorder: self.recorder.clone(),
            providers: Mutex::default(),
            workspaces: Mutex::default(),
        }
    }

    /// The same with the configuration and the prices that its files have now; says, too, whether the prices are others.
    ///
    /// # Errors
    /// When the prices cannot be read.
    pub fn reloaded(
        &self,
        config: Arc<Config>,
        options: Options,
    ) -> Result<(Self, bool), OrchError> {
        let prices = policy::prices(&config)?;
        let mut renewed = self.renewed(Some(config), options);
        let are_others = !prices.are(&self.prices);
        if are_others {
            renewed.prices = Arc::new(prices);
            if let Some(resilience) = &renewed.resilience {
                resilience.ledger().set_prices(Arc::clone(&renewed.prices));
            }
        }
        Ok((renewed, are_others))
    }

    /// What every model call goes through.
    ///
    /// # Errors
    /// When this was opened for looking only.
    fn calls(&self) -> Result<&Resilience, OrchError> {
        self.resilience.as_deref().ok_or_else(|| {
            OrchError::new(
                ErrorClass::Failed,
                "there is no ledger, so nothing may be spent",
            )
        })
    }

    /// The prices that hold for this configuration.
    pub fn prices(&self) -> &Prices {
        &self.prices
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The store, where there is one.
    pub fn store(&self) -> Option<&Store> {
        self.store.as_ref()
    }

    /// Masks every known secret.
    pub fn redactor(&self) -> &Redactor {
        &self.redactor
    }

    /// Waits until everything is on the disk. What it returns may be waited for later.
    ///
    /// # Errors
    /// When something that was spent could not be written.
    pub async fn close(self) -> Result<Tidying, OrchError> {
        let Self {
            store, resilience, ..
        } = self;
        drop(resilience);
        match store {
            Some(store) => {
                children::unwatch(&store);
                store.close().await.map_err(|error| {
                    let message = "the ledger could not be written to its end";
                    OrchError::new(ErrorClass::Failed, message).caused_by(&error)
                })
            }
            None => Ok(Tidying::default()),
        }
    }
}

fn unread(error: &StoreError) -> OrchError {
    OrchError::new(ErrorClass::Failed, "the ledger cannot be read")
        .caused_by(error)
        .with_hint(error.hint())
}

fn unspendable(error: &StoreError) -> OrchError {
    let message = "the ledger cannot be opened, so nothing may be spent";
    OrchError::new(ErrorClass::Failed, message)
        .caused_by(error)
        .with_hint(error.hint())
}

fn recorder(path: &Path, redactor: &Redactor) -> Result<Arc<RecordFile>, OrchError> {
    RecordFile::open(path, redactor.clone()).map_err(|error| {
        let message = format!("the recording `{}` cannot be written", path.display());
        OrchError::new(ErrorClass::Usage, message)
            .caused_by(&error)
            .with_hint("name a file in a directory that is there and that you may write to")
    })
}
