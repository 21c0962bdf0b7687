//! Rows of the ledger that nobody can have written: a disk that rots, or a hand that slipped.

use rusqlite::Connection;

/// How many rows are told; as many as SQLite's own check tells.
const MOST_TOLD: u32 = 20;

/// The day that a row counts to, UTC; null where it began at no time from 1970 to the end of 9999, in milliseconds.
pub(super) const DAY: &str = "CASE WHEN started_at BETWEEN 0 AND 253402300799999
    THEN strftime('%Y-%m-%d', started_at / 1000, 'unixepoch') END";

/// When a row is none: a condition on it, and the words for it. The tables say some of it themselves, but what
/// SQLite finds so it tells of a whole table, if at all.
const FAULTS: &[(&str, &str)] = &[
    (
        "state NOT IN ('held', 'settled')",
        "its state is none that there is",
    ),
    ("cost < 0", "its cost is below zero"),
    ("held < 0", "its hold is below zero"),
    (
        "min(input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
             cache_write_1h_tokens, reasoning_tokens) < 0",
        "its tokens are fewer than none",
    ),
    ("day IS NULL", "it began at no time that there is"),
    (
        "CASE WHEN delegators IS NULL THEN 0
              WHEN NOT json_valid(delegators) THEN 1
              WHEN json_type(delegators) <> 'array' THEN 1
              ELSE EXISTS (SELECT 1 FROM json_each(delegators) WHERE type <> 'text') END",
        "its delegators are no list of names",
    ),
];

/// What is wrong with the rows of the ledger, one line each.
pub(super) fn faults(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let conditions: Vec<String> = FAULTS
        .iter()
        .map(|(condition, _)| format!("({condition})"))
        .collect();
    let mut statement = connection.prepare(&format!(
        "SELECT id, {} FROM (SELECT *, {DAY} AS day FROM attempts) WHERE {} ORDER BY id LIMIT {MOST_TOLD}",
        conditions.join(", "),
        conditions.join(" OR ")
    ))?;
    let mut rows = statement.query([])?;
    let mut faults = Vec::new();
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        for (at, (_, words)) in FAULTS.iter().enumerate() {
            if row.get(at + 1)? {
                faults.push(format!("row {id} of `attempts`: {words}"));
            }
        }
    }
    Ok(faults)
}
