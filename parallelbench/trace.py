"""The trace: the writes and the cost of every step of a decode, enough to replay it.

Final tokens, decoding order, revisions and all counts of a record are derived from this;
``tests/core/test_trace.py`` replays them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trace:
    """The steps of one decode, a column per fact, an entry per step.

    Attributes:
        positions: The canvas positions written in each step, ascending.
        ids: The ids written there; the mask id opens a position again.
        rows: Sequences sent for this sample; 0 in a step that needed no call.
        row_tokens: Tokens that passed through the network for them, prompts and auxiliary
            calls included.
        auxiliary_calls: Calls beside the counted one: verifier, encoder, cache store.
        stopped: True if the last step is not the decoder's: the model stops behind the
            first end-of-text, and what was left of the canvas was filled with it.

    Raises:
        ValueError: The columns differ in length, or a step's positions and ids do.
    """

    positions: list[list[int]] = field(default_factory=list)
    ids: list[list[int]] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    row_tokens: list[int] = field(default_factory=list)
    auxiliary_calls: list[int] = field(default_factory=list)
    stopped: bool = False

    def __post_init__(self) -> None:
        columns = (self.positions, self.ids, self.rows, self.row_tokens, self.auxiliary_calls)
        if len({len(column) for column in columns}) != 1:
            raise ValueError(f"a trace has columns of {[len(c) for c in columns]} steps")
        for step, (positions, ids) in enumerate(zip(self.positions, self.ids, strict=True)):
            if len(positions) != len(ids):
                raise ValueError(f"step {step} writes {len(ids)} ids at {len(positions)} positions")

    def add(
        self, positions: list[int], ids: list[int], rows: int, row_tokens: int, auxiliary_calls: int
    ) -> None:
        """Append one step."""
        self.positions.append(positions)
        self.ids.append(ids)
        self.rows.append(rows)
        self.row_tokens.append(row_tokens)
        self.auxiliary_calls.append(auxiliary_calls)

    def stop(self, positions: list[int], ids: list[int]) -> None:
        """Append the step in which the model's stop rule fills what is left."""
        self.add(positions, ids, rows=0, row_tokens=0, auxiliary_calls=0)
        self.stopped = True

    @property
    def nfe(self) -> int:
        """Model calls: the steps in which at least one row was sent."""
        return sum(rows > 0 for rows in self.rows)

    @property
    def filled(self) -> int:
        """Positions that the model's stop rule filled."""
        return len(self.positions[-1]) if self.stopped else 0

    def canvases(self, initial: Sequence[int]) -> Iterator[list[int]]:
        """Yield the canvas before the first step, and after every step.

        Args:
            initial: The canvas at the start.

        Raises:
            ValueError: A step writes outside the canvas.

        Example:
            >>> trace = Trace([[1], [0]], [[7], [8]], [1, 1], [2, 2], [0, 0])
            >>> list(trace.canvases([9, 9]))
            [[9, 9], [9, 7], [8, 7]]
        """
        canvas = list(initial)
        yield canvas
        for step, (positions, ids) in enumerate(zip(self.positions, self.ids, strict=True)):
            canvas = canvas.copy()
            for position, token in zip(positions, ids, strict=True):
                if not 0 <= position < len(canvas):
                    raise ValueError(
                        f"step {step} writes position {position} of a canvas of {len(canvas)}"
                    )
                canvas[position] = token
            yield canvas

    def replay(self, initial: Sequence[int]) -> list[int]:
        """Return the canvas after the last step.

        Args:
            initial: The canvas at the start.

        Raises:
            ValueError: A step writes outside the canvas.
        """
        return deque(self.canvases(initial), maxlen=1)[0]

    def first_commit(self, length: int, mask_id: int) -> list[int | None]:
        """Return the step in which each position was first written; None where never."""
        steps: list[int | None] = [None] * length
        for step, position, token in self._writes():
            if token != mask_id and steps[position] is None:
                steps[position] = step
        return steps

    def last_commit(self, length: int, mask_id: int) -> list[int | None]:
        """Return the step in which each position last changed to its final token.

        Writing again the token that already stands there is no change.  None where
        nothing was written, or where the last write opened the position again.
        """
        steps: list[int | None] = [None] * length
        held: list[int] = [mask_id] * length
        for step, position, token in self._writes():
            if token != held[position]:
                steps[position] = None if token == mask_id else step
                held[position] = token
        return steps

    def revisions(self, mask_id: int) -> int:
        """Return the number of committed tokens that were masked again or replaced by others."""
        held: dict[int, int] = {}
        count = 0
        for _, position, token in self._writes():
            before = held.get(position, mask_id)
            count += before not in (mask_id, token)
            held[position] = token
        return count

    def _writes(self) -> list[tuple[int, int, int]]:
        return [
            (step, position, token)
            for step, (positions, ids) in enumerate(zip(self.positions, self.ids, strict=True))
            for position, token in zip(positions, ids, strict=True)
        ]
