//! `.env` files: keys without touching the process environment.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::Env;
use crate::providers::vendors;

/// A larger file is none of ours.
const MAX_BYTES: u64 = 1024 * 1024;

/// Adds what the file says to `env`; what cannot be read or is not accepted becomes a notice.
/// No value ever appears in one.
pub(super) fn read(path: &Path, env: &mut Env, notices: &mut Vec<String>) {
    let text = match text_of(path) {
        Ok(Some(text)) => text,
        Ok(None) => return,
        Err(why) => {
            notices.push(format!("`{}` is ignored: {why}", path.display()));
            return;
        }
    };
    let mut after = "the beginning".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (entry, behind) = entry(rest, |name| env.get(name).map(str::to_owned));
        rest = behind;
        match entry {
            Entry::Nothing => {}
            Entry::Set(name, _) if is_refused(name) => {
                notices.push(format!(
                    "`{name}` of `{}` is ignored: set it in the environment",
                    path.display()
                ));
                after = format!("`{name}`");
            }
            Entry::Set(name, value) => {
                after = format!("`{name}`");
                env.add(name.to_owned(), value.into());
            }
            // The line itself may hold a secret.
            Entry::Garbled => notices.push(format!(
                "`{}`: what follows {after} is not `NAME=value`, or its quote does not end",
                path.display()
            )),
        }
    }
}

/// What a line of the file says.
#[derive(Debug, PartialEq, Eq)]
enum Entry<'t> {
    /// It is blank or a comment.
    Nothing,
    /// A variable and its value.
    Set(&'t str, String),
    /// It is none of these.
    Garbled,
}

/// Reads the entry that a text begins with, and hands back what stands behind it.
///
/// Secrets are full of `$`, so it stands for itself; only `${NAME}`, outside of single quotes, is the value of a
/// variable that `known` has. A value in quotes may have several lines.
fn entry(text: &str, known: impl Fn(&str) -> Option<String>) -> (Entry<'_>, &str) {
    let (line, behind) = text.split_once('\n').unwrap_or((text, ""));
    let written = line.trim();
    if written.is_empty() || written.starts_with('#') {
        return (Entry::Nothing, behind);
    }
    let garbled = (Entry::Garbled, behind);
    let Some((name, value)) = line.split_once('=') else {
        return garbled;
    };
    let name = name.trim();
    let name = match name.split_once(char::is_whitespace) {
        Some(("export", name)) => name.trim_start(),
        _ => name,
    };
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_';
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if !name.starts_with(is_first) || !name.chars().all(is_name) {
        return garbled;
    }
    let begun = value.trim_start();
    let Some(quote) = begun.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let value = uncommented(value).trim();
        return (Entry::Set(name, replaced(value, known)), behind);
    };
    // The quote may end some lines further on.
    let Some((value, tail)) = text.get(line.len() - begun.len() + 1..).and_then(|inner| {
        let end = closing(inner, quote)?;
        Some((inner.get(..end)?, inner.get(end + 1..)?))
    }) else {
        return garbled;
    };
    let (tail, behind) = tail.split_once('\n').unwrap_or((tail, ""));
    let tail = tail.trim();
    if !tail.is_empty() && !tail.starts_with('#') {
        return garbled;
    }
    let value = if quote == '"' {
        unescaped(value, known)
    } else {
        value.to_owned()
    };
    (Entry::Set(name, value), behind)
}

/// A line without the comment at its end, which a blank parts from what it is about.
fn uncommented(line: &str) -> &str {
    let mut comments = line.match_indices('#').map(|(at, _)| at);
    let comment = comments.find(|at| {
        let before = line.get(..*at).unwrap_or_default();
        before.ends_with(char::is_whitespace)
    });
    comment.and_then(|at| line.get(..at)).unwrap_or(line)
}

/// Where a quoted text ends. In double quotes a backslash hides the next letter.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut is_hidden = false;
    let end = text.char_indices().find(|(_, c)| {
        let ends = *c == quote && !is_hidden;
        is_hidden = *c == '\\' && quote == '"' && !is_hidden;
        ends
    });
    end.map(|(at, _)| at)
}

