-- Programs that started children, until they end in good order: what a killed one left is found by its mark.

CREATE TABLE parents (
    -- What the marker of each child begins with.
    mark        TEXT PRIMARY KEY,
    process_id  INTEGER NOT NULL,
    -- Ticks from the start of the machine: with the number, the name of one process.
    started     INTEGER NOT NULL,
    -- The start of the machine, and the namespace of the number.
    boot        TEXT NOT NULL,
    namespace   TEXT NOT NULL
) WITHOUT ROWID;
