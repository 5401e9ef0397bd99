"""The ten operations on one list of distinct items, whatever the items are.

Each says which lists are right, twice: as a rule and as an enumeration.  The tasks of
:mod:`~parallelbench.tasks.list_operations` and :mod:`~parallelbench.tasks.waiting_line` put
them into words.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, permutations
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Operation(ABC):
    """One thing to do to one list, and which lists are then right.

    The right lists are told twice: as a rule, which is cheap however many they are, and
    as an enumeration.  Where there is a choice, neither is written in terms of the other,
    so that each can be held against the other.

    Attributes:
        fewest: How many items the list needs so that there is a right answer.
        growth: How many items longer a right list is; negative for shorter.
        takes_new: Whether an item is put in, as the field ``new``.
        takes_position: Whether the place is told, as the field ``position``.
        unchanged: The problem of a reply that gives the list back where that is wrong.
        items: The list as given; no item comes twice.
    """

    fewest: ClassVar[int] = 1
    growth: ClassVar[int] = 0
    takes_new: ClassVar[bool] = False
    takes_position: ClassVar[bool] = False
    unchanged: ClassVar[str] = "unchanged"

    items: tuple[str, ...]

    @classmethod
    def ask(cls, rng: random.Random, drawn: tuple[str, ...]) -> Operation:
        """Return this operation, on a list and at a position.

        Args:
            rng: Draws the position, if one is told.
            drawn: The list, followed by the new item if one is put in.
        """
        details: dict[str, Any] = {}
        if cls.takes_new:
            drawn, details["new"] = drawn[:-1], drawn[-1]
        if cls.takes_position:
            details["position"] = rng.randint(1, len(drawn) + max(cls.growth, 0))
        return cls(drawn, **details)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Operation:
        """Return the operation that gave these :meth:`facts`."""
        return cls(**{**facts, "items": tuple(facts["items"])})

    def facts(self) -> dict[str, Any]:
        """Return all fields, as JSON values."""
        return asdict(self) | {"items": list(self.items)}

    def slots(self) -> dict[str, str]:
        """Return what a prompt template may name: all fields, as text."""
        texts = {field: str(value) for field, value in self.facts().items()}
        return texts | {"items": written(self.items)}

    @property
    def named(self) -> tuple[str, ...]:
        """All items that the prompt names, a new one last."""
        return self.items

    @property
    def length(self) -> int:
        """How many items a right list has."""
        return len(self.items) + self.growth

    @property
    def count(self) -> int:
        """How many lists are right."""
        return 1

    @abstractmethod
    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield every right list once; all are equally likely."""

    @abstractmethod
    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply``, whatever its items are, is a right list."""

    def one_result(self, rng: random.Random) -> tuple[str, ...]:
        """Return a right list, drawn from all with equal probability."""
        return rng.choice(list(self.results()))


class _Certain(Operation):
    """An operation that leaves no choice."""

    __slots__ = ()

    @abstractmethod
    def _result(self) -> tuple[str, ...]: ...

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the one right list."""
        yield self._result()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply`` is the one right list."""
        return tuple(reply) == self._result()


class Copied(_Certain):
    """The list as it is."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return self.items


class Reversed(_Certain):
    """The list from its last item to its first."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return self.items[::-1]


class Sorted(_Certain):
    """The list in the order of code points; a list that has this order already keeps it."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return tuple(sorted(self.items))


@dataclass(frozen=True, slots=True)
class Shuffled(Operation):
    """The list in another order.

    Attributes:
        allow_identity: Whether the order as given is right, too.
    """

    fewest: ClassVar[int] = 2
    unchanged: ClassVar[str] = "identity"

    allow_identity: bool = False

    def slots(self) -> dict[str, str]:
        """Return what a prompt template may name: also ``order``, what is asked for."""
        order = "any order, even the same one" if self.allow_identity else "a different order"
        return Operation.slots(self) | {"order": order}

    @property
    def count(self) -> int:
        """How many orders are right: n!, or one less without the identity."""
        return math.factorial(len(self.items)) - (not self.allow_identity)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield every right order; the identity is the first of all permutations."""
        return islice(permutations(self.items), 0 if self.allow_identity else 1, None)

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply`` holds the same items in a right order."""
        is_identity = tuple(reply) == self.items
        return sorted(reply) == sorted(self.items) and (self.allow_identity or not is_identity)

    def one_result(self, rng: random.Random) -> tuple[str, ...]:
        """Return a right order, without listing them all."""
        # Half or more of all orders are right, so this ends soon.
        while not self.accepts(order := rng.sample(self.items, len(self.items))):
            pass
        return tuple(order)


