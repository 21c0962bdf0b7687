//! What a run would do and cost, without doing it (`--dry-run`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::{Orchestrator, Order};
use crate::agents::{Agent, AgentSettings};
use crate::costs::prices::{Asked, WorstCase};
use crate::costs::{
    Attempt, Budget, Caps, Ledger, Price, Pricing, PromptSize, Scope, estimate_tokens,
};
use crate::error::{ErrorClass, OrchError};
use crate::resilience::Link;
use crate::usage::{Usage, Usd};

/// The most of a tool's result that a model sees, bytes: the cap of every tool.
const RESULT_BYTES: u64 = 64 * 1024;
/// Cap of generated tokens where nothing says otherwise.
const OUTPUT_TOKENS: u64 = 8192;

/// What one agent would do.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The agent.
    pub agent: String,
    /// Its model, then those that answer when it cannot.
    pub models: Vec<String>,
    /// Its tools.
    pub tools: Vec<String>,
    /// The most model turns.
    pub max_turns: u32,
    /// About how many tokens the first request has.
    pub prompt_tokens: u64,
    /// One turn with the shortest answer; `None` when no price is known.
    pub lowest_usd: Option<Usd>,
    /// Every turn with the longest answer and result, each tried as often as may be at every model of the
    /// chain, and every agent that it may call, as far as the budgets let it; `None` when a price is not
    /// known.
    pub highest_usd: Option<Usd>,
    /// The tightest budget that covers it.
    pub budget_usd: Option<Usd>,
    /// What is left of the budgets that cover it, where that is least.
    pub left_usd: Option<Usd>,
    /// The same of those budgets that it shares with the other agents of its run.
    #[serde(skip)]
    pub shared_left_usd: Option<Usd>,
    /// What is worth knowing.
    pub notices: Vec<String>,
}

impl Plan {
    /// Whether not even the cheapest outcome is affordable.
    pub fn is_over_budget(&self) -> bool {
        self.left_usd
            .zip(self.lowest_usd)
            .is_some_and(|(left, lowest)| lowest > left)
    }
}

impl Orchestrator {
    /// The plan of a run; nobody is called and nothing is written.
    ///
    /// # Errors
    /// When the run could not begin.
    pub fn plan(&self, order: &Order) -> Result<Plan, OrchError> {
        let settings = self.settings_of(&order.agent)?;
        self.plan_with(&order.agent, settings, &order.prompt)
    }

