//! The proxies that model calls go through.

use url::Url;

use super::address::{Distance, distance};

/// Proxies as the environment names them. Calls to this machine never use one.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ProxySettings {
    /// For http URLs.
    pub http: Option<String>,
    /// For https URLs.
    pub https: Option<String>,
    /// For both, where the one above is absent.
    pub all: Option<String>,
    /// Hosts that are called directly, separated by commas.
    pub no_proxy: Option<String>,
}

impl ProxySettings {
    /// From variables of the environment; the names in lower case win.
    pub fn from_variables(variable: &dyn Fn(&str) -> Option<String>) -> Self {
        let first = |lower: &str, upper: &str| variable(lower).or_else(|| variable(upper));
        Self {
            http: first("http_proxy", "HTTP_PROXY"),
            https: first("https_proxy", "HTTPS_PROXY"),
            all: first("all_proxy", "ALL_PROXY"),
            no_proxy: first("no_proxy", "NO_PROXY"),
        }
    }

    /// The host and port of the proxy that calls to a URL go through, for messages; without what is secret in it.
    pub(super) fn place(&self, url: &Url) -> Option<String> {
        let host = url.host_str()?;
        if distance(url) == Distance::Loopback || self.passes_by(host) {
            return None;
        }
        let written = self.of(url.scheme())?;
        let whole = if written.contains("://") {
            Url::parse(written)
        } else {
            Url::parse(&format!("http://{written}"))
        };
        let proxy = whole.ok()?;
        let name = proxy.host_str()?;
        let port = proxy.port().map(|port| format!(":{port}"));
        Some(format!("{name}{}", port.unwrap_or_default()))
    }

    /// Whether a host is named among those that are called directly, by its name or that of a domain above it.
    fn passes_by(&self, host: &str) -> bool {
        let named = self.no_proxy.as_deref().unwrap_or_default().split(',');
        named.map(str::trim).any(|name| {
            let name = name.trim_start_matches('.');
            let below = host.strip_suffix(name);
            name == "*" || (!name.is_empty() && below.is_some_and(is_label_end))
        })
    }

    /// The proxy of a scheme.
    pub(super) fn of(&self, scheme: &str) -> Option<&str> {
        let own = match scheme {
            "https" => &self.https,
            _ => &self.http,
        };
        own.as_deref()
            .or(self.all.as_deref())
            .filter(|proxy| !proxy.is_empty())
    }
}

/// Whether what stands before a domain in a host's name is nothing, or ends at a dot.
fn is_label_end(before: &str) -> bool {
    before.is_empty() || before.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_of_a_url_is_told_without_its_password() {
        for (http, no_proxy, url, expected) in [
            (
                "http://127.0.0.1:9",
                "",
                "http://m.example/v1",
                Some("127.0.0.1:9"),
            ),
            (
                "proxy.example:3128",
                "",
                "http://m.example",
                Some("proxy.example:3128"),
            ),
            (
                "http://me:secret@p.example/x",
                "",
                "http://m.example",
                Some("p.example"),
            ),
            ("http://p", "a.example, m.example", "http://m.example", None),
            ("http://p", ".example", "http://m.example", None),
            ("http://p", "example", "http://m.example", None),
            ("http://p", "ample", "http://m.example", Some("p")),
            ("http://p", "*", "http://m.example", None),
            ("http://p", "", "http://127.0.0.1:1/v1", None),
            ("http://p", "", "https://m.example", None),
            ("", "", "http://m.example", None),
        ] {
            let settings = ProxySettings {
                http: Some(http.to_owned()),
                no_proxy: Some(no_proxy.to_owned()),
                ..ProxySettings::default()
            };
            let url = Url::parse(url).expect("a URL");
            let place = settings.place(&url);
            assert_eq!(place.as_deref(), expected, "{http} {no_proxy} {url}");
        }
    }
}
