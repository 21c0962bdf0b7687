//! From the tree to types: a serde `Deserializer` that collects what is wrong instead of stopping.
//!
//! A value of a wrong type is reported and something harmless is put in its place, so that one
//! reading finds everything. What a type's own code refuses (an amount of money, a missing field)
//! is reported, left out, and the entry is read again.

mod access;
mod refusal;

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Visitor};

use super::findings::{Findings, nearest, suggestion};
use super::node::{Data, Key, Node};
use super::problem::{At, Problem};
use super::scalar::{Number, is_truth, number, truth};
use access::{Entries, Items};
use refusal::{Refusal, SECONDS, TRUTH, not_expected, placed, shorten};

/// About thirty years; longer spans are typing errors.
pub(super) const MAX_SECONDS: f64 = 1e9;

/// Reads a value; `None` when nothing of it can be used. Everything wrong is in `findings`.
pub(super) fn read<T: DeserializeOwned>(
    node: &Node<'_>,
    name: Name<'_>,
    findings: &mut Findings,
) -> Option<T> {
    loop {
        let reader = Reader {
            node,
            name,
            expected: None,
            findings,
        };
        match T::deserialize(reader) {
            Ok(value) => return Some(value),
            Err(refusal) => {
                let place = refusal.place.unwrap_or(node.place());
                if let Some(problem) = refusal.problem {
                    findings.add_wrong(place, problem);
                }
                if place == node.place() || !findings.dropped.insert(place) {
                    return None;
                }
            }
        }
    }
}

/// How a value is called in messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'n> {
    /// The key that it stands under.
    pub(super) key: &'n str,
    /// Its place in the list under that key, from 1.
    pub(super) item: Option<usize>,
    /// Where the key, or the item, begins.
    pub(super) at: At,
}

impl<'n> Name<'n> {
    /// The name of the value under a key.
    pub(super) fn of(key: &'n Key<'_>) -> Self {
        Self {
            key: &key.text,
            item: None,
            at: key.at,
        }
    }

    fn words(self) -> String {
        match self.item {
            Some(item) => format!("item {item} of `{}`", self.key),
            None => format!("`{}`", self.key),
        }
    }
}

struct Reader<'d, 't> {
    node: &'d Node<'t>,
    name: Name<'d>,
    /// What a newtype around the value wants, in words.
    expected: Option<&'static str>,
    findings: &'d mut Findings,
}

impl Reader<'_, '_> {
    /// Reports that the value is not what is expected here.
    fn wrong(&mut self, expected: &str) {
        let problem = not_expected(self.node, self.name, self.expected.unwrap_or(expected));
        self.findings.add_wrong(self.node.place(), problem);
    }

    fn number(&mut self) -> Option<Number> {
        self.node.text().and_then(|text| number(text.trim()))
    }

    /// A whole number in a range; 0 or the least in its place when it is none.
    fn whole<N: TryFrom<i128> + Display + Copy>(&mut self, least: N, most: N) -> N {
        let Some(whole) = self.number().and_then(Number::whole) else {
            self.wrong("a whole number");
            return least;
        };
        N::try_from(whole).unwrap_or_else(|_| {
            self.wrong(&format!("a whole number from {least} to {most}"));
            least
        })
    }
}

