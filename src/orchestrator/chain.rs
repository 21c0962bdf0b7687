//! From the models of an agent to the chain of links that is called.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

use super::Orchestrator;
use super::broken::broken;
use crate::agents::AgentSettings;
use crate::config::Place;
use crate::costs::prices::ListedModel;
use crate::providers::{
    self, ConnectSpec, ModelFacts, Provider, ProviderError, ProviderKind, ProviderSettings,
    Recorder, Resolved, Variables,
};
use crate::resilience::Link;

impl Orchestrator {
    /// The links of an agent, its own model first, and what the user should know about the choice.
    pub(super) fn chain(&self, settings: &AgentSettings) -> (Vec<Link>, Vec<String>) {
        let mut notices = Vec::new();
        let mut links = Vec::new();
        for resolved in self.models_of(settings) {
            notices.extend(resolved.notice.clone());
            links.push(self.link(settings, &resolved));
        }
        if links.iter().any(|link: &Link| link.provider.is_recorded()) {
            notices.push("the replies are recorded; the tools are real".to_owned());
        }
        (links, notices)
    }

    /// The models of an agent, its own first, and where each goes.
    pub(super) fn models_of(&self, settings: &AgentSettings) -> Vec<Resolved> {
        let general = &self.config.document.settings;
        let provider = settings
            .provider
            .as_deref()
            .unwrap_or(&general.default_provider);
        let replayed = self.options.replay.is_some() || provider == "replay";
        let fallbacks: &[String] = if replayed { &[] } else { &settings.fallback };
        let is_free = |name: &str| self.is_free(name);
        let first = providers::resolve_among(provider, self.wanted_model(settings), is_free);
        let others = fallbacks.iter().map(|model| {
            let is_listed = |resolved: &Resolved| self.is_listed(resolved);
            providers::resolve_fallback(provider, &first, model, is_free, is_listed)
        });
        let others: Vec<Resolved> = others.collect();
        std::iter::once(first).chain(others).collect()
    }

    /// The model of an agent as the user wrote it.
    pub(super) fn wanted_model<'a>(&'a self, settings: &'a AgentSettings) -> &'a str {
        self.model_among(settings, self.options.model.as_deref())
    }

    /// The model of an agent where `asked` stands in place of its own.
    pub(super) fn model_among<'a>(
        &'a self,
        settings: &'a AgentSettings,
        asked: Option<&'a str>,
    ) -> &'a str {
        let model = asked.or(settings.model.as_deref());
        model.unwrap_or(&self.config.document.settings.default_model)
    }

    fn link(&self, agent: &AgentSettings, resolved: &Resolved) -> Link {
        let document = &self.config.document;
        let own = document.providers.get(&resolved.vendor);
        let provider = self.provider(agent, &resolved.vendor, own);
        let listed = self.prices.facts(&resolved.canonical, &resolved.vendor);
        let price = own.and_then(|own| {
            let listed = listed.as_ref().map(|listed| listed.name.as_str());
            own.price_of(resolved, listed)
        });
        let mut facts = listed.as_ref().map(model_facts);
        if let Some(window) = own.and_then(|own| own.window_of(resolved)) {
            facts.get_or_insert_default().max_input_tokens = Some(window);
        }
        // What is recorded was paid for when it was recorded.
        let is_recorded = provider.is_recorded();
        let place = match resolved.vendor.as_str() {
            "ollama" => Place::Ollama,
            "claude" => Place::AgentCli,
            _ if provider.endpoint().loopback => Place::Loopback,
            _ => Place::Remote,
        };
        Link {
            settings: document.settings.endpoint(own, place),
            clocks: document.settings.clocks(own),
            tool_mode: facts
                .as_ref()
                .map(ModelFacts::tool_mode)
                .unwrap_or_default(),
            max_output_tokens: agent
                .max_output_tokens
                .or(document.settings.max_output_tokens),
            price: price.filter(|_| !is_recorded),
            is_free: is_recorded
                || provider.endpoint().loopback && own.is_none_or(|own| own.prices.is_empty()),
            model: resolved.model.clone(),
            canonical: resolved.canonical.clone(),
            facts,
            provider,
        }
    }

    /// The provider of a name, connected once; one that cannot be connected fails when it is called.
    fn provider(
        &self,
        agent: &AgentSettings,
        name: &str,
        own: Option<&ProviderSettings>,
    ) -> Arc<dyn Provider> {
        let recording = self.recording(agent, name, own);
        let key = match &recording {
            Some(path) => format!("replay {}", path.display()),
            None => name.to_owned(),
        };
        let mut known = self
            .providers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = known.get(&key) {
            return Arc::clone(provider);
        }
        let connected = self.connect(name, own, recording);
        let provider = connected.unwrap_or_else(|error| broken(name, error));
        let provider = match &self.recorder {
            Some(file) => Arc::new(Recorder::new(provider, Arc::clone(file))),
            None => provider,
        };
        known.insert(key, Arc::clone(&provider));
        provider
    }

    fn connect(
        &self,
        name: &str,
        own: Option<&ProviderSettings>,
        recording: Option<PathBuf>,
    ) -> Result<Arc<dyn Provider>, ProviderError> {
        let env = &self.config.env;
        let variables = Variables {
            secret: &|name| env.secret(name),
            plain: &|name| {
                env.process(name)
                    .and_then(|value| value.to_str())
                    .map(str::to_owned)
            },
        };
        let name = if recording.is_some() { "replay" } else { name };
        let mut spec = ConnectSpec::new(name, own, variables)?;
        spec.redactor = self.redactor.clone();
        if let Some(cli) = &mut spec.cli {
            let program = self.config.program(&cli.cli_path);
            cli.cli_path = program.to_string_lossy().into_owned();
            cli.redactor = self.redactor.clone();
            cli.state_dir.clone_from(&self.config.state_dir);
            cli.store.clone_from(&self.store);
            // A workspace that cannot be opened fails the run by itself.
            let workspace = self.workspace(&AgentSettings::default()).ok();
            cli.policy = workspace.map(|workspace| Arc::clone(workspace.policy()));
        }
        if recording.is_some() {
            spec.kind = ProviderKind::Replay;
            spec.recording = recording;
            spec.recording_by_flag = self.options.replay.is_some();
        }
        providers::connect(&spec)
    }

    /// The recording that answers for a provider, if one does.
    fn recording(
        &self,
        agent: &AgentSettings,
        name: &str,
        own: Option<&ProviderSettings>,
    ) -> Option<PathBuf> {
        if let Some(path) = &self.options.replay {
            return Some(path.clone());
        }
        if name != "replay" {
            return None;
        }
        let own = own.and_then(|own| own.recording.as_ref());
        agent
            .recording
            .as_ref()
            .or(own)
            .map(|path| self.config.base_dir.join(Path::new(path)))
    }
}

/// What the price table knows of a model, in the words of the providers.
fn model_facts(listed: &ListedModel) -> ModelFacts {
    ModelFacts {
        max_input_tokens: listed.max_input_tokens,
        max_output_tokens: listed.max_output_tokens,
        function_calling: listed.function_calling,
        sampling_params: listed.sampling_params,
        reasoning: listed.reasoning,
        responses_only: listed.responses_only,
        successor: None,
    }
}
