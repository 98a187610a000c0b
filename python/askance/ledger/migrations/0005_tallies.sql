-- What was counted of all documents, labelled or not, by version and by block of 4,096 offsets; JSON in the last two.
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
    PRIMARY KEY (topic, partition, block, version)
) WITHOUT ROWID;
