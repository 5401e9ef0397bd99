"""One question of a task, with what is needed to mark any reply to it."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple


class Message(NamedTuple):
    """One turn of the chat that puts the question."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True)
class Sample:
    """A question, drawn by a task from nothing but a seed and an index.

    Attributes:
        id: Unique within a run's task; the same for the same task and index.
        messages: The chat: worked examples first (user, assistant, ...), the question last.
        reference: One right answer, in the form that was asked for.
        facts: What the scorer and the law need: JSON values only.
        open_spans: None for a free answer.  In the infilling form, the character spans
            ``(start, end)`` of ``reference`` that the decoder fills; everything else of
            ``reference`` already stands on the canvas.
    """

    id: str
    messages: tuple[Message, ...]
    reference: str
    facts: Mapping[str, Any]
    open_spans: tuple[tuple[int, int], ...] | None = None

    def __repr__(self) -> str:
        turns = f"{len(self.messages)} message{'s' if len(self.messages) != 1 else ''}"
        return f"Sample({self.id}: {turns}, a right answer is {reprlib.repr(self.reference)})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 over everything above: two samples are the same iff this is."""
        content = [self.id, self.messages, self.reference, dict(self.facts), self.open_spans]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
