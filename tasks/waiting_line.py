"""Waiting line: list operations on a customer service queue of people with full names.

*Question:* the ten operations of :mod:`parallelbench.tasks.list_operations`, on three to six
people; the reply is the line that results, in the form ``[Ada Moss, Ben Stone]``.

*Why it is hard:* the operations are the same, but an item is now two or more tokens that depend
on each other, too.  A decoder that commits a first name and a last name in parallel joins halves
of two people into somebody who is not in the line: the problem ``glued name``.  No two people in
a line share a first or a last name, so a glued name is never another person.

*Theory:* the closed forms for list operations count a person as one token.  Here each half of a
name determines the other, so with two tokens per person the total correlation is greater by the
entropy of every place; ``analysis`` computes it by enumeration.

*Problems of a reply:* as for list operations, in the same order.

Source: Kang et al., ParallelBench (arXiv:2510.04767), the tasks "Waiting Line".
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from parallelbench.task import TASKS
from parallelbench.tasks.list_operations import ListTask, read_pool
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
)

FIRST_NAMES = read_pool("first_names.txt")
LAST_NAMES = read_pool("last_names.txt")
_LENGTHS_IN_TURN = (3, 4, 5, 6)


@dataclass(frozen=True, kw_only=True)
class WaitingLine(ListTask):
    """Ask for an operation on a line of people.

    First and last names are joined at random and mean no real person.

    Attributes:
        length: Number of people in the given line; None for 3, 4, 5 and 6 in turn, so that 100
            samples hold 25 of each.

    Raises:
        ValueError: Too few people for a right answer, or more than there are names without the
            newcomer's.
    """

    words: ClassVar[tuple[str, ...]] = FIRST_NAMES + LAST_NAMES

    length: int | None = None

    def __post_init__(self) -> None:
        ListTask.__post_init__(self)
        if self.length is not None:
            self._refuse_length(self.length, FIRST_NAMES, "people")

    def _draw_items(self, rng: random.Random, index: int) -> tuple[str, ...]:
        length = self.length or _LENGTHS_IN_TURN[index % len(_LENGTHS_IN_TURN)]
        count = length + self.operation.takes_new
        firsts, lasts = rng.sample(FIRST_NAMES, count), rng.sample(LAST_NAMES, count)
        return tuple(f"{first} {last}" for first, last in zip(firsts, lasts, strict=True))

    def _glued(self, named: Sequence[str]) -> frozenset[str]:
        halves = [person.split() for person in named]
        joined = {f"{first} {last}" for first, _ in halves for _, last in halves}
        return frozenset(joined.difference(named))


def _templates(default: str, terse: str, story: str) -> Mapping[str, str]:
    return {
        "default": (
            "These people are waiting for customer service, the next to be served first:\n\n"
            "{items}\n\n" + default + " Answer with the resulting line and nothing else: full "
            "names in square brackets, with a comma and a space between one person and the next."
        ),
        "terse": (
            "Waiting line: {items}\n" + terse + " Only the new line, full names in square "
            "brackets, separated by a comma and a space."
        ),
        "story": (
            "It is a busy morning at the service desk of a repair shop. Whoever looks along the "
            "queue, from the desk to the door, sees {items}. " + story + " Who stands there "
            "now, from the desk to the door? Write just the list of full names: an opening "
            "square bracket, the people with a comma and a space after each but the last, and "
            "a closing square bracket."
        ),
    }


@TASKS.register("waiting_line/copy")
class Copy(WaitingLine):
    """Return the line unchanged."""

    name = "waiting_line/copy"
    operation = Copied
    templates = _templates(
        default="Nobody comes, goes or moves: repeat the line exactly as it stands.",
        terse="Copy it.",
        story="Nobody moves.",
    )


@TASKS.register("waiting_line/reverse")
class Reverse(WaitingLine):
    """Reverse the line."""

    name = "waiting_line/reverse"
    operation = Reversed
    templates = _templates(
        default="Turn the line around, so that whoever came last is served first.",
        terse="Reverse it.",
        story="They turn the queue around, so that whoever came last now stands at the desk.",
    )


@TASKS.register("waiting_line/sort")
class Sort(WaitingLine):
    """Sort the line alphabetically by full name."""

    name = "waiting_line/sort"
    operation = Sorted
    templates = _templates(
        default=(
            "Put the line into alphabetical order of the full names as they are written, "
            "first names first."
        ),
        terse="Sort it alphabetically by full name as written, first name first.",
        story=(
            "They are asked to line up alphabetically, by their full names as written here, "
            "first names first."
        ),
    )


@TASKS.register("waiting_line/shuffle")
@dataclass(frozen=True, kw_only=True)
class Shuffle(WaitingLine):
    """Put the line into another order, chosen by the decoder.

    Attributes:
        allow_identity: True if the given order is right, too, as in the closed form.
    """

    name = "waiting_line/shuffle"
    operation = Shuffled
    templates = _templates(
        default="Put the line into {order}; which one is up to you.",
        terse="Shuffle it into {order}.",
        story="A dog runs through, everybody jumps, and they line up again, in {order}.",
    )

    allow_identity: bool = False

    def _ask(self, rng: random.Random, drawn: tuple[str, ...]) -> Operation:
        return Shuffled(drawn, allow_identity=self.allow_identity)


@TASKS.register("waiting_line/replace_index")
class ReplaceIndex(WaitingLine):
    """Replace the person at a given place by a newcomer."""

    name = "waiting_line/replace_index"
    operation = ReplacedAt
    templates = _templates(
        default=(
            "The person at place {position}, counting from 1 at the front, leaves, and {new} "
            "takes that place. Everybody else stays."
        ),
        terse="Replace person {position} (the front is 1) by {new}.",
        story=(
            "The person at place {position}, where the one at the desk is at place 1, gives "
            "this place to {new} and goes home."
        ),
    )


@TASKS.register("waiting_line/replace_random")
class ReplaceRandom(WaitingLine):
    """Put a newcomer in the place of any one person, which one is up to the decoder."""

    name = "waiting_line/replace_random"
    operation = ReplacedAnywhere
    templates = _templates(
        default=(
            "One person leaves, and {new} takes that place; who leaves is up to you. Everybody "
            "else stays."
        ),
        terse="Replace any one person by {new}.",
        story="One of them, whoever it is, gives the place to {new} and goes home.",
    )


@TASKS.register("waiting_line/insert_index")
class InsertIndex(WaitingLine):
    """Let a newcomer in at a place that is told."""

    name = "waiting_line/insert_index"
    operation = InsertedAt
    templates = _templates(
        default=(
            "{new} joins so as to stand at place {position}, counting from 1 at the front. The "
            "others keep their order."
        ),
        terse="Insert {new} as person {position} (the front is 1).",
        story=(
            "{new} comes in and is let into the queue at place {position}, where the one at the "
            "desk is at place 1."
        ),
    )


@TASKS.register("waiting_line/insert_random")
class InsertRandom(WaitingLine):
    """Let a newcomer in at any place, which one is up to the decoder."""

    name = "waiting_line/insert_random"
    operation = InsertedAnywhere
    templates = _templates(
        default=(
            "{new} joins at the front, at the end or in between; where is up to you. The others "
            "keep their order."
        ),
        terse="Insert {new} anywhere.",
        story="{new} comes in and is let into the queue, at either end or between any two.",
    )


@TASKS.register("waiting_line/remove_index")
class RemoveIndex(WaitingLine):
    """Let the person go who stands at a place that is told."""

    name = "waiting_line/remove_index"
    operation = RemovedAt
    templates = _templates(
        default=(
            "The person at place {position}, counting from 1 at the front, leaves. The others "
            "keep their order."
        ),
        terse="Remove person {position} (the front is 1).",
        story=(
            "The person at place {position}, where the one at the desk is at place 1, goes home "
            "and the others move up."
        ),
    )


@TASKS.register("waiting_line/remove_random")
class RemoveRandom(WaitingLine):
    """Let any one person go, who it is is up to the decoder."""

    name = "waiting_line/remove_random"
    operation = RemovedAnywhere
    templates = _templates(
        default="One person leaves; who it is is up to you. The others keep their order.",
        terse="Remove any one person.",
        story="One of them, whoever it is, goes home and the others move up.",
    )
