-- Documents are JSON in `body`; the columns beside it are what they are found by.
-- Moments are milliseconds since the Unix epoch; identifiers of runs and commands are 16 bytes.
-- Where there is a column `finish_ts`, it counts and what the body says of it does not: stamping
-- rewrites a number and not a document. Queries name their index where SQLite, which knows nothing of
-- how the values are spread, would choose another.

CREATE TABLE playbooks (
    name TEXT NOT NULL,
    version_key TEXT NOT NULL, -- sorts as semantic versions do
    content TEXT NOT NULL,
    body TEXT NOT NULL,
    UNIQUE (name, version_key)
) STRICT;

CREATE TABLE clusters (
    name TEXT NOT NULL PRIMARY KEY,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE plugins (
    digest TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    added_at INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX plugins_by_name ON plugins (name, version, added_at, digest);

CREATE TABLE plugin_bytes (
    digest TEXT NOT NULL PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE playbook_pins (
    digest TEXT NOT NULL,
    name TEXT NOT NULL,
    version_key TEXT NOT NULL,
    version TEXT NOT NULL,
    PRIMARY KEY (digest, name, version_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX playbook_pins_by_playbook ON playbook_pins (name, version_key);

CREATE TABLE run_pins (
    digest TEXT NOT NULL,
    run BLOB NOT NULL,
    PRIMARY KEY (digest, run)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_pins_by_run ON run_pins (run);

-- What every commit of a run rewrites, apart from the snapshot, which is written once.
CREATE TABLE runs (
    id BLOB NOT NULL PRIMARY KEY,
    cluster TEXT NOT NULL,
    status TEXT NOT NULL,
    engine TEXT, -- that holds the lease
    epoch INTEGER NOT NULL,
    lease_until INTEGER NOT NULL, -- the least integer when no engine holds it
    finishing_at INTEGER,
    finish_ts INTEGER,
    progress TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_cluster ON runs (cluster, id);
CREATE INDEX runs_by_cluster_and_status ON runs (cluster, status, id);
CREATE INDEX runs_by_status ON runs (status, id);
CREATE INDEX runs_by_lease ON runs (lease_until) WHERE finish_ts IS NULL;
CREATE INDEX runs_by_engine ON runs (engine) WHERE engine IS NOT NULL AND finish_ts IS NULL;
CREATE INDEX runs_finished ON runs (finish_ts) WHERE finish_ts IS NOT NULL;

CREATE TABLE snapshots (
    run BLOB NOT NULL PRIMARY KEY,
    idempotency_key TEXT UNIQUE,
    request TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TABLE agent_records (
    run BLOB NOT NULL,
    seq INTEGER NOT NULL,
    agent TEXT NOT NULL,
    state TEXT NOT NULL,
    finish_ts INTEGER,
    body TEXT NOT NULL,
    UNIQUE (run, seq)
) STRICT;
CREATE INDEX agent_records_by_agent ON agent_records (run, agent, seq);
CREATE INDEX agent_records_by_state ON agent_records (run, state, seq);
CREATE INDEX agent_records_unfinished ON agent_records (run) WHERE finish_ts IS NULL;
CREATE INDEX agent_records_finished ON agent_records (finish_ts) WHERE finish_ts IS NOT NULL;

CREATE TABLE journals (
    run BLOB NOT NULL,
    agent INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    finish_ts INTEGER,
    body TEXT NOT NULL,
    UNIQUE (run, agent, stage, step, attempt)
) STRICT;
CREATE INDEX journals_unfinished ON journals (run) WHERE finish_ts IS NULL;
CREATE INDEX journals_finished ON journals (finish_ts) WHERE finish_ts IS NOT NULL;

CREATE TABLE logs (
    run BLOB NOT NULL,
    event INTEGER NOT NULL,
    agent TEXT NOT NULL, -- empty for the strategy
    line INTEGER NOT NULL,
    finish_ts INTEGER,
    body TEXT NOT NULL,
    PRIMARY KEY (run, event, agent, line)
) STRICT, WITHOUT ROWID;
CREATE INDEX logs_by_agent ON logs (run, agent, event, line);
CREATE INDEX logs_unfinished ON logs (run) WHERE finish_ts IS NULL;
CREATE INDEX logs_finished ON logs (finish_ts) WHERE finish_ts IS NOT NULL;

CREATE TABLE events (
    run BLOB NOT NULL,
    seq INTEGER NOT NULL,
    finish_ts INTEGER,
    body TEXT NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX events_unfinished ON events (run) WHERE finish_ts IS NULL;
CREATE INDEX events_finished ON events (finish_ts) WHERE finish_ts IS NOT NULL;

CREATE TABLE commands (
    id BLOB NOT NULL PRIMARY KEY,
    run BLOB NOT NULL,
    at INTEGER NOT NULL,
    waiting INTEGER NOT NULL, -- 1 until it has an outcome
    finish_ts INTEGER,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX commands_waiting ON commands (at, id) WHERE waiting = 1;
CREATE INDEX commands_unfinished ON commands (run) WHERE finish_ts IS NULL;
CREATE INDEX commands_finished ON commands (finish_ts) WHERE finish_ts IS NOT NULL;
