"""Routes: a walk on a map.

*Question:* a map lists which places are joined by a path; the reply is a walk of n stops, chosen
at random, in which each stop is joined to the next one.  The walk starts anywhere, or at a place
that the question names (``start="fixed"``).

*Why it is hard:* each stop depends on both neighbours.  Stops drawn in parallel jump across the
map.  Writing the middle stop splits the walk into two parts that no longer depend on each other, so
about log2 n steps are enough.

*Theory:* the walks are counted by powers of the matrix of joined places; all are equally likely, so
stops are a Markov chain.  The graph of dependence is a path, of tree depth floor(log2 n) + 1.  With
a fixed start, one row of the power counts the walks, and the path is one stop shorter.

*The lenient reading* is that of :mod:`parallelbench.tasks.item_lists`: the last list,
in any notation.

*Problems of a reply*, first match: ``unreadable``: no list with a place of the map; ``wrong
count``; ``unknown place``; ``wrong start``: another first stop than the question names; ``stays``:
a place twice in a row; ``no path``: two stops that are not joined.

Source: our own; places are made up.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, Literal

from parallelbench.distributions.texts import START, Edge, Stage, TextTrellis
from parallelbench.ranges import MOST_TOKENS, choice, whole
from parallelbench.score import UNREADABLE, Marks
from parallelbench.task import TASKS, Question, Sample, TrellisTask
from parallelbench.tasks.item_lists import read_names

PLACES = (
    *("Alderbrook", "Birchley", "Cresthill", "Dunmoor", "Elmstead", "Foxford", "Gorsefield"),
    *("Hazelby", "Ivywell", "Juniper", "Kestrel", "Larchton", "Mosswick", "Nettleby", "Oakhurst"),
    *("Pinefold", "Quarry", "Rowanby", "Sedgemere", "Thistle", "Underhill", "Vinegate"),
    *("Willowby", "Yarrow"),
)

_Paths = tuple[tuple[str, str], ...]


@lru_cache(maxsize=64)
def _walks(paths: _Paths, length: int, start: str | None) -> TextTrellis:
    places = sorted({place for path in paths for place in path}) if start is None else [start]
    moves = sorted({*paths, *((end, start) for start, end in paths)})
    first = Stage(Edge(START, place, place) for place in places)
    later = Stage(Edge(before, f", {after}", after) for before, after in moves)
    return TextTrellis([first, *[later] * (length - 1)])


@TASKS.register("routes/walk")
@dataclass(frozen=True, kw_only=True)
class Walk(TrellisTask):
    """Ask for a walk on a given map; all walks are equally likely.

    Attributes:
        length: Number of stops.
        places: Number of places on the map.
        paths: Number of paths between two of them.
        start: ``free``: the walk starts anywhere.  ``fixed``: at a place that the question names.
        canvas_length: Number of canvas tokens.
    """

    name: ClassVar[str] = "routes/walk"
    words: ClassVar[tuple[str, ...]] = PLACES
    templates: ClassVar[dict[str, str]] = {
        "default": "On a map, these places are joined by paths: {paths}. Choose a walk of {length} "
        "stops at random: start {start}, and go along a path to each next stop; a place may be "
        "visited again. Reply with the stops in order, separated by commas and spaces, and nothing "
        "else.",
        "terse": "Paths: {paths}. A random walk of {length} stops along them, from {origin}, "
        "separated by commas and spaces:",
        "story": "A walker has a map with the paths {paths}. At each place the walker takes one of "
        "its paths, in either direction. {scene}Make up such a walk of {length} stops at random "
        "and reply with the names of the stops only, separated by commas and spaces.",
    }

    length: int = whole(1, 30, "stops", most=500)
    places: int = whole(2, 8, "places", most=len(PLACES))
    paths: int = whole(1, 11, "paths", most=276)
    start: Literal["free", "fixed"] = choice("free", "fixed")
    canvas_length: int = whole(1, 64, "tokens", most=MOST_TOKENS)

    def __post_init__(self) -> None:
        super().__post_init__()
        most = self.places * (self.places - 1) // 2
        if not self.places - 1 <= self.paths <= most:
            raise ValueError(
                f"a map that joins {self.places} places has {self.places - 1} to {most} paths, "
                f"got paths={self.paths}"
            )

    def pose(self, rng: random.Random, index: int) -> Question:
        """Draw a connected map, and a walk."""
        places = rng.sample(PLACES, self.places)
        # Each place is joined to an earlier one, so the map is connected.
        paths = {(rng.choice(places[:number]), places[number]) for number in range(1, len(places))}
        others = [
            (one, other)
            for number, other in enumerate(places)
            for one in places[:number]
            if (one, other) not in paths
        ]
        drawn = [*sorted(paths), *rng.sample(others, self.paths - len(paths))]
        rng.shuffle(drawn)
        facts: dict[str, Any] = {"paths": [list(path) for path in drawn]}
        start = None
        if self.start == "fixed":
            facts["start"] = start = rng.choice(places)
        trellis = _walks(tuple(drawn), self.length, start)
        slots = {
            "length": str(self.length),
            "paths": ", ".join(f"{one} to {other}" for one, other in drawn),
            "start": "anywhere" if start is None else f"at {start}",
            "origin": start or "anywhere",
            "scene": "" if start is None else f"The walk starts at {start}. ",
        }
        return Question(slots, trellis.text(trellis.draw(rng)), facts)

    def trellis(self, sample: Sample) -> TextTrellis:
        """Return all walks on the map, from the first stop if the question names it."""
        paths = tuple((one, other) for one, other in sample.facts["paths"])
        return _walks(paths, self.length, sample.facts.get("start"))

    def score(self, sample: Sample, reply: str) -> Marks:
        """Score the last list in ``reply``."""
        joined = {frozenset(path) for path in sample.facts["paths"]}
        known = {place for path in joined for place in path}
        items = read_names(reply, known)
        if items is None:
            return Marks(0.0, 0.0, UNREADABLE)
        problem = None
        if len(items) != self.length:
            problem = "wrong count"
        elif not set(items) <= known:
            problem = "unknown place"
        elif items[0] != sample.facts.get("start", items[0]):
            problem = "wrong start"
        elif any(start == end for start, end in pairwise(items)):
            problem = "stays"
        elif any(frozenset(step) not in joined for step in pairwise(items)):
            problem = "no path"
        right = problem is None
        return Marks(float(right and reply.strip() == ", ".join(items)), float(right), problem)