@dataclass(frozen=True, slots=True)
class _PuttingIn(Operation):
    """An operation that puts an item in.

    Attributes:
        new: The item; the list lacks it.
    """

    takes_new: ClassVar[bool] = True

    new: str

    @property
    def named(self) -> tuple[str, ...]:
        """The list and the new item."""
        return (*self.items, self.new)


@dataclass(frozen=True, slots=True)
class ReplacedAt(_PuttingIn, _Certain):
    """The list with the new item in the place of one that is told.

    Attributes:
        position: Which item gives way: from 1 to the length of the list.
    """

    takes_position: ClassVar[bool] = True

    position: int

    def _result(self) -> tuple[str, ...]:
        return (*self.items[: self.position - 1], self.new, *self.items[self.position :])


@dataclass(frozen=True, slots=True)
class ReplacedAnywhere(_PuttingIn):
    """The list with the new item in the place of any one."""

    @property
    def count(self) -> int:
        """How many lists are right: n."""
        return len(self.items)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list with each item replaced in turn."""
        for position in range(1, len(self.items) + 1):
            yield from ReplacedAt(self.items, self.new, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply`` differs from the list in one place, by the new item."""
        if len(reply) != len(self.items):
            return False
        changed = [ours for ours, given in zip(reply, self.items, strict=True) if ours != given]
        return changed == [self.new]


@dataclass(frozen=True, slots=True)
class InsertedAt(_PuttingIn, _Certain):
    """The list with the new item put in so that it stands at a place that is told.

    Attributes:
        position: Where the new item then stands: from 1 to one more than the length.
    """

    growth: ClassVar[int] = 1
    takes_position: ClassVar[bool] = True

    position: int

    def _result(self) -> tuple[str, ...]:
        return (*self.items[: self.position - 1], self.new, *self.items[self.position - 1 :])


@dataclass(frozen=True, slots=True)
class InsertedAnywhere(_PuttingIn):
    """The list with the new item put in at any place, either end included."""

    growth: ClassVar[int] = 1

    @property
    def count(self) -> int:
        """How many lists are right: n + 1."""
        return len(self.items) + 1

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list with the new item first, second and so on."""
        for position in range(1, len(self.items) + 2):
            yield from InsertedAt(self.items, self.new, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply`` without the new item, which comes once, is the list."""
        others = tuple(item for item in reply if item != self.new)
        return others == self.items and len(reply) == self.length


@dataclass(frozen=True, slots=True)
class RemovedAt(_Certain):
    """The list without an item whose place is told.

    Attributes:
        position: Which item is left out: from 1 to the length of the list.
    """

    fewest: ClassVar[int] = 2
    growth: ClassVar[int] = -1
    takes_position: ClassVar[bool] = True

    position: int

    def _result(self) -> tuple[str, ...]:
        return self.items[: self.position - 1] + self.items[self.position :]


@dataclass(frozen=True, slots=True)
class RemovedAnywhere(Operation):
    """The list without any one item."""

    fewest: ClassVar[int] = 2
    growth: ClassVar[int] = -1

    @property
    def count(self) -> int:
        """How many lists are right: n."""
        return len(self.items)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list without each item in turn."""
        for position in range(1, len(self.items) + 1):
            yield from RemovedAt(self.items, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return whether ``reply`` holds all items but one, in the order of the list."""
        kept = [item for item in self.items if item in reply]
        return list(reply) == kept and len(kept) == self.length


def written(items: Sequence[str]) -> str:
    """Return the list in the form that is asked for.

    Example:
        >>> written(["Ada Moss", "Ben Stone"])
        '[Ada Moss, Ben Stone]'
    """
    return f"[{', '.join(items)}]"


def spans(items: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return where each of ``items`` stands in its written list, as ``(start, end)``.

    Example:
        >>> spans(["A", "word"])
        ((1, 2), (4, 8))
    """
    found, start = [], len("[")
    for item in items:
        found.append((start, start + len(item)))
        start += len(item) + len(", ")
    return tuple(found)
