//! Loads a configuration: found, read, checked, its directories resolved. Nothing is written.

use std::fs;
use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::node::{self, Node, Tree};
use super::problem::{ConfigError, Problem, printable};
use super::{Config, Document, Env, Origin, dotenv, find, read, ssh_variables, trust};

/// What a configuration is loaded from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file of `--config`.
    pub named: Option<&'a Path>,
    /// The current directory, absolute.
    pub current_dir: &'a Path,
    /// The names of all tools.
    pub tools: &'a [&'a str],
}

/// Loads the configuration; without any file everything has its default and there are no agents.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub fn load(source: Source<'_>, env: Env) -> Result<Config, ConfigError> {
    let found = find::find(source.named, source.current_dir, &env);
    load_found(source, env, found)
}

/// Loads a configuration that was in use once more. It stays what it was, found or named: from that follow its
/// directories, and whether it must be trusted.
///
/// # Errors
/// As [`load`].
pub fn load_again(source: Source<'_>, before: &Config, env: Env) -> Result<Config, ConfigError> {
    match &before.path {
        Some(path) => load_found(source, env, (Some(path.clone()), before.origin)),
        None => load(source, env),
    }
}

fn load_found(
    source: Source<'_>,
    mut env: Env,
    (path, origin): (Option<PathBuf>, Origin),
) -> Result<Config, ConfigError> {
    let file = display_name(path.as_deref(), source, origin);
    let whole = |problem| ConfigError::new(file.clone(), "", vec![problem]);
    let bytes = match &path {
        Some(path) => find::read(path).map_err(whole)?,
        None => Vec::new(),
    };
    let text = find::text(&bytes).map_err(whole)?;
    let tree =
        node::parse(text).map_err(|problem| ConfigError::new(file.clone(), text, vec![problem]))?;
    let mut findings = Findings::default();
    let mut document = read::document(&tree, source.tools, &mut findings);

    let mut notices: Vec<String> = findings
        .notices
        .drain(..)
        .map(|(at, words)| format!("{file}:{}:{}: {}", at.line, at.column, printable(&words)))
        .collect();
    let file_dir = path.as_deref().and_then(Path::parent);
    read_dotenv_files(source.current_dir, file_dir, &mut env, &mut notices);
    let accepts_hosts = ssh_variables::apply(&mut document, &tree.root, &env, &mut notices);

    let base_dir = match (origin, file_dir) {
        (Origin::Named | Origin::Found, Some(directory)) => directory.to_owned(),
        _ => source.current_dir.to_owned(),
    };
    let working_dir = working_dir(&document, &tree, &base_dir, &env, &mut findings);
    let user_state_dir = find::state_dir(source.current_dir, &env);
    let state_dir = match &document.settings.state_dir {
        Some(written) => Some(base_dir.join(env.expand(written))),
        None => user_state_dir.clone(),
    };
    if state_dir.is_none() && findings.problems.is_empty() {
        let problem = Problem::whole("there is no place for the ledger: `$HOME` is not set")
            .with_hint("set `$HOME` or `$ORCH_STATE_DIR`".to_owned());
        findings.add(problem);
    }
    if !findings.problems.is_empty() {
        return Err(ConfigError::new(file, text, findings.problems));
    }
    let state_dir = state_dir.unwrap_or_default();
    let beside = match origin {
        Origin::Named | Origin::Found => &base_dir,
        Origin::User | Origin::Nowhere => &state_dir,
    };
    let (logs_dir, outputs_dir) = (beside.join("logs"), beside.join("outputs"));
    Ok(Config {
        hash: match origin {
            Origin::Named | Origin::Found => {
                let named = document.settings.state_dir.is_some().then_some(&*state_dir);
                let places = [&*working_dir].into_iter().chain(named);
                trust::trusted_content(&bytes, places, &base_dir, accepts_hosts)
            }
            Origin::User | Origin::Nowhere => String::new(),
        },
        accepts_hosts,
        trust_dir: trust::trust_dir(&user_state_dir.unwrap_or_else(|| state_dir.clone())),
        path,
        file,
        origin,
        base_dir,
        document,
        working_dir,
        logs_dir,
        outputs_dir,
        state_dir,
        env,
        notices,
    })
}

