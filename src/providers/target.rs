//! A place to send model calls to, and the errors it gives.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::Url;

use super::address::{self, Distance, distance, join};
use super::body::foreign_beginning;
use super::classify::classify;
use super::error_body::{ErrorBody, shortened};
use super::http::{NoClient, causes, client, innermost};
use super::mask::mask;
use super::told;
use super::upload;
use super::watch::{Late, Watch};
use super::{
    ConnectSpec, Endpoint, FaultKind, LimitNews, ProviderError, ProviderKind, ProxySettings,
    Request, StreamFault, hints,
};
use crate::redact::Redactor;

/// The most that is read of the body of a refusal.
const REFUSAL_CAP: usize = 64 << 10;

/// How long the body of a refusal is waited for: its status says most of it.
const REFUSAL_WAIT: Duration = Duration::from_secs(5);

/// A server with everything that its calls have in common.
pub(super) struct Target {
    pub endpoint: Endpoint,
    pub vendor: Option<&'static super::vendors::Vendor>,
    base: Url,
    headers: HeaderMap,
    redactor: Redactor,
    has_key: bool,
    key_variables: Vec<String>,
    proxy: ProxySettings,
}

/// An answer that is a refusal, read as far as it matters.
pub(super) struct Refusal {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: ErrorBody,
}

