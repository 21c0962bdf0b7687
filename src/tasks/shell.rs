//! Where in a line of bash a value may stand so that it is one argument, whatever it holds.
//!
//! Pure. The line is read as bash reads it; from where that cannot be told for sure no value is let in.

use std::iter::Peekable;
use std::str::Chars;

/// Stands in a line for a value that is put in later. It is no character, so no text needs it.
pub(super) const VALUE: char = '\u{fdd0}';

/// Substitutions inside substitutions that are followed.
const DEEPEST: usize = 32;

/// Builtins that run an argument, or take it for an expression in which commands may stand.
const EVALUATE: [&str; 17] = [
    ".",
    "alias",
    "coproc",
    "declare",
    "eval",
    "getopts",
    "let",
    "local",
    "mapfile",
    "read",
    "readarray",
    "readonly",
    "source",
    "trap",
    "typeset",
    "unset",
    "wait",
];

/// Words behind which a command begins.
const BEFORE_COMMANDS: [&str; 12] = [
    "!", "{", "builtin", "do", "elif", "else", "exec", "if", "then", "time", "until", "while",
];

/// Why a value may not stand where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misplaced {
    /// In quotes of the line.
    #[error("a value stands inside quotes")]
    Quoted,
    /// In a here-document, or as the word that ends one.
    #[error("a value stands in a here-document")]
    Document,
    /// In a comment.
    #[error("a value stands in a comment")]
    Comment,
    /// In backticks, `${…}` or arithmetic.
    #[error("a value stands in backticks, `${{…}}` or arithmetic")]
    Expansion,
    /// Behind a `\` or `$` that would be taken together with it.
    #[error("a value stands behind `\\` or `$`")]
    Joined,
    /// Where the name of a command is, or where bash runs what it is given.
    #[error("a value stands where it would be run")]
    Command,
    /// Behind what is not followed.
    #[error("a value stands in a line that is too involved")]
    Unclear,
}

impl Misplaced {
    /// The fix.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Quoted => "leave out the quotes: the value is quoted already",
            Self::Document => "give the value as an argument: `printf '%s\\n' {{ value }} | …`",
            Self::Comment => "leave the value out of the comment",
            Self::Expansion => {
                "put the value in a variable first: `x={{ value }}`, and use \"$x\" behind it; \
                 never in arithmetic"
            }
            Self::Joined => "leave a space before the value",
            Self::Command => "write the command itself; a value can only be an argument of it",
            Self::Unclear => {
                "put the value in a variable at the beginning of the command: `x={{ value }}`"
            }
        }
    }
}

/// Whether every value in a line is an argument, or a part of one.
///
/// # Errors
/// Why the first that is not may not stand where it does.
pub(super) fn check(line: &str) -> Result<(), Misplaced> {
    let mut reader = Reader {
        rest: line.chars().peekable(),
        documents: Vec::new(),
        is_lost: false,
        depth: 0,
    };
    reader.commands(Commands::Outermost)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Commands {
    Outermost,
    /// Of a substitution: they end with its `)`.
    Substituted,
}

struct Reader<'l> {
    rest: Peekable<Chars<'l>>,
    /// The here-documents whose bodies begin on the next line.
    documents: Vec<Document>,
    /// It cannot be told any more what bash takes for quotes.
    is_lost: bool,
    depth: usize,
}

struct Document {
    end: String,
    /// Written with `<<-`.
    without_tabs: bool,
}

/// A simple command as far as it was read.
struct Simple {
    /// The word that is read: `None` between words.
    word: Option<String>,
    /// A part of that word is quoted, so that it is no keyword.
    is_quoted: bool,
    /// The next word is where a redirection goes.
    is_redirected: bool,
    /// The name of the command; `None` before it.
    name: Option<String>,
    /// The word before.
    last: String,
    has_value: bool,
    has_comparison: bool,
}

impl Simple {
    fn new() -> Self {
        Self {
            word: None,
            is_quoted: false,
            is_redirected: false,
            name: None,
            last: String::new(),
            has_value: false,
            has_comparison: false,
        }
    }

    fn push(&mut self, c: char) {
        self.word.get_or_insert_default().push(c);
    }

    fn quote(&mut self) {
        self.is_quoted = true;
        self.word.get_or_insert_default();
    }

    /// Ends the word that is read.
    fn end_word(&mut self) -> Result<(), Misplaced> {
        let Some(word) = self.word.take() else {
            return Ok(());
        };
        let is_quoted = std::mem::take(&mut self.is_quoted);
        let has_value = word.contains(VALUE);
        if std::mem::take(&mut self.is_redirected) {
            return Ok(());
        }
        let Some(name) = self.name.as_deref() else {
            let is_no_name = is_assignment(&word)
                || word.starts_with('-')
                || (!is_quoted && BEFORE_COMMANDS.contains(&word.as_str()));
            if has_value && !is_assignment(&word) {
                return Err(Misplaced::Command);
            }
            if !is_no_name {
                self.name = Some(word);
            }
            return Ok(());
        };
        if ["for", "function", "select"].contains(&name) && ["do", "{"].contains(&word.as_str()) {
            *self = Self::new();
            return Ok(());
        }
        self.has_value |= has_value;
        self.has_comparison |= is_comparison(&word);
        // Bash computes what is compared as numbers, and the places of a list.
        let is_computed = name == "[[" && self.has_value && self.has_comparison;
        let is_run = match name {
            "command" => self.last.is_empty(),
            "" => word.starts_with('['),
            "bash" | "dash" | "ksh" | "sh" | "zsh" => self.last == "-c",
            name => self.last == "-v" || EVALUATE.contains(&name),
        };
        if is_computed || (has_value && is_run) {
            return Err(Misplaced::Command);
        }
        self.last = word;
        Ok(())
    }

