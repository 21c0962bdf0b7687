//! What Tab completes, and the grey words behind a line.

use std::path::{Path, PathBuf};

use rustyline::hint::Hint;

use super::input::{self, COMMANDS, Command, Takes};
use crate::providers;
use crate::render;
use crate::sessions;
use crate::store::Store;
use crate::tasks::runs;

/// Conversations and runs that Tab looks through.
const LISTED: u32 = 50;

/// Columns of a grey word at the most: a line of history may be long.
const WIDEST: usize = 60;

/// The names that a line may use.
#[derive(Default)]
pub(super) struct Known {
    pub(super) agents: Vec<String>,
    /// The tasks, each with its inputs.
    pub(super) tasks: Vec<(String, Vec<String>)>,
    /// The agent that is asked.
    pub(super) agent: String,
    /// Where conversations and runs are; they are looked up when Tab asks for them.
    pub(super) store: Option<Store>,
    /// Where the paths of a prompt begin.
    pub(super) workspace: PathBuf,
}

/// What may stand where the cursor is, and where it begins.
pub(super) fn candidates(known: &Known, line: &str) -> (usize, Vec<String>) {
    if let Some((command, arguments)) = argument_of(line) {
        let start = line.len() - arguments.len();
        let found = match command.takes {
            Takes::Nothing | Takes::Text => Vec::new(),
            Takes::One(word) => beginning(arguments, [word]),
            Takes::Agent => beginning(arguments, &known.agents),
            Takes::Model => beginning(arguments, models()),
            Takes::Session => beginning(arguments, known.sessions()),
            Takes::Run => beginning(arguments, known.runs()),
            Takes::File => paths(Path::new("."), arguments),
            Takes::Task => return task(known, arguments, start),
        };
        if command.takes != Takes::Text {
            return (start, found);
        }
    }
    let start = last_word(line);
    let word = line.get(start..).unwrap_or_default();
    let found = if start == 0 && word.starts_with('/') {
        beginning(word, input::names().map(|name| format!("/{name}")))
    } else if let Some(path) = word.strip_prefix('@') {
        let agents = known.agents.iter().filter(|_| start == 0);
        let mut found = beginning(word, agents.map(|agent| format!("@{agent}")));
        let paths = paths(&known.workspace, path.strip_prefix('"').unwrap_or(path));
        found.extend(paths.into_iter().map(|path| attached(&path)));
        found
    } else if word.is_empty() {
        Vec::new()
    } else if line.starts_with('!') {
        let paths = paths(Path::new("."), &meant(word));
        paths.into_iter().map(|path| for_shell(&path)).collect()
    } else if let Some(path) = word.strip_prefix('"') {
        let paths = paths(&known.workspace, path);
        paths.into_iter().map(|path| quoted(&path)).collect()
    } else {
        paths(&known.workspace, word)
    };
    (start, found)
}

/// Where the word begins that the cursor is behind. Blanks belong to it where a quote that it begins with is open, and
/// in a shell line behind a backslash.
fn last_word(line: &str) -> usize {
    let is_shell = line.starts_with('!');
    let mut start = usize::from(is_shell);
    let (mut open, mut is_escaped) = (None, false);
    for (at, character) in line.char_indices().skip(start) {
        let begins = at == start || line.get(start..at) == Some("@");
        match open {
            Some(quote) if character == quote => open = None,
            Some(_) => {}
            None if is_escaped => is_escaped = false,
            None if is_shell && character == '\\' => is_escaped = true,
            None if begins && (character == '"' || is_shell && character == '\'') => {
                open = Some(character);
            }
            None if character.is_whitespace() => start = at + character.len_utf8(),
            None => {}
        }
    }
    start
}

/// What a word of a shell line means that is not at its end yet.
fn meant(word: &str) -> String {
    if let Some(rest) = word.strip_prefix(['"', '\'']) {
        return rest.to_owned();
    }
    let mut is_escaped = false;
    let is_meant = |character: &char| {
        is_escaped = *character == '\\' && !is_escaped;
        !is_escaped
    };
    word.chars().filter(is_meant).collect()
}

/// How a shell line names a path.
fn for_shell(path: &str) -> String {
    let is_plain =
        |character: char| character.is_alphanumeric() || "/._-+,:@%=".contains(character);
    match path {
        path if path.chars().all(is_plain) => path.to_owned(),
        // The quote stays open for what lies in a directory.
        path if path.ends_with('/') => format!("'{}", path.replace('\'', "'\\''")),
        path => format!("'{}'", path.replace('\'', "'\\''")),
    }
}

/// A path in quotes, which stay open for what lies in a directory.
fn quoted(path: &str) -> String {
    let end = if path.ends_with('/') { "" } else { "\"" };
    format!("\"{path}{end}")
}

impl Known {
    fn sessions(&self) -> Vec<String> {
        let list = |store| sessions::list(store, &self.agent, LISTED).ok();
        let list = self.store.as_ref().and_then(list).unwrap_or_default();
        let named = list.into_iter();
        named
            .map(|session| session.name.unwrap_or(session.id))
            .collect()
    }

