//! What is known about the whole: settings, agents, limits, spending.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::{Orchestrator, unread};
use crate::agents::AgentSettings;
use crate::costs::report::{self, Filter, Report};
use crate::costs::{Attempt, Ledger};
use crate::error::OrchError;
use crate::usage::Usd;

impl Orchestrator {
    /// What the tightest budget leaves to a run that begins: of this agent in this conversation, or of
    /// several agents; `None` where no budget covers it, or where that cannot be told.
    pub fn left(
        &self,
        run_id: &Arc<str>,
        agent: Option<&str>,
        session: Option<&str>,
    ) -> Option<Usd> {
        let attempt = Attempt {
            run_id: Arc::clone(run_id),
            agent: agent.unwrap_or_default().into(),
            session: session.map(Into::into),
            ..Attempt::default()
        };
        let settings = AgentSettings::default();
        let caps = match agent {
            Some(name) => self.caps(name, self.settings_of(name).ok()?),
            None => self.caps("", &settings),
        };
        let ledger = Ledger::new(self.store.clone()?, Arc::clone(&self.prices));
        // It is only shown: the ledger decides by itself.
        ledger.left(&attempt, &caps).ok().flatten()
    }

    /// As `--status --json` prints it. Writes nothing.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn status(&self) -> Result<Value, OrchError> {
        let config = &self.config;
        let settings = &config.document.settings;
        let agents: Map<String, Value> = config
            .document
            .agents
            .iter()
            .map(|(name, agent)| {
                let value = json!({
                    "provider": agent.provider.as_deref().unwrap_or(&settings.default_provider),
                    "model": agent.model.as_deref().unwrap_or(&settings.default_model),
                    "tools": agent.tools,
                });
                (name.to_owned(), value)
            })
            .collect();
        let limits = self.resilience.as_ref().map(|calls| calls.status());
        Ok(json!({
            "config_path": config.path,
            "settings": {
                "timeout": settings.timeout,
                "rate_limit": settings.rate_limit_per_minute.unwrap_or(60),
                "max_retries": settings.max_retries,
                "sandbox_paths": settings.sandbox_paths,
                "circuit_breaker": settings.enable_circuit_breaker,
            },
            "agents": agents,
            "servers": config.document.servers.names().collect::<Vec<_>>(),
            "costs": self.report(&Filter::default())?,
            "limits": limits.as_ref().map(|status| &status.limits),
            "breakers": limits.as_ref().map(|status| &status.breakers),
            "sandbox": {"tier": self.options.tier.unwrap_or(settings.sandbox.tier),
                "network": settings.sandbox.network},
            "store": self.store.as_ref().and_then(|store| store.path()),
        }))
    }

    /// The providers that the agents use, by name: the address and whether a key is known. One that
    /// cannot be used has no address.
    pub fn endpoints(&self) -> BTreeMap<String, (String, bool)> {
        let mut found = BTreeMap::new();
        for (_, settings) in self.config.document.agents.iter() {
            for link in self.chain(settings).0 {
                let endpoint = link.provider.endpoint();
                let has_key = !endpoint.key_fingerprint.is_empty();
                found
                    .entry(endpoint.provider.clone())
                    .or_insert_with(|| (endpoint.base_url.clone(), has_key));
            }
        }
        found
    }

    /// What was spent.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn report(&self, filter: &Filter) -> Result<Report, OrchError> {
        let budgets = &self.config.document.settings.budget;
        match &self.store {
            Some(store) => report::report(store, filter, budgets, SystemTime::now())
                .map_err(|error| unread(&error)),
            None => Ok(Report::nothing(budgets, SystemTime::now())),
        }
    }

    /// A filter as it was asked for, with the whole id of its run.
    ///
    /// # Errors
    /// When there is no such run, or which one is not clear; when its agent is neither configured nor has ever
    /// spent anything.
    pub fn known(&self, filter: Filter) -> Result<Filter, OrchError> {
        if let Some(agent) = &filter.agent
            && let Err(unknown) = self.settings_of(agent)
        {
            let spent = match &self.store {
                Some(store) => report::knows_agent(store, agent).map_err(|e| unread(&e))?,
                None => false,
            };
            if !spent {
                return Err(unknown);
            }
        }
        self.of_one_run(filter)
    }

    /// Begins a new count; no row is deleted and no budget forgets.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn reset_costs(&self) -> Result<(), OrchError> {
        match &self.store {
            Some(store) => report::reset(store, SystemTime::now())
                .await
                .map_err(|error| unread(&error)),
            None => Ok(()),
        }
    }
}
