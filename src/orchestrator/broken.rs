//! A provider that could not be connected: it fails when it is called, as any other does, so that a
//! fallback can answer and every report has one form.

use std::sync::Arc;

use crate::event::Events;
use crate::providers::{BoxFuture, Endpoint, Provider, ProviderError, Reply, Request};
use crate::usage::Meter;

struct Broken {
    endpoint: Endpoint,
    error: ProviderError,
}

pub(super) fn broken(name: &str, error: ProviderError) -> Arc<dyn Provider> {
    Arc::new(Broken {
        endpoint: Endpoint {
            provider: name.to_owned(),
            base_url: String::new(),
            key_fingerprint: String::new(),
            loopback: false,
        },
        error,
    })
}

impl Provider for Broken {
    fn name(&self) -> &str {
        &self.endpoint.provider
    }

    fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn complete<'a>(
        &'a self,
        _request: &'a Request,
        _meter: &'a Meter,
        _events: &'a Events,
    ) -> BoxFuture<'a, Result<Reply, ProviderError>> {
        Box::pin(async { Err(self.error.clone()) })
    }

    fn health(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Err(self.error.clone()) })
    }
}
