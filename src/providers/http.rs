//! The HTTP clients that model calls share: one for http URLs, which never sets up TLS, and one for
//! https, made when the first https URL is called.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, NoProxy, Proxy};
use url::Url;

use super::ProxySettings;
use super::address::{Distance, distance};

/// How long an unused connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(90);

/// How many unused connections to one host are kept: enough for a large fan-out to go on without
/// connecting again, few enough to leave files to open.
const POOL_SIZE: usize = 512;

/// What makes two calls need different clients. A process has one or two of these.
#[derive(PartialEq)]
struct Key {
    tls: bool,
    loopback: bool,
    connect: Option<Duration>,
    proxy: Option<(String, Option<String>)>,
}

static CLIENTS: Mutex<Vec<(Key, Client)>> = Mutex::new(Vec::new());

/// The client for a URL; the same one for all calls of a kind, so that connections are shared.
///
/// # Errors
/// A proxy of an unknown kind, or no certificates of authorities on this machine.
pub(super) fn client(
    url: &Url,
    connect: Option<Duration>,
    proxies: &ProxySettings,
) -> Result<Client, NoClient> {
    let loopback = distance(url) == Distance::Loopback;
    let proxy = proxies
        .of(url.scheme())
        .filter(|_| !loopback)
        .map(|proxy| (proxy.to_owned(), proxies.no_proxy.clone()));
    let tls = url.scheme() == "https"
        || proxy
            .as_ref()
            .is_some_and(|(proxy, _)| proxy.starts_with("https:"));
    let key = Key {
        tls,
        loopback,
        connect,
        proxy,
    };
    let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, client)) = clients.iter().find(|(known, _)| *known == key) {
        return Ok(client.clone());
    }
    if let Some((proxy, _)) = &key.proxy
        && !is_proxy(proxy)
    {
        // The client would pass it by and call the host directly.
        return Err(NoClient::Proxy);
    }
    let client = build(&key).map_err(|error| NoClient::Tls(innermost(&error)))?;
    clients.push((key, client.clone()));
    Ok(client)
}

/// The same for others than model calls, why there is none in words.
pub(crate) fn http_client(url: &Url, proxies: &ProxySettings) -> Result<Client, String> {
    client(url, None, proxies).map_err(|error| match error {
        NoClient::Proxy => "the proxy of the environment is of no kind that is known".to_owned(),
        NoClient::Tls(why) => why,
    })
}

/// Why no client could be made.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoClient {
    /// The proxy is of no kind that is known.
    Proxy,
    /// What TLS needs is missing.
    Tls(String),
}

/// An error and its causes, the last of which says what really happened.
pub(super) fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The words of the last cause.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

fn is_proxy(written: &str) -> bool {
    let schemes = ["http", "https", "socks4", "socks4a", "socks5", "socks5h"];
    match Url::parse(written) {
        Ok(url) if written.contains("://") => schemes.contains(&url.scheme()),
        // `host:port` alone is an http proxy.
        _ => !written.contains("://"),
    }
}

fn build(key: &Key) -> Result<Client, reqwest::Error> {
    // Somebody else in this process may have chosen; either way there is one now.
    let _chosen = rustls::crypto::ring::default_provider().install_default();
    let mut builder = Client::builder()
        .user_agent(concat!("orch/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(POOL_SIZE)
        // The resolver needs a thread, and this name needs no resolver.
        .resolve_to_addrs(
            "localhost",
            &[
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            ],
        );
    if let Some(connect) = key.connect {
        builder = builder.connect_timeout(connect);
    }
    if !key.tls {
        builder = builder
            .http1_only()
            .tls_certs_only(std::iter::empty::<Certificate>());
    }
    if key.loopback {
        builder = builder.tcp_keepalive(None).tcp_user_timeout(None);
    }
    if let Some((url, except)) = &key.proxy {
        let except = except.as_deref().and_then(NoProxy::from_string);
        builder = builder.proxy(Proxy::all(url)?.no_proxy(except));
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_kind_share_a_client_and_loopback_uses_no_proxy() {
        let before = CLIENTS.lock().unwrap().len();
        let connect = Some(Duration::from_millis(12_345));
        let proxies = ProxySettings {
            all: Some("http://127.0.0.1:9".to_owned()),
            ..ProxySettings::default()
        };
        for url in [
            "http://127.0.0.1:1/v1",
            "http://localhost:2/v1",
            "http://[::1]/",
        ] {
            let url = Url::parse(url).expect("a URL");
            client(&url, connect, &proxies).expect("a client");
        }
        let clients = CLIENTS.lock().unwrap();
        let of_this_test: Vec<_> = clients
            .iter()
            .skip(before)
            .filter(|(key, _)| key.connect == connect)
            .collect();
        assert_eq!(of_this_test.len(), 1);
        assert!(of_this_test[0].0.proxy.is_none() && !of_this_test[0].0.tls);
    }

    #[test]
    fn a_proxy_of_an_unknown_kind_is_no_way_round_it() {
        let url = Url::parse("http://example.com/v1").expect("a URL");
        for (proxy, works) in [
            ("http://127.0.0.1:9", true),
            ("127.0.0.1:9", true),
            ("proxy.example.com", true),
            ("socks5h://127.0.0.1:9", true),
            ("ftp://127.0.0.1:9", false),
            ("ht!tp://x", false),
        ] {
            let proxies = ProxySettings {
                http: Some(proxy.to_owned()),
                ..ProxySettings::default()
            };
            let made = client(&url, None, &proxies);
            assert_eq!(made.is_ok(), works, "{proxy}");
        }
    }
}
