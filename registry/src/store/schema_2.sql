-- The objects that carry no route of their own: a name, common columns, and what their owner wrote as JSON.
CREATE TABLE projects (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    project     TEXT,
    description TEXT,
    body        TEXT    NOT NULL CHECK (json_valid(body)),
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE prompts (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    project     TEXT,
    description TEXT,
    body        TEXT    NOT NULL CHECK (json_valid(body)),
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE filesets (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    project     TEXT,
    description TEXT,
    body        TEXT    NOT NULL CHECK (json_valid(body)),
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;

CREATE TABLE adapters (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    name        TEXT    NOT NULL,
    project     TEXT,
    description TEXT,
    -- The base model it belongs to, as "workspace/name" in the body.
    body        TEXT    NOT NULL CHECK (json_valid(body)),
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, name)
) STRICT;
CREATE INDEX adapters_by_model ON adapters (json_extract(body, '$.model'));

-- Objects of types that others define.
CREATE TABLE entities (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    workspace   TEXT    NOT NULL REFERENCES workspaces (name),
    type        TEXT    NOT NULL,
    -- The id of another entity; empty at the top.
    parent      TEXT    NOT NULL,
    name        TEXT    NOT NULL,
    project     TEXT,
    body        TEXT    NOT NULL CHECK (json_valid(body)),
    -- Rises with every change: for writers who want to notice each other.
    version     INTEGER NOT NULL,
    created_us  INTEGER NOT NULL,
    updated_us  INTEGER NOT NULL,
    UNIQUE (workspace, type, parent, name)
) STRICT;

-- Versions are never changed; each update of a config makes the next.
CREATE TABLE deployment_configs (
    seq             INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT    NOT NULL UNIQUE,
    workspace       TEXT    NOT NULL REFERENCES workspaces (name),
    name            TEXT    NOT NULL,
    version         INTEGER NOT NULL CHECK (version >= 1),
    project         TEXT,
    description     TEXT,
    body            TEXT    NOT NULL CHECK (json_valid(body)),
    -- The newest version of its name; there is one for each name.
    latest          INTEGER NOT NULL CHECK (latest IN (0, 1)),
    created_us      INTEGER NOT NULL,
    updated_us      INTEGER NOT NULL,
    UNIQUE (workspace, name, version)
) STRICT;
CREATE UNIQUE INDEX deployment_configs_latest ON deployment_configs (workspace, name) WHERE latest;

CREATE TABLE deployments (
    seq               INTEGER PRIMARY KEY AUTOINCREMENT,
    id                TEXT    NOT NULL UNIQUE,
    workspace         TEXT    NOT NULL REFERENCES workspaces (name),
    name              TEXT    NOT NULL,
    version           INTEGER NOT NULL CHECK (version >= 1),
    project           TEXT,
    config            TEXT    NOT NULL,
    config_version    INTEGER NOT NULL,
    status            TEXT    NOT NULL CHECK (status IN (
        'UNKNOWN', 'CREATED', 'PENDING', 'READY', 'ERROR', 'DELETING', 'DELETED', 'LOST')),
    status_message    TEXT    NOT NULL,
    -- When the status was last changed; the end of what waits on it.
    status_us         INTEGER NOT NULL,
    status_history    TEXT    NOT NULL CHECK (json_valid(status_history)),
    model_provider_id TEXT,
    latest            INTEGER NOT NULL CHECK (latest IN (0, 1)),
    created_us        INTEGER NOT NULL,
    updated_us        INTEGER NOT NULL,
    UNIQUE (workspace, name, version)
) STRICT;
CREATE UNIQUE INDEX deployments_latest ON deployments (workspace, name) WHERE latest;
CREATE INDEX deployments_by_config ON deployments (workspace, config, config_version);
CREATE INDEX providers_by_deployment ON providers (model_deployment_id);

-- What a model-style request resolves to. An autoprovisioned one lives as long as its model is served.
CREATE TABLE virtual_models (
    seq                  INTEGER PRIMARY KEY AUTOINCREMENT,
    id                   TEXT    NOT NULL UNIQUE,
    workspace            TEXT    NOT NULL REFERENCES workspaces (name),
    name                 TEXT    NOT NULL,
    project              TEXT,
    description          TEXT,
    body                 TEXT    NOT NULL CHECK (json_valid(body)),
    created_us           INTEGER NOT NULL,
    updated_us           INTEGER NOT NULL,
    -- Taken from the body, for the publisher, who reads them all.
    autoprovisioned      INTEGER NOT NULL AS (json_extract(body, '$.autoprovisioned')) STORED,
    default_model_entity TEXT             AS (json_extract(body, '$.default_model_entity')) STORED,
    has_middleware       INTEGER NOT NULL AS (
        coalesce(json_array_length(body, '$.request_middleware'), 0)
        + coalesce(json_array_length(body, '$.response_middleware'), 0)
        + coalesce(json_array_length(body, '$.post_response_middleware'), 0) > 0) STORED,
    UNIQUE (workspace, name)
) STRICT;

-- The last generation in which a virtual model, or the order of a model's providers, changed.
ALTER TABLE registry ADD COLUMN models_generation INTEGER NOT NULL DEFAULT 0;

-- What a model's owner wrote; null in models that discovery made and nobody changed.
ALTER TABLE models ADD COLUMN project TEXT;
ALTER TABLE models ADD COLUMN body TEXT CHECK (json_valid(body));
-- The owner's wish, as a list of "workspace/provider".
ALTER TABLE models ADD COLUMN provider_order TEXT AS (json_extract(body, '$.model_providers')) VIRTUAL;
CREATE INDEX models_with_order ON models (seq) WHERE provider_order IS NOT NULL;

-- These tables are the long ones; lists by the last update are common.
CREATE INDEX models_by_update ON models (workspace, updated_us);
CREATE INDEX virtual_models_by_update ON virtual_models (workspace, updated_us);

-- Set when a workspace is on its way out; its contents go first.
ALTER TABLE workspaces ADD COLUMN deleting_us INTEGER;
