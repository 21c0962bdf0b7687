//! Which names hold secrets and which files change what runs later: pure rules over names.
//!
//! Letters are compared without case: on a case-folding file system `.ENV` opens `.env`.

/// Names that `orch` itself would read as configuration, in the directories where it looks.
pub(super) const CONFIGURATION_NAMES: [&[u8]; 4] =
    [b"orch.yaml", b"config.yaml", b"config.yml", b".env"];

/// Whether a file of this name holds a secret by convention: `.env*` other than templates, private
/// keys, key stores, files of credentials.
pub(super) fn holds_secret(name: &[u8]) -> bool {
    const EXACT: [&[u8]; 9] = [
        b".netrc",
        b"_netrc",
        b".pgpass",
        b".pypirc",
        b".git-credentials",
        b".dockercfg",
        b"key.pem",
        b"private.pem",
        b"privkey.pem",
    ];
    const ENDINGS: [&[u8]; 8] = [
        b".key",
        b".ppk",
        b".p12",
        b".pfx",
        b".kdbx",
        b".jks",
        b"-key.pem",
        b"_key.pem",
    ];
    // `.env.local`, and `production.env`.
    if begins(name, b".env").is_some() || ends(name, b".env") {
        let is_template = |part: &[u8]| {
            [&b"example"[..], b"sample", b"template"]
                .iter()
                .any(|word| part.eq_ignore_ascii_case(word))
        };
        return !name
            .split(|byte| !byte.is_ascii_alphanumeric())
            .any(is_template);
    }
    EXACT.iter().any(|known| name.eq_ignore_ascii_case(known))
        || ENDINGS
            .iter()
            .any(|ending| name.len() > ending.len() && ends(name, ending))
        || is_ssh_key(name)
}

/// What follows a beginning, in letters of either case.
fn begins<'n>(name: &'n [u8], with: &[u8]) -> Option<&'n [u8]> {
    let (start, rest) = name.split_at_checked(with.len())?;
    start.eq_ignore_ascii_case(with).then_some(rest)
}

fn ends(name: &[u8], with: &[u8]) -> bool {
    name.split_at_checked(name.len().wrapping_sub(with.len()))
        .is_some_and(|(_, end)| end.eq_ignore_ascii_case(with))
}

/// Whether a path is where programs keep their credentials, whatever the file is called.
pub(super) fn keeps_credentials(path: &[u8]) -> bool {
    const FILES: [(&[&[u8]], &[u8]); 9] = [
        (&[b".aws"], b"credentials"),
        (&[b".azure"], b"accessTokens.json"),
        (&[b".cargo"], b"credentials"),
        (&[b".cargo"], b"credentials.toml"),
        (&[b".docker"], b"config.json"),
        (&[b".kube"], b"config"),
        (&[b".config", b"gh"], b"hosts.yml"),
        (
            &[b".config", b"gcloud"],
            b"application_default_credentials.json",
        ),
        (&[b".config", b"gcloud"], b"credentials.db"),
    ];
    const NO_KEYS: [&[u8]; 3] = [b"config", b"known_hosts", b"authorized_keys"];
    let mut above = path
        .rsplit(|byte| *byte == b'/')
        .filter(|name| !name.is_empty());
    let Some(name) = above.next() else {
        return false;
    };
    let is = |name: &[u8], other: &[u8]| name.eq_ignore_ascii_case(other);
    if above
        .clone()
        .next()
        .is_some_and(|holder| is(holder, b".ssh"))
    {
        return !NO_KEYS.iter().any(|known| is(name, known))
            && !name.to_ascii_lowercase().ends_with(b".pub");
    }
    FILES.iter().any(|(directories, file)| {
        let mut above = above.clone();
        is(name, file)
            && directories
                .iter()
                .rev()
                .all(|directory| above.next().is_some_and(|name| is(name, directory)))
    })
}

