"""The ten operations on one list of distinct items of any kind.

Each defines its right lists twice: as a rule and as an enumeration.  The prompts are in
:mod:`~parallelbench.tasks.list_operations` and :mod:`~parallelbench.tasks.waiting_line`.
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
    """An operation on one list, and the lists that are right.

    The right lists are defined twice: as a rule, which is cheap for any number of them, and
    as an enumeration.  Where there is a choice, the two are independent, so that tests can
    compare them.

    Attributes:
        fewest: Least number of items for which there is a right answer.
        growth: Number of items by which a right list is longer; negative for shorter.
        takes_new: True if an item is inserted, the field ``new``.
        takes_position: True if the place is given, as the field ``position``.
        unchanged: Problem of a reply that repeats the given list where that is wrong.
        items: The given list, without repeated items.
    """

    fewest: ClassVar[int] = 1
    growth: ClassVar[int] = 0
    takes_new: ClassVar[bool] = False
    takes_position: ClassVar[bool] = False
    unchanged: ClassVar[str] = "unchanged"

    items: tuple[str, ...]

    @classmethod
    def ask(cls, rng: random.Random, drawn: tuple[str, ...]) -> Operation:
        """Return this operation on a list, at a random position if it takes one.

        Args:
            rng: Generator that draws the position.
            drawn: The list, followed by the new item if the operation inserts one.
        """
        details: dict[str, Any] = {}
        if cls.takes_new:
            drawn, details["new"] = drawn[:-1], drawn[-1]
        if cls.takes_position:
            details["position"] = rng.randint(1, len(drawn) + max(cls.growth, 0))
        return cls(drawn, **details)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> Operation:
        """Return the operation with these :meth:`facts`."""
        return cls(**{**facts, "items": tuple(facts["items"])})

    def facts(self) -> dict[str, Any]:
        """Return all fields, as JSON values."""
        return asdict(self) | {"items": list(self.items)}

    def slots(self) -> dict[str, str]:
        """Return the slots of a prompt template: all fields, as text."""
        texts = {field: str(value) for field, value in self.facts().items()}
        return texts | {"items": list_text(self.items)}

    @property
    def named(self) -> tuple[str, ...]:
        """All items named in the prompt, the new one last."""
        return self.items

    @property
    def length(self) -> int:
        """Number of items of a right list."""
        return len(self.items) + self.growth

    @property
    def count(self) -> int:
        """Number of right lists."""
        return 1

    @abstractmethod
    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield every right list once; all are equally likely."""

    @abstractmethod
    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply``, a list of any items, is a right list."""

    def one_result(self, rng: random.Random) -> tuple[str, ...]:
        """Return a right list, drawn from all with equal probability."""
        return rng.choice(list(self.results()))


class _Certain(Operation):
    """An operation with exactly one right list."""

    __slots__ = ()

    @abstractmethod
    def _result(self) -> tuple[str, ...]: ...

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the one right list."""
        yield self._result()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply`` is the one right list."""
        return tuple(reply) == self._result()


class Copied(_Certain):
    """The unchanged list."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return self.items


