-- The W3C trace context of a query's document, to go on with in what follows from it.
ALTER TABLE queries ADD COLUMN traceparent TEXT;
