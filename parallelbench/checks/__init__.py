"""Checks of models and strategies before a run."""
