//! Keeps secrets out of what is printed of a configuration.
//!
//! It works on text, since a file that is no YAML has nothing better: what follows a key that
//! sounds secret is masked, and so is whatever is shaped like a key.

use crate::redact::{MASK, Redactor};

/// As many stars as there were characters, so that columns stay what they are.
fn stars(secret: &str) -> String {
    "*".repeat(secret.chars().count())
}

/// A line of a configuration without its secrets, each character where it was. `above` is the last line before it that is not
/// blank: a secret may stand alone on its line.
pub(super) fn mask_line(line: &str, above: &str, redactor: &Redactor) -> String {
    let key_above = above
        .trim()
        .trim_end_matches(['|', '>', '-', '+', ' ', '\t']);
    if key_above
        .strip_suffix(':')
        .is_some_and(|key| sounds_secret(last_word(key)))
        && !is_key_value(line)
    {
        let indent: String = line.chars().take_while(|c| c.is_whitespace()).collect();
        return format!("{indent}{}", stars(line.trim_start()));
    }
    let mut masked = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once(':') {
        masked.push_str(before);
        masked.push(':');
        rest = after;
        let key = last_word(before);
        if !sounds_secret(key) || !(after.starts_with([' ', '\t']) || after.is_empty()) {
            continue;
        }
        let value = after.trim_start();
        masked.push_str(after.get(..after.len() - value.len()).unwrap_or_default());
        let in_flow = masked.matches('{').count() > masked.matches('}').count();
        let end = value_end(value, in_flow);
        let (value, behind) = value.split_at_checked(end).unwrap_or((value, ""));
        if is_harmless(key, value) {
            masked.push_str(value);
        } else {
            masked.push_str(&stars(value));
        }
        rest = behind;
    }
    masked.push_str(rest);
    mask_shapes(&mask_urls(&masked), redactor)
}

/// Whether a mapping key announces a secret.
pub(super) fn sounds_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    [
        "key",
        "token",
        "secret",
        "password",
        "passwd",
        "passphrase",
        "authorization",
        "credential",
        "cookie",
        "auth",
    ]
    .iter()
    .any(|word| {
        let end = key.strip_suffix('s').filter(|_| *word != "token");
        key.ends_with(word) || end.is_some_and(|end| end.ends_with(word))
    }) || key.contains("secret")
        || key.ends_with("_env")
}

/// What may be shown although its key sounds secret: paths of key files, names of variables, and
/// nothing at all.
fn is_harmless(key: &str, value: &str) -> bool {
    let value = value.trim();
    let is_name = |text: &str| {
        text.len() < 60
            && text
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    };
    value.is_empty()
        || value.starts_with('#')
        || (key == "key" && value.starts_with(['~', '/', '.']))
        || (key.ends_with("_env") && is_name(value))
}

/// Where a value ends: at its closing quote, in a flow mapping at the comma or brace, else with
/// the line.
fn value_end(value: &str, in_flow: bool) -> usize {
    for quote in ['"', '\''] {
        if let Some(inside) = value.strip_prefix(quote) {
            let mut escaped = false;
            let mut characters = inside.char_indices().peekable();
            while let Some((index, character)) = characters.next() {
                let doubled = quote == '\'' && characters.peek().is_some_and(|(_, c)| *c == quote);
                if character == quote && doubled && !escaped {
                    escaped = true;
                    continue;
                }
                if character == quote && !escaped {
                    return index + 2;
                }
                escaped = character == '\\' && !escaped && quote == '"';
            }
            return value.len();
        }
    }
    let end = if in_flow {
        value.find([',', '}'])
    } else {
        None
    };
    end.unwrap_or(value.len())
}

/// The last word of what stands before a colon, without quotes.
fn last_word(text: &str) -> &str {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    text.rsplit([' ', '\t', ',', '{', '[', '"', '\''])
        .next()
        .unwrap_or(text)
}

fn is_key_value(line: &str) -> bool {
    let line = line.trim_start();
    line.split_once(':').is_some_and(|(key, after)| {
        !key.is_empty()
            && key
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
            && (after.is_empty() || after.starts_with(' '))
    })
}

/// A text without what is shaped like a key, and without passwords of URLs.
pub(super) fn mask_text(text: &str, redactor: &Redactor) -> String {
    mask_urls(&redactor.mask(text))
}

/// What is shaped like a key becomes stars, so that columns stay what they are.
fn mask_shapes(line: &str, redactor: &Redactor) -> String {
    let clean = redactor.mask(line);
    let mut masked = String::with_capacity(line.len());
    let mut rest = line;
    for (index, piece) in clean.split(MASK).enumerate() {
        let at = match (index, piece) {
            (0, _) => 0,
            (_, "") => rest.len(),
            _ => rest.find(piece).unwrap_or(rest.len()),
        };
        let (secret, behind) = rest.split_at_checked(at).unwrap_or((rest, ""));
        masked.push_str(&stars(secret));
        masked.push_str(piece);
        rest = behind.strip_prefix(piece).unwrap_or_default();
    }
    masked
}

/// What the query of an address gives to names that sound secret, as it is written and as it is meant.
pub(super) fn secrets_of_url(url: &str) -> Vec<String> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let query = query.split('#').next().unwrap_or_default();
    let mut secrets = Vec::new();
    for pair in query.split('&') {
        let Some((name, written)) = pair.split_once('=') else {
            continue;
        };
        if sounds_secret(name) {
            let meant = url::form_urlencoded::parse(pair.as_bytes()).next();
            let meant = meant.map(|(_, value)| value.into_owned());
            secrets.push(written.to_owned());
            secrets.extend(meant.filter(|meant| meant != written));
        }
    }
    secrets
}