/// `id_rsa`, `id_ed25519_sk`, `id_ecdsa.old`: private halves as ssh-keygen names them.
fn is_ssh_key(name: &[u8]) -> bool {
    [&b"id_rsa"[..], b"id_dsa", b"id_ecdsa", b"id_ed25519"]
        .iter()
        .filter_map(|start| begins(name, start))
        .any(|rest| {
            (rest.is_empty() || matches!(rest.first(), Some(b'.' | b'_' | b'-')))
                && !ends(rest, b".pub")
        })
}

/// Whether a path changes what git runs later, outside the sandbox: `.git` itself, `config`, `hooks` and
/// what redirects to other ones, in the repository and in its submodules and worktrees.
pub(super) fn steers_git<'a>(components: impl Iterator<Item = &'a [u8]>) -> bool {
    let mut inside = false;
    let mut rest: Vec<Vec<u8>> = Vec::new();
    for component in components {
        let component = component.to_ascii_lowercase();
        if component == b".git" {
            inside = true;
            rest.clear();
        } else if inside {
            rest.push(component);
        }
    }
    inside && steers_gitdir(&rest)
}

/// The same for a path relative to the git directory.
fn steers_gitdir(rest: &[Vec<u8>]) -> bool {
    match rest {
        [] => true,
        [first, ..] if GIT_STEERING.contains(&first.as_slice()) => true,
        [first, inner @ ..] if first == b"modules" => inner
            .iter()
            .any(|component| GIT_STEERING.contains(&component.as_slice())),
        [first, _, inner] if first == b"worktrees" => GIT_STEERING.contains(&inner.as_slice()),
        _ => false,
    }
}

/// Entries of a git directory that decide which programs git starts.
pub(super) const GIT_STEERING: [&[u8]; 4] = [b"config", b"hooks", b"config.worktree", b"commondir"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_names() {
        for name in [
            ".env",
            ".ENV",
            ".env.local",
            ".env.production",
            ".envrc",
            "production.env",
            "id_rsa",
            "id_ed25519",
            "id_ed25519_sk",
            "id_rsa.bak",
            "server.key",
            "tls-key.pem",
            "cert.P12",
            ".netrc",
            ".git-credentials",
        ] {
            assert!(holds_secret(name.as_bytes()), "{name}");
        }
        for name in [
            ".env.example",
            ".env.sample",
            ".env.template",
            ".env.local.example",
            ".env-sample",
            "env",
            "example.env",
            "environment.ts",
            "id_rsa.pub",
            "id_ed25519_sk.pub",
            "id_rsatest",
            "cert.pem",
            "ca.pem",
            ".key",
            "monkey",
            "keyboard.rs",
        ] {
            assert!(!holds_secret(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn credentials_by_their_directory() {
        for path in [
            ".aws/credentials",
            "/home/u/.docker/config.json",
            "x/.kube/config",
            ".config/gh/hosts.yml",
            ".ssh/deploy",
            ".SSH/Deploy_Key",
            ".cargo/credentials.toml",
        ] {
            assert!(keeps_credentials(path.as_bytes()), "{path}");
        }
        for path in [
            "aws/credentials",
            "credentials",
            ".docker/x/config.json",
            ".ssh/config",
            ".ssh/deploy.pub",
            ".ssh",
            "gh/hosts.yml",
            ".cargo/config.toml",
        ] {
            assert!(!keeps_credentials(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn what_steers_git() {
        let steers = |path: &str| steers_git(path.split('/').map(str::as_bytes));
        for path in [
            ".git",
            "sub/.git",
            ".git/config",
            ".GIT/Config",
            ".git/hooks",
            ".git/hooks/post-commit",
            ".git/commondir",
            ".git/config.worktree",
            ".git/modules/a/config",
            ".git/modules/a/b/hooks/pre-push",
            ".git/worktrees/w/config.worktree",
            "vendor/x/.git/hooks/update",
        ] {
            assert!(steers(path), "{path}");
        }
        for path in [
            "src/config",
            "hooks/x",
            ".git/index",
            ".git/refs/heads/config",
            ".git/objects/ab/cd",
            ".gitignore",
            ".github/hooks",
        ] {
            assert!(!steers(path), "{path}");
        }
    }
}