class Reversed(_Certain):
    """The list from its last item to its first."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return self.items[::-1]


class Sorted(_Certain):
    """The list sorted by code points; a sorted list stays as it is."""

    __slots__ = ()

    def _result(self) -> tuple[str, ...]:
        return tuple(sorted(self.items))


@dataclass(frozen=True, slots=True)
class Shuffled(Operation):
    """The list in another order.

    Attributes:
        allow_identity: True if the given order is right, too.
    """

    fewest: ClassVar[int] = 2
    unchanged: ClassVar[str] = "identity"

    allow_identity: bool = False

    def slots(self) -> dict[str, str]:
        """Return the slots of a prompt template, with ``order``, the requested order."""
        order = "any order, even the same one" if self.allow_identity else "a different order"
        return Operation.slots(self) | {"order": order}

    @property
    def count(self) -> int:
        """Number of right orders: n!, or one less without the identity."""
        return math.factorial(len(self.items)) - (not self.allow_identity)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield every right order; the identity is the first of all permutations."""
        return islice(permutations(self.items), 0 if self.allow_identity else 1, None)

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply`` has the same items in a right order."""
        is_identity = tuple(reply) == self.items
        return sorted(reply) == sorted(self.items) and (self.allow_identity or not is_identity)

    def one_result(self, rng: random.Random) -> tuple[str, ...]:
        """Return a right order, without listing them all."""
        # At least half of all orders are right, so two draws suffice on average.
        while not self.accepts(order := rng.sample(self.items, len(self.items))):
            pass
        return tuple(order)


@dataclass(frozen=True, slots=True)
class _PuttingIn(Operation):
    """An operation that inserts an item.

    Attributes:
        new: Item to insert; it is not in the list.
    """

    takes_new: ClassVar[bool] = True

    new: str

    @property
    def named(self) -> tuple[str, ...]:
        """The list and the new item."""
        return (*self.items, self.new)


@dataclass(frozen=True, slots=True)
class ReplacedAt(_PuttingIn, _Certain):
    """The list with the item at a given place replaced by the new one.

    Attributes:
        position: Place of the replaced item, from 1 to the length of the list.
    """

    takes_position: ClassVar[bool] = True

    position: int

    def _result(self) -> tuple[str, ...]:
        return (*self.items[: self.position - 1], self.new, *self.items[self.position :])


@dataclass(frozen=True, slots=True)
class ReplacedAnywhere(_PuttingIn):
    """The list with any one item replaced by the new one."""

    @property
    def count(self) -> int:
        """Number of right lists: n."""
        return len(self.items)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list with each item replaced in turn."""
        for position in range(1, len(self.items) + 1):
            yield from ReplacedAt(self.items, self.new, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply`` differs from the list in one place, by the new item."""
        if len(reply) != len(self.items):
            return False
        changed = [ours for ours, given in zip(reply, self.items, strict=True) if ours != given]
        return changed == [self.new]


@dataclass(frozen=True, slots=True)
class InsertedAt(_PuttingIn, _Certain):
    """The list with the new item inserted at a given place.

    Attributes:
        position: Place of the new item, from 1 to one more than the length of the list.
    """

    growth: ClassVar[int] = 1
    takes_position: ClassVar[bool] = True

    position: int

    def _result(self) -> tuple[str, ...]:
        return (*self.items[: self.position - 1], self.new, *self.items[self.position - 1 :])


@dataclass(frozen=True, slots=True)
class InsertedAnywhere(_PuttingIn):
    """The list with the new item inserted at any place, either end included."""

    growth: ClassVar[int] = 1

    @property
    def count(self) -> int:
        """Number of right lists: n + 1."""
        return len(self.items) + 1

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list with the new item first, second and so on."""
        for position in range(1, len(self.items) + 2):
            yield from InsertedAt(self.items, self.new, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply`` has the new item once and is the list without it."""
        others = tuple(item for item in reply if item != self.new)
        return others == self.items and len(reply) == self.length


@dataclass(frozen=True, slots=True)
class RemovedAt(_Certain):
    """The list without the item at a given place.

    Attributes:
        position: Place of the removed item, from 1 to the length of the list.
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
        """Number of right lists: n."""
        return len(self.items)

    def results(self) -> Iterator[tuple[str, ...]]:
        """Yield the list without each item in turn."""
        for position in range(1, len(self.items) + 1):
            yield from RemovedAt(self.items, position).results()

    def accepts(self, reply: Sequence[str]) -> bool:
        """Return True if ``reply`` has all items but one, in the order of the list."""
        kept = [item for item in self.items if item in reply]
        return list(reply) == kept and len(kept) == self.length


def list_text(items: Sequence[str]) -> str:
    """Return the list in the requested form.

    Example:
        >>> list_text(["Ada Moss", "Ben Stone"])
        '[Ada Moss, Ben Stone]'
    """
    return f"[{', '.join(items)}]"


def spans(items: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Return the character span ``(start, end)`` of each of ``items`` in the written list.

    Example:
        >>> spans(["A", "word"])
        ((1, 2), (4, 8))
    """
    item_spans, start = [], len("[")
    for item in items:
        item_spans.append((start, start + len(item)))
        start += len(item) + len(", ")
    return tuple(item_spans)
