-- What is known of the Claude CLI: its conversations that go on ours, and its binaries.

CREATE TABLE claude_sessions (
    -- Our conversation, or the logical call of a run outside any.
    session     TEXT NOT NULL,
    agent       TEXT NOT NULL,
    -- The CLI's id of its conversation, made by us.
    uuid        TEXT NOT NULL,
    -- SHA-256 of the messages that the CLI's conversation holds.
    known       TEXT NOT NULL,
    -- The logical call whose answer was cut after it had begun.
    unfinished  TEXT,
    -- What the CLI's conversation has cost by now, picodollars, and its tokens as JSON.
    cost_pico   INTEGER NOT NULL,
    usage       TEXT NOT NULL,
    updated_ms  INTEGER NOT NULL,
    PRIMARY KEY (session, agent)
) WITHOUT ROWID;

CREATE TABLE claude_binaries (
    path        TEXT PRIMARY KEY,
    size        INTEGER NOT NULL,
    mtime_ns    INTEGER NOT NULL,
    version     TEXT NOT NULL,
    -- Flags that it does not know and that a run can do without, as a JSON list.
    without     TEXT NOT NULL
) WITHOUT ROWID;
