//! Base URLs: what users write, and which hosts are near.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

/// How far away a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Distance {
    /// This machine.
    Loopback,
    /// A private network.
    Private,
    /// The internet.
    Remote,
}

/// How far the host of a URL is, judged by its name alone.
pub(super) fn distance(url: &Url) -> Distance {
    match url.host() {
        Some(Host::Ipv4(address)) => of_address(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => of_address(IpAddr::V6(address)),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            match name.rsplit_once('.').map_or(name, |(_, last)| last) {
                "localhost" => Distance::Loopback,
                "local" | "internal" => Distance::Private,
                _ if !name.contains('.') => Distance::Private,
                _ => Distance::Remote,
            }
        }
        None => Distance::Remote,
    }
}

fn of_address(address: IpAddr) -> Distance {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => is_local(address),
    };
    if address.is_loopback() || address.is_unspecified() {
        Distance::Loopback
    } else if private {
        Distance::Private
    } else {
        Distance::Remote
    }
}

/// fc00::/7 and fe80::/10.
fn is_local(address: Ipv6Addr) -> bool {
    address.is_unique_local() || address.is_unicast_link_local()
}

/// The URL of a call: the base with more path, whatever query it has (Azure's `api-version`) kept.
pub(super) fn join(base: &Url, path: &str) -> Url {
    let mut url = base.clone();
    let joined = format!("{}/{path}", base.path().trim_end_matches('/'));
    url.set_path(&joined);
    url
}

/// Anthropic's base URL is written with and without `/v1`.
pub(super) fn anthropic(written: &str) -> String {
    let base = written.trim_end_matches('/');
    if base.ends_with("/v1") {
        base.to_owned()
    } else {
        format!("{base}/v1")
    }
}

/// `OLLAMA_HOST` is `host:port`, and Ollama's own API has no `/v1`.
pub(crate) fn ollama(written: &str) -> String {
    let base = written.trim_end_matches('/');
    let mut base = if base.contains("://") {
        base.to_owned()
    } else {
        format!("http://{base}")
    };
    // What a server listens on is no address to call.
    base = base.replacen("://0.0.0.0", "://127.0.0.1", 1);
    let Ok(mut url) = Url::parse(&base) else {
        return base;
    };
    if url.port().is_none() && url.scheme() == "http" && !written.contains("://") {
        // Only a URL whose scheme has no port refuses one; http has.
        url.set_port(Some(11434)).unwrap_or_default();
    }
    if url.path() == "/" {
        url.set_path("/v1");
    }
    url.to_string()
}

/// An address as it is told to people: what its query holds may be a key.
pub(super) fn shown(url: &str) -> Cow<'_, str> {
    match url.split_once('?') {
        Some((place, _)) => Cow::Owned(format!("{place}?…")),
        None => Cow::Borrowed(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_query_is_shown() {
        for (url, expected) in [
            ("http://host/v1", "http://host/v1"),
            ("http://host/v1?key=x&a=b", "http://host/v1?…"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn hosts_are_told_apart_by_their_distance() {
        for (url, expected) in [
            ("http://127.0.0.1:1", Distance::Loopback),
            ("http://127.8.9.1", Distance::Loopback),
            ("http://[::1]:1/v1", Distance::Loopback),
            ("http://[::ffff:127.0.0.1]/", Distance::Loopback),
            ("http://localhost:11434/v1", Distance::Loopback),
            ("http://10.1.2.3", Distance::Private),
            ("http://192.168.0.7", Distance::Private),
            ("http://[fd00::1]", Distance::Private),
            ("http://ollama:11434", Distance::Private),
            ("http://box.local", Distance::Private),
            ("https://api.openai.com/v1", Distance::Remote),
            ("http://8.8.8.8", Distance::Remote),
            ("http://localhost.example.com", Distance::Remote),
        ] {
            let url = Url::parse(url).expect("a URL");
            assert_eq!(distance(&url), expected, "{url}");
        }
    }

    #[test]
    fn paths_are_joined_before_the_query() {
        for (base, expected) in [
            ("https://h/v1", "https://h/v1/chat/completions"),
            ("https://h/v1/", "https://h/v1/chat/completions"),
            ("https://h", "https://h/chat/completions"),
            ("https://h/d?a=1", "https://h/d/chat/completions?a=1"),
        ] {
            let base = Url::parse(base).expect("a URL");
            assert_eq!(join(&base, "chat/completions").as_str(), expected);
        }
    }

    #[test]
    fn base_urls_are_taken_as_people_write_them() {
        for (written, expected) in [
            ("https://api.anthropic.com", "https://api.anthropic.com/v1"),
            ("http://127.0.0.1:9/v1/", "http://127.0.0.1:9/v1"),
        ] {
            assert_eq!(anthropic(written), expected);
        }
        for (written, expected) in [
            ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
            ("http://127.0.0.1:11434/v1", "http://127.0.0.1:11434/v1"),
            ("0.0.0.0", "http://127.0.0.1:11434/v1"),
            ("box:8080", "http://box:8080/v1"),
            ("https://ollama.com", "https://ollama.com/v1"),
        ] {
            assert_eq!(ollama(written), expected);
        }
    }
}
