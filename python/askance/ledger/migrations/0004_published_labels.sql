-- On Kafka a label is settled here first and then produced; 1 once it stands on the labels topic.
ALTER TABLE labels ADD COLUMN published INTEGER NOT NULL DEFAULT 0;

CREATE INDEX labels_unpublished ON labels (number) WHERE published = 0;
