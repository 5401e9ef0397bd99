"""What the figures of a run are made of, and the figures."""

from parallelbench.results.result import Interval, Result, average_over_tasks, summarize

__all__ = ["Interval", "Result", "average_over_tasks", "summarize"]
