-- Conversations: one row a conversation, one row a whole turn of it.

CREATE TABLE sessions (
    id          TEXT PRIMARY KEY,
    agent       TEXT NOT NULL,
    -- The user's name for it; unique for an agent.
    name        TEXT,
    -- The conversation that it was forked from.
    parent      TEXT,
    created_ms  INTEGER NOT NULL,
    updated_ms  INTEGER NOT NULL,
    turns       INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE UNIQUE INDEX sessions_by_name ON sessions (agent, name) WHERE name IS NOT NULL;
CREATE INDEX sessions_by_time ON sessions (agent, updated_ms);

CREATE TABLE session_turns (
    session     TEXT NOT NULL REFERENCES sessions (id),
    turn        INTEGER NOT NULL,
    run         TEXT NOT NULL,
    at_ms       INTEGER NOT NULL,
    -- The messages of the turn as a JSON list, prompt first, every tool call with its result.
    messages    TEXT NOT NULL,
    PRIMARY KEY (session, turn)
) WITHOUT ROWID;

-- What older turns were summed up to, so that the rest fits the window of a model.
CREATE TABLE session_summaries (
    session     TEXT NOT NULL REFERENCES sessions (id),
    -- It stands for the turns up to this one.
    turn        INTEGER NOT NULL,
    at_ms       INTEGER NOT NULL,
    -- What is said in their place: a turn of its own, in the same form.
    messages    TEXT NOT NULL,
    PRIMARY KEY (session, turn)
) WITHOUT ROWID;
