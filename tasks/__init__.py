"""The tasks of the benchmark, one module per family; importing this registers them all."""

from parallelbench.tasks import (
    agreement,
    arithmetic,
    brackets,
    checks,
    choices,
    list_operations,
    original,
    original_text,
    plans,
    puzzles,
    records,
    routes,
    sequences,
    text_writing,
    verse,
    waiting_line,
)

__all__ = [
    "agreement",
    "arithmetic",
    "brackets",
    "checks",
    "choices",
    "list_operations",
    "original",
    "original_text",
    "plans",
    "puzzles",
    "records",
    "routes",
    "sequences",
    "text_writing",
    "verse",
    "waiting_line",
]
