//! What lists and mappings hand out, one value after the other.

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed};

use super::refusal::Refusal;
use super::{Name, Reader};
use crate::config::findings::Findings;
use crate::config::node::{Key, Node};
use crate::config::problem::At;

/// The items of a list, without those that were refused.
pub(super) struct Items<'d, 't> {
    items: std::slice::Iter<'d, Node<'t>>,
    next: usize,
    name: Name<'d>,
    findings: &'d mut Findings,
}

impl<'d, 't> Items<'d, 't> {
    pub(super) fn new(items: &'d [Node<'t>], name: Name<'d>, findings: &'d mut Findings) -> Self {
        Self {
            items: items.iter(),
            next: 0,
            name,
            findings,
        }
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, '_> {
    type Error = Refusal;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        for node in self.items.by_ref() {
            self.next += 1;
            if self.findings.dropped.contains(&node.place()) {
                continue;
            }
            let reader = Reader {
                node,
                name: Name {
                    key: self.name.key,
                    item: Some(self.next),
                    at: node.at,
                },
                expected: None,
                findings: self.findings,
            };
            return seed.deserialize(reader).map(Some);
        }
        Ok(None)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

/// The entries of a mapping, without those that were refused; for a struct also without those
/// that are unknown or null, so that its defaults apply.
pub(super) struct Entries<'d, 't> {
    entries: std::slice::Iter<'d, (Key<'t>, Node<'t>)>,
    value: Option<&'d (Key<'t>, Node<'t>)>,
    fields: Option<&'static [&'static str]>,
    place: At,
    findings: &'d mut Findings,
}

impl<'d, 't> Entries<'d, 't> {
    pub(super) fn new(node: &'d Node<'t>, findings: &'d mut Findings) -> Self {
        Self {
            entries: node.entries().iter(),
            value: None,
            fields: None,
            place: node.place(),
            findings,
        }
    }

    /// The entries of a mapping that is read into a struct with these fields.
    pub(super) fn of_struct(
        node: &'d Node<'t>,
        fields: &'static [&'static str],
        findings: &'d mut Findings,
    ) -> Self {
        Self {
            fields: Some(fields),
            ..Self::new(node, findings)
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'_, '_> {
    type Error = Refusal;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refusal> {
        for entry in self.entries.by_ref() {
            let (key, node) = entry;
            if let Some(fields) = self.fields
                && (node.is_null() || !fields.contains(&&*key.text))
            {
                continue;
            }
            if self.findings.dropped.contains(&node.place()) {
                self.findings.add_meant(self.place, &key.text);
                continue;
            }
            self.value = Some(entry);
            return seed.deserialize(StrDeserializer::new(&key.text)).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refusal> {
        let Some((key, node)) = self.value.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader {
            node,
            name: Name::of(key),
            expected: None,
            findings: self.findings,
        })
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
    }
}
