//! What is asked about the configuration, the models, the spending: answers without a run.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use super::signals::{Signals, stopped, watch_signals};
use super::{Call, load, run, standing};
use crate::agents::log;
use crate::config::Config;
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{Health, Orchestrator};
use crate::providers;
use crate::render::{self, Style};

/// Entries of a log that are shown.
pub(crate) const LOG_ENTRIES: usize = 5;

pub(super) fn agents(call: &Call) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    Ok(if call.json() {
        call.print_json(&agents_json(&config))
    } else {
        call.list(&agents_text(&config, None))
    })
}

/// The agents as `--agents --json` prints them.
fn agents_json(config: &Config) -> Value {
    let general = &config.document.settings;
    config
        .document
        .agents
        .iter()
        .map(|(name, agent)| {
            json!({"name": name,
                "provider": agent.provider.as_deref().unwrap_or(&general.default_provider),
                "model": agent.model.as_deref().unwrap_or(&general.default_model),
                "tools": agent.tools, "servers": agent.servers})
        })
        .collect()
}

/// The agents for people; `active` is marked.
pub(crate) fn agents_text(config: &Config, active: Option<&str>) -> String {
    let general = &config.document.settings;
    let mut text = String::new();
    for (name, agent) in config.document.agents.iter() {
        let marker = if active == Some(name) { "*" } else { " " };
        let provider = agent
            .provider
            .as_deref()
            .unwrap_or(&general.default_provider);
        let model = agent.model.as_deref().unwrap_or(&general.default_model);
        // Writing to a string cannot fail.
        _ = writeln!(text, "{marker} {name}: {provider}/{model}");
        if !agent.tools.is_empty() {
            _ = writeln!(text, "    tools: {}", agent.tools.join(", "));
        }
        if !agent.servers.is_empty() {
            _ = writeln!(text, "    servers: {}", agent.servers.join(", "));
        }
    }
    if text.is_empty() {
        text.push_str("no agents; `orch init` writes a configuration with one\n");
    }
    text
}

pub(super) fn models(call: &Call) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    let orchestrator = Orchestrator::look(Arc::new(config), run::options(call)?)?;
    Ok(if call.json() {
        call.print_json(&models_json(&orchestrator))
    } else {
        call.list(&models_text(call.screen.columns()))
    })
}

fn models_json(orchestrator: &Orchestrator) -> Value {
    providers::available_models()
        .iter()
        .map(|alias| {
            let facts = orchestrator.prices().facts(alias.target, alias.provider);
            json!({"alias": alias.name, "provider": alias.provider, "model": alias.target,
                "max_input_tokens": facts.as_ref().and_then(|facts| facts.max_input_tokens),
                "max_output_tokens": facts.as_ref().and_then(|facts| facts.max_output_tokens),
                "notice": alias.notice})
        })
        .collect()
}

/// The aliases for people, by provider; on a screen of few columns what one means stands below it.
pub(crate) fn models_text(columns: Option<usize>) -> String {
    let aliases = providers::available_models();
    let widest = aliases
        .iter()
        .map(|alias| alias.name.len())
        .max()
        .unwrap_or(0);
    let meant = aliases.iter().map(|alias| alias.target.len()).max();
    let needed = 4 + widest + meant.unwrap_or(0);
    let below = columns.is_some_and(|columns| columns < needed);
    let mut text = String::new();
    let mut provider = None;
    for alias in &aliases {
        if provider != Some(alias.provider) {
            provider = Some(alias.provider);
            let heading = match alias.provider {
                "" => "by name or `vendor/model`, under any HTTP provider",
                own => own,
            };
            _ = writeln!(
                text,
                "{}{heading}:",
                if text.is_empty() { "" } else { "\n" }
            );
        }
        // Writing to a string cannot fail.
        _ = if below {
            writeln!(text, "  {}\n      {}", alias.name, alias.target)
        } else {
            writeln!(text, "  {:widest$}  {}", alias.name, alias.target)
        };
    }
    text.push_str("\nany other model is written `vendor/model`\n");
    text
}

pub(super) fn status(call: &Call) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    let orchestrator = Orchestrator::look(Arc::new(config), run::options(call)?)?;
    let status = orchestrator.status()?;
    Ok(if call.json() {
        call.print_json(&status)
    } else {
        call.list(&status_text(&status))
    })
}

/// The status for people: one `key: value` a line, nested ones indented.
pub(crate) fn status_text(status: &Value) -> String {
    let mut text = String::new();
    outline(&mut text, &standing::in_words(status.clone()), 0);
    text
}

