"""Replays -> what is drawn of them, the same in a terminal, an SVG and a GIF.

Every position has a cell as wide as the widest text that it ever held, so nothing moves while
a canvas fills up.  Positions behind the last word, and steps that write nothing but ends there,
are told in a sentence instead: canvases are longer than replies.
"""

from __future__ import annotations

import itertools
import textwrap
import unicodedata
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from rich.cells import cell_len

from parallelbench.analysis.replay.gallery import what_was_lost
from parallelbench.analysis.replay.steps import Replay
from parallelbench.console.numbers import count_text

#: Stands for an end-of-text.
END = "\N{END OF PROOF}"
#: Fills an open position.
OPEN = "_"
#: White space that would not be seen.
_SPACES = {"\n": "\N{DOWNWARDS ARROW WITH CORNER LEFTWARDS}", "\t": "\N{RIGHTWARDS ARROW TO BAR}"}
#: Of a panel of a picture, in letters.
COLUMNS = 52
#: How much longer than others the end of a picture that moves stays.
PAUSE = 5
#: Most lines that are said under a canvas of a picture.
_SAID = 8
#: The longest text of one cell, in columns.
_WIDEST = 32
#: The most words that the sentence of one moment names.
_NAMED = 6


class Cell(NamedTuple):
    """The content of one position.

    Attributes:
        kind: ``word``, ``end`` for an end-of-text, ``open``.
        text: Text of the token; a masked position fills its cell with :data:`OPEN`.
    """

    kind: Literal["word", "end", "open"]
    text: str


class Moment(NamedTuple):
    """A canvas behind one step, or behind several that wrote nothing to look at.

    Attributes:
        first: The first of the steps, from 1; 0 for the canvas at the start.
        last: The last of them.
        cells: One per position that is shown.
        new: Positions that were written or opened again.
        opened: Those of them that were opened again.
        words: Texts that were written there, as far as they are shown.
        written: Number of positions written, including those that are not shown.
        bits: Sum of the bits that the steps could not know; None if that is not known.
        answers: Right answers that fit the canvas; None where they cannot be listed.
        lost: True if the last right answer became impossible here.
    """

    first: int
    last: int
    cells: tuple[Cell, ...]
    new: frozenset[int]
    opened: frozenset[int]
    words: tuple[str, ...]
    written: int
    bits: float | None
    answers: int | None
    lost: bool

    def told(self, steps: int) -> str:
        """Return a line about the step.

        Args:
            steps: Number of steps of the whole decode.
        """
        if not self.last:
            return f"before the first of {steps} steps{self._left()}"
        named = [*self.words[:_NAMED]]
        if len(self.words) > _NAMED:
            named.append(f"{len(self.words) - _NAMED} more")
        if self.opened:
            named.append(f"{len(self.opened)} opened again")
        nothing = "only ends of text" if self.written else "nothing is written"
        did = f"+ {' '.join(named)}" if named else nothing
        cost = "" if self.bits is None else f"; could not know {self.bits:.2f} bits"
        return f"{self.numbers} of {steps}: {did}{cost}{self._left()}"

    @property
    def numbers(self) -> str:
        """The numbers of the steps, in words."""
        if self.first == self.last:
            return f"step {self.last}"
        return f"steps {self.first}\N{EN DASH}{self.last}"

    def _left(self) -> str:
        if self.answers is None:
            return ""
        if self.answers == 1:
            return "; 1 right answer fits"
        if not self.answers:
            return "; no right answer fits"
        return f"; {count_text(self.answers)} right answers fit"


