-- text_hash: of the normalised text, for queries that were asked themselves (copies have none, so a lookup finds few).
-- twin: while the query is pending, the one whose answer it waits for; likeness: how alike the two are, NULL: the same text.
ALTER TABLE queries ADD COLUMN text_hash BLOB;
ALTER TABLE queries ADD COLUMN twin INTEGER;
ALTER TABLE queries ADD COLUMN likeness REAL;
CREATE INDEX queries_by_text ON queries (text_hash) WHERE text_hash IS NOT NULL;
CREATE INDEX queries_waiting ON queries (twin) WHERE twin IS NOT NULL;

-- key: the model and the digest of the prompt that an answer was given under.
-- twin: the query whose label this one is a copy of, at no cost; likeness as above.
ALTER TABLE calls ADD COLUMN key TEXT;
ALTER TABLE labels ADD COLUMN key TEXT;
ALTER TABLE labels ADD COLUMN twin INTEGER;
ALTER TABLE labels ADD COLUMN likeness REAL;

-- Of queries that were asked themselves while near-duplicates are looked for: the MinHash signature, and its bands.
CREATE TABLE signatures (
    query INTEGER PRIMARY KEY REFERENCES queries (number),
    signature BLOB NOT NULL
);

CREATE TABLE bands (
    band INTEGER NOT NULL,
    hash BLOB NOT NULL,
    query INTEGER NOT NULL,
    PRIMARY KEY (band, hash, query)
) WITHOUT ROWID;
