//! The configuration of git, read character by character as git reads it.

use std::ops::Range;

use super::settings::Setting;

/// A setting and where it stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    /// What stands in quotes behind its section.
    pub(super) of: String,
    /// From its name to the end of its last line, without that.
    pub(super) place: Range<usize>,
}

/// What a configuration says.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// The settings up to the first thing that git would not take.
    pub(super) entries: Vec<Entry>,
    /// Whether all of it was understood. What git does not take, or does not take alike everywhere, is not.
    pub(super) is_understood: bool,
}

/// Reads a configuration.
pub(super) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed::default();
    let text = text.strip_prefix('\u{feff}').map_or((text, 0), |rest| {
        // Places are counted from the beginning of the file.
        (rest, text.len() - rest.len())
    });
    let mut reader = Reader {
        rest: text.0,
        at: text.1,
    };
    parsed.is_understood = reader.file(&mut parsed.entries).is_some();
    parsed
}

/// What is still to be read. Everything is `None` at what git does not take.
struct Reader<'t> {
    rest: &'t str,
    /// How much was read.
    at: usize,
}

/// The end of a line and that of the file are one to git.
const END: char = '\n';

impl Reader<'_> {
    /// The next character.
    fn next(&mut self) -> Option<char> {
        let Some(character) = self.rest.chars().next() else {
            return Some(END);
        };
        let length = match character {
            '\r' if self.rest.starts_with("\r\n") => 2,
            // Alone they are read in one way by one program and in another by the next.
            '\r' | '\0' => return None,
            _ => character.len_utf8(),
        };
        self.rest = self.rest.get(length..)?;
        self.at += length;
        Some(if length == 2 && character == '\r' {
            END
        } else {
            character
        })
    }

    /// What the next character will be.
    fn peek(&self) -> char {
        let next = self.rest.chars().next().unwrap_or(END);
        if self.rest.starts_with("\r\n") {
            END
        } else {
            next
        }
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    fn file(&mut self, entries: &mut Vec<Entry>) -> Option<()> {
        let mut header = None;
        while !self.is_over() {
            let start = self.at;
            match self.next()? {
                '\n' | ' ' | '\t' => {}
                '#' | ';' => self.comment()?,
                '[' => header = Some(self.header()?),
                first if first.is_ascii_alphabetic() => {
                    let (section, of) = header.as_ref()?;
                    let (name, value, end) = self.setting(first)?;
                    entries.push(Entry {
                        setting: Setting {
                            section: String::clone(section),
                            name,
                            value,
                        },
                        of: String::clone(of),
                        place: start..end,
                    });
                }
                _ => return None,
            }
        }
        Some(())
    }

    fn comment(&mut self) -> Option<()> {
        while self.next()? != END {}
        Some(())
    }

    /// A section behind its opening bracket, and what stands in quotes behind it.
    fn header(&mut self) -> Option<(String, String)> {
        let mut whole = String::new();
        let mut of = None;
        loop {
            match self.next()? {
                ']' => break,
                ' ' | '\t' => {
                    of = Some(self.quoted()?);
                    break;
                }
                letter if is_of_name(letter) || letter == '.' => {
                    whole.push(letter.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
        // An old way to write what stands in quotes.
        let (section, old) = whole.split_once('.').unwrap_or((&whole, ""));
        let all = [Some(old.to_owned()).filter(|old| !old.is_empty()), of];
        let all: Vec<String> = all.into_iter().flatten().collect();
        Some((section.to_owned(), all.join(".")))
    }

    /// What stands in quotes behind a section, with the closing bracket.
    fn quoted(&mut self) -> Option<String> {
        loop {
            match self.next()? {
                ' ' | '\t' => {}
                '"' => break,
                _ => return None,
            }
        }
        let mut of = String::new();
        loop {
            match self.next()? {
                '"' => break,
                '\n' => return None,
                '\\' => match self.next()? {
                    '\n' => return None,
                    escaped => of.push(escaped),
                },
                character => of.push(character),
            }
        }
        (self.next()? == ']').then_some(of)
    }

    /// A setting behind the first letter of its name: name, value, where it ends.
    fn setting(&mut self, first: char) -> Option<(String, String, usize)> {
        let mut name = String::from(first.to_ascii_lowercase());
        while is_of_name(self.peek()) {
            name.push(self.next()?.to_ascii_lowercase());
        }
        while matches!(self.peek(), ' ' | '\t') {
            self.next()?;
        }
        let end = self.at;
        match self.next()? {
            '\n' => Some((name, String::new(), end)),
            '=' => {
                let (value, end) = self.value()?;
                Some((name, value, end))
            }
            _ => None,
        }
    }

    /// A value and where it ends.
    fn value(&mut self) -> Option<(String, usize)> {
        let (mut value, mut length) = (String::new(), 0);
        let mut is_quoted = false;
        loop {
            let end = self.at;
            match self.next()? {
                '\n' if is_quoted => return None,
                '\n' => {
                    value.truncate(length);
                    return Some((value, end));
                }
                ' ' | '\t' if !is_quoted => {
                    // Blanks count only between other characters.
                    if !value.is_empty() {
                        value.push(' ');
                    }
                    continue;
                }
                '#' | ';' if !is_quoted => {
                    value.truncate(length);
                    return self.rest_of_line().map(|end| (value, end));
                }
                '"' => is_quoted = !is_quoted,
                '\\' => match self.next()? {
                    '\n' => continue,
                    't' => value.push('\t'),
                    'b' => value.push('\u{8}'),
                    'n' => value.push('\n'),
                    escaped @ ('\\' | '"') => value.push(escaped),
                    _ => return None,
                },
                character => value.push(character),
            }
            length = value.len();
        }
    }

    /// Where a line ends that is a comment from here.
    fn rest_of_line(&mut self) -> Option<usize> {
        loop {
            let end = self.at;
            if self.next()? == END {
                return Some(end);
            }
        }
    }
}

fn is_of_name(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '-'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Vec<String>, bool) {
        let parsed = parse(text);
        let entries = parsed.entries.iter().map(|Entry { setting, of, place }| {
            let Setting {
                section,
                name,
                value,
            } = setting;
            assert!(
                text.get(place.clone())
                    .unwrap()
                    .to_lowercase()
                    .starts_with(name)
            );
            format!("{section}<{of}>{name}={value}")
        });
        (entries.collect(), parsed.is_understood)
    }

    #[test]
    fn what_git_understands() {
        for (text, expected) in [
            ("", &[][..]),
            ("\u{feff}[a]\nb = c", &["a<>b=c"]),
            ("[A]B=c\r\n\tD\r\n", &["a<>b=c", "a<>d="]),
            (
                "[core]\n\tx = a \\\n[user]\n\ty = b\n",
                &["core<>x=a [user]", "core<>y=b"],
            ),
            (
                "[core]\n\tx = a \\\r\n[user]\r\n\ty = b\n",
                &["core<>x=a [user]", "core<>y=b"],
            ),
            (
                "[a]\nx = 1 # no \\\n[b]\ny = 2 ; \"\\\n z = 3\n",
                &["a<>x=1", "b<>y=2", "b<>z=3"],
            ),
            ("# \\\n[a] ; [b]\n[c] x = y\n", &["c<>x=y"]),
            (
                "[a \"B.\\\"\\x]\"] c = \" # d \" e  \n",
                &["a<B.\"x]>c= # d  e"],
            ),
            ("[a.B] c = d\n[a.B \"C\"]e\n", &["a<b>c=d", "a<b.C>e="]),
            ("[a][b]c-1 = \\\\\\\"\\t\\n\\b\n", &["b<>c-1=\\\"\t\n\u{8}"]),
            ("[a]\nb =\nc = \\", &["a<>b=", "a<>c="]),
            ("[a]b = \"x\ty\" \t z\t\n", &["a<>b=x\ty   z"]),
        ] {
            let expected: Vec<String> = expected.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(read(text), (expected, true), "{text:?}");
        }
    }

    #[test]
    fn what_git_does_not_take_is_not_understood() {
        for text in [
            "a = b\n",
            "[a\nb = c\n",
            "[a \"b\n\"]\n",
            "[a b]\n",
            "[a \"b\" ]\n",
            "[a \"b\\\n\"]\n",
            "[a_b]\n",
            "[a]\n1 = b\n",
            "[a]\n= b\n",
            "[a]\nb_c = d\n",
            "[a]\nb # c\n",
            "[a]\nb c\n",
            "[a]\nb = \"c\nd\"\n",
            "[a]\nb = \\x\n",
            "[a]\nb = \"c",
            "[a]\nb\r= c\n",
            "[a]\rb = c\n",
            "[a]\nb = c\0\n",
            "[a]\n\u{feff}b = c\n",
            "\u{fffd}[a]\n",
            "[a",
            "]",
            "[a]\n\u{b}b = c\n",
        ] {
            assert!(!read(text).1, "{text:?}");
        }
        assert_eq!(read("[a]b=c\n!\n[d]e=f").0, ["a<>b=c"]);
    }
}