impl<'de> Deserializer<'de> for Reader<'_, '_> {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        let (node, name) = (self.node, self.name);
        let findings = self.findings;
        let result = match node.data() {
            Data::Null | Data::Alias(_) => visitor.visit_unit(),
            Data::Scalar { text, plain: false } => visitor.visit_str(text),
            Data::Scalar { text, plain: true } => match (truth(text), number(text)) {
                (Some(value), _) if is_truth(text) => visitor.visit_bool(value),
                (_, Some(Number::Whole(whole))) => {
                    if let Ok(whole) = u64::try_from(whole) {
                        visitor.visit_u64(whole)
                    } else if let Ok(whole) = i64::try_from(whole) {
                        visitor.visit_i64(whole)
                    } else {
                        visitor.visit_str(text)
                    }
                }
                (_, Some(Number::Float(float))) if float.is_finite() => visitor.visit_f64(float),
                _ => visitor.visit_str(text),
            },
            Data::Sequence(items) => visitor.visit_seq(Items::new(items, name, findings)),
            Data::Mapping(_) => visitor.visit_map(Entries::new(node, findings)),
        };
        placed(result, node, name, findings)
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let value = match self.node.data() {
            Data::Scalar { text, plain: true } => truth(text),
            _ => None,
        };
        if value.is_none() {
            self.wrong(TRUTH);
        }
        visitor.visit_bool(value.unwrap_or_default())
    }

    fn deserialize_u16<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u16(self.whole(0, u16::MAX))
    }

    fn deserialize_u32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u32(self.whole(0, u32::MAX))
    }

    fn deserialize_u64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_u64(self.whole(0, u64::MAX))
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let value = self.number().map(Number::float);
        if !value.is_some_and(f64::is_finite) {
            self.wrong("a number");
        } else if self.expected.is_some_and(|words| words == SECONDS)
            && !value.is_some_and(|value| (0.0..=MAX_SECONDS).contains(&value))
        {
            let message = format!(
                "{} must be between 0 and {MAX_SECONDS} seconds",
                self.name.words()
            );
            let place = self.node.place();
            self.findings.add_wrong(place, Problem::new(place, message));
        }
        visitor.visit_f64(value.filter(|value| value.is_finite()).unwrap_or_default())
    }

    fn deserialize_str<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        let text = match self.node.data() {
            Data::Scalar { text, plain } if !(*plain && is_truth(text)) => &**text,
            _ => {
                self.wrong("a text");
                ""
            }
        };
        let result = visitor.visit_str(text);
        placed(result, self.node, self.name, self.findings)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if self.node.is_null() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        if name == "Seconds" {
            self.expected = Some(SECONDS);
        }
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        if !matches!(self.node.data(), Data::Sequence(_) | Data::Null) {
            self.wrong("a list");
        }
        let items = Items::new(self.node.items(), self.name, self.findings);
        let result = visitor.visit_seq(items);
        placed(result, self.node, self.name, self.findings)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refusal> {
        if !matches!(self.node.data(), Data::Mapping(_) | Data::Null) {
            self.wrong("a mapping");
        }
        let entries = Entries::new(self.node, self.findings);
        let result = visitor.visit_map(entries);
        placed(result, self.node, self.name, self.findings)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        if !matches!(self.node.data(), Data::Mapping(_) | Data::Null) {
            self.wrong("a mapping");
        }
        report_unknown_keys(self.node, fields, self.findings);
        let entries = Entries::of_struct(self.node, fields, self.findings);
        let result = visitor.visit_map(entries);
        placed(result, self.node, self.name, self.findings)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let text = self.node.text().unwrap_or_default();
        let known = variants.iter().find(|variant| **variant == text);
        if known.is_none() {
            let all: Vec<String> = variants.iter().map(|name| format!("`{name}`")).collect();
            let expected = match all.split_last() {
                Some((last, others)) if !others.is_empty() => {
                    format!("{} or {last}", others.join(", "))
                }
                _ => all.concat(),
            };
            let problem = not_expected(self.node, self.name, &expected).with_hint(
                nearest(text, variants.iter().copied())
                    .map(|nearest| format!("did you mean `{nearest}`?")),
            );
            self.findings.add_wrong(self.node.place(), problem);
        }
        let variant = known.or(variants.first()).copied().unwrap_or_default();
        visitor.visit_enum(StrDeserializer::new(variant))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u128 f32 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}

/// Reports the keys of a mapping that are not among the fields.
pub(super) fn report_unknown_keys(node: &Node<'_>, fields: &[&str], findings: &mut Findings) {
    for (key, _) in node.entries() {
        if fields.contains(&&*key.text) {
            continue;
        }
        let nearest = nearest(&key.text, fields.iter().copied());
        if let Some(field) = nearest {
            findings.add_meant(node.place(), field);
        }
        let hint = match &*key.text {
            "api_key" | "key" | "token" if fields.contains(&"api_key_env") => Some(
                "name the variable that holds it with `api_key_env`; keys do not belong in the file"
                    .to_owned(),
            ),
            text => suggestion(text, fields, "known here"),
        };
        findings.add(
            Problem::new(key.at, format!("unknown key `{}`", shorten(&key.text))).with_hint(hint),
        );
    }
}
