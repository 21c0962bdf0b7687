-- Failures of the last minute that have not opened their breaker: those of all processes count together.
-- `breaker` is the id of a breaker, `at` milliseconds of the machine's monotonic clock.
CREATE TABLE quota_failures (
    breaker INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE INDEX quota_failures_of ON quota_failures (breaker, at);