@dataclass(frozen=True)
class Panel:
    """One decode.

    Attributes:
        title: Model and decoder.
        moments: Moments from the first canvas to the last.
        widths: Width of each cell, in columns of a terminal.
        hidden: Number of positions that are not shown.
        steps: Number of steps.
        verdict: Verdict on the reply.
        right: True if the reply was marked right.
        told: Sentence about how the answer was lost; None if that is not known.
        bits: Sentence about the bits that the decode ignored; None if none are known.
        missing: Reason why there are no bits; None if there are.
    """

    title: str
    moments: tuple[Moment, ...]
    widths: tuple[int, ...]
    hidden: int
    steps: int
    verdict: str
    right: bool
    told: str | None
    bits: str | None
    missing: str | None

    def at(self, tick: int) -> Moment:
        """Return the moment that is shown at ``tick``, from 0; the last one stays."""
        return self.moments[min(tick, len(self.moments) - 1)]

    def tick_of(self, step: int) -> int:
        """Return the tick at which the canvas after ``step``, from 0, is shown."""
        ticks = (tick for tick, moment in enumerate(self.moments) if step <= moment.last)
        return next(ticks, len(self.moments) - 1)

    def lines(self, tick: int) -> Iterator[tuple[str, Literal["step", "lost", "right", "wrong"]]]:
        """Yield the lines below the canvas at ``tick``, each with its kind."""
        moment = self.at(tick)
        yield moment.told(self.steps), "lost" if moment.lost else "step"
        if tick >= len(self.moments) - 1:
            yield self.verdict, "right" if self.right else "wrong"
            if self.bits is not None:
                yield self.bits, "step"
            if self.told is not None:
                yield self.told, "wrong"


@dataclass(frozen=True)
class Scene:
    """Decodes of one sample, side by side.

    Attributes:
        title: Task and sample.
        question: The question of the sample; None if it cannot be drawn again.
        panels: One per decode, at least one.
    """

    title: str
    question: str | None
    panels: tuple[Panel, ...]

    @property
    def ticks(self) -> int:
        """Number of moments of the longest decode."""
        return max(len(panel.moments) for panel in self.panels)


def scene_of(replays: Sequence[Replay], letters: Container[int] | None = None) -> Scene:
    """Return the scene of ``replays``.

    Args:
        replays: Decodes of one sample, at least one.
        letters: Code points that can be drawn; others are shown by their numbers.  None for
            all.
    """
    first = replays[0]
    question = None
    if first.sample is not None:
        question = readable_lines(first.sample.messages[-1].content)
    record = first.record
    return Scene(
        title=readable(f"{record.task_label}, sample {record.index}"),
        question=question,
        panels=tuple(_panel(replay, letters) for replay in replays),
    )


def readable(text: str) -> str:
    r"""Return ``text`` in one line, without letters that command a terminal or are not seen.

    Example:
        >>> readable("a\nb\x1b[2J")
        'a↵b<1B>[2J'
    """
    return "".join(_shown(letter) for letter in text)


def readable_lines(text: str) -> str:
    """Return ``text`` as :func:`readable` does, line by line, without empty lines."""
    return "\n".join(readable(line) for line in text.splitlines() if line.strip())


def drawable(text: str, letters: Container[int] | None) -> str:
    """Return ``text`` with every letter that cannot be drawn shown by its number.

    Args:
        text: Text returned by :func:`readable`.
        letters: Code points that can be drawn; None for all.
    """
    if letters is None:
        return text
    return "".join(each if ord(each) in letters else f"<{ord(each):X}>" for each in text)


def said(panel: Panel, tick: int) -> list[tuple[str, str]]:
    """Return the lines below a canvas of a picture, each with its kind."""
    lines: list[tuple[str, str]] = [
        (part, kind) for line, kind in panel.lines(tick) for part in textwrap.wrap(line, COLUMNS)
    ]
    return lines[:_SAID]


def question_lines(scene: Scene) -> list[str]:
    """Return the question, folded to the lines of a picture."""
    columns = len(scene.panels) * (COLUMNS + 2) - 2
    asked = (scene.question or "").splitlines()
    return [part for line in asked for part in textwrap.wrap(line, columns)]


def flowed(widths: Sequence[int], columns: int) -> list[list[int]]:
    """Return the numbers of the cells in each row; one column stands in front of each cell.

    Args:
        widths: Widths of the cells.
        columns: Width of a row.

    Example:
        >>> flowed([3, 3, 3], 8)
        [[0, 1], [2]]
    """
    rows: list[list[int]] = [[]]
    used = 0
    for number, width in enumerate(widths):
        if rows[-1] and used + 1 + width > columns:
            rows.append([])
            used = 0
        rows[-1].append(number)
        used += 1 + width
    return rows


def _shown(letter: str) -> str:
    if letter in _SPACES:
        return _SPACES[letter]
    # Cc, Cf, Cs, Co, Cn: commands, marks of direction, halves of pairs, nothing at all.
    if unicodedata.category(letter).startswith("C") or letter in "\u2028\u2029":
        return f"<{ord(letter):02X}>"
    return letter


