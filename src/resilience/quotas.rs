//! Limits, cool-downs and breakers in the store, shared by all processes of a machine: what is read and
//! written in one small transaction. The clock is passed in, in milliseconds.

mod failures;
mod status;
#[cfg(test)]
mod tests;

use rusqlite::{Connection, params};

pub(super) use failures::{Failed, fail, forget};
pub(super) use status::{LaneStatus, OpenBreaker, status};

use super::limiter::Grants;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 3_600_000;

/// Entries of a window of a minute are this long, those of an hour 60 times as long: what is
/// admitted counts at most that much longer than its window.
const GRAIN: i64 = 125;

/// While a call tries whether an endpoint has recovered, others wait at most this long for what comes of
/// it: the process that tries may have died.
const TRIAL: i64 = 2_000;

/// One model of an endpoint, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// A hash of address, key and model.
    pub(super) lane: i64,
    /// Hashes of the endpoint's breaker and of the model's.
    pub(super) breakers: [i64; 2],
    pub(super) endpoint: String,
    pub(super) model: String,
}

/// The limits of a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) per_minute: Option<u64>,
    pub(super) per_hour: Option<u64>,
    pub(super) tokens_per_minute: Option<u64>,
}

/// What others have found out about an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Nobody calls before this; 0 for no cool-down.
    pub(super) cool_until: i64,
    /// The endpoint's breaker and the model's.
    pub(super) breakers: [BreakerNews; 2],
}

/// What others have found out about a breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BreakerNews {
    /// 0 for a closed one.
    pub(super) open_until: i64,
    pub(super) reopened: u32,
    trial_until: i64,
    /// It is closed, and calls have failed since somebody had an answer.
    pub(super) fails: bool,
}

/// In place of the end of a trial: nobody tries, and the one who did has succeeded.
const PROVEN: i64 = -1;

impl BreakerNews {
    /// How many calls are known to have succeeded since it was opened.
    pub(super) fn proven(self) -> u32 {
        u32::from(self.trial_until == PROVEN)
    }
}

/// What was granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Admitted {
    pub(super) grants: Grants,
    /// When there may be more, where not everything was granted.
    pub(super) full_until: Option<i64>,
    pub(super) news: News,
}

/// An entry of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    expires: i64,
    requests: u64,
    tokens: u64,
}

/// Grants as many of the asked requests, in order, as the limits leave to this process; `asks` are their
/// tokens. Has to run in a transaction.
pub(super) fn admit(
    connection: &Connection,
    key: &Key,
    limits: Limits,
    asks: &[u64],
    now: i64,
) -> rusqlite::Result<Admitted> {
    let news = look(connection, key, now)?;
    let nothing = |until| Admitted {
        full_until: Some(until),
        news,
        ..Admitted::default()
    };
    let closed = [
        news.cool_until,
        news.breakers[0].open_until,
        news.breakers[1].open_until,
    ];
    if let Some(until) = closed.into_iter().max().filter(|until| *until > now) {
        return Ok(nothing(until));
    }
    let trying = news
        .breakers
        .into_iter()
        .filter(|breaker| breaker.open_until > 0);
    let mut asks = asks;
    if let Some(trial_until) = trying.map(|breaker| breaker.trial_until).max() {
        if trial_until > now {
            return Ok(nothing(trial_until));
        }
        asks = asks.get(..1).unwrap_or(asks);
    }
    let mut expire = connection
        .prepare_cached("DELETE FROM quota_use WHERE lane = ? AND period = ? AND expires <= ?")?;
    expire.execute([key.lane, MINUTE, now])?;
    if limits.per_hour.is_some() {
        expire.execute([key.lane, HOUR, now])?;
    }
    let minute = entries(connection, key.lane, MINUTE, now)?;
    let hour = match limits.per_hour {
        Some(_) => entries(connection, key.lane, HOUR, now)?,
        None => Vec::new(),
    };
    let (granted, full_until) = grant(&minute, &hour, limits, asks, expires(now, MINUTE));
    let grants = Grants {
        bucket: expires(now, MINUTE),
        requests: granted as u64,
        tokens: asks.iter().take(granted).sum(),
    };
    if granted > 0 {
        add(connection, key.lane, MINUTE, grants.bucket, grants)?;
        if limits.per_hour.is_some() {
            add(connection, key.lane, HOUR, expires(now, HOUR), grants)?;
        }
        for (id, breaker) in key.breakers.into_iter().zip(news.breakers) {
            if breaker.open_until > 0 {
                let mut claim = connection
                    .prepare_cached("UPDATE quota_breakers SET trial_until = ? WHERE id = ?")?;
                claim.execute(params![now + TRIAL, id])?;
            }
        }
    }
    Ok(Admitted {
        grants,
        full_until,
        news,
    })
}

