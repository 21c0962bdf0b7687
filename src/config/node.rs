//! A YAML file as a tree in which every key and value knows its place.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_yaml::granit_parser::{
    ErrorKind, Event, Marker, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag,
};

use super::problem::{At, Problem};

/// Values of a file with its aliases expanded; more is taken for an attack.
const MAX_VALUES: usize = 1_000_000;
/// How deep values may lie in one another, aliases expanded.
const MAX_DEPTH: usize = 100;

/// A value and its place.
#[derive(Clone, Debug)]
pub(super) struct Node<'t> {
    /// Where it begins.
    pub(super) at: At,
    data: Data<'t>,
    /// Values in it, itself included, aliases expanded.
    size: usize,
    /// How deep it goes, itself included, aliases expanded.
    depth: usize,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Data<'t> {
    /// Nothing, `~` or `null`.
    Null,
    /// Any other scalar.
    Scalar {
        /// The text, escapes resolved.
        text: Cow<'t, str>,
        /// Whether it is written without quotes, so that it may be a number or a truth value.
        plain: bool,
    },
    /// A list.
    Sequence(Vec<Node<'t>>),
    /// A mapping, in the order of the file, merge keys resolved.
    Mapping(Vec<(Key<'t>, Node<'t>)>),
    /// An alias of an anchored value.
    Alias(Rc<Node<'t>>),
}

/// A key of a mapping.
#[derive(Clone, Debug)]
pub(super) struct Key<'t> {
    /// The key.
    pub(super) text: Cow<'t, str>,
    /// Where it begins.
    pub(super) at: At,
}

impl<'t> Node<'t> {
    /// What it is, aliases followed.
    pub(super) fn data(&self) -> &Data<'t> {
        match &self.data {
            Data::Alias(node) => node.data(),
            data => data,
        }
    }

    /// Where its text stands: for an alias that of the anchored value.
    pub(super) fn place(&self) -> At {
        match &self.data {
            Data::Alias(node) => node.place(),
            _ => self.at,
        }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.data(), Data::Null)
    }

    /// Its entries, when it is a mapping.
    pub(super) fn entries(&self) -> &[(Key<'t>, Self)] {
        match self.data() {
            Data::Mapping(entries) => entries,
            _ => &[],
        }
    }

    /// The entry with this key.
    pub(super) fn entry(&self, key: &str) -> Option<(&Key<'t>, &Self)> {
        self.entries()
            .iter()
            .find(|(name, _)| name.text == key)
            .map(|(name, node)| (name, node))
    }

    /// The value of this key; `None` when it is absent or null.
    pub(super) fn get(&self, key: &str) -> Option<&Self> {
        self.entry(key)
            .map(|(_, node)| node)
            .filter(|node| !node.is_null())
    }

    /// Its items, when it is a list.
    pub(super) fn items(&self) -> &[Self] {
        match self.data() {
            Data::Sequence(items) => items,
            _ => &[],
        }
    }

    /// Its text, when it is a scalar.
    pub(super) fn text(&self) -> Option<&str> {
        match self.data() {
            Data::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

/// A file that is YAML, and what is wrong with its keys.
#[derive(Debug)]
pub(super) struct Tree<'t> {
    /// The whole document; null for an empty file.
    pub(super) root: Node<'t>,
    /// Keys that are given twice or are no names.
    pub(super) problems: Vec<Problem>,
    /// The mapping's place and the key that is given twice.
    pub(super) repeated: Vec<(At, String)>,
    /// Where `{{` begins a text that has no quotes, so that YAML takes it for a mapping.
    pub(super) unquoted: Vec<At>,
}

/// Reads a text as one YAML document.
pub(super) fn parse(text: &str) -> Result<Tree<'_>, Problem> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut builder = Builder {
        text,
        events: Parser::new_from_str_with_options(text, options),
        anchors: BTreeMap::new(),
        values: 0,
        problems: Vec::new(),
        repeated: Vec::new(),
        unquoted: Vec::new(),
    };
    let root = builder.document()?;
    Ok(Tree {
        root,
        problems: builder.problems,
        repeated: builder.repeated,
        unquoted: builder.unquoted,
    })
}

struct Builder<'t> {
    text: &'t str,
    events: Parser<'t, StrInput<'t>>,
    /// The anchored values that are complete.
    anchors: BTreeMap<usize, Rc<Node<'t>>>,
    /// Values so far, aliases expanded.
    values: usize,
    problems: Vec<Problem>,
    repeated: Vec<(At, String)>,
    unquoted: Vec<At>,
}

