-- What the cheaper of two teachers had said of a query that the other was asked about after all.
CREATE TABLE escalations (
    query INTEGER PRIMARY KEY REFERENCES queries (number),
    teacher TEXT NOT NULL,
    label TEXT,
    confidence REAL,
    confidence_source TEXT
);

-- Labels that people have put right, as they were before.
CREATE TABLE corrections (
    number INTEGER PRIMARY KEY,
    query INTEGER NOT NULL REFERENCES queries (number),
    outcome TEXT NOT NULL,
    label TEXT,
    teacher TEXT,
    confidence REAL,
    confidence_source TEXT,
    corrected_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX labels_by_twin ON labels (twin) WHERE twin IS NOT NULL;