/// How many of the asks fit, and from when the next one may. `bucket` is when what is granted now
/// expires.
fn grant(
    minute: &[Entry],
    hour: &[Entry],
    limits: Limits,
    asks: &[u64],
    bucket: i64,
) -> (usize, Option<i64>) {
    let used = |entries: &[Entry]| {
        entries.iter().fold((0, 0), |(requests, tokens), entry| {
            (requests + entry.requests, tokens + entry.tokens)
        })
    };
    let ((in_minute, tokens), (in_hour, _)) = (used(minute), used(hour));
    let free =
        |limit: Option<u64>, used: u64| limit.map_or(u64::MAX, |limit| limit.saturating_sub(used));
    let room = free(limits.per_minute, in_minute).min(free(limits.per_hour, in_hour));
    let token_room = free(limits.tokens_per_minute, tokens);
    let (mut granted, mut taken) = (0, 0);
    for ask in asks {
        if granted as u64 >= room || taken + ask > token_room {
            break;
        }
        granted += 1;
        taken += ask;
    }
    let Some(next) = asks.get(granted) else {
        return (granted, None);
    };
    // What has just been granted is in the way as well.
    let new = Entry {
        expires: bucket,
        requests: granted as u64,
        tokens: taken,
    };
    let until = |entries: &[Entry], excess: u64, amount: fn(&Entry) -> u64| {
        let mut left = excess;
        let mut until = 0;
        for entry in entries.iter().chain([&new]) {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(amount(entry));
            until = entry.expires;
        }
        until
    };
    let excess =
        |limit: Option<u64>, wanted: u64| limit.map_or(0, |limit| wanted.saturating_sub(limit));
    let latest = [
        until(
            minute,
            excess(limits.per_minute, in_minute + granted as u64 + 1),
            |entry| entry.requests,
        ),
        until(
            hour,
            excess(limits.per_hour, in_hour + granted as u64 + 1),
            |entry| entry.requests,
        ),
        until(
            minute,
            excess(limits.tokens_per_minute, tokens + taken + next),
            |entry| entry.tokens,
        ),
    ];
    (granted, latest.into_iter().max())
}

/// What others have found out.
pub(super) fn look(connection: &Connection, key: &Key, now: i64) -> rusqlite::Result<News> {
    let mut select = connection.prepare_cached(
        "SELECT 0, cool_until, 0, 0 FROM quota_lanes WHERE id = ?1 AND cool_until > ?4
         UNION ALL
         SELECT 1 + (id = ?3), open_until, reopened, trial_until FROM quota_breakers
         WHERE id IN (?2, ?3)
         UNION ALL
         SELECT 3, 0, 0, 0 WHERE EXISTS (SELECT 1 FROM quota_failures WHERE breaker = ?2)
         UNION ALL
         SELECT 4, 0, 0, 0 WHERE EXISTS (SELECT 1 FROM quota_failures WHERE breaker = ?3)",
    )?;
    let [of_endpoint, of_model] = key.breakers;
    let mut rows = select.query([key.lane, of_endpoint, of_model, now])?;
    let mut news = News::default();
    while let Some(row) = rows.next()? {
        let [endpoint, model] = &mut news.breakers;
        let breaker = match row.get(0)? {
            0 => {
                news.cool_until = row.get(1)?;
                continue;
            }
            1 => endpoint,
            2 => model,
            3 => {
                endpoint.fails = true;
                continue;
            }
            _ => {
                model.fails = true;
                continue;
            }
        };
        *breaker = BreakerNews {
            open_until: row.get(1)?,
            reopened: row.get(2)?,
            trial_until: row.get(3)?,
            fails: false,
        };
    }
    Ok(news)
}

/// Voids what is of another boot of the machine: its clock has started anew since.
pub(super) fn begin(connection: &Connection, boot: &str) -> rusqlite::Result<()> {
    let mut select = connection.prepare_cached("SELECT 1 FROM quota_boot WHERE boot = ?")?;
    if select.exists([boot])? {
        return Ok(());
    }
    connection.execute(
        "INSERT INTO quota_boot (id, boot) VALUES (1, ?1) ON CONFLICT DO UPDATE SET boot = ?1",
        [boot],
    )?;
    reset(connection)
}

