//! Takes a shell line apart into its simple commands, as far as that can be done by reading it.
//!
//! A convenience for approval rules, never a boundary: what cannot be read for sure is `None`,
//! and every rule that asks or denies takes that as a match.

use std::iter::Peekable;
use std::str::Chars;

/// Stands in a word for what only the shell knows: an expansion, a pattern of file names.
pub(super) const HOLE: char = '\0';

/// Substitutions inside substitutions that are followed.
const DEEPEST: usize = 16;

/// Builtins that run a text later or at once, as a line of its own.
pub(super) const RUNS_TEXT: [&str; 3] = ["eval", "alias", "trap"];

/// A simple command: its words without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Assignments in front of it.
    pub(super) assignments: usize,
    /// Its words, the assignments first.
    pub(super) words: Vec<String>,
    /// Its output goes to a file.
    pub(super) writes: bool,
}

/// A line, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Line {
    /// The simple commands, those of substitutions included.
    pub(super) commands: Vec<Command>,
    /// The line is more than a simple command: a list, a pipe, a group, a loop.
    pub(super) compound: bool,
}

/// Takes a line apart; `None` when it cannot be read for sure.
pub(super) fn parse(line: &str) -> Option<Line> {
    parse_at(line, 0)
}

pub(super) fn parse_at(line: &str, depth: usize) -> Option<Line> {
    if depth > DEEPEST || line.contains(HOLE) {
        return None;
    }
    let mut parser = Parser {
        rest: line.chars().peekable(),
        line: Line::default(),
        documents: Vec::new(),
        depth,
    };
    parser.list(None)?;
    parser.documents.is_empty().then_some(parser.line)
}

struct Parser<'l> {
    rest: Peekable<Chars<'l>>,
    line: Line,
    /// Ends of here-documents whose bodies begin on the next line.
    documents: Vec<String>,
    depth: usize,
}

