"""Pure rules: time and randomness are passed in, nothing is read or written."""
