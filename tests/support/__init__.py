"""Helpers of the tests: toy models and tasks, plain references, checkpoints, servers, entries."""
