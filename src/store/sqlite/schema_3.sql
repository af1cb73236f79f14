-- Why runs can't go on, beside them: their own documents may be what can't be read.
CREATE TABLE troubles (
    run BLOB NOT NULL PRIMARY KEY,
    finish_ts INTEGER,
    body TEXT NOT NULL
) STRICT, WITHOUT ROWID;
