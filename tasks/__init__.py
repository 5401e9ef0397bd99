"""The tasks of the benchmark, one module per family; importing this registers them all."""

from parallelbench.tasks import (
    agreement,
    choices,
    list_operations,
    original,
    original_text,
    puzzles,
    text_writing,
    verse,
    waiting_line,
)

__all__ = [
    "agreement",
    "choices",
    "list_operations",
    "original",
    "original_text",
    "puzzles",
    "text_writing",
    "verse",
    "waiting_line",
]
