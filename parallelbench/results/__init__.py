"""What the figures of a run are made of, and the figures."""

from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result, average_over_tasks, summarize

__all__ = ["Interval", "Result", "average_over_tasks", "summarize"]
