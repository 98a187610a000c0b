-- Labels that are asked for again, to see how far the teacher agrees with itself.
-- status: pending -> asked -> answered | failed | lost. The first answer stands in `labels`, whatever comes of it.
CREATE TABLE audits (
    query INTEGER PRIMARY KEY REFERENCES queries (number),
    status TEXT NOT NULL DEFAULT 'pending',
    call INTEGER,
    label TEXT,
    error TEXT
);

CREATE INDEX audits_by_status ON audits (status, query);
