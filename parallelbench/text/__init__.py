"""Text and tokens: chat templates, thinking aloud, counts of tokens."""