    /// The plans of many agents on one prompt.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub fn plan_all(&self, only: &[String], prompt: &str) -> Result<Vec<Plan>, OrchError> {
        self.chosen(only)?
            .into_iter()
            .map(|(name, settings)| self.plan_with(name, settings, prompt))
            .collect()
    }

    pub(super) fn plan_with(
        &self,
        name: &str,
        settings: &AgentSettings,
        prompt: &str,
    ) -> Result<Plan, OrchError> {
        let (agent, notices) = self.resolve(name, settings)?;
        let mut size = size_of(&agent);
        size.add(prompt);
        let prices = agent.chain.iter().filter_map(|link| self.price_of(link));
        let lowest = prices.map(|price| charge(&price, |price| lowest(price, &size)));
        let (left, shared_left) = self.left_to_run(&agent)?;
        let own = self.highest(&agent, &size);
        let highest = own.and_then(|own| Some(own + self.highest_of_called(name, settings)?));
        Ok(Plan {
            agent: name.to_owned(),
            models: agent
                .chain
                .iter()
                .map(|link| link.canonical.clone())
                .collect(),
            tools: agent.specs.iter().map(|spec| spec.name.clone()).collect(),
            max_turns: agent.max_turns,
            prompt_tokens: size.likely_tokens(),
            lowest_usd: lowest.min(),
            highest_usd: highest.map(|highest| left.map_or(highest, |left| highest.min(left))),
            budget_usd: agent.caps.budgets.iter().map(|budget| budget.limit).min(),
            left_usd: left,
            shared_left_usd: shared_left,
            notices,
        })
    }

    /// What the budgets of an agent leave to a run that begins now, and what those leave that the whole run
    /// shares.
    fn left_to_run(&self, agent: &Agent) -> Result<(Option<Usd>, Option<Usd>), OrchError> {
        let shared = |budget: &&Budget| !matches!(budget.scope, Scope::Agent(_) | Scope::Session);
        let shared = Caps {
            budgets: agent.caps.budgets.iter().filter(shared).cloned().collect(),
            ..(*agent.caps).clone()
        };
        let Some(store) = &self.store else {
            let least = |caps: &Caps| caps.budgets.iter().map(|budget| budget.limit).min();
            return Ok((least(&agent.caps), least(&shared)));
        };
        let ledger = Ledger::new(store.clone(), Arc::clone(&self.prices));
        let attempt = Attempt {
            agent: Arc::clone(&agent.name),
            session: Some("".into()),
            ..Attempt::default()
        };
        let left = |caps| {
            ledger.left(&attempt, caps).map_err(|error| {
                OrchError::new(ErrorClass::Failed, "the ledger cannot be read").caused_by(&error)
            })
        };
        Ok((left(&agent.caps)?, left(&shared)?))
    }

    /// The most that an agent itself can spend; `None` when a price is not known.
    fn highest(&self, agent: &Agent, size: &PromptSize) -> Option<Usd> {
        let links = agent.chain.iter().map(|link| {
            let pricing = self.price_of(link)?;
            let once = charge(&pricing, |price| highest(price, agent, link, size));
            let tries = u64::from(link.settings.max_retries) + 1;
            Some(once.times(tries))
        });
        links.sum()
    }

    /// The most that the agents which an agent may call can spend, however they call each other.
    fn highest_of_called(&self, name: &str, settings: &AgentSettings) -> Option<Usd> {
        let agents = &self.config.document.agents;
        let limits = self.config.document.settings.delegation;
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = settings.delegates.iter().collect();
        while let Some(called) = next.pop() {
            if called != name
                && reached.insert(called)
                && let Some(settings) = agents.get(called)
            {
                next.extend(&settings.delegates);
            }
        }
        let mut most = Usd::ZERO;
        for called in reached {
            let Some(settings) = agents.get(called) else {
                continue;
            };
            // One that cannot be called costs nothing.
            let Ok((agent, _)) = self.resolve(called, settings) else {
                continue;
            };
            let mut size = size_of(&agent);
            // What it is asked is an answer of the caller's model.
            size.counted_tokens = OUTPUT_TOKENS;
            most = most.max(self.highest(&agent, &size)?);
        }
        Some(most.times(u64::from(limits.max_children)))
    }

    /// The price of a link; `None` when nobody knows.
    fn price_of(&self, link: &Link) -> Option<Pricing> {
        let pricing = self.prices.price(Asked {
            model: &link.canonical,
            provider: link.provider.name(),
            local: link.provider.endpoint().loopback,
            configured: link.price.as_ref(),
        });
        Some(pricing).filter(|pricing| *pricing != Pricing::Unpriced)
    }
}

/// What a price says; a local model costs nothing.
fn charge(pricing: &Pricing, of: impl Fn(&Price) -> Usd) -> Usd {
    match pricing {
        Pricing::Known(price) => of(price),
        Pricing::Local | Pricing::Unpriced => Usd::ZERO,
    }
}

/// How large a request is before the prompt.
fn size_of(agent: &Agent) -> PromptSize {
    let mut size = PromptSize::of(&agent.system);
    for spec in &agent.specs {
        size.add(&spec.name);
        size.add(&spec.description);
        size.add(&spec.parameters.to_string());
    }
    size
}

fn lowest(price: &Price, size: &PromptSize) -> Usd {
    let usage = Usage {
        input_tokens: size.likely_tokens(),
        output_tokens: 1,
        ..Usage::default()
    };
    let now = SystemTime::now();
    price.cost(&usage, now, now)
}

fn highest(price: &Price, agent: &Agent, link: &Link, size: &PromptSize) -> Usd {
    let facts = link.facts.as_ref();
    let window = facts
        .and_then(|facts| facts.max_input_tokens)
        .unwrap_or(u64::MAX);
    let output = link.max_output_tokens.unwrap_or_else(|| {
        facts
            .and_then(|facts| facts.max_output_tokens)
            .unwrap_or(OUTPUT_TOKENS)
            .min(OUTPUT_TOKENS)
    });
    let turns = if agent.specs.is_empty() {
        1
    } else {
        agent.max_turns
    };
    let growth = output.saturating_add(estimate_tokens(RESULT_BYTES));
    (0..u64::from(turns))
        .map(|turn| {
            let input = size
                .most_tokens()
                .saturating_add(growth.saturating_mul(turn))
                .min(window);
            price.worst_case(WorstCase {
                input_tokens: input,
                output_tokens: output,
                one_hour_cache: false,
            })
        })
        .sum()
}
