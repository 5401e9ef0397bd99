"""Brackets: balanced words of two kinds of brackets.

*Question:* a random word of n brackets, round and square, in which every bracket is closed by one
of its kind and none is nested deeper than a given depth.

*Why it is hard:* each closing bracket depends on the bracket that it closes, which may be anywhere
before it, and all brackets depend on each other through the depth.  Brackets drawn in parallel
close what was never opened.

*Theory:* without a limit of the depth, the words of n = 2 m brackets are C_m 2^m, with Catalan's
number C_m; a limit removes the paths above it.  All words are equally likely, so entropy is the
log2 of their number.  A state is a stack of open brackets: there are 2^(d + 1) - 1 to depth d, and
2^(d + 2) - 4 edges between them, so 31 and 60 at depth 4, and 63 and 124 at depth 5.  Stacks before
one position are all of odd or all of even depth.

*The lenient reading* takes the last line of brackets, with any or no spaces, commas or code marks.

*Problems of a reply*, first match: ``unreadable``: no line of brackets; ``wrong count``;
``unopened``: a bracket closes nothing; ``crossed``: it closes one of the other kind; ``unclosed``;
``too deep``.

Source: Stanley, "Catalan Numbers" (2015), for the count.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask

_CLOSING = {"(": ")", "[": "]"}
_BRACKETS = frozenset("()[]")
_IGNORED = str.maketrans("", "", " \t,`*\"'.")


@lru_cache(maxsize=16)
def _nested_trellis(length: int, depth: int) -> TextTrellis:
    # A node is the text of the open brackets, outermost first.
    stacks = ["".join(each) for size in range(depth + 1) for each in product("([", repeat=size)]
    edges = [
        *((stack, opening, stack + opening) for stack in stacks for opening in "(["),
        *((stack, _CLOSING[stack[-1]], stack[:-1]) for stack in stacks if stack),
    ]
    inner = [edge for edge in edges if len(edge[2]) <= depth]
    first = Stage(Edge(START, opening, opening) for opening in "([")
    later = Stage(Edge(before, f" {bracket}", after) for before, bracket, after in inner)
    last = Stage(edge for edge in later.edges if edge.target == "")
    return TextTrellis([first, *[later] * (length - 2), last])


@TASKS.register("brackets/nested")
@dataclass(frozen=True, kw_only=True)
class Nested(TrellisTask):
    """Ask for a balanced word of two kinds of brackets; all such words are equally likely.

    Attributes:
        length: Number of brackets, even.
        depth: Greatest number of brackets that are open at once.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "brackets/nested"
    templates: ClassVar[dict[str, str]] = {
        "default": "Write a random balanced word of {length} brackets, round ( ) and square [ ]. "
        "Each bracket is closed by one of its kind, and at most {depth} are open at any place. Put "
        "one space between two brackets and write nothing else.",
        "terse": "{length} random brackets of the kinds ( ) and [ ], balanced, at most {depth} "
        "deep, separated by spaces:",
        "story": "Round boxes ( ) and square boxes [ ] stand inside each other or side by side, "
        "{half} boxes in all, no more than {depth} inside each other. Arrange them at random and "
        "reply with the brackets only, from left to right, with one space between two of them.",
    }

    length: int = whole(2, 48, "brackets", most=500)
    depth: int = whole(1, 4, "open brackets", most=7)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length % 2:
            raise ValueError(f"balanced brackets are an even number, got length={self.length}")

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a right answer to the one question of this size."""
        trellis = _nested_trellis(self.length, self.depth)
        slots = {
            "length": str(self.length),
            "half": str(self.length // 2),
            "depth": str(self.depth),
        }
        return Question(slots, trellis.text(trellis.draw(rng)), {})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all balanced words of this length and depth."""
        return _nested_trellis(self.length, self.depth)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last line of brackets in ``reply``."""
        lines = [line.translate(_IGNORED) for line in reply.splitlines()]
        brackets = next((line for line in reversed(lines) if line and set(line) <= _BRACKETS), "")
        if not brackets:
            problem: str | None = UNREADABLE
        elif len(brackets) != self.length:
            problem = "wrong count"
        else:
            problem = _imbalance(brackets, self.depth)
        right = problem is None
        return Marks(float(right and reply.strip() == " ".join(brackets)), float(right), problem)


def _imbalance(brackets: str, depth: int) -> str | None:
    """Return the problem of a word of brackets; None if it is right."""
    waiting: list[str] = []
    deepest = 0
    for bracket in brackets:
        if bracket in _CLOSING:
            waiting.append(_CLOSING[bracket])
            deepest = max(deepest, len(waiting))
        elif not waiting:
            return "unopened"
        elif waiting.pop() != bracket:
            return "crossed"
    if waiting:
        return "unclosed"
    return "too deep" if deepest > depth else None
