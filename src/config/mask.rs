//! Keeps secrets out of what is printed of a configuration.
//!
//! It works on text, since a file that is no YAML has nothing better: what follows a key that
//! sounds secret is masked to the end of the line, and so is whatever is shaped like a key.

/// As many stars as there were characters, so that columns stay what they are.
fn stars(secret: &str) -> String {
    "*".repeat(secret.chars().count())
}

/// How well-known keys begin.
const KEY_SHAPES: [&str; 20] = [
    "sk-",
    "sk_",
    "pk_",
    "rk_",
    "gsk_",
    "AIza",
    "xai-",
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "hf_",
    "AKIA",
    "xoxb-",
    "xoxp-",
    "r8_",
    "pplx-",
    "fw_",
    "eyJ",
];

/// A line of a configuration without its secrets. `above` is the last line before it that is not
/// blank: a secret may stand alone on its line.
pub(super) fn mask_line(line: &str, above: &str) -> String {
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
    mask_text(&masked)
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
pub(super) fn mask_text(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    let mut at_word_start = true;
    while let Some(first) = rest.chars().next() {
        let secret = if at_word_start {
            secret_length(rest)
        } else {
            0
        };
        if secret > 0 {
            let (secret, behind) = rest.split_at_checked(secret).unwrap_or((rest, ""));
            masked.push_str(&stars(secret));
            rest = behind;
            at_word_start = false;
            continue;
        }
        masked.push(first);
        at_word_start = !first.is_ascii_alphanumeric();
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    mask_url_passwords(&masked)
}

/// How many bytes at the start of `text` are a key; 0 for none.
fn secret_length(text: &str) -> usize {
    let is_key_byte = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let run = |from: usize| text.bytes().skip(from).take_while(is_key_byte).count();
    for word in ["Bearer ", "bearer ", "Basic ", "basic "] {
        if text.starts_with(word) && run(word.len()) >= 8 {
            return word.len() + run(word.len());
        }
    }
    let shaped = KEY_SHAPES.iter().any(|shape| text.starts_with(shape));
    if shaped && run(0) >= 12 { run(0) } else { 0 }
}

/// `https://user:password@host` without the password.
fn mask_url_passwords(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        masked.push_str(before);
        masked.push_str("://");
        rest = after;
        let authority = after
            .split(['/', ' ', '"', '\'', '`', '?', '#'])
            .next()
            .unwrap_or_default();
        if let Some((user, _)) = authority.rsplit_once('@') {
            let name = user.split(':').next().unwrap_or_default();
            if user.len() > name.len() {
                masked.push_str(name);
                masked.push_str(&stars(user.get(name.len()..).unwrap_or_default()));
                rest = after.get(user.len()..).unwrap_or_default();
            }
        }
    }
    masked.push_str(rest);
    masked
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
                "  model: sk-abcdefghijklmnop",
                "",
                "  model: *******************",
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
            ("  note: a: b: c", "", "  note: a: b: c"),
            ("  pässwörd_key: äöü x", "", "  pässwörd_key: *****"),
        ] {
            assert_eq!(mask_line(line, above), expected, "{line}");
        }
    }

    #[test]
    fn keys_are_masked_wherever_they_stand() {
        assert_eq!(
            mask_text("unknown provider `gsk_0123456789abcdef`, not `Bearer abcdefgh.ijk`"),
            "unknown provider `********************`, not `*******************`"
        );
        assert_eq!(
            mask_text("task-1 desk-abcdefghijklmnop"),
            "task-1 desk-abcdefghijklmnop"
        );
    }
}
