-- standing: held -> provisional -> settled, or held -> final; NULL where no contract waits for the answer.
ALTER TABLE queries ADD COLUMN standing TEXT;
ALTER TABLE queries ADD COLUMN threshold REAL;
ALTER TABLE queries ADD COLUMN held_until REAL;
ALTER TABLE queries ADD COLUMN "key" BLOB;
-- The challenger that scored the document without answering it.
ALTER TABLE queries ADD COLUMN shadow_version TEXT;
ALTER TABLE queries ADD COLUMN shadow_predicted TEXT;
ALTER TABLE queries ADD COLUMN shadow_confidence REAL;

CREATE INDEX queries_awaited ON queries (number) WHERE standing IN ('held', 'provisional');

-- A version may score a block's documents without answering them and, once promoted, answer others of the same block.
ALTER TABLE tallies RENAME TO tallies_before;
CREATE TABLE tallies (
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    block INTEGER NOT NULL,
    version TEXT NOT NULL,
    documents INTEGER NOT NULL,
    uncovered INTEGER NOT NULL,
    confidences REAL NOT NULL,
    uncertainties TEXT NOT NULL,
    predicted TEXT NOT NULL,
    is_shadow INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (topic, partition, block, version, is_shadow)
) WITHOUT ROWID;
INSERT INTO tallies SELECT *, 0 FROM tallies_before;
DROP TABLE tallies_before;