impl Parser<'_> {
    /// Reads commands up to the end, or to the bracket that closes the list.
    fn list(&mut self, close: Option<char>) -> Option<()> {
        let mut command = Command::default();
        loop {
            let Some(&next) = self.rest.peek() else {
                self.end(command)?;
                return close.is_none().then_some(());
            };
            match next {
                ' ' | '\t' => {
                    self.rest.next();
                }
                '\n' => {
                    self.rest.next();
                    self.skip_documents()?;
                    self.operator();
                    self.end(std::mem::take(&mut command))?;
                }
                ';' | '|' => {
                    self.rest.next();
                    // `;;` belongs to a case, whose patterns look like commands.
                    if next == ';' && self.rest.peek() == Some(&';') {
                        return None;
                    }
                    self.operator();
                    self.end(std::mem::take(&mut command))?;
                }
                '&' => {
                    self.rest.next();
                    if self.rest.peek() == Some(&'>') {
                        self.redirect(&mut command)?;
                    } else {
                        self.operator();
                        self.end(std::mem::take(&mut command))?;
                    }
                }
                '(' if command.words.is_empty() => {
                    self.rest.next();
                    self.line.compound = true;
                    self.deeper(|parser| parser.list(Some(')')))?;
                }
                ')' if close == Some(')') => {
                    self.rest.next();
                    return self.end(command);
                }
                '(' | ')' => return None,
                '#' => while self.rest.next_if(|next| *next != '\n').is_some() {},
                '<' | '>' => self.redirect(&mut command)?,
                _ => {
                    let word = self.word()?;
                    let numbers = word.chars().all(|digit| digit.is_ascii_digit());
                    let redirects = matches!(self.rest.peek(), Some('<' | '>'));
                    if !(numbers && redirects) {
                        command.words.push(word);
                    }
                }
            }
        }
    }

    /// Notes that another command may follow.
    fn operator(&mut self) {
        let blank = |character: &char| character.is_whitespace();
        let mut ahead = self.rest.clone();
        while ahead.next_if(blank).is_some() {}
        self.line.compound |= ahead.peek().is_some();
    }

    fn redirect(&mut self, command: &mut Command) -> Option<()> {
        let mut sign = String::new();
        while let Some(next) = self
            .rest
            .next_if(|next| matches!(next, '<' | '>' | '&' | '|'))
        {
            sign.push(next);
        }
        if self.rest.peek() == Some(&'(') && matches!(sign.as_str(), "<" | ">") {
            self.substitution()?;
            command.words.push(HOLE.to_string());
            return Some(());
        }
        if sign == "<<" {
            self.rest.next_if_eq(&'-');
        }
        while self
            .rest
            .next_if(|next| matches!(next, ' ' | '\t'))
            .is_some()
        {}
        let target = self.word()?;
        if target.is_empty() {
            return None;
        }
        match sign.as_str() {
            "<<" => self.documents.push(target),
            "<" | "<<<" | "<&" => {}
            ">&" if target == "-" || target.chars().all(|digit| digit.is_ascii_digit()) => {}
            ">" | ">>" | ">|" | "<>" | ">&" | "&>" | "&>>" => {
                command.writes |= target != "/dev/null";
            }
            _ => return None,
        }
        Some(())
    }

    /// Skips the bodies of here-documents. One that expands may hold substitutions.
    fn skip_documents(&mut self) -> Option<()> {
        for end in std::mem::take(&mut self.documents) {
            loop {
                let mut line = String::new();
                while let Some(next) = self.rest.next_if(|next| *next != '\n') {
                    line.push(next);
                }
                if line.trim_start_matches('\t') == end {
                    break;
                }
                if line.contains("$(") || line.contains('`') || self.rest.next().is_none() {
                    return None;
                }
            }
        }
        Some(())
    }

    fn word(&mut self) -> Option<String> {
        let mut word = String::new();
        let (mut braces, mut brackets) = (false, false);
        while let Some(&next) = self.rest.peek() {
            match next {
                ' ' | '\t' | '\n' | ';' | '&' | '|' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.rest.next();
                    loop {
                        match self.rest.next()? {
                            '\'' => break,
                            character => word.push(character),
                        }
                    }
                }
                '"' => {
                    self.rest.next();
                    self.quoted(&mut word)?;
                }
                '\\' => {
                    self.rest.next();
                    match self.rest.next()? {
                        '\n' => {}
                        character => word.push(character),
                    }
                }
                '$' | '`' => self.expansion(&mut word)?,
                '*' | '?' => {
                    self.rest.next();
                    word.push(HOLE);
                }
                '~' if word.is_empty() => {
                    self.rest.next();
                    word.push(HOLE);
                }
                _ => {
                    braces |= next == '{';
                    brackets |= next == '[';
                    word.push(next);
                    self.rest.next();
                }
            }
        }
        // Braces give several words only where they hold a list or a sequence.
        braces &= word.contains(',') || word.contains("..");
        if braces || brackets && !matches!(word.as_str(), "[" | "[[") {
            word = HOLE.to_string();
        }
        Some(word)
    }

    /// The inside of double quotes.
    fn quoted(&mut self, word: &mut String) -> Option<()> {
        loop {
            match *self.rest.peek()? {
                '"' => {
                    self.rest.next();
                    return Some(());
                }
                '\\' => {
                    self.rest.next();
                    match self.rest.next()? {
                        '\n' => {}
                        character @ ('$' | '`' | '"' | '\\') => word.push(character),
                        character => word.extend(['\\', character]),
                    }
                }
                '$' | '`' => self.expansion(word)?,
                character => {
                    self.rest.next();
                    word.push(character);
                }
            }
        }
    }

    /// `$…` or backquotes: what they give is unknown, what they run is not.
    fn expansion(&mut self, word: &mut String) -> Option<()> {
        if self.rest.next() == Some('`') {
            let mut inner = String::new();
            loop {
                match self.rest.next()? {
                    '`' => break,
                    '\\' => inner.push(self.rest.next()?),
                    character => inner.push(character),
                }
            }
            self.nested(&inner)?;
            word.push(HOLE);
            return Some(());
        }
        match self.rest.peek() {
            Some('(') => self.substitution()?,
            Some('{') => {
                self.rest.next();
                self.deeper(Self::parameter)?;
            }
            // `$'…'` has escapes of its own.
            Some('\'' | '"') => return None,
            Some(next) if next.is_ascii_alphanumeric() || "_?!#@*-$".contains(*next) => {
                let first = self.rest.next()?;
                if first.is_ascii_alphabetic() || first == '_' {
                    let in_name = |next: &char| next.is_ascii_alphanumeric() || *next == '_';
                    while self.rest.next_if(in_name).is_some() {}
                }
            }
            _ => {
                word.push('$');
                return Some(());
            }
        }
        word.push(HOLE);
        Some(())
    }

    /// `(…)` after `$`, `<` or `>`.
    fn substitution(&mut self) -> Option<()> {
        self.rest.next();
        // Arithmetic looks like a group in a group, and runs nothing that could be told apart.
        if self.rest.peek() == Some(&'(') {
            return None;
        }
        self.line.compound = true;
        let documents = std::mem::take(&mut self.documents);
        self.deeper(|parser| parser.list(Some(')')))?;
        let unfinished = !self.documents.is_empty();
        self.documents = documents;
        (!unfinished).then_some(())
    }

    /// The rest of `${…}`. What it stands for is unknown; it must not run what a variable holds.
    fn parameter(&mut self) -> Option<()> {
        let mut text = String::new();
        loop {
            match *self.rest.peek()? {
                '`' | '(' | '\'' | '"' | '\\' => return None,
                '$' => self.expansion(&mut text)?,
                next => {
                    self.rest.next();
                    if next == '}' {
                        return only_gives(&text).then_some(());
                    }
                    text.push(next);
                }
            }
        }
    }

    /// Reads something that lies inside of something, unless that goes on and on.
    fn deeper(&mut self, read: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        if self.depth >= DEEPEST {
            return None;
        }
        self.depth += 1;
        read(self)?;
        self.depth -= 1;
        Some(())
    }

    fn nested(&mut self, inner: &str) -> Option<()> {
        let line = parse_at(inner, self.depth + 1)?;
        self.line.compound = true;
        self.line.commands.extend(line.commands);
        Some(())
    }

    /// Adds a command that ended, without the words of the shell's grammar.
    fn end(&mut self, mut command: Command) -> Option<()> {
        loop {
            match command.words.first().map(String::as_str) {
                None => return Some(()),
                Some(
                    "if" | "then" | "elif" | "else" | "fi" | "while" | "until" | "do" | "done"
                    | "!" | "{" | "}" | "time",
                ) => {
                    self.line.compound = true;
                    command.words.remove(0);
                }
                // The words of a loop's head; its body follows as commands.
                Some("for" | "select") => {
                    self.line.compound = true;
                    return Some(());
                }
                Some("case" | "esac" | "function" | "coproc") => return None,
                Some(_) => break,
            }
        }
        command.assignments = command
            .words
            .iter()
            .take_while(|word| is_assignment(word))
            .count();
        let program = command.words.get(command.assignments);
        if program.is_some_and(|name| name.contains(HOLE) || RUNS_TEXT.contains(&name.as_str())) {
            return None;
        }
        self.line.commands.push(command);
        Some(())
    }
}

