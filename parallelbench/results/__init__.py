"""Results of a run, with their intervals, and what they are made of."""

from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result, average_over_tasks, summarize

__all__ = ["Interval", "Result", "average_over_tasks", "summarize"]
