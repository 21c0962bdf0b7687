//! The proxies that model calls go through.

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
