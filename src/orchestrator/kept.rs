//! Runs of agents that a later process can go on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::policy::real;
use super::run::Conversation;
use super::task::not_kept;
use super::{AllOrder, Orchestrator, Order};
use crate::agents::{AgentSettings, Journal, RunResult};
use crate::config::Origin;
use crate::costs::Earlier;
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::redact::Redactor;
use crate::store::{Durability, Job, Store};
use crate::tasks::runs::{self, RunPlace, StoredRun};
use crate::tasks::{RunLock, RunState};
use crate::usage::Usd;

/// The version of the form in which these plans are kept.
const VERSION: u32 = 1;

/// What a run of agents does, settled before it starts and never changed afterwards. It holds no
/// secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AgentsPlan {
    version: u32,
    /// Who is asked, in the order of the results.
    pub(super) asked: Vec<AskedAgent>,
    /// What they are asked.
    pub(super) prompt: String,
    /// Every agent that may take part, those that are delegated to included.
    pub(super) agents: BTreeMap<String, AgentSettings>,
    /// The model that was asked for this run in place of theirs.
    #[serde(default)]
    model: Option<String>,
    /// The cap of the run over the configured ones, `--budget`: it holds when the run is taken up again, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    budget: Option<Usd>,
    /// Where its agents work; `None` where an earlier version made the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<RunPlace>,
}

/// An agent that is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AskedAgent {
    /// Its name.
    pub(super) agent: String,
    /// In which conversation: the one that it was when the run began, unless there was none.
    pub(super) conversation: Conversation,
}

/// A run that is under way here.
pub(super) struct KeptRun {
    pub(super) plan: AgentsPlan,
    /// Nowhere where there is no store.
    pub(super) journal: Journal,
    pub(super) run_id: Arc<str>,
    /// What earlier processes were charged for it.
    pub(super) earlier: Earlier,
    store: Option<Store>,
    redactor: Redactor,
    /// Nobody else works on it.
    _lock: Option<RunLock>,
}

impl Orchestrator {
    /// What a run of one agent is to do.
    pub(super) fn agent_plan(&self, order: &Order, conversation: Conversation) -> AgentsPlan {
        let asked = AskedAgent {
            agent: order.agent.clone(),
            conversation,
        };
        self.agents_plan(vec![asked], &order.prompt)
    }

    /// What a run of many agents is to do.
    pub(super) fn all_plan(&self, order: &AllOrder, names: &[&str]) -> AgentsPlan {
        let asked = names.iter().map(|name| AskedAgent {
            agent: (*name).to_owned(),
            conversation: match self.conversation(name, order.conversation.clone()) {
                Ok(session) => Conversation::Open(session, Vec::new()),
                // The others are asked all the same; this one says then what is wrong.
                Err(_) => order.conversation.clone(),
            },
        });
        self.agents_plan(asked.collect(), &order.prompt)
    }

    fn agents_plan(&self, asked: Vec<AskedAgent>, prompt: &str) -> AgentsPlan {
        let mut agents = BTreeMap::new();
        let mut open: Vec<String> = asked.iter().map(|asked| asked.agent.clone()).collect();
        while let Some(name) = open.pop() {
            if let Some(settings) = self.config.document.agents.get(&name)
                && !agents.contains_key(&name)
            {
                open.extend(settings.delegates.iter().cloned());
                let model = self.options.model.as_deref();
                agents.insert(name, self.settled(settings, model));
            }
        }
        AgentsPlan {
            version: VERSION,
            asked,
            prompt: prompt.to_owned(),
            agents,
            model: self.options.model.clone(),
            budget: self.options.budget,
            place: Some(self.place()),
        }
    }

    /// Where a run that begins now works.
    pub(super) fn place(&self) -> RunPlace {
        let text = |path: &Path| real(path).to_string_lossy().into_owned();
        let moves = self.config.origin == Origin::User;
        RunPlace {
            working_dir: text(&self.config.working_dir),
            config: self.config.path.as_deref().filter(|_| !moves).map(text),
        }
    }

    /// The settings of an agent with the provider and the model that it has in a call; `model` is asked for there in
    /// place of its own.
    pub(super) fn settled(&self, settings: &AgentSettings, model: Option<&str>) -> AgentSettings {
        let general = &self.config.document.settings;
        let provider = settings.provider.as_deref();
        AgentSettings {
            provider: Some(provider.unwrap_or(&general.default_provider).to_owned()),
            model: Some(self.model_among(settings, model).to_owned()),
            ..settings.clone()
        }
    }

