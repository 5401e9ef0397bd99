"""Fresh samples at every step, drawn by the tasks themselves.

The generator of a sample is seeded by the text ``train/SEED/TASK/NUMBER``.  An evaluation
seeds its own by ``SEED/TASK/INDEX`` with a whole number in front, so no seed whatever makes
the two the same, and no sample is drawn twice but by chance.
"""

from __future__ import annotations

import math
import random
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from jaxtyping import Bool, Int
from torch import Tensor

from parallelbench.errors import CanvasError, NotEnumerableError
from parallelbench.prompt import Codec, build_prompt, lay_out
from parallelbench.task import Answers, Sample, Task
from parallelbench.training.plan import Plan

#: Samples of each task that are looked at before the first step.
_LOOKED_AT = 64
#: Samples whose right answers are counted; a waiting line has four lengths in turn.
_COUNTED = 16
_MOST_ANSWERS = 5_000

# What stands between other letters or digits is no word of its own.
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2,}(?![A-Za-z0-9])")


class Example(NamedTuple):
    """What a network is shown of one sample.

    Attributes:
        task: The place of its task in the plan.
        prompt: Token ids of the rendered chat.
        answer: The canvas with a right answer on it.
        open: True where a decoder would write.
    """

    task: int
    prompt: Int[Tensor, " prompt"]
    answer: Int[Tensor, " length"]
    open: Bool[Tensor, " length"]


def training_rng(seed: int, name: str, number: int) -> random.Random:
    """Return the generator of one training sample."""
    return random.Random(f"train/{seed}/{name}/{number}")  # noqa: S311  not for secrets


def looking_rng(seed: int, name: str, number: int) -> random.Random:
    """Return the generator of one sample that is only looked at before the first step."""
    return random.Random(f"look/{seed}/{name}/{number}")  # noqa: S311  not for secrets


def examples(plan: Plan, codec: Codec, step: int) -> list[Example]:
    """Return the batch of one step, which depends on nothing but the plan and ``step``.

    Args:
        plan: Says which tasks, how often, and the seed.
        codec: How the network reads and writes text.
        step: Counted from 0.

    Raises:
        CanvasError: An answer does not fit its canvas.
    """
    first = step * plan.batch_size
    batch = []
    for number, place in enumerate(tasks_of_step(plan, step), start=first):
        task = plan.built[place]
        sample = task.draw(training_rng(plan.seed, task.name, number), number)
        batch.append(make_example(place, task, sample, codec))
    return batch


def make_example(place: int, task: Task, sample: Sample, codec: Codec) -> Example:
    """Return what a network is shown of ``sample``.

    A sample's reference is a right answer drawn at random; in the free form it is followed
    by end-of-text to the end of the canvas, as the law of right answers has it.

    Raises:
        CanvasError: The reference does not fit the canvas, the tokenizer cannot write it, or
            there is none.
    """
    if not sample.reference:
        raise CanvasError(f"{task.name}: {sample.id} has no right answer to train on")
    prompt = build_prompt(task, sample, codec)
    (answer,) = lay_out(prompt, Answers.uniform([sample.reference]))
    return Example(place, prompt.ids, answer, prompt.open)


def tasks_of_step(plan: Plan, step: int) -> list[int]:
    """Return the place of each sample's task, in random order.

    Each task has its share of every batch up to one sample (systematic sampling), and in
    the mean exactly.
    """
    rng = random.Random(f"train-tasks/{plan.seed}/{step}")  # noqa: S311  not for secrets
    limits = list(accumulate(plan.shares))
    offset, count = rng.random(), plan.batch_size
    last = len(limits) - 1
    places = [min(bisect_right(limits, (each + offset) / count), last) for each in range(count)]
    rng.shuffle(places)
    return places


def words_of(tasks: Sequence[Task], seed: int) -> list[str]:
    """Return what a tokenizer for ``tasks`` gives one token each, in alphabetical order.

    That is: the words that each task names, and the words of its questions.  Spelled letter
    by letter, a question would be several times as long.
    """
    words = {word for task in tasks for word in task.words}
    for task in tasks:
        for number in range(_LOOKED_AT):
            sample = task.draw(looking_rng(seed, task.name, number), number)
            for message in sample.messages:
                words.update(_WORD.findall(message.content))
    return sorted(words)


def look_over(plan: Plan, codec: Codec) -> None:
    """Refuse tasks that a network with this tokenizer cannot be trained on.

    Raises:
        CanvasError: An answer does not fit its canvas, or the tokenizer cannot write it, or
            would spell a word of the task letter by letter.
    """
    for place, task in enumerate(plan.built):
        _check_words(task, codec)
        for number in range(_LOOKED_AT):
            sample = task.draw(looking_rng(plan.seed, task.name, number), number)
            make_example(place, task, sample, codec)


def floors(plan: Plan) -> list[float | None]:
    """Return the least loss of each task, in nats an answer; None where it is not known.

    That is the entropy of the law of right answers, averaged over some samples: log n for
    n right answers that are equally likely.
    """
    return [_floor(task, plan.seed) for task in plan.built]


def _floor(task: Task, seed: int) -> float | None:
    entropies = []
    for number in range(_COUNTED):
        sample = task.draw(looking_rng(seed, task.name, number), number)
        try:
            chances = task.answers(sample, _MOST_ANSWERS).probabilities
        except NotEnumerableError:
            return None
        entropies.append(-math.fsum(chance * math.log(chance) for chance in chances))
    return math.fsum(entropies) / len(entropies)


def _check_words(task: Task, codec: Codec) -> None:
    # Tokenizers of subwords split any name; only one that knows whole words is no good
    # for names that it does not know.
    if type(codec.tokenizer.backend_tokenizer.model).__name__ != "WordPiece":
        return
    for word, ids in zip(task.words, codec.encode(task.words), strict=True):
        if len(ids) > 1:
            raise CanvasError(
                f"{task.name}: the checkpoint's tokenizer knows whole words, but not {word!r}, "
                f"which it splits into {len(ids)} tokens; train on tasks that it was made for, "
                "or begin from scratch"
            )
