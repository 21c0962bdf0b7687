//! One request and its redirects: each hop is checked, looked up once, and connected to the
//! address that was checked.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LOCATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::time::{Instant, timeout_at};
use url::{Host, Url};

use super::address::{not_public_name, permitted};
use super::target;
use crate::clock;
use crate::tools::{ToolContext, ToolError};

/// Redirects that are followed.
const HOPS: usize = 5;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of a body that are read, after decompression.
const LARGEST: usize = 5 * 1024 * 1024;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Response {
    /// The URL that answered, after redirects.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Why the body is not whole.
    pub(super) cut: Option<Cut>,
    /// Redirects that were followed.
    pub(super) hops: usize,
}

/// Why a body is not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// It is longer than what is read.
    Long,
    /// The rest did not come within the time.
    Late(Duration),
    /// The rest was lost, or could not be unpacked.
    Broken(String),
}

/// Sends a request, within the time. What arrived of a body until then is given.
pub(super) async fn send(
    context: &ToolContext,
    request: Request,
    limit: Duration,
) -> Result<Response, ToolError> {
    let asked = request.url.clone();
    let end = Instant::now() + limit;
    let (url, response, hops) = timeout_at(end, follow(context, request))
        .await
        .unwrap_or_else(|_| {
            Err(ToolError::TimedOut(format!(
                "`{asked}` took longer than {} s",
                clock::seconds(limit)
            )))
        })?;
    let (mut body, mut response) = (Vec::new(), response);
    let cut = timeout_at(end, read(&mut response, &mut body))
        .await
        .unwrap_or(Some(Cut::Late(limit)));
    Ok(Response {
        status: response.status(),
        headers: std::mem::take(response.headers_mut()),
        url,
        body,
        cut,
        hops,
    })
}

/// Asks until something else than a redirect answers: where that was, and after how many redirects.
async fn follow(
    context: &ToolContext,
    mut request: Request,
) -> Result<(Url, reqwest::Response, usize), ToolError> {
    for hops in 0..=HOPS {
        let response = hop(context, &request).await?;
        let next = response
            .headers()
            .get(LOCATION)
            .filter(|_| leads_on(response.status()))
            .and_then(|location| location.to_str().ok())
            .and_then(|location| request.url.join(location).ok());
        match next {
            Some(next) => redirect(&mut request, next, response.status())?,
            None => return Ok((request.url, response, hops)),
        }
    }
    Err(ToolError::tell(format!(
        "more than {HOPS} redirects, the last to `{}`: they were not followed further",
        request.url
    )))
}

