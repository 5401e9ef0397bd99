"""The tasks of the benchmark, one module per family; importing this registers them all."""

from parallelbench.tasks import (
    choices,
    list_operations,
    original,
    original_text,
    puzzles,
    text_writing,
    waiting_line,
)

__all__ = [
    "choices",
    "list_operations",
    "original",
    "original_text",
    "puzzles",
    "text_writing",
    "waiting_line",
]