impl Target {
    /// # Errors
    /// A base URL that is none, a header that is none, a key that is needed and missing.
    pub(super) fn new(spec: &ConnectSpec) -> Result<Self, ProviderError> {
        let wrong = |message: String| ProviderError::new(&spec.name, FaultKind::Config, message);
        let base = Url::parse(&spec.base_url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                let place = address::shown(&spec.base_url);
                wrong(format!("`{place}` is no http or https URL"))
                    .with_hint(format!("correct the `base_url` of `{}`", spec.name))
            })?;
        let distance = distance(&base);
        let key = spec
            .key
            .clone()
            .filter(|key| !key.expose_secret().is_empty());
        let fingerprint = key.as_ref().map(fingerprint).unwrap_or_default();
        let target = Self {
            endpoint: Endpoint {
                provider: spec.name.clone(),
                base_url: spec.base_url.clone(),
                key_fingerprint: fingerprint,
                loopback: distance == Distance::Loopback,
            },
            vendor: spec.vendor,
            base,
            headers: headers(spec, key.as_ref()).map_err(wrong)?,
            redactor: spec.redactor.clone(),
            has_key: key.is_some(),
            key_variables: spec.key_variables.clone(),
            proxy: spec.proxy.clone(),
        };
        let local = spec.vendor.is_some_and(|vendor| vendor.local);
        let by_header = !spec.headers.is_empty() && spec.vendor.is_none();
        if !target.has_key && distance == Distance::Remote && !local && !by_header {
            let words = format!("no key for `{}` was found", spec.name);
            return Err(target.fault(FaultKind::Auth, words, ""));
        }
        Ok(target)
    }

    /// The URL of a call.
    pub(super) fn url(&self, path: &str) -> Url {
        join(&self.base, path)
    }

    /// The provider's name.
    pub(super) fn name(&self) -> &str {
        &self.endpoint.provider
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn post(
        &self,
        url: Url,
        body: Vec<u8>,
        request: &Request,
        watch: &Watch,
    ) -> Result<Response, ProviderError> {
        let client = self.client(watch, &request.model)?;
        let mut sending = client
            .post(url)
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json")
            // Compression makes servers and proxies hold back what should stream.
            .header(ACCEPT_ENCODING, "identity");
        if !request.idempotency_key.is_empty() {
            sending = sending.header("idempotency-key", &request.idempotency_key);
        }
        let body = Bytes::from(body);
        let is_long = body.len() > upload::ONE_WRITE;
        let again = is_long.then(|| sending.try_clone()).flatten();
        let first = sending.body(body.clone());
        // All is ready to go; the disk has worked meanwhile.
        if let Err(error) = request.clearance.wait().await {
            let words = format!("nothing was sent: {error}");
            let kind = FaultKind::Network { permanent: true };
            return Err(self.fault(kind, words, &request.model));
        }
        let mut sent = self.send(first, &request.model, watch).await;
        if let (Ok(Err(error)), Some(again)) = (&sent, again)
            && upload::is_cut(error)
        {
            tracing::debug!(provider = self.name(), "cut while it was sent");
            let again = again.header(CONTENT_LENGTH, body.len());
            let again = again.body(upload::slow(body));
            sent = self.send(again, &request.model, watch).await;
        }
        self.begun(sent, &request.model, watch)
    }

    /// Asks for something without sending a body.
    pub(super) async fn get(&self, url: Url, watch: &Watch) -> Result<Response, ProviderError> {
        let client = self.client(watch, "")?;
        let sending = client.get(url).headers(self.headers.clone());
        let sent = self.send(sending, "", watch).await;
        self.begun(sent, "", watch)
    }

    fn client(&self, watch: &Watch, model: &str) -> Result<reqwest::Client, ProviderError> {
        client(&self.base, watch.clocks().connect, &self.proxy).map_err(|error| match error {
            NoClient::Proxy => self
                .fault(
                    FaultKind::Network { permanent: true },
                    format!("the proxy for {} is of no known kind", self.base.scheme()),
                    model,
                )
                .with_hint("proxies are http, https or socks URLs"),
            NoClient::Tls(cause) => self
                .fault(
                    FaultKind::Network { permanent: true },
                    format!("TLS cannot be set up: {cause}"),
                    model,
                )
                .with_hint(
                    "install the system's certificates, or name a file of them in `SSL_CERT_FILE`",
                ),
        })
    }

    async fn send(
        &self,
        sending: reqwest::RequestBuilder,
        model: &str,
        watch: &Watch,
    ) -> Result<reqwest::Result<Response>, Late> {
        let host = self.base.host_str().unwrap_or_default();
        let port = self.base.port_or_known_default();
        tracing::debug!(provider = self.name(), host, port, model, "request sent");
        watch.within(sending.send()).await
    }

    fn begun(
        &self,
        sent: Result<reqwest::Result<Response>, Late>,
        model: &str,
        watch: &Watch,
    ) -> Result<Response, ProviderError> {
        match sent {
            Ok(Ok(response)) => {
                let id = self.request_id(response.headers());
                let status = response.status().as_u16();
                tracing::debug!(provider = self.name(), status, id, "response begun");
                Ok(response)
            }
            Ok(Err(error)) => Err(self.unreachable(&error, model, watch)),
            Err(late) => Err(self.late(late, model, watch)),
        }
    }

    /// Reads the body of a refusal, as far as it matters and as long as the clocks allow.
    pub(super) async fn refusal(&self, mut response: Response, watch: &Watch) -> Refusal {
        let mut bytes = Vec::new();
        let reading = async {
            while bytes.len() < REFUSAL_CAP
                && let Ok(Some(chunk)) = response.chunk().await
            {
                bytes.extend_from_slice(&chunk);
            }
        };
        let wait = tokio::time::timeout(REFUSAL_WAIT, reading);
        if !matches!(watch.within(wait).await, Ok(Ok(()))) {
            tracing::debug!("the body of a refusal did not end in time");
        }
        bytes.truncate(REFUSAL_CAP);
        Refusal {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: ErrorBody::parse(&String::from_utf8_lossy(&bytes)),
        }
    }

    /// The error that a refusal is.
    pub(super) fn refused(&self, refusal: &Refusal, request: &Request) -> ProviderError {
        let Refusal { headers, body, .. } = refusal;
        let now = SystemTime::now();
        let wait = told::wait(headers, body, now);
        let kind = classify(refusal.status, body, wait.is_some());
        let mut words = match body.message.as_str() {
            "" => format!("HTTP {} without a word", refusal.status),
            message => format!("HTTP {}: {message}", refusal.status),
        };
        if let Some(location) = headers.get(http::header::LOCATION) {
            words = format!(
                "HTTP {}: sent on to {}, which is not followed",
                refusal.status,
                shortened(&String::from_utf8_lossy(location.as_bytes()))
            );
        }
        let mut error = self.told(kind, &words, body, request);
        error.status = Some(refusal.status);
        error.request_id = self.request_id(headers);
        error.should_retry = told::should_retry(headers);
        error.limits = self.limits(headers);
        // The vendor's gateway gave up waiting; the model may have worked all the same.
        error.partial.reached_model = matches!(refusal.status, 504 | 524);
        if let Some(wait) = wait.filter(|_| is_passing(&error.kind)) {
            error.retry_after = Some(wait.after);
            error.told_by = wait.told_by;
        }
        error
    }

    /// An error that a vendor told, in a refusal or inside an answer.
    pub(super) fn told(
        &self,
        kind: FaultKind,
        words: &str,
        body: &ErrorBody,
        request: &Request,
    ) -> ProviderError {
        let mut error = self.fault(kind, mask(words, &self.redactor), &request.model);
        if error.kind == FaultKind::NotFound
            && let Some(successor) = request
                .facts
                .as_ref()
                .and_then(|facts| facts.successor.as_deref())
        {
            error.hint = Some(format!("`{successor}` took its place"));
        }
        error.retry_once = body.code == "tool_use_failed";
        error.code = [&body.code, &body.kind]
            .into_iter()
            .find(|code| !code.is_empty())
            .map(|code| mask(&shortened(code), &self.redactor));
        error
    }

    /// The vendor's id of a request.
    pub(super) fn request_id(&self, headers: &HeaderMap) -> Option<String> {
        told::request_id(headers).map(|id| self.masked(id))
    }

    /// A name that a server told, without secrets.
    pub(super) fn masked(&self, name: String) -> String {
        self.redactor.mask_owned(name)
    }

    /// What the headers of a good answer told about limits.
    pub(super) fn limits(&self, headers: &HeaderMap) -> LimitNews {
        let daily = self
            .vendor
            .is_some_and(|vendor| vendor.quirks.daily_request_limit);
        told::limits(headers, daily, SystemTime::now())
    }

    /// A clock ran out.
    pub(super) fn late(&self, late: Late, model: &str, watch: &Watch) -> ProviderError {
        let clocks = watch.clocks();
        let (kind, words) = match late {
            Late::FirstEvent => (
                FaultKind::Stream(StreamFault::FirstEvent),
                format!(
                    "no sign of an answer within {}",
                    hints::span(clocks.first_event)
                ),
            ),
            Late::Idle | Late::Ending => (
                FaultKind::Stream(StreamFault::Idle),
                format!(
                    "the answer made no progress for {}",
                    hints::span(clocks.idle)
                ),
            ),
            Late::Total => (
                FaultKind::Deadline,
                format!(
                    "the answer was not finished within {}",
                    hints::span(clocks.total)
                ),
            ),
        };
        let mut error = self.fault(kind, words, model);
        error.partial.reached_model = true;
        error
    }

    /// No answer came at all.
    fn unreachable(&self, error: &reqwest::Error, model: &str, watch: &Watch) -> ProviderError {
        let cause = innermost(error);
        let host = self.base.host_str().unwrap_or_default();
        let place = match self.base.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let proxy = self.proxy.place(&self.base);
        let place = match &proxy {
            Some(proxy) => format!("{place} through the proxy {proxy}"),
            None => place,
        };
        let permanent = error.is_builder()
            || error.is_redirect()
            || is_certificate(&cause)
            || wants_login(&cause);
        let words = if error.is_connect() && error.is_timeout() {
            format!(
                "no connection to {place} within {}",
                hints::span(watch.clocks().connect)
            )
        } else if error.is_connect() {
            format!("no connection to {place}: {cause}")
        } else {
            format!("the connection to {place} broke before the answer: {cause}")
        };
        let words = self.quoted(&words);
        let mut fault = self.fault(FaultKind::Network { permanent }, words, model);
        if is_certificate(&cause) {
            let hint =
                "if the server is right, name its authority's certificate in `SSL_CERT_FILE`";
            fault.hint = Some(hint.to_owned());
        } else if proxy.is_some() && error.is_connect() {
            fault.hint = Some(format!(
                "`{}_PROXY` or `ALL_PROXY` names the proxy; `NO_PROXY` lists hosts that are called without one",
                self.base.scheme().to_uppercase()
            ));
        }
        fault.partial.reached_model =
            !error.is_connect() && !error.is_builder() && !is_unseen(error);
        fault
    }

    /// Words that quote what a server sent: short, and without secrets.
    pub(super) fn quoted(&self, words: &str) -> String {
        mask(&shortened(words), &self.redactor)
    }

    /// An error with the hint of its class.
    pub(super) fn fault(
        &self,
        kind: FaultKind,
        words: impl Into<String>,
        model: &str,
    ) -> ProviderError {
        let hint = hints::hint(
            &kind,
            hints::Facts {
                name: self.name(),
                vendor: self.vendor,
                model,
                key_variables: &self.key_variables,
                has_key: self.has_key,
                base_url: &self.endpoint.base_url,
                loopback: self.endpoint.loopback,
            },
        );
        let mut error = ProviderError::new(self.name(), kind, words);
        error.hint = hint;
        error
    }

    /// Whether the server answers and takes the key. Spends no tokens.
    pub(super) async fn health(&self, path: &str, watch: &Watch) -> Result<(), ProviderError> {
        let response = self.get(self.url("models"), watch).await?;
        if response.status().is_success() {
            return self.speaks(response, true, watch).await;
        }
        let refusal = self.refusal(response, watch).await;
        let missing = [
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::NOT_IMPLEMENTED,
        ];
        if !missing
            .iter()
            .any(|status| status.as_u16() == refusal.status)
        {
            return Err(self.refused(&refusal, &Request::default()));
        }
        // Not every server lists its models. The path of calls answers a GET with anything but "not
        // found" when it exists, and no model is asked.
        let response = self.get(self.url(path), watch).await?;
        if response.status().is_success() {
            return self.speaks(response, false, watch).await;
        }
        let refusal = self.refusal(response, watch).await;
        let error = self.refused(&refusal, &Request::default());
        match error.kind {
            FaultKind::BadRequest => Ok(()),
            _ => Err(error),
        }
    }

    /// Whether a good answer is one of a model server: a page for people has the same status, and so has what
    /// other services say instead of a list of models.
    async fn speaks(
        &self,
        response: Response,
        is_list: bool,
        watch: &Watch,
    ) -> Result<(), ProviderError> {
        match foreign_beginning(response, is_list, watch).await {
            Ok(None) => Ok(()),
            Ok(Some(text)) => Err(self.foreign(&text, &Request::default())),
            Err(late) => Err(self.late(late, "", watch)),
        }
    }

    /// What answered is no model server: a page, or some other document.
    pub(super) fn foreign(&self, text: &str, request: &Request) -> ProviderError {
        let body = ErrorBody::parse(text);
        let words = match body.message.as_str() {
            "" => "what answered is no model server".to_owned(),
            message => format!("what answered is no model server: {message}"),
        };
        self.told(FaultKind::Protocol, &words, &body, request)
    }
}

