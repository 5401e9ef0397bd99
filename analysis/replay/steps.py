"""A decode, step by step: the tokens of each step, and the bits that it could not know.

Tokens that are written in the same step do not see each other.  What a step *could not know*
is the conditional total correlation of the positions it wrote, given the canvas before it, in
bits: 0 for a single token, or for tokens that do not depend on each other.  The step after
which no right answer fits the canvas any more is the step in which the answer was lost.

Both need the distribution of the right answers and the tokenizer; without them they are absent,
and the replay says why.

Source: equation 1 of Kang et al., ParallelBench (arXiv:2510.04767), for one context.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from parallelbench.analysis.theory.remaining_answers import RemainingAnswers
from parallelbench.distributions.contract import AnswerDistribution
from parallelbench.errors import RequestError
from parallelbench.model import MODELS
from parallelbench.prompt import Codec, build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.record import Decoding, Record
from parallelbench.run.recording import draw_sample
from parallelbench.run.runfile import RunFile
from parallelbench.setting import build
from parallelbench.task import TASKS, Sample, Task

#: Most right answers that are listed for a replay, unless the caller asks for more.
LISTED = 5_040


class ReplayStep(NamedTuple):
    """One step of a decode.

    Attributes:
        positions: Positions that it wrote, ascending.
        ids: Token ids that it wrote there; the mask id masks a position again.
        bits: Bits that it could not know; None where the law is not known, where no right answer
            fitted the canvas before it, or where the model was not asked.
        answers: Right answers that fit the canvas behind it; None where they cannot be listed.
        probabilities: Probability of each id at its position, in a right answer that fits the other
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
    """A right answer in place of a wrong reply.

    Attributes:
        text: Text of the answer.
        differences: Position and id of each token that the reply has otherwise; None where
            the right answers cannot be listed, and this is the task's own.
    """

    text: str
    differences: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Replay:
    """One decode, ready to be shown.

    Attributes:
        record: Record of the decode.
        sample: The sample; None if it cannot be drawn again.
        steps: Steps in order.
        codec: Codec of its model; None if it cannot be loaded.
        answers: Right answers that fit the canvas at the start; None where they cannot be listed.
        missing: Reason why there are no bits; None if there are.
        right: The right answer that a wrong reply is nearest to, or else the task's own; None
            for a reply that is right, and where the sample cannot be drawn again.
    """

    record: Record
    sample: Sample | None
    steps: tuple[ReplayStep, ...]
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

    @property
    def total_bits(self) -> float | None:
        """Bits that all steps ignored; None if one with a model call has no value."""
        bits = self._bits_of_calls
        known = [each for each in bits if each is not None]
        return math.fsum(known) if known and len(known) == len(bits) else None

    @property
    def bits_sentence(self) -> str | None:
        """A sentence about the bits that the decode ignored; None if none are known."""
        bits = self._bits_of_calls
        known = [each for each in bits if each is not None]
        if not known:
            return None
        ignored = f"ignored {math.fsum(known):.2f} bits in {len(known)}"
        if len(known) == len(bits):
            return f"{ignored} model call{'s' * (len(bits) != 1)}"
        return f"{ignored} of {len(bits)} model calls; before the others no right answer was left"

    @property
    def _bits_of_calls(self) -> list[float | None]:
        rows = self.record.require_decoding().trace.rows
        return [step.bits for step, sent in zip(self.steps, rows, strict=True) if sent]

    def text(self, token: int) -> str:
        """Return the text of one token, with its white space."""
        return token_text(self.codec, token)


