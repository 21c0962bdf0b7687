//! What a run would do and cost, without doing it (`--dry-run`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;

use super::{AllOrder, Orchestrator, Order, unread};
use crate::agents::{Agent, AgentSettings};
use crate::costs::prices::Asked;
use crate::costs::{Attempt, BudgetLeft, Ledger, Price, Pricing, PromptSize, Refused, Scope};
use crate::error::OrchError;
use crate::message::Message;
use crate::resilience::{self, Link};
use crate::sessions::Session;
use crate::store::Store;
use crate::usage::{Usage, Usd};

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
    /// Every turn with the longest answer and result, the repair of an answer that misses its schema included,
    /// each tried as often as may be at every model of the chain, and every agent that it may call, as far as
    /// the budgets let it; `None` when a price is not known.
    pub highest_usd: Option<Usd>,
    /// The tightest budget that covers it.
    pub budget_usd: Option<Usd>,
    /// What is left of the budgets that cover it, where that is least.
    pub left_usd: Option<Usd>,
    /// Every budget that covers it.
    pub budgets: Vec<BudgetLeft>,
    /// What is worth knowing.
    pub notices: Vec<String>,
    /// Why the first call would not be made.
    #[serde(skip)]
    pub refused: Option<Refused>,
}

impl Plan {
    /// The budget that leaves least.
    pub fn tightest(&self) -> Option<&BudgetLeft> {
        self.budgets.iter().min_by_key(|budget| budget.left)
    }

    /// What is left of the budget of the agent itself.
    pub(super) fn own_left(&self) -> Option<Usd> {
        let own = |budget: &&BudgetLeft| matches!(budget.scope, Scope::Agent(_));
        let left = self.budgets.iter().filter(own).map(|budget| budget.left);
        left.min()
    }

    /// What is left of the budgets that it shares with the other agents of its run.
    pub fn shared_left(&self) -> Option<Usd> {
        let shared =
            |budget: &&BudgetLeft| !matches!(budget.scope, Scope::Agent(_) | Scope::Session);
        let left = self.budgets.iter().filter(shared).map(|budget| budget.left);
        left.min()
    }
}

/// What an agent is asked, and what was said before. The default is nothing, in no conversation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Talk<'a> {
    /// The conversation, where there is one; its budget covers the run.
    pub(super) session: Option<&'a Session>,
    pub(super) history: &'a [Message],
    pub(super) prompt: &'a str,
    /// JSON Schema of the answer, over the agent's own.
    pub(super) output_schema: Option<&'a Value>,
    /// What may come into the prompt before it is asked.
    pub(super) told: Told,
}

/// Tokens that may come into a prompt beside its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    AtMost(u64),
    Unknown,
}

impl Default for Told {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Orchestrator {
    /// The plan of a run; nobody is called and nothing is written.
    ///
    /// # Errors
    /// When the run could not begin.
    pub fn plan(&self, order: &Order) -> Result<Plan, OrchError> {
        let settings = self.settings_of(&order.agent)?;
        self.check_model([order.agent.as_str()])?;
        let (session, history) = self.opened(&order.agent, order.conversation.clone())?;
        let talk = Talk {
            session: Some(&session),
            history: &history,
            prompt: &order.prompt,
            ..Talk::default()
        };
        self.plan_with(&order.agent, settings, talk)
    }

    /// The plans of many agents on one prompt.
    ///
    /// # Errors
    /// When there is nobody to ask.
    pub fn plan_all(&self, order: &AllOrder) -> Result<Vec<Plan>, OrchError> {
        self.chosen(&order.only)?
            .into_iter()
            .map(|(name, settings)| {
                let (session, history) = self.opened(name, order.conversation.clone())?;
                let talk = Talk {
                    session: Some(&session),
                    history: &history,
                    prompt: &order.prompt,
                    ..Talk::default()
                };
                self.plan_with(name, settings, talk)
            })
            .collect()
    }