def _panel(replay: Replay, letters: Container[int] | None) -> Panel:
    record = replay.record
    canvases = list(_canvases(replay, letters))
    shown = 1 + max(
        (place for cells in canvases for place, cell in enumerate(cells) if cell.kind == "word"),
        default=-1,
    )
    length = len(canvases[0])
    shown = min(length, shown + 1)  # the end behind the last word
    moments = tuple(_moments(replay, canvases, shown))
    widths = tuple(
        max(1, *(cell_len(m.cells[place].text) for m in moments)) for place in range(shown)
    )
    marks = record.marks
    right = marks is not None and marks.lenient == 1
    problem = readable((marks.problem if marks is not None else None) or "wrong")
    told = what_was_lost(replay)
    repeat = f", repeat {record.repeat}" if record.repeat else ""
    oracle = " (oracle)" if record.decoder.oracle else ""
    return Panel(
        title=readable(
            f"{record.model_label} \N{MIDDLE DOT} {record.decoder_label}{oracle}{repeat}"
        ),
        moments=moments,
        widths=widths,
        hidden=length - shown,
        steps=len(replay.steps),
        verdict=_verdict(record.status, problem, right=right),
        right=right,
        told=None if told is None else readable(told),
        bits=replay.bits_sentence,
        missing=None if replay.missing is None else readable(replay.missing),
    )


def _verdict(status: str, problem: str, *, right: bool) -> str:
    if status == "error":
        return "ended in an error, and is not counted"
    return "right" if right else f"wrong: {problem}"


def _canvases(replay: Replay, letters: Container[int] | None) -> Iterator[list[Cell]]:
    """Yield the canvas at the start and behind every step."""
    canvas = list(replay.record.require_decoding().canvas)
    yield [_cell(replay, token, letters) for token in canvas]
    for step in replay.steps:
        for place, token in zip(step.positions, step.ids, strict=True):
            canvas[place] = token
        yield [_cell(replay, token, letters) for token in canvas]


def _cell(replay: Replay, token: int, letters: Container[int] | None) -> Cell:
    decoding = replay.record.require_decoding()
    if token == decoding.mask_id:
        return Cell("open", "")
    if token in decoding.ends:
        return Cell("end", END)
    text = replay.text(token)
    # The cells stand apart, so the space that a word brings with it says nothing.
    text = drawable(readable(text.strip(" ")) or "\N{OPEN BOX}", letters)
    return Cell("word", _cut(text))


def _cut(text: str) -> str:
    while cell_len(text) > _WIDEST:
        text = text[:-2] + "\N{HORIZONTAL ELLIPSIS}"
    return text


def _moments(replay: Replay, canvases: Sequence[Sequence[Cell]], shown: int) -> Iterator[Moment]:
    start = tuple(canvases[0][:shown])
    nothing: frozenset[int] = frozenset()
    yield Moment(0, 0, start, nothing, nothing, (), 0, None, replay.answers, lost=False)

    def quiet(number: int) -> bool:
        return number != replay.lost and all(p >= shown for p in replay.steps[number].positions)

    numbers = range(len(replay.steps))
    for silent, group in itertools.groupby(numbers, quiet):
        steps = list(group)
        for run in [steps] if silent else [[number] for number in steps]:
            yield _moment(replay, canvases[run[-1] + 1], run, shown)


def _moment(replay: Replay, canvas: Sequence[Cell], run: Sequence[int], shown: int) -> Moment:
    steps = [replay.steps[number] for number in run]
    new = sorted({p for step in steps for p in step.positions if p < shown})
    bits = [step.bits for step in steps]
    return Moment(
        first=run[0] + 1,
        last=run[-1] + 1,
        cells=tuple(canvas[:shown]),
        new=frozenset(new),
        opened=frozenset(p for p in new if canvas[p].kind == "open"),
        words=tuple(canvas[p].text for p in new if canvas[p].kind != "open"),
        written=sum(len(step.positions) for step in steps),
        bits=_total(bits),
        answers=steps[-1].answers,
        lost=replay.lost in run,
    )


def _total(bits: Sequence[float | None]) -> float | None:
    known = [each for each in bits if each is not None]
    return sum(known) if len(known) == len(bits) else None
