-- Which run got the lock of a cluster last. It holds the lock while it is there and unfinished.
CREATE TABLE locks (
    cluster TEXT NOT NULL PRIMARY KEY,
    run BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Whether the run needs the lock: 0 when its playbook allows others beside it.
ALTER TABLE runs ADD COLUMN locks_cluster INTEGER NOT NULL DEFAULT 1;
UPDATE runs SET locks_cluster = 0 WHERE id IN (
    SELECT run FROM snapshots WHERE json_extract(body, '$.playbook.concurrency') = 'allow'
);
CREATE INDEX runs_queued ON runs (cluster, id) WHERE status = 'PENDING' AND locks_cluster = 1;

-- Runs that go on hold their clusters. One that is finishing comes last: it may never have started.
INSERT INTO locks (cluster, run) SELECT cluster, min(id) FROM runs
    WHERE status IN ('STARTING', 'RUNNING', 'PAUSED', 'CANCELLING')
    AND finish_ts IS NULL AND locks_cluster = 1 GROUP BY cluster;
INSERT OR IGNORE INTO locks (cluster, run) SELECT cluster, min(id) FROM runs
    WHERE status = 'FINISHING' AND finish_ts IS NULL AND locks_cluster = 1 GROUP BY cluster;
