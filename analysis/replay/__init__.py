"""A decode, step by step: in the terminal, as a picture that moves, and on a report's page."""
