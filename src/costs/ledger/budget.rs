//! Budgets and who they refuse: pure.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::Attempt;
use crate::costs::calendar::Day;
use crate::costs::prices::{Price, WorstCase};
use crate::costs::{BudgetSettings, OnUnpriced};
use crate::store::StoreError;
use crate::usage::Usd;

/// What a budget covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `--budget`: one run.
    CommandLine,
    /// `run_usd`: one run.
    Run,
    /// `budget_usd`: one agent within one run, with those it delegates to.
    Agent(Arc<str>),
    /// `session_usd`: one conversation.
    Session,
    /// `day_usd`: one day, UTC.
    Day,
    /// `month_usd`: one month, UTC.
    Month,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CommandLine => f.write_str("--budget"),
            Self::Run => f.write_str("run"),
            Self::Agent(name) => write!(f, "agent {name}"),
            Self::Session => f.write_str("session"),
            Self::Day => f.write_str("day"),
            Self::Month => f.write_str("month"),
        }
    }
}

/// A cap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// What it covers.
    pub scope: Scope,
    /// How much may be spent.
    pub limit: Usd,
}

/// What a cap leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetLeft {
    /// What it covers.
    #[serde(rename = "budget", serialize_with = "as_words")]
    pub scope: Scope,
    /// How much may be spent.
    #[serde(rename = "limit_usd")]
    pub limit: Usd,
    /// How much of that is neither spent nor held.
    #[serde(rename = "left_usd")]
    pub left: Usd,
}

fn as_words<S: serde::Serializer>(scope: &Scope, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(scope)
}

/// The caps of an agent's calls.
#[derive(Clone, Debug, PartialEq)]
pub struct Caps {
    /// The caps.
    pub budgets: Vec<Budget>,
    /// The fraction of a cap at which a warning is told.
    pub warn_at: f64,
    /// What happens to models without a known price; by default `deny` where a cap covers the
    /// call, else `warn`.
    pub on_unpriced: Option<OnUnpriced>,
}

impl Default for Caps {
    fn default() -> Self {
        Self::new(&BudgetSettings::default(), None)
    }
}

impl Caps {
    /// The caps of a configuration and of `--budget`.
    pub fn new(settings: &BudgetSettings, command_line: Option<Usd>) -> Self {
        let budgets = [
            (Scope::CommandLine, command_line),
            (Scope::Run, settings.run_usd),
            (Scope::Session, settings.session_usd),
            (Scope::Day, settings.day_usd),
            (Scope::Month, settings.month_usd),
        ];
        Self {
            budgets: budgets
                .into_iter()
                .filter_map(|(scope, limit)| limit.map(|limit| Budget { scope, limit }))
                .collect(),
            warn_at: settings.warn_at,
            on_unpriced: settings.on_unpriced,
        }
    }

    /// The same caps with that of an agent: its own, or that of one that delegated to it.
    #[must_use]
    pub fn with_agent(mut self, agent: &str, limit: Option<Usd>) -> Self {
        self.budgets.extend(limit.map(|limit| Budget {
            scope: Scope::Agent(agent.into()),
            limit,
        }));
        self
    }

    /// What happens to a model without a known price when a cap covers the call, or none does.
    pub fn on_unpriced(&self, is_covered: bool) -> OnUnpriced {
        self.on_unpriced.unwrap_or(if is_covered {
            OnUnpriced::Deny
        } else {
            OnUnpriced::Warn
        })
    }
}

/// Every scope that an attempt counts in, by the key of its running total.
pub(super) fn charged_scopes(attempt: &Attempt, day: Day) -> Vec<String> {
    let agents = std::iter::once(&attempt.agent).chain(&attempt.delegators);
    let mut keys: Vec<String> = agents
        .map(|agent| Scope::Agent(Arc::clone(agent)))
        .chain([Scope::Run, Scope::Session, Scope::Day, Scope::Month])
        .filter_map(|scope| scope.key(attempt, day))
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

impl Scope {
    /// The key of the running total that an attempt counts in; `None` where it counts in none.
    pub(super) fn key(&self, attempt: &Attempt, day: Day) -> Option<String> {
        Some(match self {
            Self::CommandLine | Self::Run => format!("run/{}", attempt.run_id),
            Self::Agent(name) => format!("run/{}/agent/{name}", attempt.run_id),
            Self::Session => format!("session/{}", attempt.session.as_ref()?),
            Self::Day => format!("day/{day}"),
            Self::Month => format!("month/{}", day.month()),
        })
    }

    fn resets_at(&self, day: Day) -> Option<SystemTime> {
        match self {
            Self::Day => Some(day.next().start()),
            Self::Month => Some(day.next_month().start()),
            Self::CommandLine | Self::Run | Self::Agent(_) | Self::Session => None,
        }
    }
}

/// A budget as it stands when an attempt asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The key of its running total.
    pub(super) key: String,
    pub(super) budget: Budget,
    pub(super) spent: Usd,
    pub(super) held: Usd,
}

impl Standing {
    pub(super) fn left(&self) -> Usd {
        self.budget.limit - self.spent - self.held
    }

    /// What one call may hold where it can make do with less.
    fn room(&self, share: Share) -> Usd {
        let left = self.left();
        if share.among <= 1 || matches!(self.budget.scope, Scope::Agent(_) | Scope::Session) {
            return left;
        }
        left.min((left + share.held).part(share.among))
    }
}

