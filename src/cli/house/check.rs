//! `orch check`: whether everything is in order, and where things are.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::cli::{Call, lists, load};
use crate::config::{Config, Origin};
use crate::error::{ErrorClass, OrchError};
use crate::orchestrator::{Options, Orchestrator};

/// Validates the configuration and says what holds; exit 0 when all is well.
pub(in crate::cli) async fn check(
    call: &Call,
    explain: Option<&str>,
    store: bool,
    json: bool,
) -> Result<u8, OrchError> {
    let json = json || call.json();
    if store {
        return check_store(call, json).await;
    }
    let config = Arc::new(load::config(call)?);
    let orchestrator = Orchestrator::look(Arc::clone(&config), Options::default())?;
    if let Some(agent) = explain {
        let lines = orchestrator.explain(agent)?;
        return Ok(if json {
            lists::print_json(&json!({"agent": agent, "rights": lines}))
        } else {
            lists::print(&format!("{}\n", lines.join("\n")))
        });
    }
    let status = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "configuration": config.path,
        "found": origin(config.origin),
        "workspace": config.working_dir,
        "logs": config.logs_dir,
        "outputs": config.outputs_dir,
        "state": config.state_dir,
        "agents": config.document.agents.len(),
        "servers": config.document.servers.len(),
        "tasks": config.document.tasks.len(),
        "sandbox": config.document.settings.sandbox,
        "notices": config.notices,
    });
    Ok(if json {
        lists::print_json(&status)
    } else {
        lists::print(&text(&config, &status))
    })
}

fn text(config: &Config, status: &Value) -> String {
    let mut text = lists::status_text(status);
    // Writing to a string cannot fail.
    _ = writeln!(
        text,
        "\n{}",
        if config.path.is_some() {
            "the configuration is in order"
        } else {
            "there is no configuration; `orch init` writes one"
        }
    );
    text
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Named => "named",
        Origin::Found => "found here",
        Origin::User => "the user's own",
        Origin::Nowhere => "nowhere",
    }
}

async fn check_store(call: &Call, json: bool) -> Result<u8, OrchError> {
    let config = load::config(call)?;
    let check = crate::costs::check_store(&config.state_dir, true)
        .await
        .map_err(|error| {
            OrchError::new(ErrorClass::Failed, "the store is not in order")
                .caused_by(&error)
                .with_hint(error.hint())
        })?;
    let value = serde_json::to_value(&check).unwrap_or_default();
    if json {
        lists::print_json(&value);
    } else {
        lists::print(&lists::status_text(&value));
    }
    Ok(u8::from(!check.is_sound()))
}
