CREATE TABLE progress (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    dead_letters INTEGER NOT NULL,
    bookmark TEXT,
    PRIMARY KEY (topic, partition)
) WITHOUT ROWID;

-- status: pending -> asked -> labelled | invalid | failed | lost
CREATE TABLE queries (
    number INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    "offset" INTEGER NOT NULL,
    document_id TEXT NOT NULL,
    text TEXT NOT NULL,
    predicted TEXT,
    confidence REAL,
    uncertainty REAL NOT NULL,
    propensity REAL NOT NULL,
    version TEXT,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'pending',
    UNIQUE (topic, partition, "offset")
);

CREATE INDEX queries_by_status ON queries (status, number);

-- One row a query that has ended; its order is the order in which the labels came.
CREATE TABLE labels (
    number INTEGER PRIMARY KEY,
    query INTEGER NOT NULL UNIQUE REFERENCES queries (number),
    outcome TEXT NOT NULL,
    label TEXT,
    raw TEXT,
    confidence REAL,
    confidence_source TEXT,
    error TEXT,
    prompt_tokens INTEGER,
    completion_tokens INTEGER,
    teacher TEXT,
    latency_seconds REAL,
    settled_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
