-- When the engine that has the lease took it.
ALTER TABLE runs ADD COLUMN lease_since INTEGER NOT NULL DEFAULT 0;
-- 1 while the run waits for a command, and nobody drives it; 2 once one has come.
ALTER TABLE runs ADD COLUMN parked INTEGER NOT NULL DEFAULT 0;

-- What engines said of themselves. The columns count, and what the body says of them does not.
CREATE TABLE engines (
    id TEXT NOT NULL PRIMARY KEY,
    seen INTEGER NOT NULL,
    draining TEXT, -- when it is to hand over its runs: since when, and who asked for it
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
