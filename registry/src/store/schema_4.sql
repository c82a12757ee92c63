-- What runs a deployment; absent while nothing here does.
ALTER TABLE deployments ADD COLUMN runtime TEXT;

-- Out of rotation, whatever discovery finds: its deployment is not ready.
ALTER TABLE providers ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;

-- Each try at running a replica of a version of a deployment, recorded before it is made and until nothing
-- is left of it.
CREATE TABLE instances (
    deployment  INTEGER NOT NULL REFERENCES deployments (seq) ON DELETE CASCADE,
    replica     INTEGER NOT NULL,
    incarnation INTEGER NOT NULL,
    -- JSON array of device ids.
    gpus        TEXT    NOT NULL,
    -- Tries in a row that failed before this one.
    failures    INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    -- Not started before.
    retry_us    INTEGER,
    launched_us INTEGER,
    ready_us    INTEGER,
    -- Given up: it stays as it is, for its log.
    failed      INTEGER NOT NULL DEFAULT 0,
    -- To be stopped, and not before.
    ending_us   INTEGER,
    PRIMARY KEY (deployment, replica, incarnation)
) STRICT, WITHOUT ROWID;