    /// Whether it is `[[` and still open: its signs end no command.
    fn is_test(&self) -> bool {
        self.name.as_deref() == Some("[[") && self.last != "]]"
    }
}

fn is_comparison(word: &str) -> bool {
    ["-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v"].contains(&word)
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else {
        return false;
    };
    let name = name.strip_suffix('+').unwrap_or(name);
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Reader<'_> {
    /// Reads commands up to the end, or to the `)` of the substitution.
    fn commands(&mut self, place: Commands) -> Result<(), Misplaced> {
        if self.is_too_deep() {
            return Ok(());
        }
        // Which line ends a here-document of the commands around is not followed.
        self.is_lost |= !self.documents.is_empty();
        let mut simple = Simple::new();
        let mut brackets = 0_usize;
        let mut has_patterns = false;
        while let Some(c) = self.next() {
            match c {
                ' ' | '\t' => simple.end_word()?,
                '&' if self.rest.peek() == Some(&'>') => simple.end_word()?,
                '\n' | ';' | '&' | '|' => {
                    simple.end_word()?;
                    if !simple.is_test() {
                        simple = Simple::new();
                    }
                    if c == '\n' {
                        self.documents()?;
                    }
                }
                '(' | ')' | '<' | '>' if simple.is_test() => simple.end_word()?,
                '(' if self.rest.peek() == Some(&'(') => {
                    self.next();
                    self.arithmetic(('(', ')'), 2)?;
                    simple.quote();
                }
                '(' => {
                    brackets += 1;
                    let is_list = simple.word.as_ref().is_some_and(|word| word.ends_with('='));
                    simple.end_word()?;
                    simple = Simple::new();
                    if is_list {
                        simple.name = Some(String::new());
                    }
                }
                ')' => {
                    simple.end_word()?;
                    simple = Simple::new();
                    if brackets == 0 && place == Commands::Substituted {
                        // A `)` behind a pattern of `case` may have been taken for the end.
                        self.is_lost |= has_patterns || !self.documents.is_empty();
                        self.depth -= 1;
                        return Ok(());
                    }
                    brackets = brackets.saturating_sub(1);
                }
                '<' | '>' => self.redirection(c, &mut simple)?,
                '#' if simple.word.is_none() => self.comment()?,
                '\\' => match self.rest.peek() {
                    Some(&VALUE) => return Err(Misplaced::Joined),
                    Some('\n') => {
                        self.next();
                    }
                    _ => {
                        simple.quote();
                        if let Some(c) = self.next() {
                            simple.push(c);
                        }
                    }
                },
                '\'' => {
                    simple.quote();
                    self.quoted(None)?;
                }
                '"' => {
                    simple.quote();
                    self.double()?;
                }
                '`' => {
                    simple.quote();
                    self.backticks()?;
                }
                '$' => {
                    simple.quote();
                    self.expansion(false)?;
                }
                VALUE if self.is_lost => return Err(Misplaced::Unclear),
                c => {
                    simple.push(c);
                    has_patterns |= simple.word.as_deref() == Some("case");
                }
            }
        }
        self.depth -= 1;
        simple.end_word()
    }

    fn next(&mut self) -> Option<char> {
        self.rest.next()
    }

    /// Goes one substitution deeper, unless that is no longer followed.
    fn is_too_deep(&mut self) -> bool {
        if self.depth == DEEPEST {
            self.is_lost = true;
            return true;
        }
        self.depth += 1;
        false
    }

    /// A character within quotes; a body that begins behind a line end in them is not followed.
    fn next_quoted(&mut self) -> Option<char> {
        let next = self.rest.next();
        self.is_lost |= next == Some('\n') && !self.documents.is_empty();
        next
    }

    /// What `<` and `>` begin: a redirection, a here-document, a substitution.
    fn redirection(&mut self, sign: char, simple: &mut Simple) -> Result<(), Misplaced> {
        let is_number = |word: &String| word.chars().all(|c| c.is_ascii_digit());
        if simple.word.as_ref().is_some_and(is_number) {
            simple.word = None;
        }
        if self.rest.peek() == Some(&'(') {
            self.next();
            simple.quote();
            return self.commands(Commands::Substituted);
        }
        simple.end_word()?;
        simple.is_redirected = true;
        if sign == '<' && self.rest.peek() == Some(&'<') {
            self.next();
            if self.rest.peek() == Some(&'<') {
                self.next();
                return Ok(());
            }
            simple.is_redirected = false;
            return self.announced();
        }
        while self.rest.next_if(|c| ['>', '&', '|'].contains(c)).is_some() {}
        Ok(())
    }

    /// The word behind `<<`.
    fn announced(&mut self) -> Result<(), Misplaced> {
        let without_tabs = self.rest.next_if_eq(&'-').is_some();
        while self.rest.next_if(|c| [' ', '\t'].contains(c)).is_some() {}
        let mut end = String::new();
        let ends = |c: &char| " \t\n;&|<>()".contains(*c);
        let mut quote = None;
        while let Some(c) = self.rest.next_if(|c| quote.is_some() || !ends(c)) {
            match c {
                VALUE => return Err(Misplaced::Document),
                c if quote == Some(c) => quote = None,
                '\'' | '"' if quote.is_none() => quote = Some(c),
                '\\' if quote.is_none() => end.extend(self.next()),
                c => {
                    self.is_lost |= "$`\\\n".contains(c);
                    end.push(c);
                }
            }
        }
        self.is_lost |= end.contains('\n');
        self.documents.push(Document { end, without_tabs });
        Ok(())
    }

    /// The bodies of the here-documents that were announced on the line before.
    fn documents(&mut self) -> Result<(), Misplaced> {
        for document in std::mem::take(&mut self.documents) {
            while self.rest.peek().is_some() {
                let mut line = String::new();
                while let Some(c) = self.rest.next_if(|c| *c != '\n') {
                    line.push(c);
                }
                self.next();
                if line.contains(VALUE) {
                    return Err(Misplaced::Document);
                }
                let shown = if document.without_tabs {
                    line.trim_start_matches('\t')
                } else {
                    &line
                };
                if shown == document.end {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A comment, up to the end of its line.
    fn comment(&mut self) -> Result<(), Misplaced> {
        while let Some(c) = self.rest.next_if(|c| *c != '\n') {
            if c == VALUE {
                return Err(Misplaced::Comment);
            }
        }
        Ok(())
    }

    /// The rest of `'…'`, or with an `escape` of `$'…'`.
    fn quoted(&mut self, escape: Option<char>) -> Result<(), Misplaced> {
        while let Some(c) = self.next_quoted() {
            match c {
                '\'' => break,
                VALUE => return Err(Misplaced::Quoted),
                c if escape == Some(c) && self.rest.peek() != Some(&VALUE) => {
                    self.next();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The rest of `"…"`.
    fn double(&mut self) -> Result<(), Misplaced> {
        while let Some(c) = self.next_quoted() {
            match c {
                '"' => break,
                VALUE => return Err(Misplaced::Quoted),
                '\\' if self.rest.peek() != Some(&VALUE) => {
                    self.next();
                }
                '`' => self.backticks()?,
                '$' if self.rest.peek() != Some(&VALUE) => self.expansion(true)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The rest of `` `…` ``, which bash reads twice.
    fn backticks(&mut self) -> Result<(), Misplaced> {
        while let Some(c) = self.next_quoted() {
            match c {
                '`' => break,
                VALUE => return Err(Misplaced::Expansion),
                '\\' if self.rest.peek() != Some(&VALUE) => {
                    self.next();
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// What stands behind `$`.
    fn expansion(&mut self, in_quotes: bool) -> Result<(), Misplaced> {
        match self.rest.peek() {
            Some(&VALUE) => return Err(Misplaced::Joined),
            Some('(') => {
                self.next();
                if self.rest.next_if_eq(&'(').is_some() {
                    return self.arithmetic(('(', ')'), 2);
                }
                return self.commands(Commands::Substituted);
            }
            Some('[') => {
                self.next();
                return self.arithmetic(('[', ']'), 1);
            }
            Some('{') => {
                self.next();
                return self.parameter(in_quotes);
            }
            Some('\'') if !in_quotes => {
                self.next();
                return self.quoted(Some('\\'));
            }
            Some('"') if !in_quotes => {
                self.next();
                return self.double();
            }
            _ => {}
        }
        Ok(())
    }

    /// The rest of `${…}`.
    fn parameter(&mut self, in_quotes: bool) -> Result<(), Misplaced> {
        if self.is_too_deep() {
            return Ok(());
        }
        while let Some(c) = self.next() {
            match c {
                '}' => break,
                VALUE => return Err(Misplaced::Expansion),
                '\\' if self.rest.peek() != Some(&VALUE) => {
                    self.next();
                }
                // Whether it quotes here depends on what stands before it.
                '\'' if in_quotes => self.is_lost = true,
                '\'' => self.quoted(None)?,
                '"' => self.double()?,
                '`' => self.backticks()?,
                '$' => self.expansion(in_quotes)?,
                _ => {}
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The rest of arithmetic, in which values are computed and so may be run.
    fn arithmetic(&mut self, (open, close): (char, char), depth: usize) -> Result<(), Misplaced> {
        let mut depth = depth;
        while let Some(c) = self.next() {
            match c {
                VALUE => return Err(Misplaced::Expansion),
                '\'' | '"' | '`' | '\\' | '#' => self.is_lost = true,
                c if c == open => depth += 1,
                c if c == close => {
                    depth -= 1;
                    if depth == 0 {
                        break;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
