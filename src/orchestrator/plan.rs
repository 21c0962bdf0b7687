//! What a run would do and cost, without doing it (`--dry-run`).

use std::time::SystemTime;

use serde::Serialize;

use super::{Orchestrator, Order};
use crate::agents::{Agent, AgentSettings};
use crate::costs::prices::{Asked, WorstCase};
use crate::costs::{Price, Pricing, PromptSize, estimate_tokens};
use crate::error::OrchError;
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
    /// Every turn with the longest answer and result, as far as the budgets let it; `None` when no price
    /// is known.
    pub highest_usd: Option<Usd>,
    /// The tightest budget that covers it.
    pub budget_usd: Option<Usd>,
    /// What is worth knowing.
    pub notices: Vec<String>,
}

impl Plan {
    /// Whether not even the cheapest outcome is affordable.
    pub fn is_over_budget(&self) -> bool {
        self.budget_usd
            .zip(self.lowest_usd)
            .is_some_and(|(budget, lowest)| lowest > budget)
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
        let mut size = PromptSize::of(&agent.system);
        size.add(prompt);
        for spec in &agent.specs {
            size.add(&spec.name);
            size.add(&spec.description);
            size.add(&spec.parameters.to_string());
        }
        let price = agent.chain.first().and_then(|link| self.price_of(link));
        let budget = agent.caps.budgets.iter().map(|budget| budget.limit).min();
        let highest = price
            .as_ref()
            .map(|price| charge(price, |price| highest(price, &agent, &size)));
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
            lowest_usd: price
                .as_ref()
                .map(|price| charge(price, |price| lowest(price, &size))),
            highest_usd: highest
                .map(|highest| budget.map_or(highest, |budget| highest.min(budget))),
            budget_usd: budget,
            notices,
        })
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

fn lowest(price: &Price, size: &PromptSize) -> Usd {
    let usage = Usage {
        input_tokens: size.likely_tokens(),
        output_tokens: 1,
        ..Usage::default()
    };
    let now = SystemTime::now();
    price.cost(&usage, now, now)
}

fn highest(price: &Price, agent: &Agent, size: &PromptSize) -> Usd {
    let link = agent.chain.first();
    let facts = link.and_then(|link| link.facts.as_ref());
    let window = facts
        .and_then(|facts| facts.max_input_tokens)
        .unwrap_or(u64::MAX);
    let output = link
        .and_then(|link| link.max_output_tokens)
        .unwrap_or_else(|| {
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
