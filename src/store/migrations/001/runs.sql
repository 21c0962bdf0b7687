-- Runs that can be continued, and what they have finished.

CREATE TABLE runs (
    id          TEXT PRIMARY KEY,
    -- agent, all or task, and the name of the agent or task.
    kind        TEXT NOT NULL,
    name        TEXT NOT NULL,
    -- running: a process works on it, or died while it did.
    state       TEXT NOT NULL CHECK (state IN ('running', 'done', 'failed', 'interrupted', 'parked')),
    -- What it does, settled at its start; JSON.
    plan        TEXT NOT NULL,
    -- What it gave, once it has ended; JSON.
    result      TEXT,
    started_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL
) STRICT;

CREATE INDEX runs_by_time ON runs (started_ms);

CREATE TABLE journal (
    -- The run, the step, what of it: RUN/STEP/t1, RUN/STEP/t1/0.
    key         TEXT PRIMARY KEY,
    run         TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    -- What came of it, JSON; null when it was begun and is not known to have ended.
    value       TEXT
) STRICT;
