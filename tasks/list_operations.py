"""List operations: copy, reorder or edit one list of letters or words of any length.

*Asked:* a list and one thing to do to it; the reply is the list that results, in the form
``[A, B, C]``.

*Why it is hard:* the prompt needs no knowledge, so every error is due to decoding.  Where only
one list is right, every item can be committed at once.  Where the decoder may choose (an order,
an item, a place), each item depends on all the others: items drawn in parallel from their own
marginals are repeated or missing.

*Theory:* ``analysis`` computes the total correlation of n items, in bits, the least that
committing them in one step costs:

==================  =====================================================================
copy, reverse,      0
sort, ``*_index``
shuffle             n log2 n - log2 n!, where the identity counts as right
                    (``allow_identity``); by enumeration where it does not
replace_random      (n-1) [log2 n - log2 (n-1)], below log2 e for any n
insert_random       sum over j = 0..n of H(1/(n+1), j/(n+1), (n-j)/(n+1)), less log2 (n+1)
remove_random       sum over j = 1..n-1 of H(j/n, 1-j/n), less log2 n
==================  =====================================================================

One item counts as one token, with brackets and separators already on the canvas: the infilling
form (``form=infill``).  In the free form the decoder writes the whole list, brackets included.

*Problems of a reply*, first match:

1. ``unreadable``: no list is found;
2. ``unchanged``: the reply is the given list (for shuffle: ``identity``);
3. ``repeated item``: an item occurs twice;
4. ``glued name``: an item joins halves of two names (in the waiting line only);
5. ``unknown item``: an item that the prompt does not name;
6. ``wrong length``: too few or too many items;
7. ``new item missing``: the item to insert is missing;
8. ``wrong order``: the given items are not in the required order;
9. ``wrong place``: they are, but the inserted or removed item is at the wrong place.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4, equations 3 and 4.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import islice
from string import ascii_uppercase
from typing import ClassVar, Literal, get_args

from parallelbench.registry import unknown
from parallelbench.score import UNREADABLE, Marks, read_list, read_list_strictly
from parallelbench.task import DEFAULT_LIMIT, TASKS, Answers, Question, Sample, Task, refuse_over
from parallelbench.tasks.operations import (
    Copied,
    InsertedAnywhere,
    InsertedAt,
    Operation,
    RemovedAnywhere,
    RemovedAt,
    ReplacedAnywhere,
    ReplacedAt,
    Reversed,
    Shuffled,
    Sorted,
    list_text,
    spans,
)

Form = Literal["free", "infill"]
ItemKind = Literal["letters", "words"]


def read_pool(file: str) -> tuple[str, ...]:
    """Return the lines of one file of ``tasks/data``."""
    return tuple((resources.files(__package__) / "data" / file).read_text("ascii").split())


LETTERS = tuple(ascii_uppercase)
WORDS = read_pool("words.txt")
_POOLS: Mapping[str, tuple[str, ...]] = {"letters": LETTERS, "words": WORDS}


@dataclass(frozen=True, kw_only=True)
class ListTask(Task):
    """Ask for an operation on a list of distinct items, and mark the list in the reply.

    Attributes:
        operation: Operation on the list.
        form: ``free``: the decoder writes the whole list.  ``infill``: brackets, commas and
            spaces are on the canvas and it writes the items, the case of the paper's formulas.

    Raises:
        ValueError: An unknown form, or what :class:`~parallelbench.task.Task` refuses.
    """

    operation: ClassVar[type[Operation]]

    form: Form = "free"

    def __post_init__(self) -> None:
        Task.__post_init__(self)
        if self.form not in get_args(Form):
            raise ValueError(unknown("form", self.form, get_args(Form)))

    def pose(self, rng: random.Random, index: int) -> Question:
        """Return the operation on a list of items drawn with equal probability."""
        operation = self._ask(rng, self._draw_items(rng, index))
        right = operation.one_result(rng)
        return Question(
            slots=operation.slots() | self._wording(),
            reference=list_text(right),
            facts=operation.facts(),
            open_spans=spans(right) if self.form == "infill" else None,
        )

    def score(self, sample: Sample, reply: str) -> Marks:
        """Return 1 for a right list, else 0 and the first problem that applies.

        The only part, ``items``, is the share of a right answer's items that the reply
        contains at any place, for the right answer with the highest share.
        """
        operation = self.operation.from_facts(sample.facts)
        found = read_list_strictly(reply)
        strict = found is not None and operation.accepts(found)
        if not strict:
            found = read_list(reply)
        if found is None:
            return Marks(0.0, 0.0, UNREADABLE, {"items": 0.0})
        problem = None if operation.accepts(found) else self._problem(operation, found)
        parts = {"items": _share_of_items(operation, found)}
        return Marks(float(strict), float(problem is None), problem, parts)

    def answers(self, sample: Sample, limit: int = DEFAULT_LIMIT) -> Answers:
        """Return the uniform distribution over the right lists.

        Raises:
            NotEnumerableError: There are more than ``limit``.
        """
        operation = self.operation.from_facts(sample.facts)
        refuse_over(limit, operation.count, f"{self.name} of {len(operation.items)} items")
        return Answers.uniform(map(list_text, operation.results()))

    @abstractmethod
    def _draw_items(self, rng: random.Random, index: int) -> tuple[str, ...]:
        """Return the list, followed by a new item if the operation takes one."""

    def _ask(self, rng: random.Random, drawn: tuple[str, ...]) -> Operation:
        return self.operation.ask(rng, drawn)

    def _wording(self) -> dict[str, str]:
        """Return the template slots that do not belong to the operation."""
        return {}

    def _glued(self, named: Sequence[str]) -> frozenset[str]:
        """Return the texts that join halves of two of the items ``named``."""
        return frozenset()

    def _problem(self, operation: Operation, reply: Sequence[str]) -> str:
        found, named = frozenset(reply), frozenset(operation.named)
        places = {item: place for place, item in enumerate(operation.items)}
        kept = [places[item] for item in reply if item in places]
        checks = (
            (operation.unchanged, tuple(reply) == operation.items),
            ("repeated item", len(found) < len(reply)),
            ("glued name", not found.isdisjoint(self._glued(operation.named))),
            ("unknown item", not found <= named),
            ("wrong length", len(reply) != operation.length),
            ("new item missing", operation.takes_new and operation.named[-1] not in found),
            ("wrong order", kept != sorted(kept)),
        )
        return next((problem for problem, holds in checks if holds), "wrong place")

    def _refuse_length(self, length: int, pool: Sequence[str], noun: str) -> None:
        fewest, most = self.operation.fewest, len(pool) - self.operation.takes_new
        if not fewest <= length <= most:
            raise ValueError(f"{self.name} needs {fewest} to {most} {noun}, got length={length}")


def _share_of_items(operation: Operation, reply: Sequence[str]) -> float:
    # At most n + 1 right answers have different sets of items, and these come first: only
    # shuffling has more answers, all with the same items.
    answers = islice(operation.results(), len(operation.items) + 1)
    found = frozenset(reply)
    return max(len(found.intersection(answer)) for answer in answers) / operation.length


# The tasks of this family.


@dataclass(frozen=True, kw_only=True)
class ListOperation(ListTask):
    """Ask for an operation on a list of letters or words.

    Attributes:
        length: Number of items of the given list.
        items: Kind of items: capital letters, or nouns of everyday things.

    Raises:
        ValueError: Too few items for a right answer, or more than the pool holds without the
            inserted one.
    """

    words: ClassVar[tuple[str, ...]] = LETTERS + WORDS

    length: int = 5
    items: ItemKind = "letters"

    def __post_init__(self) -> None:
        ListTask.__post_init__(self)
        if self.items not in _POOLS:
            raise ValueError(unknown("kind of item", self.items, _POOLS))
        self._refuse_length(self.length, _POOLS[self.items], self.items)

    def _draw_items(self, rng: random.Random, index: int) -> tuple[str, ...]:
        return tuple(rng.sample(_POOLS[self.items], self.length + self.operation.takes_new))

    def _wording(self) -> dict[str, str]:
        return {"kind": self.items}


def _templates(default: str, terse: str, story: str) -> Mapping[str, str]:
    return {
        "default": (
            default + "\n\nList: {items}\n\nAnswer with the resulting list and nothing else. "
            "Put it in square brackets, with a comma and a space between the {kind}."
        ),
        "terse": (
            terse + " {items}\nOnly the new list, in square brackets, {kind} separated by "
            "a comma and a space."
        ),
        "story": (
            "A row of cards lies on a table. From left to right they show these {kind}: {items}. "
            + story
            + " What do the cards show now, from left to right? Write just the list: an opening "
            "square bracket, the {kind} with a comma and a space after each but the last, and "
            "a closing square bracket."
        ),
    }


@TASKS.register("list_operations/copy")
class Copy(ListOperation):
    """Return the list unchanged."""

    name = "list_operations/copy"
    operation = Copied
    templates = _templates(
        default="Repeat the list below exactly as it stands.",
        terse="Copy this list.",
        story="Nobody touches them.",
    )


@TASKS.register("list_operations/reverse")
class Reverse(ListOperation):
    """Reverse the list."""

    name = "list_operations/reverse"
    operation = Reversed
    templates = _templates(
        default="Turn the list below around, so that its last item comes first.",
        terse="Reverse this list.",
        story="Somebody lays them out again, the other way round.",
    )


@TASKS.register("list_operations/sort")
class Sort(ListOperation):
    """Sort the list alphabetically."""

    name = "list_operations/sort"
    operation = Sorted
    templates = _templates(
        default="Put the list below into alphabetical order.",
        terse="Sort this list alphabetically.",
        story="Somebody rearranges them alphabetically.",
    )


@TASKS.register("list_operations/shuffle")
@dataclass(frozen=True, kw_only=True)
class Shuffle(ListOperation):
    """Put the list into another order, chosen by the decoder.

    Attributes:
        allow_identity: True if the given order is right, too, as in the closed form.
    """

    name = "list_operations/shuffle"
    operation = Shuffled
    templates = _templates(
        default="Put the list below into {order}; which one is up to you.",
        terse="Shuffle this list into {order}.",
        story="Somebody mixes them up, into {order}.",
    )

    allow_identity: bool = False

    def _ask(self, rng: random.Random, drawn: tuple[str, ...]) -> Operation:
        return Shuffled(drawn, allow_identity=self.allow_identity)


@TASKS.register("list_operations/replace_index")
class ReplaceIndex(ListOperation):
    """Replace the item at a given place by a new one."""

    name = "list_operations/replace_index"
    operation = ReplacedAt
    templates = _templates(
        default=(
            "In the list below, put {new} in the place of item number {position}, counting "
            "from 1. Leave the others as they are."
        ),
        terse="Replace item {position} of this list (the first is 1) by {new}.",
        story=(
            "Somebody takes away card number {position}, where the leftmost is number 1, and "
            "lays down {new} in its place."
        ),
    )


@TASKS.register("list_operations/replace_random")
class ReplaceRandom(ListOperation):
    """Replace one item, chosen by the decoder, by a new one."""

    name = "list_operations/replace_random"
    operation = ReplacedAnywhere
    templates = _templates(
        default=(
            "In the list below, put {new} in the place of one item; which one is up to you. "
            "Leave the others as they are."
        ),
        terse="Replace any one item of this list by {new}.",
        story="Somebody takes away one card, whichever it is, and lays down {new} in its place.",
    )


@TASKS.register("list_operations/insert_index")
class InsertIndex(ListOperation):
    """Insert a new item at a given place."""

    name = "list_operations/insert_index"
    operation = InsertedAt
    templates = _templates(
        default=(
            "Add {new} to the list below so that it becomes item number {position}, counting "
            "from 1. The others keep their order."
        ),
        terse="Insert {new} into this list as item {position} (the first is 1).",
        story=(
            "Somebody slips in {new} so that it becomes card number {position}, where the "
            "leftmost is number 1."
        ),
    )


@TASKS.register("list_operations/insert_random")
class InsertRandom(ListOperation):
    """Insert a new item at a place chosen by the decoder."""

    name = "list_operations/insert_random"
    operation = InsertedAnywhere
    templates = _templates(
        default=(
            "Add {new} to the list below, at the beginning, at the end or in between; where is "
            "up to you. The others keep their order."
        ),
        terse="Insert {new} anywhere into this list.",
        story="Somebody slips in {new}, wherever it is: between two cards or at either end.",
    )


@TASKS.register("list_operations/remove_index")
class RemoveIndex(ListOperation):
    """Remove the item at a given place."""

    name = "list_operations/remove_index"
    operation = RemovedAt
    templates = _templates(
        default=(
            "Take item number {position}, counting from 1, out of the list below. The others "
            "keep their order."
        ),
        terse="Remove item {position} (the first is 1) from this list.",
        story="Somebody takes away card number {position}, where the leftmost is number 1.",
    )


@TASKS.register("list_operations/remove_random")
class RemoveRandom(ListOperation):
    """Remove one item, chosen by the decoder."""

    name = "list_operations/remove_random"
    operation = RemovedAnywhere
    templates = _templates(
        default=(
            "Take one item out of the list below; which one is up to you. The others keep "
            "their order."
        ),
        terse="Remove any one item from this list.",
        story="Somebody takes away one card, whichever it is.",
    )
