"""The demo: its corpus and what it prints."""
