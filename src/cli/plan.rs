//! `--dry-run`: the plan, with what it would cost.

use std::fmt::Write;

use serde_json::json;

use super::Call;
use crate::costs::Refused;
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{AllOrder, Orchestrator, Order, Plan};
use crate::usage::Usd;

pub(super) fn agent(
    call: &Call,
    orchestrator: &Orchestrator,
    order: &Order,
) -> Result<u8, OrchError> {
    let plan = orchestrator.plan(order)?;
    let over = refused(plan.refused.as_ref());
    if call.json() {
        let value = json!({"dry_run": true, "kind": "agent", "ok": over.is_none(), "plan": plan});
        return Ok(call.print_verdict(&value, over));
    }
    call.list(&text(&plan));
    over.map_or(Ok(0), Err)
}

pub(super) fn all(
    call: &Call,
    orchestrator: &Orchestrator,
    order: &AllOrder,
) -> Result<u8, OrchError> {
    let plans = orchestrator.plan_all(order)?;
    let lowest: Usd = plans.iter().filter_map(|plan| plan.lowest_usd).sum();
    let left = plans.iter().filter_map(Plan::shared_left).min();
    let is_over = left.is_some_and(|left| lowest > left);
    let over = refused(plans.iter().find_map(|plan| plan.refused.as_ref()))
        .or_else(|| over(is_over, lowest, left));
    let highest: Option<Usd> = plans.iter().map(|plan| plan.highest_usd).sum();
    let highest = match (highest, left) {
        (Some(highest), Some(left)) => Some(highest.min(left)),
        (highest, left) => highest.or(left),
    };
    if call.json() {
        let value = json!({"dry_run": true, "kind": "all", "ok": over.is_none(),
            "lowest_usd": lowest, "highest_usd": highest, "left_usd": left, "plans": plans});
        return Ok(call.print_verdict(&value, over));
    }
    let mut whole: String = plans.iter().map(text).collect();
    // Writing to a string cannot fail.
    _ = writeln!(whole, "together: at least ${lowest}, {}", most(highest));
    call.list(&whole);
    over.map_or(Ok(0), Err)
}

/// What is wrong with a plan whose lowest cost is above what the budgets leave.
pub(super) fn over(is_over: bool, lowest: Usd, left: Option<Usd>) -> Option<OrchError> {
    let message = match left {
        _ if !is_over => return None,
        Some(left) if lowest > left => {
            format!(
                "even the cheapest outcome, ${lowest}, is above the ${left} that the budget leaves"
            )
        }
        _ => "even the cheapest outcome is above what the budget of an agent leaves".to_owned(),
    };
    Some(
        OrchError::new(ErrorClass::Budget, message)
            .with_hint("raise the budget, shorten the prompt or choose a cheaper model"),
    )
}

/// What is wrong with a plan whose first call would not be made: the words of the run itself.
pub(super) fn refused(refused: Option<&Refused>) -> Option<OrchError> {
    refused.map(|refused| {
        OrchError::new(ErrorClass::Budget, refused.to_string()).with_hint(refused.hint())
    })
}

pub(super) fn most(highest: Option<Usd>) -> String {
    highest.map_or("the most is not known".to_owned(), |highest| {
        format!("at most ${highest}")
    })
}

fn text(plan: &Plan) -> String {
    let mut text = format!("{}\n  model: {}\n", plan.agent, plan.models.join(", then "));
    let tools = if plan.tools.is_empty() {
        "none".to_owned()
    } else {
        plan.tools.join(", ")
    };
    // Writing to a string cannot fail.
    _ = writeln!(text, "  tools: {tools}");
    _ = writeln!(text, "  turns: at most {}", plan.max_turns);
    _ = writeln!(text, "  prompt: about {} tokens", plan.prompt_tokens);
    match plan.lowest_usd {
        Some(lowest) => {
            _ = writeln!(
                text,
                "  cost: at least ${lowest}, {}",
                most(plan.highest_usd)
            );
        }
        None => text.push_str("  cost: no price is known for the model\n"),
    }
    if let Some(tightest) = plan.tightest() {
        let (left, limit) = (tightest.left, tightest.limit);
        _ = writeln!(
            text,
            "  budget: ${left} left of ${limit} ({})",
            tightest.scope
        );
    }
    for notice in &plan.notices {
        _ = writeln!(text, "  note: {notice}");
    }
    text
}
