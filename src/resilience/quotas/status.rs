//! What the store knows, for `--status`.

use rusqlite::{Connection, Row};

use super::{HOUR, Limits, MINUTE};

/// What the store knows of a lane, for `--status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resilience) struct LaneStatus {
    pub(in crate::resilience) endpoint: String,
    pub(in crate::resilience) model: String,
    pub(in crate::resilience) limits: Limits,
    /// Requests in the last minute and hour, tokens in the last minute.
    pub(in crate::resilience) used: [u64; 3],
    /// Milliseconds that are left of a cool-down.
    pub(in crate::resilience) cooling: i64,
}

/// A breaker that is not closed, for `--status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::resilience) struct OpenBreaker {
    pub(in crate::resilience) name: String,
    /// Milliseconds until somebody may try; 0 or less for a half-open one.
    pub(in crate::resilience) left: i64,
}

/// Everything that the store knows, sorted by name.
pub(in crate::resilience) fn status(
    connection: &Connection,
    now: i64,
) -> rusqlite::Result<(Vec<LaneStatus>, Vec<OpenBreaker>)> {
    let mut select = connection.prepare(
        "SELECT endpoint, model, per_minute, per_hour, tokens_per_minute, cool_until,
             (SELECT coalesce(sum(requests), 0) FROM quota_use WHERE lane = id AND period = ?2 AND expires > ?1),
             (SELECT coalesce(sum(requests), 0) FROM quota_use WHERE lane = id AND period = ?3 AND expires > ?1),
             (SELECT coalesce(sum(tokens), 0) FROM quota_use WHERE lane = id AND period = ?2 AND expires > ?1)
         FROM quota_lanes ORDER BY endpoint, model, id",
    )?;
    let number = |row: &Row<'_>, index: usize| -> rusqlite::Result<Option<u64>> {
        let number: Option<i64> = row.get(index)?;
        Ok(number.map(i64::unsigned_abs))
    };
    let lanes = select.query_map([now, MINUTE, HOUR], |row| {
        Ok(LaneStatus {
            endpoint: row.get(0)?,
            model: row.get(1)?,
            limits: Limits {
                per_minute: number(row, 2)?,
                per_hour: number(row, 3)?,
                tokens_per_minute: number(row, 4)?,
            },
            used: [
                number(row, 6)?.unwrap_or_default(),
                number(row, 7)?.unwrap_or_default(),
                number(row, 8)?.unwrap_or_default(),
            ],
            cooling: (row.get::<_, i64>(5)? - now).max(0),
        })
    })?;
    let lanes = lanes.collect::<rusqlite::Result<_>>()?;
    let mut select =
        connection.prepare("SELECT name, open_until FROM quota_breakers ORDER BY name, id")?;
    let breakers = select.query_map([], |row| {
        Ok(OpenBreaker {
            name: row.get(0)?,
            left: row.get::<_, i64>(1)? - now,
        })
    })?;
    Ok((lanes, breakers.collect::<rusqlite::Result<_>>()?))
}
