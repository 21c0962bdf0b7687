//! Whether the models that are named can be meant.
//!
//! One rule ([`providers::known`]) for a model that replaces those of the agents, which is refused before anything
//! is asked, and for those of the configuration, about which `orch check` tells: a file may be older or newer than
//! the list.

use std::collections::BTreeSet;

use super::{Orchestrator, nearest};
use crate::agents::AgentSettings;
use crate::error::{ErrorClass, OrchError};
use crate::providers::{self, Resolved, Unknown, vendors};

/// Looks whether a model is named at all. An empty name is a variable of a script that is not set, and would be asked
/// for where every name may be meant.
///
/// # Errors
/// When there is nothing but blanks and quotes.
pub fn named(model: &str) -> Result<(), OrchError> {
    let is_nothing = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    if model.chars().all(is_nothing) {
        let error = OrchError::new(ErrorClass::Usage, "the name of the model is empty");
        return Err(error.with_hint("`orch --models` lists aliases"));
    }
    Ok(())
}

impl Orchestrator {
    /// Looks whether the model of the options can be meant for one of these agents.
    ///
    /// # Errors
    /// When it is known for none of them; the hint names what is near, and how to write a model that is not listed.
    pub fn check_model<'a>(
        &self,
        agents: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), OrchError> {
        let Some(model) = self.options.model.as_deref() else {
            return Ok(());
        };
        named(model)?;
        let mut refused = None;
        for name in agents {
            let Some(settings) = self.config.document.agents.get(name) else {
                continue;
            };
            match self.doubt(settings, model) {
                None => return Ok(()),
                Some((message, hint)) => {
                    refused
                        .get_or_insert(OrchError::new(ErrorClass::Usage, message).with_hint(hint));
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// What is doubtful about the models of the configuration, a line each.
    pub fn doubtful_models(&self) -> Vec<String> {
        let general = &self.config.document.settings;
        let agents = self.config.document.agents.iter();
        let doubts = agents.filter_map(|(name, settings)| {
            let model = settings.model.as_deref();
            let model = model.unwrap_or(&general.default_model);
            let (message, hint) = self.doubt(settings, model)?;
            Some(format!("{name}: {message}; {hint}"))
        });
        doubts.collect()
    }

    /// Rows of the providers' tables that no model is looked up by, a line each: a price that nobody pays is taken
    /// for one that holds.
    pub fn doubtful_rows(&self) -> Vec<String> {
        let document = &self.config.document;
        let agents = document.agents.iter();
        let named: Vec<Resolved> = agents
            .flat_map(|(_, settings)| self.models_of(settings))
            .collect();
        let mut doubts = Vec::new();
        for (name, own) in document.providers.iter() {
            let prices = own.prices.keys().map(|model| ("prices", model));
            let windows = own.windows.keys().map(|model| ("windows", model));
            for (table, model) in prices.chain(windows) {
                let row = providers::resolve_among(name, model, |name| self.is_free(name));
                let is_meant = |named: &Resolved| {
                    named.vendor == name && (named.model == *model || named.is_same(&row))
                };
                if named.iter().any(is_meant) {
                    continue;
                }
                let doubt = if row.vendor == name {
                    self.doubt_row(name, &row)
                } else {
                    Some(format!(
                        "means {}, which `{name}` is never asked for; write it under `{}`",
                        row.canonical, row.vendor
                    ))
                };
                doubts.extend(
                    doubt.map(|doubt| format!("providers.{name}.{table}: `{model}` {doubt}")),
                );
            }
        }
        doubts
    }

    /// What is doubtful about a row that no agent's model is looked up by: a vendor has the models that are listed.
    fn doubt_row(&self, provider: &str, row: &Resolved) -> Option<String> {
        let vendor = vendors::find(provider)?;
        let is_listed = self.prices.facts(&row.canonical, provider).is_some();
        if vendor.local || self.is_free(provider) || is_listed {
            return None;
        }
        let prefix = format!("{provider}/");
        let listed = self.prices.names().into_iter();
        let listed: Vec<&str> = listed
            .filter_map(|name| name.strip_prefix(&prefix))
            .collect();
        let hint = match nearest(&row.model, &listed) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => String::new(),
        };
        Some(format!("is no listed model and no agent's{hint}"))
    }

    /// What is doubtful about a model for an agent, and what helps.
    fn doubt(&self, settings: &AgentSettings, model: &str) -> Option<(String, String)> {
        if self.options.replay.is_some() {
            return None;
        }
        let document = &self.config.document;
        let provider = settings.provider.as_deref();
        let provider = provider.unwrap_or(&document.settings.default_provider);
        let is_free = |name: &str| self.is_free(name);
        let is_listed = |resolved: &Resolved| self.is_listed(resolved);
        match providers::known(provider, model, is_free, is_listed).err()? {
            Unknown::Provider(name) => {
                let vendors = vendors::VENDORS.iter().map(|vendor| vendor.prefix);
                let names: Vec<&str> = document.providers.names().chain(vendors).collect();
                let mut hint = match nearest(&name, &names) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("`providers:` of the configuration has no `{name}`"),
                };
                if vendors::find(provider).is_some() {
                    hint += &format!("; a model of `{provider}` is written `{provider}/{model}`");
                }
                Some((format!("`{model}` names no known provider"), hint))
            }
            Unknown::Model(resolved) => {
                let vendor = resolved.vendor.as_str();
                let listed = self.names_near(vendor);
                let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
                let all = format!("a model that is not listed is written `{vendor}/{model}`");
                let hint = match nearest(model, &listed) {
                    Some(near) => format!("did you mean `{near}`? {all}"),
                    None => format!("`orch --models` lists aliases; {all}"),
                };
                Some((format!("there is no known model `{model}`"), hint))
            }
        }
    }

    /// Whether the user has given a provider an address of their own.
    pub(super) fn is_free(&self, provider: &str) -> bool {
        let own = self.config.document.providers.get(provider);
        let by_variable = vendors::find(provider).is_some_and(|vendor| {
            let mut variables = vendor.base_variables.iter();
            variables.any(|variable| self.config.env.process(variable).is_some())
        });
        own.is_some_and(|own| own.base_url.is_some() || own.kind.is_some()) || by_variable
    }

    /// Whether a model is in the price list or has an entry of its own under its provider.
    pub(super) fn is_listed(&self, resolved: &Resolved) -> bool {
        let own = self.config.document.providers.get(&resolved.vendor);
        let own = own.is_some_and(|own| {
            own.price_of(resolved, None).is_some() || own.window_of(resolved).is_some()
        });
        let (name, vendor) = (&resolved.canonical, &resolved.vendor);
        own || self.prices.facts(name, vendor).is_some()
    }

    /// The aliases and the listed models that may be meant where a vendor is asked.
    fn names_near(&self, vendor: &str) -> BTreeSet<String> {
        let prefix = format!("{vendor}/");
        let listed = self.prices.names().into_iter();
        let listed = listed.filter_map(|name| name.strip_prefix(&prefix));
        let aliases = providers::available_models().into_iter();
        let aliases = aliases.filter(|alias| match alias.provider {
            "" => vendor != "claude",
            own => own == vendor,
        });
        let aliases = aliases.map(|alias| alias.name);
        listed.chain(aliases).map(str::to_owned).collect()
    }
}
