-- How many instances of it are to run, when its owner wants another number than its config says.
ALTER TABLE deployments ADD COLUMN replicas INTEGER CHECK (replicas >= 1);
-- How many of them take requests; absent while nobody here has looked.
ALTER TABLE deployments ADD COLUMN ready_replicas INTEGER;
-- The number of the last try at running an instance of it: no number is used twice.
ALTER TABLE deployments ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
UPDATE deployments SET tries = coalesce(
    (SELECT max(incarnation) FROM instances WHERE deployment = deployments.seq), 0);

-- What is to be told of an instance that does not run now: why it is tried again, or was given up.
ALTER TABLE instances ADD COLUMN message TEXT;
-- Of what is to be stopped: from this generation on, no route leads to it.
ALTER TABLE instances ADD COLUMN ending_generation INTEGER;

-- Where the instances behind a provider are, as a JSON list of URLs, written by whoever runs them and by nobody
-- else. Absent: its owner says where it is.
ALTER TABLE providers ADD COLUMN instances TEXT CHECK (json_valid(instances));
