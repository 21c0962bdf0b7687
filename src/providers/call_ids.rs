//! Ids of tool calls: made where a vendor sent none, and changed where another one refuses them.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::message::ToolCall;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// OpenAI takes no longer ones.
const LONGEST: usize = 40;

/// Gives every call of one answer an id of its own. The same call of the same request gets the same
/// one in each attempt.
pub(super) fn complete(calls: &mut [ToolCall], idempotency_key: &str) {
    let mut seen = BTreeSet::new();
    for (number, call) in calls.iter_mut().enumerate() {
        if call.id.is_empty() || seen.contains(&call.id) {
            call.id = format!(
                "call_{}",
                letters(&format!("{idempotency_key} {number}"), 16)
            );
        }
        seen.insert(call.id.clone());
    }
}

/// The id as any vendor takes it: nine letters and digits where `short`, else what OpenAI and
/// Anthropic allow.
pub(super) fn portable(id: &str, short: bool) -> String {
    let fits = if short {
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    } else {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        !id.is_empty() && id.len() <= LONGEST && id.bytes().all(known)
    };
    match (fits, short) {
        (true, _) => id.to_owned(),
        (false, true) => letters(id, 9),
        (false, false) => format!("call_{}", letters(id, 16)),
    }
}

/// Letters and digits that stand for a text.
fn letters(text: &str, length: usize) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(length)
        .filter_map(|&byte| LETTERS.get(usize::from(byte) % LETTERS.len()))
        .map(|&letter| char::from(letter))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_changed_only_where_they_are_refused() {
        assert_eq!(portable("abcDEF123", true), "abcDEF123");
        let short = portable("call_1", true);
        assert_eq!((short.len(), &short), (9, &portable("call_1", true)));
        assert!(short.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        assert_ne!(short, portable("call_2", true));
        assert_eq!(portable("toolu_01-x", false), "toolu_01-x");
        for id in [
            "",
            "functions.f:0",
            "chatcmpl-tool-0123456789abcdef0123456789abcdef",
        ] {
            let changed = portable(id, false);
            assert_eq!(portable(&changed, false), changed, "{id}");
            assert_ne!(changed, id);
        }
    }

    #[test]
    fn calls_without_an_id_of_their_own_get_one() {
        let call = |id: &str| ToolCall {
            id: id.to_owned(),
            ..ToolCall::default()
        };
        let made = |key: &str| {
            let mut calls = [call("a"), call(""), call("a"), call("")];
            complete(&mut calls, key);
            calls.map(|call| call.id)
        };
        let ids = made("key");
        assert_eq!(ids[0], "a");
        let unlike: std::collections::BTreeSet<&String> = ids.iter().collect();
        assert_eq!(unlike.len(), 4);
        assert_eq!(made("key"), ids);
        assert_ne!(made("another"), ids);
    }
}