    fn runs(&self) -> Vec<String> {
        let list = self
            .store
            .as_ref()
            .and_then(|store| runs::list(store, LISTED).ok());
        list.unwrap_or_default()
            .into_iter()
            .map(|run| run.run_id)
            .collect()
    }
}

fn models() -> impl Iterator<Item = &'static str> {
    providers::available_models()
        .into_iter()
        .map(|alias| alias.name)
}

/// The command of a line that has come to its arguments, and these.
fn argument_of(line: &str) -> Option<(&'static Command, &str)> {
    let (name, arguments) = line.strip_prefix('/')?.split_once(' ')?;
    let command = COMMANDS.iter().find(|command| command.name == name)?;
    Some((command, arguments.trim_start()))
}

/// A task's name, then its inputs.
fn task(known: &Known, arguments: &str, start: usize) -> (usize, Vec<String>) {
    let Some((name, _)) = arguments.split_once(' ') else {
        let names = known.tasks.iter().map(|(name, _)| name);
        return (start, beginning(arguments, names));
    };
    let inputs = known.tasks.iter().find(|(task, _)| task == name);
    let word = arguments.rfind(' ').map_or(0, |space| space + 1);
    let inputs = inputs
        .map(|(_, inputs)| inputs.as_slice())
        .unwrap_or_default();
    let inputs = inputs.iter().map(|input| format!("{input}="));
    (
        start + word,
        beginning(arguments.get(word..).unwrap_or_default(), inputs),
    )
}

/// The names that begin like a word, each once.
fn beginning<T: AsRef<str>>(word: &str, names: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in names {
        let name = name.as_ref();
        if name.starts_with(word) && !found.iter().any(|other| other == name) {
            found.push(name.to_owned());
        }
    }
    found
}

/// How a prompt names a file that it takes along.
fn attached(path: &str) -> String {
    if path.contains(char::is_whitespace) {
        format!("@{}", quoted(path))
    } else {
        format!("@{path}")
    }
}

/// The files and directories that begin like a word, which is relative to a directory.
fn paths(from: &Path, word: &str) -> Vec<String> {
    let (directory, begin) = word
        .rfind('/')
        .map_or(("", word), |slash| word.split_at(slash + 1));
    let Ok(entries) = std::fs::read_dir(from.join(directory)) else {
        return Vec::new();
    };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            // The line editor shows what is offered as it is, and a model may have named the file. No key could type
            // such a name either.
            if name
                .chars()
                .any(|character| render::is_obeyed(character) || "\n\t".contains(character))
            {
                return None;
            }
            let hidden = name.starts_with('.') && !begin.starts_with('.');
            if hidden || !name.starts_with(begin) {
                return None;
            }
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(format!("{directory}{name}{slash}"))
        })
        .collect();
    found.sort();
    found
}

/// The grey words behind a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Grey {
    shown: String,
    /// What the right arrow takes over.
    taken: Option<String>,
}

impl Hint for Grey {
    fn display(&self) -> &str {
        &self.shown
    }

    fn completion(&self) -> Option<&str> {
        self.taken.as_deref()
    }
}

