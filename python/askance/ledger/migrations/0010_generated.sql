-- What a call is for: `label`, or `augment` for documents that the teacher writes and their second labels.
ALTER TABLE calls ADD COLUMN purpose TEXT NOT NULL DEFAULT 'label';

-- Documents the teacher wrote for training. They are no part of the stream: no estimate, no holdout and no audit has them.
-- status: unchecked -> refused, or confirmed (the second label is the wanted one) -> kept, or discarded (its round was
-- of no use, or never ended)
CREATE TABLE generated (
    number INTEGER PRIMARY KEY,
    round INTEGER NOT NULL,
    text TEXT NOT NULL UNIQUE,
    wanted TEXT NOT NULL,
    label TEXT,
    confidence REAL,
    status TEXT NOT NULL DEFAULT 'unchecked',
    teacher TEXT NOT NULL,
    call INTEGER NOT NULL,
    check_call INTEGER,
    written_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX generated_by_status ON generated (status, round);