impl<'t> Builder<'t> {
    fn next(&mut self) -> Result<(Event<'t>, At), Problem> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, start(&span))),
            Some(Err(error)) => Err(syntax_problem(&error, self.text)),
            None => Ok((Event::StreamEnd, At { line: 1, column: 1 })),
        }
    }

    fn document(&mut self) -> Result<Node<'t>, Problem> {
        let mut root = None;
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if root.is_some() => {
                    return Err(Problem::new(at, "a second document begins here")
                        .with_hint("a configuration is one document: remove `---`".to_owned()));
                }
                Event::DocumentStart(..) => {}
                event => root = Some(self.node(event, at)?),
            }
        }
        Ok(root.unwrap_or(Node {
            at: At { line: 1, column: 1 },
            data: Data::Null,
            size: 1,
            depth: 1,
        }))
    }

    fn node(&mut self, event: Event<'t>, at: At) -> Result<Node<'t>, Problem> {
        self.count(1, at)?;
        let (data, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (self.scalar(text, style, tag.as_deref(), at), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "seq", at);
                (self.sequence()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), "map", at);
                (self.mapping(at)?, anchor)
            }
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(Problem::new(
                        at,
                        "this alias lies in the value that it stands for",
                    ));
                };
                self.count(target.size, at)?;
                (Data::Alias(target), 0)
            }
            _ => (Data::Null, 0),
        };
        let (size, depth) = match &data {
            Data::Sequence(items) => extent(items.iter()),
            Data::Mapping(entries) => extent(entries.iter().map(|(_, node)| node)),
            Data::Alias(target) => (target.size, target.depth),
            _ => (1, 1),
        };
        if depth > MAX_DEPTH {
            let message = format!("values lie in one another more than {MAX_DEPTH} deep");
            return Err(Problem::new(at, message));
        }
        let node = Node {
            at,
            data,
            size,
            depth,
        };
        if anchor == 0 {
            return Ok(node);
        }
        let target = Rc::new(node);
        self.anchors.insert(anchor, Rc::clone(&target));
        Ok(Node {
            at,
            data: Data::Alias(target),
            size,
            depth,
        })
    }

    fn count(&mut self, values: usize, at: At) -> Result<(), Problem> {
        self.values = self.values.saturating_add(values);
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        Err(Problem::new(
            at,
            format!(
                "the file holds more than {MAX_VALUES} values, its aliases counted as what they stand for"
            ),
        ))
    }

    fn scalar(
        &mut self,
        text: Cow<'t, str>,
        style: ScalarStyle,
        tag: Option<&Tag>,
        at: At,
    ) -> Data<'t> {
        let plain = match tag.and_then(Tag::core_suffix) {
            Some("str") => false,
            Some("null" | "bool" | "int" | "float") => true,
            _ => {
                self.check_tag(tag, "str", at);
                style == ScalarStyle::Plain
            }
        };
        if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
            return Data::Null;
        }
        Data::Scalar { text, plain }
    }

    /// Tags other than those of plain YAML mean nothing here.
    fn check_tag(&mut self, tag: Option<&Tag>, kind: &str, at: At) {
        if let Some(tag) = tag
            && tag.core_suffix() != Some(kind)
        {
            let message = format!("the tag `{tag}` means nothing in a configuration");
            self.problems.push(Problem::new(at, message));
        }
    }

    fn sequence(&mut self) -> Result<Data<'t>, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, at) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Data::Sequence(items));
            }
            items.push(self.node(event, at)?);
        }
    }

    fn mapping(&mut self, mapping: At) -> Result<Data<'t>, Problem> {
        let mut entries: Vec<(Key<'t>, Node<'t>)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, at) = self.next()?;
            let (text, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, style, 0, None) => (text, style == ScalarStyle::Plain),
                other => {
                    let node = self.node(other, at)?;
                    (Cow::Owned(node.text().unwrap_or_default().to_owned()), true)
                }
            };
            let (event, value_at) = self.next()?;
            let value = self.node(event, value_at)?;
            let next_column = mapping.column.saturating_add(1);
            if plain && text.is_empty() && (at.line, at.column) == (mapping.line, next_column) {
                self.unquoted.push(mapping);
            } else if plain && text.is_empty() {
                self.problems.push(Problem::new(at, "a key must be a name"));
            } else if plain && text == "<<" {
                merged.push(value);
            } else {
                entries.push((Key { text, at }, value));
            }
        }
        self.drop_repeated(mapping, &mut entries);
        if !merged.is_empty() {
            let mut names = entries.iter().map(|(key, _)| key.text.clone()).collect();
            for node in merged {
                self.merge(&mut entries, &mut names, &node)?;
            }
        }
        Ok(Data::Mapping(entries))
    }

    /// Reports keys that are there already and keeps the first of each.
    fn drop_repeated(&mut self, mapping: At, entries: &mut Vec<(Key<'t>, Node<'t>)>) {
        if !has_repeated(entries) {
            return;
        }
        let mut lines = BTreeMap::new();
        let mut kept = Vec::with_capacity(entries.len());
        for (key, node) in entries.drain(..) {
            if let Some(line) = lines.get(&*key.text) {
                self.problems.push(
                    Problem::new(key.at, format!("`{}` is given twice", key.text))
                        .with_hint(format!("it is already on line {line}")),
                );
                self.repeated.push((mapping, key.text.into_owned()));
            } else {
                lines.insert(key.text.to_string(), key.at.line);
                kept.push((key, node));
            }
        }
        *entries = kept;
    }

    /// `<<: *defaults` or a list of such: what is not there yet is taken over.
    fn merge(
        &mut self,
        entries: &mut Vec<(Key<'t>, Node<'t>)>,
        names: &mut BTreeSet<Cow<'t, str>>,
        node: &Node<'t>,
    ) -> Result<(), Problem> {
        match node.data() {
            Data::Null => {}
            Data::Sequence(items) => {
                for item in items {
                    self.merge(entries, names, item)?;
                }
            }
            Data::Mapping(others) => {
                for (key, value) in others {
                    if names.insert(key.text.clone()) {
                        self.count(value.size, node.at)?;
                        entries.push((key.clone(), value.clone()));
                    }
                }
            }
            Data::Scalar { .. } | Data::Alias(_) => self.problems.push(
                Problem::new(node.at, "`<<` takes over a mapping, and this is none")
                    .with_hint("such as `<<: *defaults`".to_owned()),
            ),
        }
        Ok(())
    }
}