/// What stands in double quotes. A backslash before any other letter stands for itself.
fn unescaped(text: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        value += &replaced(before, &known);
        let mut letters = behind.chars();
        match letters.next() {
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some(letter @ ('\\' | '"' | '$')) => value.push(letter),
            Some(letter) => value.extend(['\\', letter]),
            None => value.push('\\'),
        }
        // What was hidden is no `${NAME}` any more.
        rest = letters.as_str();
    }
    value + &replaced(rest, &known)
}

/// A text in which `${NAME}` is replaced where the variable is known.
fn replaced(text: &str, known: impl Fn(&str) -> Option<String>) -> String {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        value += before;
        let found = behind
            .split_once('}')
            .and_then(|(name, behind)| Some((known(name)?, behind)));
        if let Some((known, behind)) = found {
            value += &known;
            rest = behind;
        } else {
            value += "${";
            rest = behind;
        }
    }
    value + rest
}

/// The file's text; `None` when there is no such file.
fn text_of(path: &Path) -> Result<Option<String>, String> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(plain(&error)),
    };
    if metadata.is_dir() {
        return Err("it is a directory".to_owned());
    }
    // A pipe would keep us waiting.
    if !metadata.is_file() {
        return Err("it is no regular file".to_owned());
    }
    let mut bytes = Vec::new();
    fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| plain(&error))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err("it is larger than 1 MiB".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = text
        .strip_prefix('\u{feff}')
        .map(str::to_owned)
        .unwrap_or(text);
    Ok(Some(text.replace("\r\n", "\n")))
}

/// An error of the system without its number.
pub(super) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    words.to_lowercase()
}

