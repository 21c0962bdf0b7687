//! Agents for tests: a model that follows a script, everything else as in a run.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{Agent, AgentSettings};
use crate::costs::{Caps, Ledger, Prices};
use crate::event::Events;
use crate::message::{Assistant, Message, ToolCall};
use crate::providers::{
    BoxFuture, Clocks, Endpoint, Finish, PriceOverride, Provider, ProviderError, Reply, Request,
    ToolMode,
};
use crate::redact::Redactor;
use crate::resilience::{EndpointSettings, Link, Resilience};
use crate::sandbox::{Policy, SandboxSettings};
use crate::store::Store;
use crate::tools::{self, Approver, ToolContext, Workspace};
use crate::usage::{Meter, Usage, Usd};

type Act = dyn Fn(Request) -> BoxFuture<'static, Result<Reply, ProviderError>> + Send + Sync;

/// A model that follows a script.
pub(crate) struct Model {
    endpoint: Endpoint,
    act: Box<Act>,
    asked: Mutex<Vec<Request>>,
}

impl Model {
    pub(crate) fn new<F>(act: impl Fn(Request) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Result<Reply, ProviderError>> + Send + 'static,
    {
        Arc::new(Self {
            endpoint: Endpoint {
                provider: "stub".to_owned(),
                base_url: "http://127.0.0.1".to_owned(),
                key_fingerprint: String::new(),
                loopback: true,
            },
            act: Box::new(move |request| Box::pin(act(request))),
            asked: Mutex::default(),
        })
    }

    /// A model that answers at once.
    pub(crate) fn says(act: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Arc<Self> {
        Self::new(move |request| std::future::ready(Ok(act(&request))))
    }

    /// The agents that asked, in order.
    pub(crate) fn askers(&self) -> Vec<String> {
        self.asked()
            .iter()
            .map(|request| request.agent.to_string())
            .collect()
    }

    pub(crate) fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Provider for Model {
    fn name(&self) -> &str {
        &self.endpoint.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn complete<'a>(
        &'a self,
        request: &'a Request,
        _meter: &'a Meter,
        _events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        self.asked.lock().unwrap().push(request.clone());
        (self.act)(request.clone())
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The text of the last message of a request.
pub(crate) fn last_text(request: &Request) -> String {
    match request.messages.last() {
        Some(Message::User { text }) => text.clone(),
        Some(Message::Tool { results }) => results
            .iter()
            .map(|result| result.content.as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    }
}

/// An answer with 10 tokens of input and 5 of output.
pub(crate) fn text(text: &str) -> Reply {
    Reply {
        message: Assistant {
            text: text.to_owned(),
            ..Assistant::default()
        },
        usage: Some(Usage {
            input_tokens: 10,
            output_tokens: 5,
            ..Usage::default()
        }),
        ..Reply::default()
    }
}

/// An answer that asks for tools: the name and the arguments of each.
pub(crate) fn calls(calls: &[(&str, serde_json::Value)]) -> Reply {
    let mut reply = text("");
    reply.finish = Finish::ToolCalls;
    reply.message.calls = calls
        .iter()
        .enumerate()
        .map(|(index, (name, arguments))| ToolCall {
            id: format!("call{index}"),
            name: (*name).to_owned(),
            arguments: arguments.to_string(),
            ..ToolCall::default()
        })
        .collect();
    reply
}

/// Everything that a run of agents needs.
pub(crate) struct Lab {
    directory: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) resilience: Resilience,
}

impl Lab {
    pub(crate) fn new() -> Self {
        let store = Store::in_memory().unwrap();
        let ledger = Ledger::new(store.clone(), Arc::new(Prices::built_in()));
        Self {
            directory: tempfile::tempdir().unwrap(),
            store,
            resilience: Resilience::new(ledger),
        }
    }

    pub(crate) fn workspace(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn tools(&self, agent: &str, names: &[String]) -> ToolContext {
        let path = self.directory.path().canonicalize().unwrap();
        let settings = SandboxSettings::default();
        let policy = Policy::new(&path, Path::new("/nonexistent"), &settings).unwrap();
        ToolContext {
            agent: agent.into(),
            tools: names.to_vec(),
            workspace: Arc::new(Workspace::open(Arc::new(policy)).unwrap()),
            servers: Arc::default(),
            http: Arc::default(),
            approvals: Arc::default(),
            approver: Approver::Nobody,
            redactor: Redactor::default(),
        }
    }

    /// An agent of this model.
    pub(crate) fn agent(&self, name: &str, model: &Arc<Model>, settings: AgentSettings) -> Agent {
        let mut specs: Vec<_> = settings
            .tools
            .iter()
            .filter_map(|tool| tools::spec(tool))
            .collect();
        if !settings.delegates.is_empty() {
            specs.push(super::delegation::spec(&[]));
        }
        let dollar_a_token = Usd::from_pico(1_000_000_000_000_000_000);
        Agent {
            requested_model: "scripted".to_owned(),
            name: name.into(),
            system: settings.role.clone(),
            mcp: Vec::new(),
            chain: vec![Link {
                provider: Arc::clone(model) as Arc<dyn Provider>,
                model: "m".to_owned(),
                canonical: "stub/m".to_owned(),
                settings: EndpointSettings {
                    max_retries: 0,
                    ..EndpointSettings::default()
                },
                clocks: Clocks::default(),
                tool_mode: ToolMode::Native,
                facts: None,
                max_output_tokens: Some(100),
                is_free: false,
                price: Some(PriceOverride {
                    input: dollar_a_token,
                    output: dollar_a_token,
                    cache_read: None,
                    cache_write: None,
                }),
            }],
            specs,
            tools: Arc::new(self.tools(name, &settings.tools)),
            max_turns: settings.max_turns.unwrap_or(10),
            temperature: None,
            output_schema: settings.output_schema.clone(),
            settings,
            caps: Arc::new(Caps::default()),
            log: None,
        }
    }
}
