-- Failures of the last minute that have not opened their breaker: those of all running processes count
-- together. `breaker` is the id of a breaker, `at` milliseconds of the machine's monotonic clock.
CREATE TABLE quota_failures (
    breaker INTEGER NOT NULL,
    at INTEGER NOT NULL,
    -- The process: its number, and when it started in clock ticks since boot.
    process_id INTEGER NOT NULL,
    process_started INTEGER NOT NULL
) STRICT;

CREATE INDEX quota_failures_of ON quota_failures (breaker, at);