/// The names of the entries of a section that have a body, wherever else the file has faults; none where it cannot
/// be read. For who looks and does nothing with it.
pub fn names_in(source: Source<'_>, env: &Env, section: &str) -> Vec<String> {
    let (path, _) = find::find(source.named, source.current_dir, env);
    // What is no file may never come.
    let Some(path) = path.filter(|path| path.is_file()) else {
        return Vec::new();
    };
    let bytes = find::read(&path).unwrap_or_default();
    let Ok(tree) = node::parse(find::text(&bytes).unwrap_or_default()) else {
        return Vec::new();
    };
    let entries = tree.root.get(section).map(Node::entries);
    let entries = entries.unwrap_or_default().iter();
    let named = entries.filter(|(_, body)| !body.is_null());
    named.map(|(key, _)| key.text.to_string()).collect()
}

/// The problem of what a path of keys and list positions leads to in the file of `config`, as
/// `["tasks", "deploy", "steps", "0", "prompt"]`: for checks that are made elsewhere.
pub fn problem_at(
    config: &Config,
    path: &[&str],
    message: String,
    hint: Option<String>,
) -> ConfigError {
    let bytes = config.path.as_deref().map(find::read);
    let bytes = bytes.and_then(Result::ok).unwrap_or_default();
    let text = find::text(&bytes).unwrap_or_default();
    let at = node::parse(text)
        .ok()
        .map(|tree| read::locate(&tree.root, path));
    let problem = Problem { at, message, hint };
    ConfigError::new(config.file.clone(), text, vec![problem])
}

/// The file as the user knows it.
fn display_name(path: Option<&Path>, source: Source<'_>, origin: Origin) -> String {
    match (path, origin) {
        (None, _) => "no configuration".to_owned(),
        (Some(path), Origin::User) => path.display().to_string(),
        (Some(path), _) => {
            let relative = path.strip_prefix(source.current_dir).unwrap_or(path);
            if relative.as_os_str().is_empty() {
                return ".".to_owned();
            }
            relative.display().to_string()
        }
    }
}

/// The environment with the `.env` file of a directory, for those who have no configuration yet.
pub fn environment(current_dir: &Path, mut env: Env) -> Env {
    read_dotenv_files(current_dir, None, &mut env, &mut Vec::new());
    env
}

fn read_dotenv_files(
    current_dir: &Path,
    file_dir: Option<&Path>,
    env: &mut Env,
    notices: &mut Vec<String>,
) {
    let here = current_dir.join(".env");
    dotenv::read(&here, env, notices);
    let Some(directory) = file_dir.filter(|directory| !is_same(directory, current_dir)) else {
        return;
    };
    ssh_variables::keep_strict(&here, env, notices);
    dotenv::read(&directory.join(".env"), env, notices);
}

/// Whether two paths lead to one directory.
fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path| fs::canonicalize(path).ok();
    one == other || real(one).is_some_and(|one| Some(one) == real(other))
}

/// The workspace, with links resolved; a problem when it is no directory.
fn working_dir(
    document: &Document,
    tree: &Tree<'_>,
    base_dir: &Path,
    env: &Env,
    findings: &mut Findings,
) -> PathBuf {
    let written = &document.settings.working_dir;
    let path = base_dir.join(env.expand(written));
    let fault = match fs::canonicalize(&path) {
        Ok(resolved) if resolved.is_dir() => return resolved,
        Ok(_) => "is no directory".to_owned(),
        Err(error) => match error.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => format!("cannot be used: {}", dotenv::plain(&error)),
        },
    };
    let at = read::locate(&tree.root, &["settings", "working_dir"]);
    let message = format!("the working directory `{written}` {fault}");
    let hint = format!("it is `{}`", path.display());
    findings.add_about(at, Problem::new(at, message).with_hint(hint));
    path
}
