-- Whose requests never go to a hosted provider.
ALTER TABLE workspaces ADD COLUMN local_only INTEGER NOT NULL DEFAULT FALSE;
CREATE INDEX models_local_only ON models (seq) WHERE json_extract(body, '$.local_only');

-- Whether what it is sent stays here, as JSON, when its owner says so; absent: its URL tells.
ALTER TABLE providers ADD COLUMN locality TEXT CHECK (locality IN ('"local"', '"hosted"'));