    /// Enters a run.
    pub(super) async fn begin(
        &self,
        run_id: &Arc<str>,
        (kind, name): (&'static str, &str),
        plan: AgentsPlan,
    ) -> Result<KeptRun, OrchError> {
        let Some(store) = &self.store else {
            return Ok(KeptRun {
                plan,
                journal: Journal::None,
                store: None,
                run_id: Arc::clone(run_id),
                earlier: Earlier::default(),
                redactor: self.redactor.clone(),
                _lock: None,
            });
        };
        let lock = self.lock(run_id)?;
        // What a power cut takes here has not spent anything yet: a hold takes it to the disk.
        runs::enter(
            store,
            run_id,
            (kind, name),
            self.redactor.json(&plan),
            Durability::Normal,
        )
        .await
        .map_err(|error| not_kept(&error))?;
        Ok(KeptRun {
            plan,
            journal: Journal::of_run(store.clone(), run_id).anew(),
            store: Some(store.clone()),
            run_id: Arc::clone(run_id),
            earlier: Earlier::default(),
            redactor: self.redactor.clone(),
            _lock: Some(lock),
        })
    }

    /// Takes up a run again, and says where the configuration has changed since.
    pub(super) async fn take_up(
        &self,
        run: &StoredRun,
        (lock, earlier): (RunLock, Earlier),
        events: &Events,
    ) -> Result<KeptRun, OrchError> {
        let unreadable =
            || OrchError::new(ErrorClass::Failed, "the plan of the run cannot be read");
        let other = "it was made by another version of the program";
        let plan: AgentsPlan = serde_json::from_str(&run.plan)
            .map_err(|error| unreadable().caused_by(&error).with_hint(other))?;
        if plan.version != VERSION {
            return Err(unreadable().with_hint(other));
        }
        let model = plan.model.as_deref();
        let settled = |settings: &AgentSettings| self.settled(settings, model);
        self.tell_changes(&plan.agents, &settled, events).await;
        let store = self.runs_store()?;
        let run_id: Arc<str> = run.listed.run_id.as_str().into();
        runs::set_state(store, &run_id, RunState::Running, None, Durability::Normal)
            .await
            .map_err(|error| not_kept(&error))?;
        Ok(KeptRun {
            plan,
            journal: Journal::of_run(store.clone(), &run_id),
            store: Some(store.clone()),
            run_id,
            earlier,
            redactor: self.redactor.clone(),
            _lock: Some(lock),
        })
    }
}

impl KeptRun {
    /// Where the agents of the run are found.
    pub(super) fn agent(&self, name: &str) -> Option<&AgentSettings> {
        self.plan.agents.get(name)
    }

    /// What is kept at the end of the run: what became of it. The result says how to go on where it
    /// is not at its end.
    pub(super) fn ending(&self, result: &mut RunResult) -> Option<Job> {
        self.store.as_ref()?;
        let class = result.error.as_ref().map(|error| error.class);
        let state = match class {
            None => RunState::Done,
            Some(ErrorClass::Interrupted | ErrorClass::Terminated) => RunState::Interrupted,
            Some(_) => RunState::Failed,
        };
        if let Some(error) = &mut result.error
            && error.hint.is_none()
            && result.turns > 0
            // What a vendor refuses it refuses again.
            && (error.class != ErrorClass::Provider || error.retryable)
        {
            error.hint = Some(format!("go on with `orch --resume {}`", self.run_id));
        }
        let kept = self.redactor.json(result);
        Some(runs::setting_state(&self.run_id, state, Some(kept)))
    }

    /// What is kept when one of several agents has answered. Whoever failed is asked again when the run
    /// is taken up again.
    pub(super) fn ending_one(&self, journal: &Journal, result: &RunResult) -> Option<Job> {
        if !result.ok {
            return None;
        }
        journal.keeping(self.redactor.json(result))
    }

    /// Keeps what became of the run.
    pub(super) async fn end(self, result: &mut RunResult) {
        let job = self.ending(result);
        self.keep(job.into_iter().collect(), result).await;
    }

    /// Keeps an end without a turn. Whoever goes on with the run finds all that it finished, only not
    /// that it is at its end.
    pub(super) async fn keep(&self, jobs: Vec<Job>, result: &mut RunResult) {
        let Some(store) = self.store.as_ref().filter(|_| !jobs.is_empty()) else {
            return;
        };
        let kept = store.write(Durability::Normal, move |transaction| {
            jobs.into_iter().try_for_each(|job| job(transaction))
        });
        if let Err(error) = kept.await {
            result
                .warnings
                .push(format!("the end of the run could not be kept: {error}"));
        }
    }
}