/// What a file in the current directory, which may be anybody's, must not decide: where keys and
/// requests go, which programs run, where our own files lie.
fn is_refused(name: &str) -> bool {
    const NAMES: [&str; 9] = [
        "PATH",
        "HOME",
        "SHELL",
        "EDITOR",
        "VISUAL",
        "PAGER",
        "BROWSER",
        "TMPDIR",
        "CLAUDE_CONFIG_DIR",
    ];
    let upper = name.to_ascii_uppercase();
    ["LD_", "ORCH_", "XDG_", "SSL_CERT_"]
        .iter()
        .any(|start| upper.starts_with(start))
        || upper.ends_with("_PROXY")
        || upper.ends_with("_BASE_URL")
        || upper.ends_with("_API_BASE")
        || NAMES.contains(&upper.as_str())
        || vendors::base_url_variables().any(|variable| variable == upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> (Env, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".env");
        fs::write(&path, text).unwrap();
        let (mut env, mut notices) = (Env::default(), Vec::new());
        read(&path, &mut env, &mut notices);
        let prefix = format!("{}/", directory.path().display());
        (
            env,
            notices
                .iter()
                .map(|notice| notice.replace(&prefix, ""))
                .collect(),
        )
    }

    #[test]
    fn values_are_read_as_other_readers_of_such_files_read_them() {
        for (line, value) in [
            ("V=abc", "abc"),
            ("  V = abc  ", "abc"),
            ("export V=abc", "abc"),
            ("export\tV=abc", "abc"),
            ("V=abc\r", "abc"),
            ("V=a b c", "a b c"),
            ("V=abc # not this", "abc"),
            ("V=abc\t#not this", "abc"),
            ("V=a#b", "a#b"),
            ("V=#b", "#b"),
            ("V=it's", "it's"),
            ("V=a\"b\"", "a\"b\""),
            ("V=a=b==", "a=b=="),
            ("V=C:\\new\\$x", "C:\\new\\$x"),
            // A `$` is one.
            ("V=a$b", "a$b"),
            ("V='a$b'", "a$b"),
            ("V=\"a$b\"", "a$b"),
            ("V=\"a\\$b\"", "a$b"),
            ("V=$$$", "$$$"),
            ("V=${", "${"),
            ("V=${UNKNOWN}x", "${UNKNOWN}x"),
            ("V=\"\\${KNOWN}\"", "${KNOWN}"),
            ("V='${KNOWN}'", "${KNOWN}"),
            ("V=a${KNOWN}b$", "aknown valueb$"),
            ("V=\"${KNOWN}${KNOWN}\"", "known valueknown value"),
            // Quotes keep what they hold.
            ("V=\"a # b\" # not this", "a # b"),
            ("V='a # b'#not this", "a # b"),
            ("V=' a '", " a "),
            ("V=\"a\\\"b\\\\\"", "a\"b\\"),
            ("V='a\\'", "a\\"),
            ("V=\"a\\nb\\tc\\d\"", "a\nb\tc\\d"),
            ("V='a \"b\"'", "a \"b\""),
            ("V=\"a\nb=c\n\"", "a\nb=c\n"),
            (
                "V='-----BEGIN\r\nabc\r\n-----END'",
                "-----BEGIN\nabc\n-----END",
            ),
        ] {
            for text in [
                format!("\u{feff}# keys\n\nKNOWN=known value\n{line}\nNEXT=1\n"),
                format!("KNOWN=known value\n{line}"),
            ] {
                let (env, notices) = loaded(&text);
                assert_eq!(notices, Vec::<String>::new(), "{line}");
                assert_eq!(env.get("V"), Some(value), "{line}");
                let next = text.contains("NEXT").then_some("1");
                assert_eq!(env.get("NEXT"), next, "{line}");
            }
        }
        let (env, notices) = loaded("A=\nB=''\nC= # none\nD=first\nD=second\n");
        assert_eq!(notices, Vec::<String>::new());
        let values = ["A", "B", "C", "D"].map(|name| env.get(name));
        assert_eq!(values, [None, None, None, Some("first")]);
    }

    #[test]
    fn a_garbled_line_costs_itself_and_shows_nothing() {
        let (env, notices) = loaded(
            "A=1\nsk-secret value here\nB=2\nC=\"open\nD=4\ntwo words=5\n9=6\n=7\nE='a' b\nF=8\n",
        );
        for (name, value) in [("A", "1"), ("B", "2"), ("D", "4"), ("F", "8")] {
            assert_eq!(env.get(name), Some(value));
        }
        let told = |after| {
            format!("`.env`: what follows `{after}` is not `NAME=value`, or its quote does not end")
        };
        assert_eq!(notices, ["A", "B", "D", "D", "D", "D"].map(told));
    }

    #[test]
    fn what_decides_where_things_go_is_ignored() {
        for name in [
            "PATH",
            "LD_PRELOAD",
            "ORCH_STATE_DIR",
            "OPENAI_BASE_URL",
            "OLLAMA_HOST",
            "openai_api_base",
            "MISTRAL_API_BASE",
            "https_proxy",
            "SSL_CERT_FILE",
            "EDITOR",
            "HOME",
            "XDG_STATE_HOME",
        ] {
            let (env, notices) = loaded(&format!("{name}=x\n"));
            assert_eq!(env.get(name), None);
            assert_eq!(
                notices,
                [format!(
                    "`{name}` of `.env` is ignored: set it in the environment"
                )]
            );
        }
        for name in [
            "OPENAI_API_KEY",
            "SSH_KEY_PATH",
            "LAB_KEY",
            "DATABASE_URL",
            "OPENAI_ORG_ID",
        ] {
            let (env, notices) = loaded(&format!("{name}=x\n"));
            assert_eq!((env.get(name), notices.len()), (Some("x"), 0));
        }
    }

    #[test]
    fn what_is_no_file_is_said_and_survived() {
        let directory = tempfile::tempdir().unwrap();
        let (mut env, mut notices) = (Env::default(), Vec::new());
        read(&directory.path().join("absent"), &mut env, &mut notices);
        assert_eq!(notices, Vec::<String>::new());
        read(directory.path(), &mut env, &mut notices);
        let binary = directory.path().join("binary");
        fs::write(&binary, [0xff, 0xfe, 0]).unwrap();
        read(&binary, &mut env, &mut notices);
        assert_eq!(
            notices,
            [
                format!(
                    "`{}` is ignored: it is a directory",
                    directory.path().display()
                ),
                format!("`{}` is ignored: it is not UTF-8", binary.display()),
            ]
        );
    }
}
