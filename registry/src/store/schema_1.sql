-- One row: which installation this is, and how far its routes have come.
CREATE TABLE registry (
    one            INTEGER PRIMARY KEY CHECK (one = 1),
    installation   TEXT    NOT NULL,
    -- A constant sealed with the master key: tells a wrong key from a damaged file.
    key_check      TEXT    NOT NULL,
    -- Bumped with every change of anything routable. Only rises.
    generation     INTEGER NOT NULL CHECK (generation >= 1),
    -- Bumped for every sealed value, so that no two ever share name and version.
    secret_version INTEGER NOT NULL CHECK (secret_version >= 0)
) STRICT;

CREATE TABLE workspaces (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    name        TEXT    NOT NULL UNIQUE,
    description TEXT,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL
) STRICT;

CREATE TABLE secrets (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    description TEXT,
    sealed      TEXT    NOT NULL CHECK (json_valid(sealed)),
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE providers (
    seq                    INTEGER PRIMARY KEY AUTOINCREMENT,
    id                     TEXT    NOT NULL UNIQUE,
    workspace              TEXT    NOT NULL REFERENCES workspaces (name),
    name                   TEXT    NOT NULL,
    project                TEXT,
    description            TEXT,
    host_url               TEXT    NOT NULL,
    -- By name, not by reference: a secret may go and come back.
    api_key_secret_name    TEXT,
    auth_header_format     TEXT,
    enabled_models         TEXT CHECK (json_valid(enabled_models)),
    default_extra_body     TEXT CHECK (json_valid(default_extra_body)),
    required_extra_body    TEXT CHECK (json_valid(required_extra_body)),
    default_extra_headers  TEXT CHECK (json_valid(default_extra_headers)),
    required_extra_headers TEXT CHECK (json_valid(required_extra_headers)),
    model_deployment_id    TEXT,
    timeouts               TEXT    NOT NULL CHECK (json_valid(timeouts)),
    replay                 TEXT    NOT NULL CHECK (json_valid(replay)),
    status                 TEXT    NOT NULL CHECK (status IN (
        'UNKNOWN', 'CREATED', 'PENDING', 'READY', 'ERROR', 'DELETING', 'DELETED', 'LOST')),
    status_message         TEXT    NOT NULL,
    -- Bumped with the configuration and with the key.
    revision               INTEGER NOT NULL,
    -- The last generation in which a route of this provider changed.
    route_generation       INTEGER NOT NULL,
    created_us             INTEGER NOT NULL,
    updated_us             INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;
CREATE INDEX providers_by_secret ON providers (workspace, api_key_secret_name);

CREATE TABLE models (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    -- 'discovered' models go when nobody serves them any more.
    origin      TEXT    NOT NULL CHECK (origin IN ('discovered', 'user')),
    description TEXT,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE served_models (
    provider    INTEGER NOT NULL REFERENCES providers (seq) ON DELETE CASCADE,
    position    INTEGER NOT NULL,
    model       INTEGER NOT NULL REFERENCES models (seq) ON DELETE CASCADE,
    served_name TEXT    NOT NULL,
    PRIMARY KEY (provider, position)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX served_models_by_model ON served_models (model, provider);