/// Addresses without passwords and without what their queries give to a name that sounds secret.
pub(super) fn mask_urls(text: &str) -> String {
    mask_queries(&mask_url_passwords(text))
}

/// `?key=secret&a=b` without the secret.
fn mask_queries(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for (index, part) in text.split_inclusive(['?', '&']).enumerate() {
        let value = match part.split_once('=') {
            Some((name, value)) if index > 0 && !name.contains(' ') && sounds_secret(name) => value,
            _ => {
                masked.push_str(part);
                continue;
            }
        };
        let is_edge = |c: char| c.is_whitespace() || "\"'`,}]#&?".contains(c);
        let (secret, behind) = value.split_at(value.find(is_edge).unwrap_or(value.len()));
        masked.push_str(part.strip_suffix(value).unwrap_or_default());
        masked.push_str(&stars(secret));
        masked.push_str(behind);
    }
    masked
}

/// `https://user:password@host` without the password, with or without the scheme.
fn mask_url_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    for (index, part) in text.split('@').enumerate() {
        if index > 0 {
            hide_password(&mut masked);
            masked.push('@');
        }
        masked.push_str(part);
    }
    masked
}

/// Stars over what follows the colon in the last word of a text that stands before an `@`.
fn hide_password(text: &mut String) {
    let is_edge = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | ',' | '{' | '[');
    let word_start = text.rfind(is_edge).map_or(0, |edge| edge + 1);
    let word = text.get(word_start..).unwrap_or_default();
    let user_start = word.find("://").map_or(0, |scheme| scheme + 3);
    let user = word.get(user_start..).unwrap_or_default();
    if let Some(colon) = user.find(':') {
        let password = stars(user.get(colon..).unwrap_or_default());
        text.truncate(word_start + user_start + colon);
        text.push_str(&password);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sounds_secret_is_masked() {
        for (line, above, expected) in [
            ("  api_key: abc def", "", "  api_key: *******"),
            ("  api_key: \"a, b\" # note", "", "  api_key: ****** # note"),
            ("  key: ~/.ssh/id_rsa", "", "  key: ~/.ssh/id_rsa"),
            ("  key: hunter2", "", "  key: *******"),
            ("  api_key_env: LAB_KEY", "", "  api_key_env: LAB_KEY"),
            ("  api_key_env: hunter2", "", "  api_key_env: *******"),
            (
                "{headers: {Authorization: Bearer x, Other: y}, a: b}",
                "",
                "{headers: {Authorization: ********, Other: y}, a: b}",
            ),
            (
                "  \"X-Auth-Token\": 'a''b' x",
                "",
                "  \"X-Auth-Token\": ****** x",
            ),
            ("  password: \"a\\\"b\" x", "", "  password: ****** x"),
            ("  password: 'open", "", "  password: *****"),
            ("  max_output_tokens: 5m", "", "  max_output_tokens: 5m"),
            (
                "  model: sk-abcdefghijklmnop01234",
                "",
                "  model: ************************",
            ),
            (
                "a: {b: gsk_abcdefghijklmnop01234, c: x, d: gsk_abcdefghijklmnop01234}",
                "",
                "a: {b: *************************, c: x, d: *************************}",
            ),
            ("  model: skater", "", "  model: skater"),
            ("    hunter2", "  password: |", "    *******"),
            ("    user: me", "  password:", "    user: me"),
            (
                "  url: https://me:pw@host/x",
                "",
                "  url: https://me***@host/x",
            ),
            ("  url: https://me@host/x", "", "  url: https://me@host/x"),
            (
                "  {url: 'https://host/x?a=b&api_key=hunter2&c=d', token_count: 1}",
                "",
                "  {url: 'https://host/x?a=b&api_key=*******&c=d', token_count: 1}",
            ),
            ("  when: a & key=b", "", "  when: a & key=b"),
            ("  url: me:pw@host", "", "  url: me***@host"),
            ("  jump: ops@jump:22", "", "  jump: ops@jump:22"),
            ("  note: a: b: c", "", "  note: a: b: c"),
            ("  pässwörd_key: äöü x", "", "  pässwörd_key: *****"),
        ] {
            assert_eq!(
                mask_line(line, above, &Redactor::default()),
                expected,
                "{line}"
            );
        }
    }

    #[test]
    fn keys_in_addresses_are_known() {
        for (url, expected) in [
            ("http://host/v1", &[][..]),
            ("http://host/v1?version=2", &[]),
            ("http://host/v1?a=b&apikey=Query88#c", &["Query88"]),
            (
                "http://host/?token=a%2Fb+c&key=x",
                &["a%2Fb+c", "a/b c", "x"],
            ),
            ("http://host/?key", &[]),
        ] {
            assert_eq!(secrets_of_url(url), expected, "{url}");
        }
    }

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        assert_eq!(
            mask_text(
                "unknown provider `gsk_0123456789abcdefghij` of `https://a:b@c/`",
                &Redactor::default()
            ),
            "unknown provider `[redacted]` of `https://a:[redacted]@c/`"
        );
    }
}
