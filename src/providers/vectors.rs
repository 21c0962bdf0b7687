//! The tables of streams and error answers that tests run through.

use serde::Deserialize;
use serde_json::{Map, Value};

/// A stream and what must come of it.
#[derive(Deserialize)]
pub(super) struct StreamVector {
    pub id: String,
    chunks_b64: Vec<String>,
    pub expect: Value,
}

impl StreamVector {
    /// The stream as it was cut, in one piece, and byte by byte.
    pub(super) fn feeds(&self) -> [Vec<Vec<u8>>; 3] {
        let chunks: Vec<Vec<u8>> = self.chunks_b64.iter().map(|chunk| base64(chunk)).collect();
        let whole = chunks.concat();
        let bytes = whole.iter().map(|&byte| vec![byte]).collect();
        [chunks, vec![whole], bytes]
    }
}

/// An error answer and its class.
#[derive(Deserialize)]
pub(super) struct ErrorVector {
    pub id: String,
    pub status: u16,
    #[serde(default)]
    pub headers: Map<String, Value>,
    pub body: String,
    pub class: String,
    pub delay_ms: Option<u64>,
    pub max_retries: Option<u32>,
    pub adapt: Option<String>,
}

#[derive(Deserialize)]
struct Table<T> {
    vectors: Vec<T>,
}

pub(super) fn streams() -> Vec<StreamVector> {
    let table: Table<StreamVector> =
        serde_json::from_str(include_str!("../../tests/it/fixtures/sse-vectors.json"))
            .expect("the table is JSON");
    table.vectors
}

pub(super) fn errors() -> Vec<ErrorVector> {
    let table: Table<ErrorVector> =
        serde_json::from_str(include_str!("../../tests/it/fixtures/error-vectors.json"))
            .expect("the table is JSON");
    table.vectors
}

fn base64(text: &str) -> Vec<u8> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for letter in text.bytes().filter(|&letter| letter != b'=') {
        let value = LETTERS.iter().position(|&known| known == letter);
        bits = bits << 6 | u32::try_from(value.expect("base64")).expect("small");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).expect("a byte"));
        }
    }
    bytes
}
