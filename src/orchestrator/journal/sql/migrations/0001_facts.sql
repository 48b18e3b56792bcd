-- One row is one fact of a run. `n` ascends within a run and is never used twice.
-- `key` makes a fact once-only: the first of its kind with that key wins.
CREATE TABLE facts (
    run     TEXT    NOT NULL,
    n       INTEGER NOT NULL,
    at      TEXT    NOT NULL,
    kind    TEXT    NOT NULL,
    task    TEXT,
    attempt INTEGER,
    key     TEXT,
    body    TEXT    NOT NULL,
    PRIMARY KEY (run, n)
) WITHOUT ROWID, STRICT;

CREATE UNIQUE INDEX facts_once ON facts (run, kind, key) WHERE key IS NOT NULL;

CREATE INDEX facts_by_kind ON facts (kind, at);
