-- Money. One row an attempt of a model call; amounts are picodollars (10^-12 USD), times are
-- milliseconds since 1970 (UTC).
CREATE TABLE attempts (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    step TEXT,
    turn INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    purpose TEXT NOT NULL,
    agent TEXT NOT NULL,
    -- Agents whose budgets this attempt counts against as well, because they delegated; a JSON list.
    delegators TEXT,
    task TEXT,
    session TEXT,
    provider TEXT NOT NULL,
    model_asked TEXT NOT NULL,
    model_answered TEXT,
    request_id TEXT,
    -- Who holds it; pid and start time in clock ticks since boot name one process.
    process_id INTEGER NOT NULL,
    process_started INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    duration_ms INTEGER,
    -- held: counts at `held`; settled: counts at `cost`.
    state TEXT NOT NULL CHECK (state IN ('held', 'settled')),
    -- answered, cancelled, not_sent, or the class of the failure; null while it runs.
    outcome TEXT,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cache_read_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    -- local, config, user, builtin or none.
    price_source TEXT NOT NULL,
    price_version TEXT NOT NULL,
    held INTEGER NOT NULL CHECK (held >= 0),
    cost INTEGER NOT NULL DEFAULT 0 CHECK (cost >= 0),
    cost_source TEXT,
    -- What the price table says, and what the vendor said.
    computed INTEGER,
    reported INTEGER,
    reported_less_computed INTEGER GENERATED ALWAYS AS (reported - computed) VIRTUAL
) STRICT;

-- What counts against each budget, kept up with every attempt so that nothing is summed at admission.
-- Scopes: day/YYYY-MM-DD, month/YYYY-MM, run/ID, run/ID/agent/NAME, session/NAME: those that change
-- together lie together, so that an attempt touches few pages. For the same reason `attempts` has no
-- index: only reports read it, and they read most of it.
CREATE TABLE totals (
    scope TEXT PRIMARY KEY,
    spent INTEGER NOT NULL DEFAULT 0,
    held INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Where the reports start to count: attempts after the newest row.
CREATE TABLE baselines (
    id INTEGER PRIMARY KEY,
    last_attempt INTEGER NOT NULL,
    made_at INTEGER NOT NULL
) STRICT;
