-- Of which playbook a run is, so that the runs of one are found without reading the others.
ALTER TABLE runs ADD COLUMN playbook TEXT; -- none where the snapshot could not be read
ALTER TABLE runs ADD COLUMN version TEXT;
UPDATE runs SET
    playbook = (SELECT CASE WHEN json_valid(body) THEN json_extract(body, '$.playbook.name') END
                FROM snapshots WHERE run = id),
    version = (SELECT CASE WHEN json_valid(body) THEN json_extract(body, '$.playbook.version') END
               FROM snapshots WHERE run = id);

-- One for each set of filters: a page reads the runs that fit, and no others.
CREATE INDEX runs_by_playbook ON runs (playbook, id);
CREATE INDEX runs_by_playbook_and_status ON runs (playbook, status, id);
CREATE INDEX runs_by_playbook_and_cluster ON runs (playbook, cluster, id);
CREATE INDEX runs_by_playbook_and_cluster_and_status ON runs (playbook, cluster, status, id);
CREATE INDEX runs_by_version ON runs (playbook, version, id);
CREATE INDEX runs_by_version_and_status ON runs (playbook, version, status, id);
CREATE INDEX runs_by_version_and_cluster ON runs (playbook, version, cluster, id);
CREATE INDEX runs_by_version_and_cluster_and_status ON runs (playbook, version, cluster, status, id);
