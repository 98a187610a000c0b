"""A package, not a namespace: small-text's wheel brings a `tests` of its own, which would hide this one."""