    pub(super) fn plan_with(
        &self,
        name: &str,
        settings: &AgentSettings,
        talk: Talk<'_>,
    ) -> Result<Plan, OrchError> {
        let (mut agent, notices) = self.resolve(name, settings)?;
        if let Some(schema) = talk.output_schema {
            agent.output_schema = Some(schema.clone());
        }
        let mut size = size_of(&agent);
        for message in talk.history {
            resilience::add_message(&mut size, message);
        }
        size.add(talk.prompt);
        let prices = agent.chain.iter().filter_map(|link| self.price_of(link));
        let lowest = prices.map(|price| charge(&price, |price| lowest(price, &size)));
        let lowest = lowest.min();
        let (ledger, attempt) = self.asking(&agent, talk.session)?;
        let budgets = ledger
            .budgets_left(&attempt, &agent.caps)
            .map_err(|error| unread(&error))?;
        let left = budgets.iter().map(|budget| budget.left).min();
        let likely_tokens = size.likely_tokens();
        if let Some(schema) = &agent.output_schema {
            size.add(&schema.to_string());
        }
        let own = match talk.told {
            Told::AtMost(told) => self.highest(&agent, size.most_tokens().saturating_add(told)),
            // What is free is free at any size.
            Told::Unknown => {
                let most = self.highest(&agent, size.most_tokens());
                most.filter(|most| *most == Usd::ZERO)
            }
        };
        let highest = own.and_then(|own| Some(own + self.highest_of_called(&agent)?));
        // A budget that refuses a model is not asked for the next one.
        let first = agent.chain.first().map(|link| Attempt {
            agent: attempt.agent,
            session: attempt.session,
            ..resilience::first_attempt(link, size)
        });
        let refused = first.map(|first| ledger.refusal(&first, &agent.caps));
        let refused = refused.transpose().map_err(|error| unread(&error))?;
        Ok(Plan {
            agent: name.to_owned(),
            models: agent
                .chain
                .iter()
                .map(|link| link.canonical.clone())
                .collect(),
            tools: agent.specs.iter().map(|spec| spec.name.clone()).collect(),
            max_turns: agent.max_turns,
            prompt_tokens: likely_tokens,
            highest_usd: highest.map(|highest| {
                let capped = left.map_or(highest, |left| highest.min(left));
                capped.max(lowest.unwrap_or(capped))
            }),
            lowest_usd: lowest,
            budget_usd: agent.caps.budgets.iter().map(|budget| budget.limit).min(),
            left_usd: left,
            budgets,
            notices,
            refused: refused.flatten(),
        })
    }

    /// The ledger as it stands, and who would ask in a conversation that begins now.
    fn asking(
        &self,
        agent: &Agent,
        session: Option<&Session>,
    ) -> Result<(Ledger, Attempt), OrchError> {
        let store = match &self.store {
            Some(store) => store.clone(),
            // Nothing was spent yet.
            None => Store::in_memory().map_err(|error| unread(&error))?,
        };
        let attempt = Attempt {
            agent: Arc::clone(&agent.name),
            session: session
                .map(|session| self.charged_session(session))
                .transpose()?,
            ..Attempt::default()
        };
        Ok((Ledger::new(store, Arc::clone(&self.prices)), attempt))
    }

    /// The most that an agent itself can spend on a first prompt of so many tokens; `None` when a price is not known.
    fn highest(&self, agent: &Agent, prompt_tokens: u64) -> Option<Usd> {
        let turns = most_turns(agent);
        let links = agent.chain.iter().map(|link| {
            let pricing = self.price_of(link)?;
            let once = charge(&pricing, |price| {
                resilience::worst_of_turns(price, link, prompt_tokens, turns)
            });
            let tries = u64::from(link.settings.max_retries) + 1;
            Some(once.times(tries))
        });
        links.sum()
    }

    /// The most that the agents which an agent may call can spend, however they call each other.
    fn highest_of_called(&self, caller: &Agent) -> Option<Usd> {
        let agents = &self.config.document.agents;
        let limits = self.config.document.settings.delegation;
        let mut reached = BTreeSet::new();
        let mut next: Vec<&String> = caller.settings.delegates.iter().collect();
        while let Some(called) = next.pop() {
            if **called != *caller.name
                && reached.insert(called)
                && let Some(settings) = agents.get(called)
            {
                next.extend(&settings.delegates);
            }
        }
        // One that cannot be called costs nothing.
        let resolved = |called: &String| Some(self.resolve(called, agents.get(called)?).ok()?.0);
        let called: Vec<Agent> = reached.into_iter().filter_map(resolved).collect();
        // What one is asked is an answer of its caller's model.
        let asked = called.iter().map(longest_answer).max().unwrap_or(0);
        let asked = asked.max(longest_answer(caller));
        let mut most = Usd::ZERO;
        for agent in &called {
            let mut size = size_of(agent);
            if let Some(schema) = &agent.output_schema {
                size.add(&schema.to_string());
            }
            let prompt = size.most_tokens().saturating_add(asked);
            most = most.max(self.highest(agent, prompt)?);
        }
        Some(most.times(u64::from(limits.max_children)))
    }

    /// The price of a link; `None` when nobody knows.
    fn price_of(&self, link: &Link) -> Option<Pricing> {
        let pricing = self.prices.price(Asked {
            model: &link.canonical,
            provider: link.provider.name(),
            local: link.is_free,
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

/// The most turns of an agent: without tools one, and one more where its answer misses its schema.
pub(super) fn most_turns(agent: &Agent) -> u32 {
    let has_tools = !agent.specs.is_empty() || !agent.mcp.is_empty();
    match (has_tools, &agent.output_schema) {
        (true, _) => agent.max_turns,
        (false, Some(_)) => agent.max_turns.min(2),
        (false, None) => 1,
    }
}

/// The most tokens of one answer of an agent, whichever model of its chain gives it.
pub(super) fn longest_answer(agent: &Agent) -> u64 {
    let answers = agent.chain.iter().map(resilience::max_output_tokens);
    answers.max().unwrap_or(0)
}
