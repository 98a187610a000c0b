"""The ledger's schema, one named SQL file a step, applied in order of name and never changed once released."""