/// Whether a status sends a client elsewhere; `300` offers a choice and `304` has nothing to fetch.
fn leads_on(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether a redirect turns the method into GET (RFC 9110, section 15.4).
fn becomes_get(method: &Method, status: StatusCode) -> bool {
    match status {
        StatusCode::SEE_OTHER => *method != Method::HEAD,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => *method == Method::POST,
        _ => false,
    }
}

/// Makes a request the one that a redirect asks for.
fn redirect(request: &mut Request, next: Url, status: StatusCode) -> Result<(), ToolError> {
    target::check(&next)?;
    if request.url.scheme() == "https" && next.scheme() == "http" {
        return Err(ToolError::refused(format!(
            "a redirect from https to `{next}` is not allowed"
        )));
    }
    if !target::same_origin(&request.url, &next) {
        let names: Vec<HeaderName> = request
            .headers
            .keys()
            .filter(|name| is_credential(name))
            .cloned()
            .collect();
        for name in names {
            request.headers.remove(name);
        }
    }
    if becomes_get(&request.method, status) {
        request.method = Method::GET;
        request.body = None;
        for name in [
            CONTENT_ENCODING,
            CONTENT_LANGUAGE,
            CONTENT_LOCATION,
            CONTENT_TYPE,
        ] {
            request.headers.remove(name);
        }
    }
    request.url = next;
    Ok(())
}

fn is_credential(name: &HeaderName) -> bool {
    ["auth", "cookie", "token", "key", "secret", "session"]
        .iter()
        .any(|word| name.as_str().contains(word))
}

/// Looks the host up, checks what it leads to and asks there.
async fn hop(context: &ToolContext, request: &Request) -> Result<reqwest::Response, ToolError> {
    let url = &request.url;
    let host = target::host(url);
    let port = url.port_or_known_default().unwrap_or(80);
    if let Some(kind) = not_public_name(&context.http.allow, &host, port) {
        return Err(ToolError::refused(format!(
            "`{host}` is a {kind} name: access is not allowed (the user can put `{host}:{port}` in \
             `settings.http.allow`)"
        )));
    }
    let addresses = lookup(url, &host).await?;
    let addresses = permitted(&context.http.allow, &host, &addresses)?;
    let client = client(context, url, &host, &addresses).await?;
    let mut builder = client
        .request(request.method.clone(), url.clone())
        .headers(request.headers.clone());
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    builder
        .send()
        .await
        .map_err(|error| unreachable(url, error))
}

/// The addresses of a host, each with the port.
async fn lookup(url: &Url, host: &str) -> Result<Vec<SocketAddr>, ToolError> {
    let port = url.port_or_known_default().unwrap_or(80);
    let literal = match url.host() {
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
        Some(Host::Domain(_)) | None => None,
    };
    if let Some(address) = literal {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| ToolError::tell(format!("`{host}` could not be looked up: {error}")))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() {
        return Err(ToolError::tell(format!("`{host}` has no address")));
    }
    Ok(addresses)
}

/// A client that can connect to these addresses only. It keeps no connection, no cookie, and
/// knows no proxy.
async fn client(
    context: &ToolContext,
    url: &Url,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<reqwest::Client, ToolError> {
    let tls = if url.scheme() == "https" {
        context.blocking(|_| tls()).await?
    } else {
        no_tls()?
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT)
        .pool_max_idle_per_host(0)
        .http2_max_header_list_size(64 * 1024)
        .user_agent(concat!("orch/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Nowhere)
        .resolve_to_addrs(host, addresses)
        .build()
        .map_err(|error| unreachable(url, error))
}

/// Names that were not looked up and checked before are not looked up at all.
struct Nowhere;

impl Resolve for Nowhere {
    fn resolve(&self, name: Name) -> Resolving {
        let words = format!("`{}` was not checked", name.as_str());
        Box::pin(async move { Err::<Addrs, _>(words.into()) })
    }
}

/// The system's roots, read once.
fn tls() -> Result<rustls::ClientConfig, ToolError> {
    static CONFIG: OnceLock<rustls::ClientConfig> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let config = builder()?
        .with_platform_verifier()
        .map_err(|error| no_roots(&error))?
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| with_protocols(config)).clone())
}

/// For http: no roots are read, since nothing is to be verified.
fn no_tls() -> Result<rustls::ClientConfig, ToolError> {
    let config = builder()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(config)
}

fn builder() -> Result<rustls::ConfigBuilder<rustls::ClientConfig, rustls::WantsVerifier>, ToolError>
{
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| no_roots(&error))
}

fn with_protocols(mut config: rustls::ClientConfig) -> rustls::ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

fn no_roots(error: &rustls::Error) -> ToolError {
    ToolError::tell(format!("https is not possible on this machine: {error}"))
}

/// Reads the body up to its cap; tells why it is not whole, if it is not.
async fn read(response: &mut reqwest::Response, body: &mut Vec<u8>) -> Option<Cut> {
    loop {
        let chunk = match response.chunk().await {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return None,
            Err(error) => return Some(Cut::Broken(causes(error))),
        };
        let room = LARGEST - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            return Some(Cut::Long);
        }
    }
}

fn unreachable(url: &Url, error: reqwest::Error) -> ToolError {
    ToolError::tell(format!("`{url}` could not be reached: {}", causes(error)))
}

fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut words = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