/// Notes the limits of a lane, for `--status`, and forgets what has expired.
pub(super) fn register(
    connection: &Connection,
    key: &Key,
    limits: Limits,
    now: i64,
) -> rusqlite::Result<()> {
    let [minute, hour, tokens] = [limits.per_minute, limits.per_hour, limits.tokens_per_minute]
        .map(|limit| limit.map(clamp));
    let mut same = connection.prepare_cached(
        "SELECT 1 FROM quota_lanes WHERE id = ?1 AND per_minute IS ?2 AND per_hour IS ?3
         AND tokens_per_minute IS ?4",
    )?;
    if same.exists(params![key.lane, minute, hour, tokens])? {
        return Ok(());
    }
    connection.execute("DELETE FROM quota_use WHERE expires <= ?", [now])?;
    connection.execute(
        "INSERT INTO quota_lanes (id, endpoint, model, per_minute, per_hour, tokens_per_minute)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT DO UPDATE SET per_minute = ?4, per_hour = ?5, tokens_per_minute = ?6",
        params![key.lane, key.endpoint, key.model, minute, hour, tokens],
    )?;
    Ok(())
}

/// Corrects what was counted of a grant: `requests` of it were never made, and its tokens turned out
/// to be `tokens` more.
pub(super) fn correct(
    connection: &Connection,
    key: &Key,
    grant: Grants,
    (requests, tokens): (i64, i64),
) -> rusqlite::Result<()> {
    let mut change = connection.prepare_cached(
        "UPDATE quota_use SET requests = max(0, requests - ?4), tokens = max(0, tokens + ?5)
         WHERE lane = ?1 AND period = ?2 AND expires = ?3",
    )?;
    let admitted = grant.bucket - MINUTE - GRAIN;
    for (period, expires) in [(MINUTE, grant.bucket), (HOUR, expires(admitted, HOUR))] {
        change.execute(params![key.lane, period, expires, requests, tokens])?;
    }
    Ok(())
}

/// The server has told a rate limit.
pub(super) fn cool(connection: &Connection, key: &Key, until: i64) -> rusqlite::Result<()> {
    let mut cool = connection.prepare_cached(
        "INSERT INTO quota_lanes (id, endpoint, model, cool_until) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET cool_until = max(cool_until, ?4)",
    )?;
    cool.execute(params![key.lane, key.endpoint, key.model, until])
        .map(drop)
}

/// A breaker has opened, or opened again.
pub(super) fn open(
    connection: &Connection,
    id: i64,
    name: &str,
    (until, reopened): (i64, u32),
) -> rusqlite::Result<()> {
    let mut open = connection.prepare_cached(
        "INSERT INTO quota_breakers (id, name, open_until, reopened) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO UPDATE SET open_until = max(open_until, ?3), reopened = ?4, trial_until = 0",
    )?;
    open.execute(params![id, name, until, reopened])?;
    forget(connection, id, i64::MAX)
}

/// A breaker has closed.
pub(super) fn close(connection: &Connection, id: i64) -> rusqlite::Result<()> {
    let mut close = connection.prepare_cached("DELETE FROM quota_breakers WHERE id = ?")?;
    close.execute([id]).map(drop)
}

/// The call that tried has ended without closing the breaker: the next may try, after `successes` of
/// others.
pub(super) fn trial_over(connection: &Connection, id: i64, successes: u32) -> rusqlite::Result<()> {
    let over = if successes > 0 { PROVEN } else { 0 };
    let mut change =
        connection.prepare_cached("UPDATE quota_breakers SET trial_until = ? WHERE id = ?")?;
    change.execute([over, id]).map(drop)
}

/// Forgets everything about every endpoint.
pub(super) fn reset(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM quota_use; DELETE FROM quota_breakers; DELETE FROM quota_failures;
         UPDATE quota_lanes SET cool_until = 0;",
    )
}

/// When what is admitted now leaves its window.
fn expires(now: i64, period: i64) -> i64 {
    let grain = GRAIN * (period / MINUTE);
    (now.div_euclid(grain) + 1) * grain + period
}

fn entries(
    connection: &Connection,
    lane: i64,
    period: i64,
    now: i64,
) -> rusqlite::Result<Vec<Entry>> {
    let mut select = connection.prepare_cached(
        "SELECT expires, requests, tokens FROM quota_use
         WHERE lane = ? AND period = ? AND expires > ? ORDER BY expires",
    )?;
    let rows = select.query_map([lane, period, now], |row| {
        Ok(Entry {
            expires: row.get(0)?,
            requests: row.get::<_, i64>(1)?.unsigned_abs(),
            tokens: row.get::<_, i64>(2)?.unsigned_abs(),
        })
    })?;
    rows.collect()
}

fn add(
    connection: &Connection,
    lane: i64,
    period: i64,
    expires: i64,
    grants: Grants,
) -> rusqlite::Result<()> {
    let mut add = connection.prepare_cached(
        "INSERT INTO quota_use (lane, period, expires, requests, tokens) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT DO UPDATE SET requests = requests + ?4, tokens = tokens + ?5",
    )?;
    let (requests, tokens) = (clamp(grants.requests), clamp(grants.tokens));
    add.execute(params![lane, period, expires, requests, tokens])
        .map(drop)
}

fn clamp(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
