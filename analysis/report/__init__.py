"""One page for each run, and the same as text."""