class Replayer:
    """Turns records of one run into replays.

    Args:
        runfile: Run file of the run.
        limit: Most right answers that are listed for one sample.
    """

    def __init__(self, runfile: RunFile, limit: int = LISTED) -> None:
        self._seed = runfile.seed
        self._limit = limit
        self._models = {setting.label: setting for setting in runfile.models}
        self._tasks = {setting.label: setting for setting in runfile.tasks}
        self._kept: tuple[tuple[str, str, int], _Ground] | None = None
        self._drawn = functools.lru_cache(maxsize=8)(self._draw)
        self._codec = functools.cache(self._open_codec)

    def replay(self, record: Record) -> Replay:
        """Return the decode of ``record``; those of one sample are best asked for together.

        Raises:
            RecordsError: The model decoded by itself, so there are no steps.
        """
        decoding = record.require_decoding()
        ground = self._ground(record)
        remaining = None if ground.law is None else RemainingAnswers.of(record, ground.law)
        answers = None if remaining is None else remaining.count(decoding.canvas)
        return Replay(
            record,
            ground.sample,
            tuple(_steps(decoding.canvas, decoding, remaining)),
            ground.codec,
            answers,
            ground.missing,
            _right_answer(record, ground, remaining),
        )

    def _ground(self, record: Record) -> _Ground:
        key = (record.model_label, record.task_label, record.index)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._grounded(record)
        return self._kept[1]

    def _grounded(self, record: Record) -> _Ground:
        task, sample = self._drawn(record.task_label, record.index)
        if sample.digest != record.sample_digest:
            return _Ground(
                missing=f"{record.task.name} was at version {record.task.version} when this was "
                f"decoded and is at version {task.version} now, so its right answers are not known"
            )
        codec = None
        try:
            codec = self._codec(record.model_label)
            prompt = build_prompt(task, sample, codec)
            if prompt.digest != record.sample.prompt_digest:
                return _Ground(
                    sample,
                    missing=f"{record.model_label} has another tokenizer or chat template now than "
                    "when this was decoded",
                )
            codec = prompt.codec
            law = answer_distribution(prompt, self._limit)
        except RequestError as error:
            return _Ground(sample, codec, missing=str(error))
        return _Ground(sample, codec, law)

    def _draw(self, task_label: str, index: int) -> tuple[Task, Sample]:
        task = build(self._tasks[task_label], TASKS)
        return task, draw_sample(task, self._seed, index)

    def _open_codec(self, model: str) -> Codec:
        return build(self._models[model], MODELS).open_codec(fetch=False)


class _Ground(NamedTuple):
    """Data shared by the replays of one sample with one model; see :class:`Replay`."""

    sample: Sample | None = None
    codec: Codec | None = None
    law: AnswerDistribution | None = None
    missing: str | None = None


def _steps(
    start: Sequence[int], decoding: Decoding, remaining: RemainingAnswers | None
) -> Iterator[ReplayStep]:
    trace, mask_id = decoding.trace, decoding.mask_id
    canvases = list(trace.canvases(start))
    columns = zip(pairwise(canvases), trace.positions, trace.ids, trace.rows, strict=True)
    if remaining is not None:
        remaining.look_ahead((canvas, ()) for canvas in canvases)
    for (canvas, following), positions, ids, rows in columns:
        bits = None
        probabilities: tuple[float | None, ...] = ()
        if remaining is not None and rows:
            written = [p for p, token in zip(positions, ids, strict=True) if token != mask_id]
            bits = remaining.unmodelled_bits(canvas, written)
            probabilities = remaining.probabilities(canvas, positions, ids)
        answers = None if remaining is None else remaining.count(following)
        yield ReplayStep(tuple(positions), tuple(ids), bits, answers, probabilities)


def _right_answer(
    record: Record, ground: _Ground, remaining: RemainingAnswers | None
) -> RightAnswer | None:
    if record.marks is None or record.marks.lenient == 1 or ground.sample is None:
        return None
    if remaining is None or ground.codec is None:
        return RightAnswer(ground.sample.reference, None)
    ids, differences = remaining.nearest(record.require_decoding().output_ids)
    return RightAnswer(ground.codec.decode(ids), differences)


def token_text(codec: Codec | None, token: int) -> str:
    """Return the text of one token, with its white space.

    Without a codec, and for ids outside its tokenizer, it is the number of the id.
    """
    if codec is None or token >= codec.size:
        return f"#{token}"
    return str(codec.tokenizer.decode([token], skip_special_tokens=False))
