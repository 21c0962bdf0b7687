//! `--dry-run`: the plan, with what it would cost.

use std::fmt::Write;

use serde_json::json;

use super::Call;
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{AllOrder, Orchestrator, Order, Plan};
use crate::usage::Usd;

pub(super) fn agent(
    call: &Call,
    orchestrator: &Orchestrator,
    order: &Order,
) -> Result<u8, OrchError> {
    let plan = orchestrator.plan(order)?;
    let over = over(plan.is_over_budget(), plan.lowest_usd, plan.budget_usd);
    if call.json() {
        let value = json!({"dry_run": true, "kind": "agent", "ok": over.is_none(), "plan": plan});
        return Ok(call.print_verdict(&value, over));
    }
    call.print(&text(&plan));
    over.map_or(Ok(0), Err)
}

pub(super) fn all(
    call: &Call,
    orchestrator: &Orchestrator,
    order: &AllOrder,
) -> Result<u8, OrchError> {
    let plans = orchestrator.plan_all(&order.only, &order.prompt)?;
    let lowest: Usd = plans.iter().filter_map(|plan| plan.lowest_usd).sum();
    let highest: Usd = plans.iter().filter_map(|plan| plan.highest_usd).sum();
    let budget = plans.iter().filter_map(|plan| plan.budget_usd).min();
    let over = over(
        budget.is_some_and(|budget| lowest > budget),
        Some(lowest),
        budget,
    );
    let highest = budget.map_or(highest, |budget| highest.min(budget));
    if call.json() {
        let value = json!({"dry_run": true, "kind": "all", "ok": over.is_none(),
            "lowest_usd": lowest, "highest_usd": highest, "budget_usd": budget, "plans": plans});
        return Ok(call.print_verdict(&value, over));
    }
    let mut whole: String = plans.iter().map(text).collect();
    // Writing to a string cannot fail.
    _ = writeln!(whole, "together: at least ${lowest}, at most ${highest}");
    call.print(&whole);
    over.map_or(Ok(0), Err)
}

/// What is wrong with a plan whose lowest cost is above the budget.
pub(super) fn over(is_over: bool, lowest: Option<Usd>, budget: Option<Usd>) -> Option<OrchError> {
    let (true, Some(lowest), Some(budget)) = (is_over, lowest, budget) else {
        return None;
    };
    let message = format!("even the cheapest outcome, ${lowest}, is above the budget of ${budget}");
    Some(
        OrchError::new(ErrorClass::Budget, message)
            .with_hint("raise the budget, shorten the prompt or choose a cheaper model"),
    )
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
    match (plan.lowest_usd, plan.highest_usd) {
        (Some(lowest), Some(highest)) => {
            _ = writeln!(text, "  cost: at least ${lowest}, at most ${highest}");
        }
        _ => text.push_str("  cost: no price is known for the model\n"),
    }
    if let Some(budget) = plan.budget_usd {
        _ = writeln!(text, "  budget: ${budget}");
    }
    for notice in &plan.notices {
        _ = writeln!(text, "  note: {notice}");
    }
    text
}