fn outline(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        match value {
            Value::Object(inner) if inner.is_empty() => {}
            Value::Object(_) => {
                _ = writeln!(text, "{indent}{name}:");
                outline(text, value, depth + 1);
            }
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) if items.iter().all(Value::is_object) => {
                _ = writeln!(text, "{indent}{name}:");
                for item in items {
                    let mut entry = String::new();
                    outline(&mut entry, item, depth + 2);
                    // The first line of each has the dash of a list.
                    let entry =
                        entry.replacen(&"  ".repeat(depth + 2), &format!("{indent}  - "), 1);
                    text.push_str(&entry);
                }
            }
            Value::Array(items) => {
                let words: Vec<String> = items.iter().map(word).collect();
                _ = writeln!(text, "{indent}{name}: {}", words.join(", "));
            }
            Value::Null => _ = writeln!(text, "{indent}{name}: none"),
            other => _ = writeln!(text, "{indent}{name}: {}", word(other)),
        }
    }
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

pub(super) async fn health(call: &Call) -> Result<u8, OrchError> {
    let limit = run::time_limit(call)?;
    let options = run::options(call)?;
    let deep = call.cli.actions.deep;
    watch_signals(call, async |signals: &Signals| {
        let deadline = run::until(limit);
        let config = run::config_by(call, signals, deadline).await?;
        // A deep check spends, so it needs the ledger; the other leaves no trace.
        let orchestrator = if deep {
            Orchestrator::open(config, options)?
        } else {
            Orchestrator::look(config, options)?
        };
        let only = call.cli.actions.agent.as_deref();
        let healths = tokio::select! {
            biased;
            healths = orchestrator.health(only, deep, deadline, &signals.cancel) => healths?,
            cause = signals.cancel.cancelled() => return Err(stopped(cause)),
        };
        orchestrator.close().await?;
        let unhealthy: Vec<&str> = healths
            .iter()
            .filter(|(_, health)| !health.healthy)
            .map(|(name, _)| name.as_str())
            .collect();
        let failed = !unhealthy.is_empty();
        if call.json() {
            let object: serde_json::Map<String, Value> = healths
                .iter()
                .map(|(name, health)| {
                    (
                        name.clone(),
                        serde_json::to_value(health).unwrap_or_default(),
                    )
                })
                .collect();
            let wrong = failed.then(|| {
                let names = unhealthy.join("`, `");
                OrchError::new(ErrorClass::Failed, format!("unhealthy: `{names}`"))
            });
            return Ok(call.print_verdict(&Value::Object(object), wrong));
        }
        call.list_styled(&health_text(&healths, call.screen.out));
        Ok(u8::from(failed))
    })
    .await?
}

/// The healths for people.
pub(crate) fn health_text(healths: &[(String, Health)], style: Style) -> String {
    let widest = healths
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for (name, health) in healths {
        let mark = if health.healthy {
            style.green("ok  ")
        } else {
            style.red("FAIL")
        };
        let class = health
            .class
            .as_deref()
            .map(|class| format!("{class}: "))
            .unwrap_or_default();
        let message = render::plain(&health.message);
        _ = writeln!(text, "{mark} {name:widest$}  {class}{message}");
    }
    text
}

pub(super) fn tasks(call: &Call) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    if call.json() {
        let list: Value = config
            .document
            .tasks
            .iter()
            .map(|(name, task)| {
                json!({"name": name, "description": task.description,
                    "inputs": task.inputs.keys().collect::<Vec<_>>(), "steps": task.steps.len()})
            })
            .collect();
        return Ok(call.print_json(&list));
    }
    Ok(call.list(&tasks_text(&config)))
}

/// The tasks for people.
pub(crate) fn tasks_text(config: &Config) -> String {
    let mut text = String::new();
    for (name, task) in config.document.tasks.iter() {
        let steps = if task.steps.len() == 1 {
            "step"
        } else {
            "steps"
        };
        // Writing to a string cannot fail.
        _ = writeln!(
            text,
            "  {name}: {} ({} {steps})",
            task.description,
            task.steps.len()
        );
    }
    if text.is_empty() {
        text.push_str("no tasks\n");
    }
    text
}

/// The last entries of an agent's log.
pub(crate) fn logs_of(config: &Config, name: &str) -> Result<Vec<String>, OrchError> {
    log::last_entries(&config.logs_dir, name, LOG_ENTRIES).map_err(|error| {
        OrchError::new(
            ErrorClass::Failed,
            format!("the log of `{name}` cannot be read"),
        )
        .caused_by(&error)
    })
}

pub(super) fn logs(call: &Call, name: &str) -> Result<u8, OrchError> {
    let config = Arc::new(load::config(call)?);
    let orchestrator = Orchestrator::look(Arc::clone(&config), run::options(call)?)?;
    orchestrator.settings_of(name)?;
    let entries = logs_of(&config, name)?;
    Ok(if call.json() {
        call.print_json(&json!(entries))
    } else if entries.is_empty() {
        call.list("(empty)\n")
    } else {
        call.print(&format!("{}\n", entries.join("\n\n")))
    })
}
