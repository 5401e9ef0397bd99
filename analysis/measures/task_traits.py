"""Parallelizability and order preference of a task: two traits that place tasks on one map.

*Parallelizability* is the mean number of tokens per step at which a decoder is right, weighted by
its accuracy there: a task that tolerates no parallel writing has 1.  *Order preference* is the
slope of the accuracy over the block length at 2 tokens per step: short blocks force the order from
left to right, so a task with a negative slope prefers that order, and one with a positive slope
prefers a free choice.

Both are read from settings of one decoder that differ in one field only, and both depend on the
values that were run: compare tasks on one grid.

Source: Kang et al., ParallelBench (arXiv:2510.04767), appendix G.1.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from parallelbench.analysis.measures.speed import drawn_means, drawn_weights
from parallelbench.analysis.measures.sweep import IncompleteSweepError, Sweep, sweep_of
from parallelbench.results.intervals import Estimate, percentile_interval
from parallelbench.results.record_summary import AnyRecord
from parallelbench.setting import Setting

#: Resamples of the bootstrap: a table shows two digits of an interval.
RESAMPLES = 200
#: Tokens per step at which the order preference is taken, as in the paper.
ORDER_TOKENS = 2


@dataclass(frozen=True, slots=True)
class TaskTraits:
    """Traits of one task, measured with one model and one decoder.

    Attributes:
        model: The model's setting.
        task_label: The task's setting.
        decoder: The decoder's setting without ``k`` and ``block_length``.
        tokens: The values of ``k``, ascending, that parallelizability is read from; empty if it
            is absent.
        parallelizability: Tokens per step, in [least k, greatest k]; None with fewer than two
            values of ``k``, and if nothing is right.
        block_lengths: The block lengths in tokens, ascending, that order preference is read from;
            the whole canvas counts with its length.  Empty if it is absent.
        order_preference: Accuracy per token of block length; None with fewer than two block
            lengths at k=2.
    """

    model: str
    task_label: str
    decoder: str
    tokens: tuple[int, ...]
    parallelizability: Estimate | None
    block_lengths: tuple[int, ...]
    order_preference: Estimate | None

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes as JSON values; an estimate is a mapping of its three fields."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: value._asdict() if isinstance(value, Estimate) else value
            for name, value in fields.items()
        }


def task_traits(records: Iterable[AnyRecord]) -> list[TaskTraits]:
    """Return the traits of every task, by model and decoder.

    Args:
        records: Records of a run.  Oracles and decodes without steps are left out, and so are
            the settings of a decoder on a task if one of them lacks a sample.

    Returns:
        One entry per (model, task, decoder) for which at least one trait can be measured.
    """
    groups: dict[tuple[str, str, str], list[AnyRecord]] = defaultdict(list)
    for record in records:
        if (
            record.steered
            and not record.decoder.oracle
            and type(record.decoder.fields.get("k")) is int
        ):
            family = _family(record.decoder.name, record.decoder.fields)
            groups[record.model_label, family, record.task_label].append(record)
    return [traits for own in groups.values() if (traits := _traits(own)) is not None]


def parallelizability(
    tokens: Float[np.ndarray, " settings"], scores: Float[np.ndarray, " settings"]
) -> float | None:
    r"""Return the mean tokens per step of a task, weighted by the accuracy that it leaves.

    .. math:: \sum_k k \, score_k / \sum_k score_k

    Args:
        tokens: k, the number of tokens that each setting commits per step.
        scores: Accuracy at each k, in [0, 1].

    Returns:
        In [least k, greatest k]; None if every score is 0.

    Source:
        ParallelBench, appendix G.1.

    Example:
        >>> parallelizability(np.array([1.0, 2.0, 4.0]), np.array([1.0, 1.0, 0.0]))
        1.5
    """
    total = float(scores.sum())
    return float(tokens @ scores) / total if total > 0 else None


def order_preference(
    block_lengths: Float[np.ndarray, " settings"], scores: Float[np.ndarray, " settings"]
) -> float | None:
    """Return the least-squares slope of the accuracy over the block length.

    Args:
        block_lengths: Block length of each setting, in tokens.
        scores: Accuracy at each block length, in [0, 1].

    Returns:
        In accuracy per token; None with fewer than two different block lengths.

    Source:
        ParallelBench, appendix G.1.
    """
    centred = block_lengths - block_lengths.mean()
    spread = float(centred @ centred)
    return float(centred @ scores) / spread if spread > 0 else None


def _family(decoder: str, fields: Mapping[str, Any]) -> str:
    held = {name: value for name, value in fields.items() if name not in {"k", "block_length"}}
    return f"{decoder}:{json.dumps(held, sort_keys=True)}"


def _traits(records: Sequence[AnyRecord]) -> TaskTraits | None:
    """Return the traits of one task by one decoder; None if neither can be measured."""
    try:
        sweep = sweep_of(records)
    except IncompleteSweepError:
        return None
    rows = _by_dials(sweep)
    tokens, parallel = _along_tokens(sweep, rows)
    blocks, preference = _along_blocks(sweep, rows)
    if parallel is None and preference is None:
        return None
    label = _label(sweep.settings[0])
    return TaskTraits(sweep.model, sweep.tasks[0], label, tokens, parallel, blocks, preference)


def _by_dials(sweep: Sweep) -> dict[tuple[int, int | None], int]:
    """Return the row of each (k, block length); None is the whole canvas, of any length."""
    lengths = set(sweep.canvas.tolist())
    whole = lengths.pop() if len(lengths) == 1 else None
    rows: dict[tuple[int, int | None], int] = {}
    for row, setting in enumerate(sweep.settings):
        tokens, block = setting.fields["k"], setting.fields.get("block_length")
        if isinstance(tokens, int):
            rows.setdefault((tokens, block if isinstance(block, int) else whole), row)
    return rows


def _along_tokens(
    sweep: Sweep, rows: Mapping[tuple[int, int | None], int]
) -> tuple[tuple[int, ...], Estimate | None]:
    """Return the values of k and the parallelizability, at the longest blocks that were run."""
    blocks = {block for _, block in rows}
    longest = None if None in blocks else max(block for block in blocks if block is not None)
    own = sorted((k, row) for (k, block), row in rows.items() if block == longest)
    return _estimate(sweep, own, parallelizability)


def _along_blocks(
    sweep: Sweep, rows: Mapping[tuple[int, int | None], int]
) -> tuple[tuple[int, ...], Estimate | None]:
    """Return the block lengths and the order preference at :data:`ORDER_TOKENS`."""
    own = sorted(
        (block, row) for (k, block), row in rows.items() if k == ORDER_TOKENS and block is not None
    )
    return _estimate(sweep, own, order_preference)


def _estimate(
    sweep: Sweep,
    dial: Sequence[tuple[int, int]],
    trait: Callable[[np.ndarray, np.ndarray], float | None],
) -> tuple[tuple[int, ...], Estimate | None]:
    """Return the values of a dial, and the trait along it with a bootstrap interval.

    Args:
        sweep: Settings of one decoder on the samples of one task.
        dial: Values of the dial, each with the row of its setting.
        trait: Function of dial values and accuracies; None where it is not defined.
    """
    if len(dial) < 2:
        return (), None
    values = tuple(value for value, _ in dial)
    weights = drawn_weights(sweep, RESAMPLES)
    marks = drawn_means(sweep, weights)[1][:, [row for _, row in dial]]
    traits = [trait(np.array(values, dtype=float), scores) for scores in marks]
    if traits[0] is None:
        return (), None
    # A resample in which nothing is right has no trait.
    replicates = np.array([each for each in traits[1:] if each is not None])
    interval = percentile_interval(replicates) if sweep.samples > 1 and replicates.size else None
    return values, Estimate(traits[0], interval, sweep.samples)


def _label(setting: Setting) -> str:
    """Return a setting as typed, without ``k`` and ``block_length``."""
    name, _, fields = setting.label.partition(":")
    dials = ("k=", "block_length=")
    held = [field for field in fields.split(",") if field and not field.startswith(dials)]
    return f"{name}:{','.join(held)}" if held else name
