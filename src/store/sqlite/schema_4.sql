-- Settings that all who use the store have in common. Lengths of time are milliseconds.
CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