/// What may follow a line: the rest of one that was said before, of a command's name, or what it takes.
pub(super) fn hint(line: &str, said_before: Option<String>) -> Option<Grey> {
    if line.is_empty() || line.contains('\n') {
        return None;
    }
    if let Some(rest) = said_before.filter(|rest| !rest.is_empty() && !rest.contains('\n')) {
        let mut shown: String = rest.chars().take(WIDEST).collect();
        if shown.len() < rest.len() {
            shown.push('…');
        }
        return Some(Grey {
            shown,
            taken: Some(rest),
        });
    }
    let takes = |command: &Command, space: &str| {
        (!command.arguments.is_empty()).then(|| format!("{space}{}", command.arguments))
    };
    if let Some((command, arguments)) = argument_of(line) {
        let shown = takes(command, "").filter(|_| arguments.is_empty())?;
        return Some(Grey { shown, taken: None });
    }
    let name = line.strip_prefix('/').filter(|name| !name.is_empty())?;
    if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
        let shown = takes(command, " ")?;
        return Some(Grey { shown, taken: None });
    }
    let full = input::names().find(|full| full.starts_with(name))?;
    let command = COMMANDS.iter().find(|command| command.name == full);
    let rest = full.get(name.len()..)?.to_owned();
    let takes = command.and_then(|command| takes(command, " "));
    Some(Grey {
        shown: format!("{rest}{}", takes.unwrap_or_default()),
        taken: Some(rest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(workspace: &Path) -> Known {
        let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Known {
            agents: strings(&["coder", "critic"]),
            tasks: vec![("deploy".to_owned(), strings(&["target", "version"]))],
            agent: "coder".to_owned(),
            store: None,
            workspace: workspace.to_owned(),
        }
    }

    #[test]
    fn tab_knows_what_may_stand_where_the_cursor_is() {
        let directory = tempfile::tempdir().unwrap();
        for part in ["src", "an other"] {
            std::fs::create_dir(directory.path().join(part)).unwrap();
        }
        for file in [
            "src/lib.rs",
            "src/live.rs",
            "src/my file.txt",
            "an other/it's",
            ".hidden",
            "coder.txt",
            "named\x1b]52;c;RVZJTA==\x07\x1b[2J.txt",
            "named\x1b[8m.txt",
            "named\u{9b}2J.txt",
            "named\u{202e}txt",
            "named\nfalse.txt",
            "named.txt",
        ] {
            std::fs::write(directory.path().join(file), "").unwrap();
        }
        let known = known(directory.path());
        for (line, start, expected) in [
            ("/ag", 0, &["/agents", "/agent"][..]),
            ("/ex", 0, &["/export", "/exit"]),
            ("/agent cr", 7, &["critic"]),
            ("/agent  cr", 8, &["critic"]),
            ("/logs ", 6, &["coder", "critic"]),
            ("/costs r", 7, &["reset"]),
            ("/tools ", 7, &["last"]),
            ("/status ", 8, &[]),
            ("/task d", 6, &["deploy"]),
            ("/task deploy ", 13, &["target=", "version="]),
            ("/task deploy target=x v", 22, &["version="]),
            ("/model gpt4o-m", 7, &["gpt4o-mini"]),
            ("@c", 0, &["@coder", "@critic", "@coder.txt"]),
            ("explain @c", 8, &["@coder.txt"]),
            ("explain @src/li", 8, &["@src/lib.rs", "@src/live.rs"]),
            ("see @src/my", 4, &["@\"src/my file.txt\""]),
            ("see @\"src/my f", 4, &["@\"src/my file.txt\""]),
            ("see \"src/my f", 4, &["\"src/my file.txt\""]),
            ("see \"a b\" sr", 10, &["src/"]),
            ("isn't @sr", 6, &["@src/"]),
            ("see @an", 4, &["@\"an other/"]),
            ("see @\"an other/", 4, &["@\"an other/it's\""]),
            ("/all see @sr", 9, &["@src/"]),
            ("see .h", 4, &[".hidden"]),
            ("see @na", 4, &["@named.txt"]),
            ("see na", 4, &["named.txt"]),
            ("hello ", 6, &[]),
            ("漢字\u{3000}sr", 9, &["src/"]),
        ] {
            let (from, mut found) = candidates(&known, line);
            if line.starts_with("/model") {
                found.truncate(1);
            }
            assert_eq!(
                (from, found.as_slice()),
                (
                    start,
                    &*expected
                        .iter()
                        .map(|text| (*text).to_owned())
                        .collect::<Vec<_>>()
                ),
                "{line}"
            );
        }
    }

    #[test]
    fn a_shell_line_names_paths_as_a_shell_does() {
        for (line, start, meaning) in [
            ("!cat src/my", 5, "src/my"),
            ("!cat src/my\\ f", 5, "src/my f"),
            ("!cat 'src/my f", 5, "src/my f"),
            ("!cat \"a b\" c", 11, "c"),
            ("!cat a\\\\ c", 9, "c"),
            ("!ca", 1, "ca"),
        ] {
            let found = last_word(line);
            let word = line.get(found..).unwrap();
            assert_eq!((found, meant(word).as_str()), (start, meaning), "{line}");
        }
        for (path, expected) in [
            ("src/lib.rs", "src/lib.rs"),
            ("my file", "'my file'"),
            ("my dir/", "'my dir/"),
            ("it's $HOME", "'it'\\''s $HOME'"),
        ] {
            assert_eq!(for_shell(path), expected);
        }
    }

    #[test]
    fn grey_words_tell_what_may_follow() {
        let before = |rest: &str| Some(rest.to_owned());
        for (line, said, shown, taken) in [
            ("", before("x"), None, None),
            (
                "fix",
                before(" the tests"),
                Some(" the tests"),
                Some(" the tests"),
            ),
            ("fix", before(" it\nand"), None, None),
            ("fix", None, None, None),
            ("/und", None, Some("o"), Some("o")),
            ("/ex", None, Some("port FILE"), Some("port")),
            ("/exi", None, Some("t"), Some("t")),
            ("/agent", None, Some(" NAME"), None),
            ("/agent ", None, Some("NAME"), None),
            ("/agent x", None, None, None),
            ("/status", None, None, None),
            ("/", None, None, None),
        ] {
            let grey = hint(line, said);
            let expected = shown.map(|shown: &str| Grey {
                shown: shown.to_owned(),
                taken: taken.map(str::to_owned),
            });
            assert_eq!(grey, expected, "{line}");
        }
        let long = hint("a", Some("b".repeat(100))).unwrap();
        assert_eq!(long.display(), format!("{}…", "b".repeat(60)));
        assert_eq!(long.completion(), Some("b".repeat(100).as_str()));
    }
}
