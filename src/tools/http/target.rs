//! A URL as a model writes it: what may be asked for at all, before any name is looked up.

use url::{Host, Url};

use crate::tools::ToolError;

/// The longest URL that is taken.
const LONGEST: usize = 8192;

/// Takes a URL: http or https, a host, no name or password in it.
pub(super) fn parse(text: &str) -> Result<Url, ToolError> {
    if text.len() > LONGEST {
        return Err(ToolError::tell(format!(
            "the URL is longer than {LONGEST} bytes"
        )));
    }
    // What a URL may not hold is dropped or turned round by parsers, each in its own way.
    if text
        .chars()
        .any(|character| character.is_control() || character.is_whitespace() || character == '\\')
    {
        return Err(ToolError::refused(
            "the URL holds white space, control characters or `\\`, which is not allowed",
        ));
    }
    let url = Url::parse(text)
        .map_err(|error| ToolError::tell(format!("`{text}` is no URL: {error}")))?;
    check(&url)?;
    // `@` with nothing before it is dropped by the parser.
    let authority = text.split("://").nth(1).unwrap_or_default();
    let authority = authority.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(with_user());
    }
    Ok(url)
}

/// Checks a URL that is already one: of a redirect.
pub(super) fn check(url: &Url) -> Result<(), ToolError> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(ToolError::refused(format!(
            "the scheme `{}` is not allowed: only http and https are",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(with_user());
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(ToolError::tell("the URL has no host"));
    }
    Ok(())
}

fn with_user() -> ToolError {
    ToolError::refused("a user name or password in a URL is not allowed")
}

/// The host as it is looked up, without brackets.
pub(super) fn host(url: &Url) -> String {
    match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    }
}

/// Whether two URLs belong to the same server, which alone may see the same credentials.
pub(super) fn same_origin(left: &Url, right: &Url) -> bool {
    left.origin() == right.origin()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_is_plain() {
        for (text, expected) in [
            (
                "https://example.com/a?b#c",
                Some("https://example.com/a?b#c"),
            ),
            ("HTTP://EXAMPLE.com:80", Some("http://example.com/")),
            ("http://0177.0.0.1/", Some("http://127.0.0.1/")),
            ("http://2130706433/", Some("http://127.0.0.1/")),
            ("http://0x7f.1/", Some("http://127.0.0.1/")),
            ("http://127.1/", Some("http://127.0.0.1/")),
            ("http://①②⑦.⓪.⓪.①/", Some("http://127.0.0.1/")),
            (
                "http://[::FFFF:127.0.0.1]/",
                Some("http://[::ffff:7f00:1]/"),
            ),
            ("http://a/?x=@", Some("http://a/?x=@")),
            ("ftp://a/", None),
            ("file:///etc/passwd", None),
            ("gopher://a/", None),
            ("javascript:alert(1)", None),
            ("http://user@a/", None),
            ("http://user:pass@a/", None),
            ("http://@a/", None),
            ("http://example.com@127.0.0.1/", None),
            ("http://a\\@b/", None),
            ("http://a/\r\nX: y", None),
            (" http://a/", None),
            ("http://a\tb/", None),
            ("http:///", None),
            ("http://[fe80::1%25eth0]/", None),
            ("http://a b/", None),
            ("example.com", None),
            ("", None),
        ] {
            let got = parse(text).ok().map(|url| url.to_string());
            assert_eq!(got.as_deref(), expected, "{text}");
        }
        let error = parse("file:///etc/passwd").unwrap_err();
        assert!(matches!(error, ToolError::Refused(_)));
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let same = |left, right| same_origin(&parse(left).unwrap(), &parse(right).unwrap());
        assert!(same("http://a/x", "http://A:80/y"));
        assert!(!same("http://a/", "https://a/"));
        assert!(!same("http://a/", "http://a:81/"));
        assert!(!same("http://a/", "http://b/"));
    }
}