/// How a run divides what is left among its calls that are under way at the same time: as if none of them held
/// anything yet, so that no share depends on who comes first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    /// How many calls those are, this one included.
    pub(super) among: u32,
    /// What the run holds for the others.
    pub(super) held: Usd,
}

/// What an attempt asks to hold.
#[derive(Clone, Debug)]
pub(super) enum Ask {
    /// Nothing is charged, whatever is told.
    Nothing,
    /// This much, known otherwise; nothing where only what is told can be charged.
    Fixed(Usd),
    /// What follows from its size; with `least_output`, less output where that does not fit.
    Priced {
        price: Arc<Price>,
        worst: WorstCase,
        least_output: Option<u64>,
    },
}

impl Ask {
    /// The most that it can cost.
    pub(super) fn amount(&self) -> Usd {
        match self {
            Self::Nothing => Usd::ZERO,
            Self::Fixed(amount) => *amount,
            Self::Priced { price, worst, .. } => price.worst_case(*worst),
        }
    }
}

/// What was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) amount: Usd,
    /// Less output than asked for.
    pub(super) output_tokens: Option<u64>,
}

/// Grants a hold that every budget affords, or tells the one that does not. One that is exceeded affords no call that
/// can be charged at all, not even one that holds nothing. Who can make do with less output gets its share, and no less
/// than the least while there is so much.
pub(super) fn admit(
    ask: &Ask,
    standings: &[Standing],
    share: Share,
    day: Day,
) -> Result<Granted, OverBudget> {
    let amount = ask.amount();
    let whole = Granted {
        amount,
        output_tokens: None,
    };
    let tightest = standings.iter().min_by_key(|standing| standing.left());
    let Some(tightest) = tightest.filter(|_| !matches!(ask, Ask::Nothing)) else {
        return Ok(whole);
    };
    let left = tightest.left();
    if let Ask::Priced {
        price,
        worst,
        least_output: Some(least),
    } = ask
        && let Some(room) = standings.iter().map(|standing| standing.room(share)).min()
        && room < amount
    {
        let affordable = |amount| {
            price
                .affordable_output(amount, *worst)
                .unwrap_or(worst.output_tokens)
        };
        let output_tokens = affordable(room).max(*least);
        let less = WorstCase {
            output_tokens,
            ..*worst
        };
        let amount = price.worst_case(less);
        if amount <= left {
            return Ok(Granted {
                amount,
                output_tokens: Some(output_tokens),
            });
        }
    } else if amount <= left {
        return Ok(whole);
    }
    Err(OverBudget {
        budget: tightest.budget.scope.to_string(),
        limit: tightest.budget.limit,
        spent: tightest.spent,
        held: tightest.held,
        asked: amount,
        left: left.at_least_zero(),
        resets_at: tightest.budget.scope.resets_at(day),
    })
}

/// Which budget an attempt would exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverBudget {
    /// The budget: `run`, `--budget`, `agent NAME`, `session`, `day`, `month`.
    pub budget: String,
    /// The cap.
    pub limit: Usd,
    /// What is spent.
    pub spent: Usd,
    /// What other attempts hold.
    pub held: Usd,
    /// What this attempt could cost at most.
    pub asked: Usd,
    /// What is left.
    pub left: Usd,
    /// When it starts anew.
    pub resets_at: Option<SystemTime>,
}

impl fmt::Display for OverBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            budget,
            limit,
            spent,
            held,
            asked,
            left,
            ..
        } = self;
        if *asked == Usd::ZERO {
            write!(
                f,
                "the budget `{budget}` of {limit} USD is exceeded: {spent} spent, {held} held"
            )?;
        } else {
            write!(
                f,
                "the budget `{budget}` of {limit} USD would be exceeded: {spent} spent, {held} held, \
                 {left} left, and this call may cost {asked}"
            )?;
        }
        match self.resets_at {
            Some(time) => write!(f, "; it resets at {}", Day::minute_of(time)),
            None => Ok(()),
        }
    }
}

/// Why an attempt may not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A budget would be exceeded.
    #[error("{0}")]
    Budget(OverBudget),
    /// The model's price is not known.
    #[error("the price of `{model}` is not known, so no budget can cover it")]
    Unpriced {
        /// The model.
        model: String,
    },
    /// The ledger cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Refused {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Budget(over) => match (over.budget.as_str(), over.resets_at) {
                ("--budget", _) => "raise `--budget`, or lower `max_output_tokens`".to_owned(),
                (budget, resets_at) => {
                    let key = match budget {
                        "run" => "settings.budget.run_usd",
                        "session" => "settings.budget.session_usd",
                        "day" => "settings.budget.day_usd",
                        "month" => "settings.budget.month_usd",
                        _ => "the agent's budget_usd",
                    };
                    let wait = if resets_at.is_some() { ", or wait" } else { "" };
                    format!("raise `{key}`, or lower `max_output_tokens`{wait}")
                }
            },
            Self::Unpriced { .. } => {
                "set its price in `providers.NAME.prices`, install a newer table \
                 with `orch prices --update FILE`, or set `settings.budget.on_unpriced: warn`"
                    .to_owned()
            }
            Self::Store(error) => error.hint().to_owned(),
        }
    }
}

/// A budget that is nearly used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetWarning {
    /// The budget: `run`, `--budget`, `agent NAME`, `session`, `day`, `month`.
    pub budget: String,
    /// What is spent and held.
    pub used: Usd,
    /// The cap.
    pub limit: Usd,
}
