-- Where its servers say how they are, as a JSON object of paths: as its owner says, and as whoever runs its instances
-- does, who writes them together with `instances`. Absent: tried out.
ALTER TABLE providers ADD COLUMN watch TEXT CHECK (json_valid(watch));
ALTER TABLE providers ADD COLUMN instances_watch TEXT CHECK (json_valid(instances_watch));

-- What gateways see of its addresses, written by nobody else: it is shown over a status of READY, and no route
-- depends on it. Absent: nothing that is to be told.
ALTER TABLE providers ADD COLUMN seen_status TEXT CHECK (seen_status IN ('READY', 'ERROR'));
ALTER TABLE providers ADD COLUMN seen_message TEXT;
ALTER TABLE providers ADD COLUMN shown_status TEXT
    GENERATED ALWAYS AS (iif(status = 'READY', coalesce(seen_status, status), status)) VIRTUAL;
CREATE INDEX providers_seen ON providers (seq) WHERE seen_status IS NOT NULL;
