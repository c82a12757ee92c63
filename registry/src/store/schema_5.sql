-- How a provider is spoken to: a JSON object in which what is left out has its default.
ALTER TABLE providers ADD COLUMN backend TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(backend));
-- The preset that its owner named.
ALTER TABLE providers ADD COLUMN preset TEXT;
