-- The version a sealed value must be of: an older one, put back into its row, does not open.
ALTER TABLE secrets ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
UPDATE secrets SET version = json_extract(sealed, '$.version');
