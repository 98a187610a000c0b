"""Where documents come from and predictions go: one adapter a transport."""