/// Classes of which waiting is a cure.
fn is_passing(kind: &FaultKind) -> bool {
    matches!(
        kind,
        FaultKind::RateLimited | FaultKind::Overloaded | FaultKind::Server
    )
}

/// Whether the server cannot have looked at the request, or says so: HTTP/2 has words for that.
fn is_unseen(error: &reqwest::Error) -> bool {
    let refused = causes(error).find_map(|cause| cause.downcast_ref::<h2::Error>());
    upload::is_cut(error)
        || refused.is_some_and(|error| {
            let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            let sent_away = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            error.is_remote() && (refused || sent_away)
        })
}

fn is_certificate(cause: &str) -> bool {
    cause.to_lowercase().contains("certificate")
}

/// Whether a proxy refused to connect without a name and a password that it knows: status 407.
fn wants_login(cause: &str) -> bool {
    cause.contains("proxy authorization required")
}

fn fingerprint(key: &SecretString) -> String {
    use std::fmt::Write as _;
    let digest = Sha256::digest(key.expose_secret().as_bytes());
    digest.iter().take(6).fold(String::new(), |mut hex, byte| {
        // Writing to a string cannot fail.
        let _written = write!(hex, "{byte:02x}");
        hex
    })
}

fn headers(spec: &ConnectSpec, key: Option<&SecretString>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    let native = spec.kind == ProviderKind::Anthropic;
    if let Some(key) = key {
        let (name, value) = if native && !spec.bearer {
            (
                HeaderName::from_static("x-api-key"),
                key.expose_secret().to_owned(),
            )
        } else {
            (AUTHORIZATION, format!("Bearer {}", key.expose_secret()))
        };
        let mut value = HeaderValue::try_from(value.trim()).map_err(|_| {
            format!(
                "the key of `{}` holds letters that no header can",
                spec.name
            )
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    if native {
        headers.insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    }
    for (name, value) in &spec.headers {
        let wrong = || format!("`{name}` under `headers:` of `{}` is no header", spec.name);
        let parsed = HeaderName::try_from(name.as_str()).map_err(|_| wrong())?;
        let mut value = HeaderValue::try_from(value.as_str()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}
