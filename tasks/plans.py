"""Plans: shifts, a round table, and an order of chores.

*Question:* ``shifts`` asks who works on each of n days, nobody two days running; ``round_table``
for delegations at the seats of a round table, no two of one delegation side by side; ``chores``
for an order of chores in which some have to wait for others.

*Why it is hard:* every entry is free but for its neighbours.  Entries drawn in parallel repeat a
neighbour somewhere, the surer the longer the plan.  Yet writing the middle of a plan of shifts
splits it into two parts that no longer depend on each other, so about log2 n steps are enough.  A
table needs one more: the first seat turns the circle into a line.  In an order of chores every
chore written excludes itself everywhere else.

*Theory:* with n entries and k people or delegations,

===========  ==============================================================================
shifts       k (k - 1)^(n - 1) plans: entropy is their log2; total correlation is
             (n - 1) log2(k / (k - 1)); the graph of dependence is a path, of tree depth
             floor(log2 n) + 1
round_table  (k - 1)^n + (-1)^n (k - 1) plans, the chromatic polynomial of a cycle; its tree
             depth is one more than that of a path of n - 1
chores       the linear extensions of chains, a multinomial coefficient
===========  ==============================================================================

*The lenient reading* is that of :mod:`parallelbench.tasks.item_lists`: the last list,
in any notation.

*Problems of a reply*, first match:

===========  ==============================================================================
shifts       ``unreadable``; ``wrong count``; ``unknown person``; ``two days running``
round_table  ``unreadable``; ``wrong count``; ``unknown delegation``; ``side by side``; ``across
             the end``: only the first and the last seat hold the same delegation
chores       ``unreadable``; ``unknown chore``; ``repeated``; ``missing chore``; ``wrong
             order``
===========  ==============================================================================

Source: the chromatic polynomial is Birkhoff's (1912); names and chores are our own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product
from typing import Any, ClassVar

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis
from parallelbench.errors import NotEnumerableError
from parallelbench.ranges import MOST_TOKENS, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask
from parallelbench.tasks.item_lists import read_names

PEOPLE = (
    *("Ada", "Bela", "Cleo", "Dan", "Eli", "Fay", "Gil", "Hal", "Ines", "Joan", "Kai", "Lou"),
    *("Max", "Nia", "Olaf", "Pia", "Rex", "Sam", "Ted", "Uma", "Vic", "Wes", "Yan", "Zoe"),
)
DELEGATIONS = (
    *("bakers", "tailors", "masons", "fishers", "weavers", "potters"),
    *("millers", "painters", "printers", "smiths", "tanners", "coopers"),
)
CHORES = (
    *("sweep", "mop", "dust", "iron", "cook", "bake", "shop", "wash", "dry", "fold", "mend", "sew"),
    *("rake", "mow", "weed", "plant", "prune", "water", "paint", "polish", "sort", "pack", "sand"),
    *("tidy", "rinse", "scrub", "trim", "stack", "wipe", "hang", "label", "air", "file", "oil"),
    *("patch", "glue"),
)

#: Most sets of finished chores of one size.
_MOST_STATES = 2_000


def _marks(reply: str, items: Sequence[str], problem: str | None) -> Marks:
    right = problem is None
    return Marks(float(right and reply.strip() == ", ".join(items)), float(right), problem)


# --- Shifts -----------------------------------------------------------------------------


@lru_cache(maxsize=64)
def _shifts_trellis(people: tuple[str, ...], length: int) -> TextTrellis:
    first = Stage(Edge(START, person, person) for person in people)
    later = Stage(
        Edge(before, f", {person}", person)
        for before in people
        for person in people
        if person != before
    )
    return TextTrellis([first, *[later] * (length - 1)])


@TASKS.register("plans/shifts")
@dataclass(frozen=True, kw_only=True)
class Shifts(TrellisTask):
    """Ask who works on each day, nobody two days running; all plans are equally likely.

    Attributes:
        length: Number of days.
        people: Number of people.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "plans/shifts"
    words: ClassVar[tuple[str, ...]] = PEOPLE
    templates: ClassVar[dict[str, str]] = {
        "default": "Make a random plan of who works on each of {length} days: {people}. One person "
        "works each day, and nobody works on two days running. Reply with the names in the order "
        "of the days, separated by commas and spaces, and nothing else.",
        "terse": "{length} days, one of {people} each day at random, nobody two days in a row. The "
        "names in order, separated by commas and spaces:",
        "story": "A lighthouse is kept by {people}. Draw up at random who keeps it on each of the "
        "next {length} nights; whoever kept it one night rests the night after. Reply with the "
        "names only, night by night, separated by commas and spaces.",
    }

    length: int = whole(1, 31, "days", most=500)
    people: int = whole(2, 6, "people", most=len(PEOPLE))
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw the people, and a plan."""
        people = tuple(rng.sample(PEOPLE, self.people))
        trellis = _shifts_trellis(people, self.length)
        slots = {"length": str(self.length), "people": ", ".join(people)}
        return Question(slots, trellis.text(trellis.draw(rng)), {"people": list(people)})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all plans."""
        return _shifts_trellis(tuple(sample.facts["people"]), self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last list in ``reply``."""
        people = sample.facts["people"]
        items = read_names(reply, people)
        if items is None:
            return Marks(0.0, 0.0, UNREADABLE)
        problem = None
        if len(items) != self.length:
            problem = "wrong count"
        elif not set(items) <= set(people):
            problem = "unknown person"
        elif any(before == after for before, after in pairwise(items)):
            problem = "two days running"
        return _marks(reply, items, problem)


# --- The round table --------------------------------------------------------------------


@lru_cache(maxsize=64)
def _table_trellis(delegations: tuple[str, ...], length: int) -> TextTrellis:
    # A node is the delegation at the first seat and that at the last one so far.
    first = Stage(Edge(START, one, (one, one)) for one in delegations)
    seats = [each for each in product(delegations, repeat=3) if each[1] != each[2]]
    later = Stage(Edge((one, before), f", {after}", (one, after)) for one, before, after in seats)
    last = Stage(
        Edge((one, before), f", {after}", START) for one, before, after in seats if after != one
    )
    return TextTrellis([first, *[later] * (length - 2), last])


@TASKS.register("plans/round_table")
@dataclass(frozen=True, kw_only=True)
class RoundTable(TrellisTask):
    """Ask for delegations at a round table, none beside its own; all plans are equally likely.

    Attributes:
        length: Number of seats.
        delegations: Number of delegations.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "plans/round_table"
    words: ClassVar[tuple[str, ...]] = DELEGATIONS
    templates: ClassVar[dict[str, str]] = {
        "default": "{length} people sit at a round table. Each belongs to one of these "
        "delegations: {delegations}. Choose a delegation for each seat at random, so that no two "
        "neighbours belong to the same one; the last seat is beside the first. Reply with the "
        "delegations in the order of the seats, separated by commas and spaces, and nothing else.",
        "terse": "A ring of {length} seats, each given to one of {delegations} at random, "
        "neighbours always different, the last and the first too. In order, separated by commas "
        "and spaces:",
        "story": "The guilds dine at a round table with {length} chairs: {delegations}. At every "
        "chair sits a member of some guild, never beside one of the same guild, all around the "
        "table. Seat them at random. Reply with the guild of each chair in order, separated by "
        "commas and spaces.",
    }

    length: int = whole(2, 30, "seats", most=500)
    delegations: int = whole(2, 4, "delegations", most=8)
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delegations == 2 and self.length % 2:
            raise ValueError(
                f"2 delegations cannot alternate at a table with {self.length} seats; ask for an "
                "even number of seats or more delegations"
            )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw the delegations, and a plan."""
        chosen = tuple(rng.sample(DELEGATIONS, self.delegations))
        trellis = _table_trellis(chosen, self.length)
        slots = {"length": str(self.length), "delegations": ", ".join(chosen)}
        return Question(slots, trellis.text(trellis.draw(rng)), {"delegations": list(chosen)})

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all plans."""
        return _table_trellis(tuple(sample.facts["delegations"]), self.length)

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last list in ``reply``."""
        delegations = sample.facts["delegations"]
        items = read_names(reply, delegations)
        if items is None:
            return Marks(0.0, 0.0, UNREADABLE)
        problem = None
        if len(items) != self.length:
            problem = "wrong count"
        elif not set(items) <= set(delegations):
            problem = "unknown delegation"
        elif any(before == after for before, after in pairwise(items)):
            problem = "side by side"
        elif items[0] == items[-1]:
            problem = "across the end"
        return _marks(reply, items, problem)


# --- Chores -----------------------------------------------------------------------------


def _chain_lengths(length: int, chains: int) -> list[int]:
    return [length // chains + (number < length % chains) for number in range(chains)]


def _most_states(length: int, chains: int) -> int:
    """Return the largest number of sets of finished chores of one size."""
    counts = [1]
    for size in _chain_lengths(length, chains):
        counts = [
            sum(counts[done - own] for own in range(size + 1) if 0 <= done - own < len(counts))
            for done in range(len(counts) + size)
        ]
    return max(counts)


@lru_cache(maxsize=64)
def _chores_trellis(chains: tuple[tuple[str, ...], ...]) -> TextTrellis:
    # A node is the number of chores of each chain that are done.
    nodes: list[Any] = [(0,) * len(chains)]
    stages = []
    for position in range(sum(map(len, chains))):
        edges = []
        for done in nodes:
            for number, chain in enumerate(chains):
                if done[number] < len(chain):
                    after = (*done[:number], done[number] + 1, *done[number + 1 :])
                    text = f", {chain[done[number]]}" if position else chain[0]
                    edges.append(Edge(done if position else START, text, after))
        stages.append(Stage(edges))
        nodes = list(dict.fromkeys(edge.target for edge in edges))
    return TextTrellis(stages)


@TASKS.register("plans/chores")
@dataclass(frozen=True, kw_only=True)
class Chores(TrellisTask):
    """Ask for an order of chores, some before others; all such orders are equally likely.

    Attributes:
        length: Number of chores.
        chains: Number of chains: within a chain, each chore waits for the one before it.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "plans/chores"
    words: ClassVar[tuple[str, ...]] = CHORES
    templates: ClassVar[dict[str, str]] = {
        "default": "Put these chores into a random order: {chores}. Some have to wait for others: "
        "{rules}. Reply with all chores in order, separated by commas and spaces, and nothing "
        "else.",
        "terse": "A random order of {chores}, where {rules}. Separated by commas and spaces:",
        "story": "The chores of the day are {chores}, each to be done once. The order is free, but "
        "{rules}. Choose an order at random and reply with the chores only, separated by commas "
        "and spaces.",
    }

    length: int = whole(1, 30, "chores", most=len(CHORES))
    chains: int = whole(1, 3, "chains", most=len(CHORES))
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.chains > self.length:
            raise ValueError(f"{self.length} chores cannot form {self.chains} chains")

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw the chains, and an order.

        Raises:
            NotEnumerableError: Too many sets of chores may be done first.
        """
        states = _most_states(self.length, self.chains)
        if states > _MOST_STATES:
            raise NotEnumerableError(
                f"{self.length} chores in {self.chains} chains have {states:,} sets of finished "
                f"chores of one size, over the limit of {_MOST_STATES:,}; ask for fewer chains"
            )
        chosen = iter(rng.sample(CHORES, self.length))
        sizes = _chain_lengths(self.length, self.chains)
        chains = tuple(tuple(next(chosen) for _ in range(size)) for size in sizes)
        trellis = _chores_trellis(chains)
        named = [chore for chain in chains for chore in chain]
        rng.shuffle(named)
        rules = [
            f"{before} comes before {after}"
            for chain in chains
            for before, after in pairwise(chain)
        ]
        rng.shuffle(rules)
        slots = {"chores": ", ".join(named), "rules": ", ".join(rules) or "there is no rule"}
        facts = {"chains": [list(chain) for chain in chains]}
        return Question(slots, trellis.text(trellis.draw(rng)), facts)

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all orders."""
        return _chores_trellis(tuple(tuple(chain) for chain in sample.facts["chains"]))

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last list in ``reply``."""
        chains = sample.facts["chains"]
        chores = [chore for chain in chains for chore in chain]
        items = read_names(reply, chores)
        if items is None:
            return Marks(0.0, 0.0, UNREADABLE)
        problem = None
        if not set(items) <= set(chores):
            problem = "unknown chore"
        elif len(set(items)) < len(items):
            problem = "repeated"
        elif len(items) < len(chores):
            problem = "missing chore"
        else:
            place = {chore: index for index, chore in enumerate(items)}
            if any(place[one] > place[two] for chain in chains for one, two in pairwise(chain)):
                problem = "wrong order"
        return _marks(reply, items, problem)
