"""Training samples: every step draws new ones from the tasks.

The generator of a sample is seeded with the text ``train/SEED/TASK/NUMBER``.  An evaluation
seeds its generators with ``SEED/TASK/INDEX``, where SEED is a whole number, so the two never
coincide; a sample recurs only by chance.
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

#: Samples of each task that are checked before the first step.
_CHECKED = 64
#: Samples whose right answers are counted; waiting lines cycle through four lengths.
_FLOOR_SAMPLES = 16
_MOST_ANSWERS = 5_000

# Letters next to other letters or digits are not a word.
_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2,}(?![A-Za-z0-9])")


class Example(NamedTuple):
    """One training sample as token ids.

    Attributes:
        task: Index of its task in the plan.
        prompt: Token ids of the rendered chat.
        answer: Canvas filled with a right answer.
        open: True at positions that a decoder would write.
    """

    task: int
    prompt: Int[Tensor, " prompt"]
    answer: Int[Tensor, " length"]
    open: Bool[Tensor, " length"]


def training_rng(seed: int, name: str, number: int) -> random.Random:
    """Return the generator of one training sample."""
    return random.Random(f"train/{seed}/{name}/{number}")


def checking_rng(seed: int, name: str, number: int) -> random.Random:
    """Return the generator of one sample that is checked before the first step."""
    return random.Random(f"look/{seed}/{name}/{number}")


def examples(plan: Plan, codec: Codec, step: int) -> list[Example]:
    """Return the batch of one step, which depends on nothing but the plan and ``step``.

    Args:
        plan: Plan with tasks, their shares and the seed.
        codec: Codec of the network.
        step: Number of the step, from 0.

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
    """Return the training example of ``sample``.

    A sample's reference is a right answer drawn at random; in the free form the rest of the
    canvas is end-of-text, as in the answer distribution.

    Raises:
        CanvasError: The sample has no reference, or it does not fit the canvas or the tokenizer.
    """
    if not sample.reference:
        raise CanvasError(f"{task.name}: {sample.id} has no right answer to train on")
    prompt = build_prompt(task, sample, codec)
    (answer,) = lay_out(prompt, Answers.uniform([sample.reference]))
    return Example(place, prompt.ids, answer, prompt.open)


def tasks_of_step(plan: Plan, step: int) -> list[int]:
    """Return the index of each sample's task, in random order.

    Each task has its share of every batch up to one sample (systematic sampling), and exactly
    its share in the mean.
    """
    rng = random.Random(f"train-tasks/{plan.seed}/{step}")
    limits = list(accumulate(plan.shares))
    offset, count = rng.random(), plan.batch_size
    last = len(limits) - 1
    places = [min(bisect_right(limits, (each + offset) / count), last) for each in range(count)]
    rng.shuffle(places)
    return places


def task_words(tasks: Sequence[Task], seed: int) -> list[str]:
    """Return the words that a tokenizer for ``tasks`` makes one token each, in order.

    These are the words that each task names and the words of its questions: spelled letter by
    letter, a question would be several times as long.
    """
    words = {word for task in tasks for word in task.words}
    for task in tasks:
        for number in range(_CHECKED):
            sample = task.draw(checking_rng(seed, task.name, number), number)
            for message in sample.messages:
                words.update(_WORD.findall(message.content))
    return sorted(words)


def check_tasks(plan: Plan, codec: Codec) -> None:
    """Refuse tasks that a network with this tokenizer cannot be trained on.

    Raises:
        CanvasError: An answer does not fit its canvas, or the tokenizer cannot write it, or
            would spell a word of the task letter by letter.
    """
    for place, task in enumerate(plan.built):
        _check_words(task, codec)
        for number in range(_CHECKED):
            sample = task.draw(checking_rng(plan.seed, task.name, number), number)
            make_example(place, task, sample, codec)


def floors(plan: Plan) -> list[float | None]:
    """Return the minimum loss of each task, in nats per answer; None where it is unknown.

    It is the entropy of the answer distribution, averaged over some samples: log n for n
    equally likely right answers.
    """
    return [_floor(task, plan.seed) for task in plan.built]


def _floor(task: Task, seed: int) -> float | None:
    entropies = []
    for number in range(_FLOOR_SAMPLES):
        sample = task.draw(checking_rng(seed, task.name, number), number)
        trellis = task.trellis(sample)
        if trellis is not None:
            entropies.append(trellis.entropy * math.log(2))
            continue
        try:
            chances = task.answers(sample, _MOST_ANSWERS).probabilities
        except NotEnumerableError:
            return None
        entropies.append(-math.fsum(chance * math.log(chance) for chance in chances))
    return math.fsum(entropies) / len(entropies)


def _check_words(task: Task, codec: Codec) -> None:
    # Subword tokenizers split any name; a word-level tokenizer spells unknown names.
    if type(codec.tokenizer.backend_tokenizer.model).__name__ != "WordPiece":
        return
    for word, ids in zip(task.words, codec.encode(task.words), strict=True):
        if len(ids) > 1:
            raise CanvasError(
                f"{task.name}: the checkpoint's tokenizer knows whole words, but not {word!r}, "
                f"which it splits into {len(ids)} tokens; train on tasks that it was made for, "
                "or from scratch"
            )
