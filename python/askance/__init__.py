"""askance: a streaming text classifier that teaches itself from an LLM."""

__version__ = "0.1.0"
