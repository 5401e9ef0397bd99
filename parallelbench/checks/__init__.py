"""Whether a model is steady, and whether a strategy keeps its contract."""
