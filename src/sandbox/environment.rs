//! The environment of a command: an allow-list, so that no key is in it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::toolchains::VARIABLES;

/// Variables of the caller that a command gets, where they are set.
const VISIBLE: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "TZ",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "LC_COLLATE",
    "LC_MESSAGES",
    "LC_NUMERIC",
    "LC_TIME",
    "GOPATH",
    "GOFLAGS",
    "NODE_OPTIONS",
    "PYTHONPATH",
    "RUSTFLAGS",
    "RUSTUP_TOOLCHAIN",
    "PKG_CONFIG_PATH",
    "LD_LIBRARY_PATH",
    "CC",
    "CXX",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "MAKEFLAGS",
    "CMAKE_PREFIX_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NIX_SSL_CERT_FILE",
    "CI",
];

/// Variables that keep programs from asking, paging and colouring.
const FIXED: &[(&str, &str)] = &[
    ("TERM", "dumb"),
    ("PAGER", "cat"),
    ("GIT_PAGER", "cat"),
    ("GIT_TERMINAL_PROMPT", "0"),
    ("GIT_EDITOR", "true"),
    ("DEBIAN_FRONTEND", "noninteractive"),
    ("NO_COLOR", "1"),
];

/// Where the ways out of a closed network are named.
const PROXIES: &[&str] = &[
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// The environment of commands, from the caller's. `network` tells whether commands reach the machine's network:
/// then they are told its proxies, but for those with a password.
pub fn environment<V: AsRef<OsStr>>(
    caller: impl Fn(&str) -> Option<V>,
    network: bool,
) -> BTreeMap<OsString, OsString> {
    let get = |name: &&str| Some(((*name).into(), caller(name)?.as_ref().to_owned()));
    let mut all: BTreeMap<OsString, OsString> =
        VISIBLE.iter().chain(VARIABLES).filter_map(get).collect();
    all.extend(
        FIXED
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into())),
    );
    if network {
        let open = PROXIES.iter().filter_map(get);
        all.extend(
            open.filter(|(_, value): &(OsString, OsString)| !value.to_string_lossy().contains('@')),
        );
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_seen() {
        let caller = |name: &str| {
            Some(match name {
                "PATH" => "/bin",
                "OPENAI_API_KEY" => "sk-1",
                "https_proxy" => "http://proxy:3128",
                "HTTPS_PROXY" => "http://me:secret@proxy:3128",
                "TERM" => "xterm",
                _ => return None,
            })
        };
        let names = |network| {
            environment(caller, network)
                .into_iter()
                .filter(|(name, _)| !FIXED.iter().any(|(fixed, _)| *fixed == name))
                .map(|(name, value)| format!("{}={}", name.display(), value.display()))
                .collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["PATH=/bin"]);
        assert_eq!(names(true), ["PATH=/bin", "https_proxy=http://proxy:3128"]);
        assert_eq!(
            environment(caller, false).get(OsStr::new("TERM")),
            Some(&"dumb".into())
        );
    }
}
