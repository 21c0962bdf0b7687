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
    for entry in dotenvy::from_read_iter(text.as_bytes()) {
        match entry {
            Ok((name, _)) if is_refused(&name) => {
                notices.push(format!(
                    "`{name}` of `{}` is ignored: set it in the environment",
                    path.display()
                ));
                after = format!("`{name}`");
            }
            Ok((name, value)) => {
                after = format!("`{name}`");
                env.add(name, value.into());
            }
            // The error itself holds the line, and with it the secret.
            Err(_) => notices.push(format!(
                "`{}`: what follows {after} is not `NAME=value`; a value with blanks or `$` needs single quotes",
                path.display()
            )),
        }
    }
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
    // The last line counts even without its end.
    Ok(Some(text + "\n"))
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
    fn values_are_read_as_shells_read_them() {
        let (env, notices) = loaded(
            "\u{feff}# keys\nPLAIN=abc\nexport EXPORTED=def\nQUOTED=\"a b # c\"\nSINGLE='$x \"y\"'\n\
             COMMENT=abc # not this\nHASH=a#b\nEMPTY=\n  INDENTED = x\nPLAIN=second\nTWICE=1\r\nLAST=z",
        );
        assert_eq!(notices, Vec::<String>::new());
        for (name, expected) in [
            ("PLAIN", Some("abc")),
            ("EXPORTED", Some("def")),
            ("export", None),
            ("QUOTED", Some("a b # c")),
            ("SINGLE", Some("$x \"y\"")),
            ("COMMENT", Some("abc")),
            ("HASH", Some("a#b")),
            ("EMPTY", None),
            ("INDENTED", Some("x")),
            ("TWICE", Some("1")),
            ("LAST", Some("z")),
        ] {
            assert_eq!(env.get(name), expected, "{name}");
        }
    }

    #[test]
    fn a_garbled_line_costs_itself_and_shows_nothing() {
        let (env, notices) = loaded("A=1\nsk-secret value here\nB=2\nC=two words\nD=4\n");
        assert_eq!(env.get("A"), Some("1"));
        assert_eq!(env.get("B"), Some("2"));
        assert_eq!(env.get("D"), Some("4"));
        let words = "is not `NAME=value`; a value with blanks or `$` needs single quotes";
        assert_eq!(
            notices,
            [
                format!("`.env`: what follows `A` {words}"),
                format!("`.env`: what follows `B` {words}"),
            ]
        );
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
