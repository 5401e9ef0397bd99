"""A decode, step by step: what each step wrote, and what it could not know.

Tokens that are written in the same step do not see each other.  What a step *could not know*
is the conditional total correlation of the positions it wrote, given the canvas before it, in
bits: 0 for a single token, or for tokens that do not depend on each other.  The step behind
which no right answer fits the canvas any more is the step in which a wrong answer was lost.

Both need the law of the right answers and the tokenizer; where one is not to be had, they are
absent, and the replay says why.

Source: equation 1 of Kang et al., ParallelBench (arXiv:2510.04767), for one context.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from parallelbench.analysis.theory.dependence import Law, token_law, total_correlation
from parallelbench.errors import RequestError
from parallelbench.model import MODELS
from parallelbench.prompt import Codec, build_prompt
from parallelbench.record import Record
from parallelbench.run.recording import draw
from parallelbench.run.runfile import RunFile
from parallelbench.setting import build
from parallelbench.task import TASKS, Answers, Sample, Task

#: Most right answers that are listed for a replay, unless the caller asks for more.
LISTED = 5_040


class Step(NamedTuple):
    """One step of a decode.

    Attributes:
        positions: Where it wrote, ascending.
        ids: What it wrote there; the mask id opens a position again.
        bits: What it could not know; None where the law is not known, where no right answer
            fitted the canvas before it, or where the model was not asked.
        answers: Right answers that fit the canvas behind it; None where they cannot be listed.
        probabilities: Of each id, that it stands there in a right answer that fits the other
            positions: the confidence of the ideal model.  None for a position that is opened
            again, and where no right answer fits; empty where the law is not known or the model was
            not asked.
    """

    positions: tuple[int, ...]
    ids: tuple[int, ...]
    bits: float | None
    answers: int | None
    probabilities: tuple[float | None, ...] = ()


class RightAnswer(NamedTuple):
    """What a wrong reply could have been.

    Attributes:
        text: It reads so.
        differences: Position and id of each token that the reply has otherwise; None where
            the right answers cannot be listed, and this is the task's own.
    """

    text: str
    differences: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Replay:
    """One decode, ready to be shown.

    Attributes:
        record: What was written down of it.
        sample: What was asked; None where it cannot be drawn again.
        steps: What was done, in order.
        codec: How its model reads and writes text; None where that is not to be had.
        answers: Right answers that fit the canvas at the start; None where they cannot be listed.
        missing: Why there are no bits; None if there are.
        right: The right answer that a wrong reply is nearest to, or else the task's own; None
            for a reply that is right, and where the sample cannot be drawn again.
    """

    record: Record
    sample: Sample | None
    steps: tuple[Step, ...]
    codec: Codec | None
    answers: int | None
    missing: str | None
    right: RightAnswer | None = None

    @cached_property
    def lost(self) -> int | None:
        """The step in which a wrong answer was lost, from 0; None where that is not known.

        A right answer may stand in a reply that has another form, so what was marked right
        was never lost.
        """
        marks = self.record.marks
        if marks is None or marks.lenient == 1 or not self.answers:
            return None
        fitting = [step.answers for step in self.steps]
        if not fitting or fitting[-1]:
            return None
        # A strategy may take a fatal token back: the last time counts.
        return max((n + 1 for n, answers in enumerate(fitting) if answers), default=0)

    def text(self, token: int) -> str:
        """Return how one token reads, with the white space that it brings."""
        return token_text(self.codec, token)


class Replayer:
    """Turns records of one run into replays.

    Args:
        runfile: Of the run.
        limit: Most right answers that are listed for one sample.
    """

    def __init__(self, runfile: RunFile, limit: int = LISTED) -> None:
        self._seed = runfile.seed
        self._limit = limit
        self._models = {setting.label: setting for setting in runfile.models}
        self._tasks = {setting.label: setting for setting in runfile.tasks}
        self._kept: tuple[tuple[str, str, int], _Ground] | None = None

    def replay(self, record: Record) -> Replay:
        """Return the decode of ``record``; those of one sample are best asked for together.

        Raises:
            RecordsError: The model decoded by itself, so there are no steps.
        """
        trace, _, _, mask_id, end_id = record.decoding
        ground = self._ground(record)
        ends = frozenset({end_id, *record.stop_ids})
        left = None if ground.law is None else Left(ground.law, mask_id, ends, end_id)
        before = None if left is None else left.fits(record.canvas)
        answers = None if before is None else int(before.sum())
        steps: list[Step] = []
        canvases = pairwise(trace.canvases(record.canvas))
        columns = zip(canvases, trace.positions, trace.ids, trace.rows, strict=True)
        for (canvas, following), positions, ids, rows in columns:
            bits = None
            probabilities: tuple[float | None, ...] = ()
            if left is not None and rows:
                written = [p for p, token in zip(positions, ids, strict=True) if token != mask_id]
                bits = left.unknowable(canvas, written)
                probabilities = left.probabilities(canvas, positions, ids)
            fitting = None if left is None else int(left.fits(following).sum())
            steps.append(Step(tuple(positions), tuple(ids), bits, fitting, probabilities))
        return Replay(
            record,
            ground.sample,
            tuple(steps),
            ground.codec,
            answers,
            ground.missing,
            _right_answer(record, ground, left),
        )

    def _ground(self, record: Record) -> _Ground:
        key = (record.model, record.task_label, record.index)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._grounded(record)
        return self._kept[1]

    def _grounded(self, record: Record) -> _Ground:
        task, sample = self._drawn(record.task_label, record.index)
        if sample.digest != record.sample_digest:
            return _Ground(
                missing=f"{record.task} was at version {record.task_version} when this was decoded "
                f"and is at version {task.version} now, so its right answers are not known"
            )
        codec = None
        try:
            codec = self._codec(record.model)
            prompt = build_prompt(task, sample, codec)
            if prompt.digest != record.prompt_digest:
                return _Ground(
                    sample,
                    missing=f"{record.model} has another tokenizer or chat template now than when "
                    "this was decoded",
                )
            law = token_law(prompt, self._answers(record.task_label, record.index))
        except RequestError as error:
            return _Ground(sample, codec, missing=str(error))
        return _Ground(sample, codec, law)

    @functools.lru_cache(maxsize=8)  # noqa: B019  a replayer lives as long as one report
    def _drawn(self, task_label: str, index: int) -> tuple[Task, Sample]:
        task = build(self._tasks[task_label], TASKS)
        return task, draw(task, self._seed, index)

    @functools.lru_cache(maxsize=8)  # noqa: B019  likewise
    def _answers(self, task_label: str, index: int) -> Answers:
        task, sample = self._drawn(task_label, index)
        return task.answers(sample, self._limit)

    @functools.cache  # noqa: B019  likewise
    def _codec(self, model: str) -> Codec:
        return build(self._models[model], MODELS).open_codec(fetch=False)


class _Ground(NamedTuple):
    """What stands behind the replays of one sample with one model; see :class:`Replay`."""

    sample: Sample | None = None
    codec: Codec | None = None
    law: Law | None = None
    missing: str | None = None


def _right_answer(record: Record, ground: _Ground, left: Left | None) -> RightAnswer | None:
    if record.marks is None or record.marks.lenient == 1 or ground.sample is None:
        return None
    if left is None or ground.codec is None:
        return RightAnswer(ground.sample.reference, None)
    ids, differences = left.nearest(record.decoding.output_ids)
    return RightAnswer(ground.codec.decode(ids), differences)


class Left:
    """Which right answers are left on a canvas.

    What stands behind the first end of a reply is no part of it and rules nothing out.

    Args:
        law: Of the right answers, with a token of the canvas for a symbol.
        mask_id: The id of an open position.
        ends: Ids that end a reply.
        end_id: The one of them that the law ends its answers with.
    """

    def __init__(self, law: Law, mask_id: int, ends: frozenset[int], end_id: int) -> None:
        self._law = law
        self._mask_id = mask_id
        self._ends = ends
        self._end_id = end_id

    def fits(
        self, canvas: Sequence[int], without: Sequence[int] = ()
    ) -> Bool[np.ndarray, " answers"]:
        """Return which right answers fit what stands on ``canvas``.

        Args:
            canvas: Token ids.
            without: Positions that are looked away from.
        """
        shown = list(canvas)
        for position in without:
            shown[position] = self._mask_id
        shown = self._reply(shown)
        known = [place for place, token in enumerate(shown) if token != self._mask_id]
        stands = np.array([shown[place] for place in known], dtype=self._law.rows.dtype)
        return np.asarray((self._law.rows[:, known] == stands).all(axis=1))

    def _reply(self, canvas: Sequence[int]) -> list[int]:
        """Return ``canvas`` up to its first end, which reads as the law's."""
        shown = [self._as_end(token) for token in canvas]
        return shown[: shown.index(self._end_id) + 1] if self._end_id in shown else shown

    def probabilities(
        self, canvas: Sequence[int], positions: Sequence[int], ids: Sequence[int]
    ) -> tuple[float | None, ...]:
        """Return how probable each of ``ids`` is at its position, given the other positions.

        Returns:
            In [0, 1]; None for the mask id, and all None where no right answer fits what
            stands at the other positions.
        """
        fits = self.fits(canvas, positions)
        if not fits.any():
            return (None,) * len(ids)
        rows, weights = self._law.rows[fits], self._law.probabilities[fits]
        total = weights.sum()
        return tuple(
            None
            if token == self._mask_id
            else float(weights[rows[:, position] == self._as_end(token)].sum() / total)
            for position, token in zip(positions, ids, strict=True)
        )

    def _as_end(self, token: int) -> int:
        return self._end_id if token in self._ends else token

    def nearest(self, canvas: Sequence[int]) -> tuple[list[int], tuple[tuple[int, int], ...]]:
        """Return the right answer that differs from ``canvas`` in the fewest tokens.

        Of equally near ones it is the most probable, then the first.

        Returns:
            Its ids, and the position and id of each that differs; what stands behind the
            first end of a reply differs from nothing.
        """
        reply = self._reply(canvas)
        reply += [self._end_id] * (len(canvas) - len(reply))
        wrong = self._law.rows != np.array(reply, dtype=self._law.rows.dtype)
        best = np.lexsort((-self._law.probabilities, wrong.sum(axis=1)))[0]
        ids = [int(token) for token in self._law.rows[best]]
        return ids, tuple((int(place), ids[place]) for place in np.flatnonzero(wrong[best]))

    def unknowable(self, canvas: Sequence[int], positions: Sequence[int]) -> float | None:
        """Return what writing ``positions`` at once cannot know, in bits.

        Returns:
            None where no right answer fits what stands at the other positions.
        """
        fits = self.fits(canvas, positions)
        if not fits.any():
            return None
        rows: Int[np.ndarray, "left positions"] = self._law.rows[fits][:, list(positions)]
        open_yet = [place for place, column in enumerate(rows.T) if (column != column[0]).any()]
        if len(open_yet) < 2:  # one symbol depends on no other
            return 0.0
        left = Law.counted(rows[:, open_yet], self._law.probabilities[fits])
        return total_correlation(left)


def token_text(codec: Codec | None, token: int) -> str:
    """Return how one token reads, with the white space that it brings.

    Without a codec, or for an id that its tokenizer has not, it is shown by its number.
    """
    if codec is None or token >= codec.size:
        return f"#{token}"
    return str(codec.tokenizer.decode([token], skip_special_tokens=False))
