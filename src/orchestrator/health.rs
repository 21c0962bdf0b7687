//! Whether the agents' providers answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::resolve::no_agents;
use super::{Orchestrator, deadline, new_run_id};
use crate::agents::{self, AgentSettings, Ask, Team, failure};
use crate::cancel::Cancel;
use crate::costs::Purpose;
use crate::error::{ErrorClass, OrchError};
use crate::event::Events;
use crate::mcp;
use crate::providers::{Delivery, ProviderError};

/// Asked of a model by a deep check: the shortest answer there is.
const QUESTION: &str = "Reply with the single word OK.";

/// How an agent is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// Whether its provider answers and accepts the key.
    pub healthy: bool,
    /// The class of what is wrong.
    pub class: Option<String>,
    /// What is wrong and what helps, or what was looked at.
    pub message: String,
}

impl Health {
    fn good(message: &str) -> Self {
        Self {
            healthy: true,
            class: None,
            message: message.to_owned(),
        }
    }

    fn bad(class: ErrorClass, message: String, hint: Option<&str>) -> Self {
        let message = match hint {
            Some(hint) => format!("{message} ({hint})"),
            None => message,
        };
        Self {
            healthy: false,
            class: Some(class.name().to_owned()),
            message,
        }
    }

    /// There was no answer before the time of the whole check was up.
    fn late(who: &str) -> Self {
        let words = format!("no answer of {who} before the time of `--timeout` was up");
        Self::bad(ErrorClass::Timeout, words, None)
    }

    /// The same with what else is wrong.
    fn and(mut self, other: Option<Self>) -> Self {
        if let Some(other) = other {
            self.message = format!("{}; {}", self.message, other.message);
        }
        self
    }
}

impl Orchestrator {
    /// Checks every agent, or one, side by side; in configuration order. A deep check asks the model, which
    /// costs; the other spends nothing and asks each provider once. What has not answered by the deadline is
    /// unhealthy. Deep checks are one run to the budgets, and where one of those covers it they are made in turn, so
    /// that none is refused what another only holds.
    ///
    /// # Errors
    /// When there is no such agent, or none at all.
    pub async fn health(
        &self,
        only: Option<&str>,
        deep: bool,
        deadline: Option<Instant>,
        cancel: &Cancel,
    ) -> Result<Vec<(String, Health)>, OrchError> {
        if let Some(name) = only {
            self.settings_of(name)?;
        }
        let agents: Vec<(&str, &AgentSettings)> = self
            .config
            .document
            .agents
            .iter()
            .filter(|(name, _)| only.is_none_or(|only| only == *name))
            .collect();
        if agents.is_empty() {
            return Err(no_agents(&self.config));
        }
        if deep {
            let run_id = new_run_id();
            let checks = agents.iter().map(|(name, settings)| {
                self.ask_model(&run_id, (name, settings), deadline, cancel)
            });
            let is_capped = self.options.budget.is_some()
                || self.config.document.settings.budget.run_usd.is_some();
            let at_once = if is_capped { 1 } else { agents.len() };
            let healths: Vec<Health> = stream::iter(checks).buffered(at_once).collect().await;
            return Ok(agents
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .zip(healths)
                .collect());
        }
        let chains: Vec<_> = agents
            .iter()
            .map(|(name, settings)| (*name, self.chain(settings).0))
            .collect();
        let mut providers = BTreeMap::new();
        for link in chains.iter().filter_map(|(_, chain)| chain.first()) {
            providers
                .entry(link.provider.name().to_owned())
                .or_insert_with(|| Arc::clone(&link.provider));
        }
        let checks = providers.iter().map(|(name, provider)| async move {
            (name.as_str(), by(deadline, provider.health()).await)
        });
        let checked: BTreeMap<&str, Option<Result<(), ProviderError>>> =
            join_all(checks).await.into_iter().collect();
        let servers = join_all(agents.iter().map(|(_, settings)| async move {
            let broken = by(deadline, self.broken_servers(settings)).await;
            broken.unwrap_or_else(|| Some(Health::late("its MCP servers")))
        }));
        let mut broken = servers.await.into_iter();
        Ok(chains
            .iter()
            .map(|(name, chain)| {
                let broken = broken.next().flatten();
                let provider = chain.first().map_or("", |link| link.provider.name());
                let health = match checked.get(provider) {
                    Some(None) => Health::late(provider).and(broken),
                    Some(Some(Err(error))) => {
                        let class = failure::fault_class(&error.kind);
                        let bad = Health::bad(class, error.to_string(), error.hint.as_deref());
                        bad.and(broken)
                    }
                    _ => broken.unwrap_or_else(|| Health::good(&format!("{provider} answers"))),
                };
                ((*name).to_owned(), health)
            })
            .collect())
    }

    /// What is wrong with the MCP servers of an agent, if something is. They are started for that, and
    /// ended.
    async fn broken_servers(&self, settings: &AgentSettings) -> Option<Health> {
        if settings.mcp_servers.is_empty() {
            return None;
        }
        let specs = match self.mcp_servers(settings) {
            Ok(specs) => specs,
            Err(error) => {
                return Some(Health::bad(
                    error.class,
                    error.message,
                    error.hint.as_deref(),
                ));
            }
        };
        let servers = mcp::start(&specs).await;
        let failed: Vec<String> = servers.failed.iter().map(mcp::Failed::message).collect();
        for warning in servers.close().await {
            tracing::warn!("{warning}");
        }
        (!failed.is_empty()).then(|| Health::bad(ErrorClass::Failed, failed.join("; "), None))
    }

    async fn ask_model(
        &self,
        run_id: &Arc<str>,
        (name, settings): (&str, &AgentSettings),
        until: Option<Instant>,
        cancel: &Cancel,
    ) -> Health {
        let mut agent = match self.resolve(name, settings) {
            Ok((agent, _)) => agent,
            Err(error) => return Health::bad(error.class, error.message, error.hint.as_deref()),
        };
        agent.specs.clear();
        agent.output_schema = None;
        agent.max_turns = 1;
        agent.log = None;
        let own = deadline(self.config.document.settings.timeout.limit());
        let ask = Ask {
            run_id: Arc::clone(run_id),
            prompt: QUESTION.to_owned(),
            purpose: Purpose::Health,
            deadline: own.into_iter().chain(until).min(),
            delivery: Delivery::Buffered,
            ..Ask::default()
        };
        let calls = match self.calls() {
            Ok(calls) => calls,
            Err(error) => return Health::bad(error.class, error.message, None),
        };
        let finished = Box::pin(agents::run(
            &agent,
            ask,
            calls,
            &Team::nobody(),
            &Events::nobody(),
            cancel,
        ))
        .await
        .result;
        match finished.error {
            None => Health::good(&format!("{} answers", finished.model)),
            Some(error) => Health::bad(error.class, error.message, error.hint.as_deref()),
        }
    }
}

/// What comes by a deadline; `None` where it does not.
async fn by<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(deadline) => timeout_at(deadline, work).await.ok(),
        None => Some(work.await),
    }
}