/// Whether `${text}` only gives a value. `${A@P}`, `${!A}`, and subscripts and offsets that are computed run what
/// variables hold.
fn only_gives(text: &str) -> bool {
    let text = match text.strip_prefix('#') {
        Some(counted) if !counted.is_empty() => counted,
        _ => text,
    };
    let after_name =
        text.trim_start_matches(|letter: char| letter.is_ascii_alphanumeric() || letter == '_');
    let rest = if after_name.len() == text.len() {
        text.strip_prefix(['?', '!', '#', '@', '*', '-', '$'])
    } else {
        Some(after_name)
    };
    let Some(rest) = rest else { return false };
    let is_number = |text: &str| text.chars().all(|digit| digit.is_ascii_digit());
    let subscript = rest
        .strip_prefix('[')
        .and_then(|inner| inner.split_once(']'));
    let rest = match subscript {
        Some((index, rest)) if matches!(index, "@" | "*") || is_number(index) => rest,
        _ => rest,
    };
    match rest.strip_prefix(':') {
        Some(rest) => {
            rest.starts_with(['-', '=', '?', '+']) || rest.split([':', ' ', '-']).all(is_number)
        }
        None => rest.is_empty() || rest.starts_with(['-', '=', '?', '+', '#', '%', '/', '^', ',']),
    }
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .trim_end_matches('+')
                .chars()
                .all(|character| character.is_ascii_alphanumeric() || character == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The commands as lines, `?` for what is unknown; `!` at the end of a compound line.
    fn read(line: &str) -> Option<String> {
        parse(line).map(|line| {
            let commands: Vec<String> = line
                .commands
                .iter()
                .map(|command| command.words.join(" ").replace(HOLE, "?"))
                .collect();
            commands.join(" / ") + if line.compound { " !" } else { "" }
        })
    }

    #[test]
    fn takes_lines_apart() {
        for (line, expected) in [
            ("git push", "git push"),
            ("  git   'push' \"origin\" a\\ b ", "git push origin a b"),
            (
                "ls; git push && echo a | tee b & wait",
                "ls / git push / echo a / tee b / wait !",
            ),
            ("ls;", "ls"),
            ("ls\n", "ls"),
            ("ls # git push", "ls"),
            ("echo $(git push) `rm x`", "git push / rm x / echo ? ? !"),
            ("echo \"$(git push)\"", "git push / echo ? !"),
            ("echo '$(git push)'", "echo $(git push)"),
            ("echo $HOME/x ${A}y $1 \"$A b\"", "echo ?/x ?y ? ? b"),
            ("(cd a && git push)", "cd a / git push !"),
            ("{ git push; }", "git push !"),
            (
                "if test -f a; then git push; else ls; fi",
                "test -f a / git push / ls !",
            ),
            ("for x in a b; do git push $x; done", "git push ? !"),
            ("A=1 B=2 git push", "A=1 B=2 git push"),
            ("git push 2>&1 >/dev/null", "git push"),
            ("cat <<E\ngit push\nE\nls", "cat / ls !"),
            ("echo ${A:-$(git push)}", "git push / echo ? !"),
            ("xargs -I{} git {} {}/x", "xargs -I{} git {} {}/x"),
            ("cat <<< 'git push'", "cat"),
            ("diff <(git push) >(rm x)", "git push / rm x / diff ? ? !"),
            ("ls *.rs {a,b} ~/x", "ls ?.rs ? ?/x"),
            (
                "[ -f x ] && find . -exec rm {} \\;",
                "[ -f x ] / find . -exec rm {} ; !",
            ),
            ("", ""),
        ] {
            assert_eq!(read(line).as_deref(), Some(expected), "{line}");
        }
    }

    #[test]
    fn says_when_it_cannot_read() {
        for line in [
            "$CMD push",
            "g*t push",
            "$(echo git) push",
            "eval 'git push'",
            "case x in x) git push;; esac",
            "f() { git push; }",
            "echo 'open",
            "echo \"open",
            "echo $(open",
            "echo $((1+1))",
            "echo $'\\x67it'",
            "echo ${A@P}",
            "echo ${!A}",
            "echo ${A[i]}",
            "echo ${A:i}",
            "echo ${A:-${B@P}}",
            "cat <<E\n$(git push)\nE",
            "cat <<E\nopen",
            "ls )",
            "ls >",
            "alias ls='git push'; ls",
            "a\0b",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn notes_output_to_files() {
        let writes = |line| parse(line).unwrap().commands[0].writes;
        for line in ["ls > x", "ls >> x", "ls &> x", "ls >| x", "ls >&x"] {
            assert!(writes(line), "{line}");
        }
        for line in ["ls", "ls 2>&1", "ls > /dev/null", "ls < x", "ls 2>&-"] {
            assert!(!writes(line), "{line}");
        }
    }
}
