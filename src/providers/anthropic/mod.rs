//! Anthropic's Messages API.

mod messages;
mod usage;
mod wire;

use super::attempt::{self, Attempt};
use super::read;
use super::target::Target;
use super::watch::Watch;
use super::{BoxFuture, Clocks, ConnectSpec, Endpoint, Provider, ProviderError, Reply, Request};
use crate::event::Events;
use crate::usage::Meter;

pub(super) use messages::Decoder;

/// The path of a call.
const PATH: &str = "messages";

/// A server that speaks the Messages API.
pub(super) struct Messages {
    target: Target,
}

impl Messages {
    /// # Errors
    /// See [`Target::new`].
    pub(super) fn connect(spec: &ConnectSpec) -> Result<Self, ProviderError> {
        Ok(Self {
            target: Target::new(spec)?,
        })
    }

    async fn attempt(
        &self,
        request: &Request,
        meter: &Meter,
        events: &Events,
    ) -> Result<Reply, ProviderError> {
        let attempt = Attempt {
            target: &self.target,
            path: PATH,
            request,
            meter,
            events,
        };
        let build = |adapted| wire::build(request, self.target.name(), adapted);
        let decoder = read::Decoder::Messages(Decoder::default());
        attempt::make(attempt, build, decoder).await
    }
}

impl Provider for Messages {
    fn name(&self) -> &str {
        self.target.name()
    }

    fn endpoint(&self) -> &Endpoint {
        &self.target.endpoint
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