/// Whether a key is there twice; without allocating for the small mappings that most are.
fn has_repeated(entries: &[(Key<'_>, Node<'_>)]) -> bool {
    if entries.len() > 24 {
        let names: BTreeSet<&str> = entries.iter().map(|(key, _)| &*key.text).collect();
        return names.len() < entries.len();
    }
    let mut rest = entries;
    while let Some(((key, _), others)) = rest.split_first() {
        if others.iter().any(|(other, _)| other.text == key.text) {
            return true;
        }
        rest = others;
    }
    false
}

/// Size and depth of a value that holds these.
fn extent<'n, 't: 'n>(nodes: impl Iterator<Item = &'n Node<'t>>) -> (usize, usize) {
    nodes.fold((1, 1), |(size, depth), node| {
        (size + node.size, depth.max(node.depth + 1))
    })
}

fn start(span: &Span) -> At {
    place(&span.start)
}

fn place(marker: &Marker) -> At {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    At {
        line: number(marker.line()),
        column: number(marker.col().saturating_add(1)),
    }
}

fn syntax_problem(error: &ScanError, text: &str) -> Problem {
    let at = place(error.marker());
    let line_before = |line: &str| {
        let column = usize::try_from(at.column).unwrap_or(usize::MAX);
        line.chars()
            .take(column.saturating_sub(1))
            .collect::<String>()
    };
    let line = text.lines().nth(error.marker().line().saturating_sub(1));
    let before = line.map(line_before).unwrap_or_default();
    let template =
        Some("put a text such as `{{ item }}` in quotes").filter(|_| before.contains("{{"));
    let quotes = "put a text that holds `: `, ` #` or begins with a special character in quotes";
    let (words, hint) = match error.kind() {
        ErrorKind::ExpectedBlockMappingKey if !before.trim().is_empty() => {
            ("nothing more can stand on this line".to_owned(), None)
        }
        ErrorKind::ExpectedBlockMappingKey => (
            "this line does not fit those above it".to_owned(),
            Some("the lines of one mapping are indented alike"),
        ),
        ErrorKind::TabInBlockIndentation
        | ErrorKind::TabInIndentation
        | ErrorKind::TabNotAllowed
        | ErrorKind::TabAtBlockScalarStart => {
            ("a tab cannot indent".to_owned(), Some("use blanks"))
        }
        ErrorKind::UnclosedFlowCollection { open } => (format!("`{open}` is never closed"), None),
        ErrorKind::MismatchedFlowCollectionEnd { open, close } => {
            (format!("`{open}` is closed by `{close}`"), None)
        }
        ErrorKind::UnclosedQuotedScalar => ("the quote is never closed".to_owned(), None),
        ErrorKind::MappingValueNotAllowed => {
            ("a `:` that has no place here".to_owned(), Some(quotes))
        }
        ErrorKind::UnknownAnchor => (
            "nothing is anchored with this name".to_owned(),
            Some(quotes),
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!("a text cannot begin with `{character}`"),
            Some(quotes),
        ),
        kind => (kind.to_string(), None),
    };
    let hint = template.or(hint).map(str::to_owned);
    Problem::new(at, format!("not YAML: {words}")).with_hint(hint)
}
