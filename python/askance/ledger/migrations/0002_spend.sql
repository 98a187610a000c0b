-- One row a start of a teach worker: the period of the caps "per run".
CREATE TABLE runs (
    number INTEGER PRIMARY KEY,
    started_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

-- One row a call to the teacher, on the disk before it is made. status: open -> settled | lost.
-- calls, tokens and nanos are what counts against the caps: the reservation until it is settled, then what it came to.
CREATE TABLE calls (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    day TEXT NOT NULL,
    teacher TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT 'open',
    documents INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    nanos INTEGER NOT NULL,
    error TEXT,
    begun_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);

CREATE INDEX calls_open ON calls (number) WHERE status = 'open';

-- What each teacher took for its part in a settled or lost call.
CREATE TABLE charges (
    call INTEGER NOT NULL REFERENCES calls (number),
    teacher TEXT NOT NULL,
    calls INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    nanos INTEGER NOT NULL
);

CREATE INDEX charges_by_call ON charges (call);

-- The sums of `calls` by period ('total', 'day 2026-11-22', 'run 7'), kept in the same transactions.
CREATE TABLE accounts (
    period TEXT PRIMARY KEY,
    calls INTEGER NOT NULL,
    tokens INTEGER NOT NULL,
    nanos INTEGER NOT NULL
) WITHOUT ROWID;

-- What the teach worker tells the gate; past `until` (Unix time) it is old news.
CREATE TABLE teacher_state (
    id INTEGER PRIMARY KEY CHECK (id = 0),
    state TEXT NOT NULL,
    until REAL NOT NULL
);

-- ask_after: 0 for a query that was never asked, else the Unix time from which it may be asked again.
ALTER TABLE queries ADD COLUMN ask_after REAL NOT NULL DEFAULT 0;
ALTER TABLE queries ADD COLUMN tries REAL NOT NULL DEFAULT 0;
ALTER TABLE queries ADD COLUMN bad_replies INTEGER NOT NULL DEFAULT 0;
ALTER TABLE queries ADD COLUMN call INTEGER;
ALTER TABLE labels ADD COLUMN call INTEGER;
ALTER TABLE labels ADD COLUMN rationale TEXT;

CREATE INDEX labels_by_call ON labels (call);

CREATE INDEX queries_again ON queries (ask_after) WHERE status = 'pending' AND ask_after > 0;
CREATE INDEX queries_by_call ON queries (call) WHERE status = 'asked';
