"""The tasks of the benchmark, one module per family; importing this registers them all."""

from parallelbench.tasks import (
    agreement,
    arithmetic,
    checks,
    choices,
    list_operations,
    original,
    original_text,
    puzzles,
    sequences,
    text_writing,
    verse,
    waiting_line,
)

__all__ = [
    "agreement",
    "arithmetic",
    "checks",
    "choices",
    "list_operations",
    "original",
    "original_text",
    "puzzles",
    "sequences",
    "text_writing",
    "verse",
    "waiting_line",
]
