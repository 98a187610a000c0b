"""The three loops: `classify`, `teach` and `train` share nothing but streams, the ledger and the registry."""
