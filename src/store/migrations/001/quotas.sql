-- Rate limits, cool-downs and breakers that processes with one key share. Times are milliseconds of the
-- machine's monotonic clock, which all its processes agree on; another boot makes them void.
CREATE TABLE quota_boot (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    boot TEXT NOT NULL
) STRICT;

-- One row a model of an endpoint; `id` is a hash of its address, key and model.
CREATE TABLE quota_lanes (
    id INTEGER PRIMARY KEY,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    per_minute INTEGER,
    per_hour INTEGER,
    tokens_per_minute INTEGER,
    -- Nobody calls before this.
    cool_until INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What was admitted, in entries of a small fraction of the window; each counts until it expires.
CREATE TABLE quota_use (
    lane INTEGER NOT NULL,
    -- The window, milliseconds.
    period INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    requests INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    PRIMARY KEY (lane, period, expires)
) STRICT, WITHOUT ROWID;

-- Breakers that are not closed; `id` is a hash of the endpoint, or of the endpoint and a model.
CREATE TABLE quota_breakers (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- Nobody calls before this; afterwards one at a time tries.
    open_until INTEGER NOT NULL,
    reopened INTEGER NOT NULL,
    -- Somebody tries, and the others wait until he says what came of it, or until this. -1: nobody
    -- does, and who did has succeeded.
    trial_until INTEGER NOT NULL DEFAULT 0
) STRICT;
