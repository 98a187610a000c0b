-- Calls that are made together through a provider's batch API and answered hours later. status: reserved -> submitted
-- -> ended. token is on the disk before anything is sent and travels with the batch, so that a batch that was made by
-- a process that died before it heard of it is found again.
CREATE TABLE batches (
    number INTEGER PRIMARY KEY,
    token TEXT NOT NULL UNIQUE,
    teacher TEXT NOT NULL,
    id TEXT,
    status TEXT NOT NULL DEFAULT 'reserved',
    error TEXT,
    made_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

ALTER TABLE calls ADD COLUMN batch INTEGER REFERENCES batches (number);
CREATE INDEX calls_by_batch ON calls (batch) WHERE batch IS NOT NULL;
