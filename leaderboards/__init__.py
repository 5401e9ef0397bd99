"""Leaderboards that anyone can enter and anyone can recompute."""
