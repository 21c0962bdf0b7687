//! The chat-completions protocol, spoken by most model servers.

mod chat;
mod usage;
mod wire;

use super::attempt::{self, Attempt};
use super::read;
use super::target::Target;
use super::vendors::{self, Quirks};
use super::watch::Watch;
use super::{
    BoxFuture, Clocks, ConnectSpec, Endpoint, FaultKind, Message, Provider, ProviderError, Reply,
    Request,
};
use crate::event::Events;
use crate::usage::Meter;

pub(super) use chat::Decoder;

/// The path of a call.
const PATH: &str = "chat/completions";

/// Tokens of a prompt below which a cut is not looked for.
const CUT_BELOW: u64 = 2000;

/// A server that speaks chat completions.
pub(super) struct Chat {
    target: Target,
}

impl Chat {
    /// # Errors
    /// See [`Target::new`].
    pub(super) fn connect(spec: &ConnectSpec) -> Result<Self, ProviderError> {
        Ok(Self {
            target: Target::new(spec)?,
        })
    }

    fn quirks(&self) -> &'static Quirks {
        self.target
            .vendor
            .map_or(&vendors::UNKNOWN, |vendor| &vendor.quirks)
    }

    async fn attempt(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, ProviderError> {
        let quirks = self.quirks();
        if request
            .facts
            .as_ref()
            .is_some_and(|facts| facts.responses_only)
        {
            let words = format!("`{}` is served by /v1/responses alone", request.model);
            let error = self
                .target
                .fault(FaultKind::BadRequest, words, &request.model);
            return Err(error.with_hint("choose a model that chat completions serve"));
        }
        let attempt = Attempt {
            target: &self.target,
            path: PATH,
            request,
            meter,
            events,
        };
        let build = |adapted| {
            let dialect = wire::Dialect {
                name: self.target.name(),
                quirks,
                adapted,
            };
            wire::build(request, dialect)
        };
        let decoder = read::Decoder::Chat(Decoder::default());
        let mut reply = attempt::make(attempt, build, decoder).await?;
        reply.warnings.extend(cut_prompt(request, quirks, &reply));
        Ok(reply)
    }
}

impl Provider for Chat {
    fn name(&self) -> &str {
        self.target.name()
    }

    fn endpoint(&self) -> &Endpoint {
        &self.target.endpoint
    }

    fn tells_cost(&self) -> bool {
        self.quirks().tells_cost
    }

    fn hides_reasoning(&self) -> bool {
        true
    }

    fn waits_for_clearance(&self) -> bool {
        true
    }

    fn complete<'a>(
        &'a self,
        request: &'a Request,
        meter: &'a Meter,
        events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(self.attempt(request, meter, events))
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async {
            let watch = Watch::start(Clocks::for_health());
            self.target.health(PATH, &watch).await
        })
    }
}

/// Says so when a server seems to have cut the prompt: it counted far less than was sent.
fn cut_prompt(request: &Request, quirks: &Quirks, reply: &Reply) -> Option<String> {
    if !quirks.cuts_prompts {
        return None;
    }
    let counted = reply.usage?.input_tokens;
    let sent: usize = request.system.len() + request.messages.iter().map(length).sum::<usize>();
    // Few texts have more than six bytes a token.
    let least = sent as u64 / 6;
    (counted >= CUT_BELOW && counted < least).then(|| {
        format!(
            "the server counted {counted} tokens of a prompt of at least {least}: it seems to have \
             cut it; give it a larger context (`OLLAMA_CONTEXT_LENGTH=64000`, or `num_ctx` in a \
             Modelfile)"
        )
    })
}

fn length(message: &Message) -> usize {
    match message {
        Message::User { text } => text.len(),
        Message::Assistant(said) => said.text.len(),
        Message::Tool { results } => results.iter().map(|result| result.content.len()).sum(),
    }
}
