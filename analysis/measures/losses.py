"""Causes of lost accuracy: the law of the task, the scheduler, and the model.

The accuracy that a decoder setting d loses with a model M on a task has three parts:

* **law**: the loss of the ideal model with the same d, which no training removes;
* **scheduler**: the part of the rest that the label oracle regains with the same model, by a
  better choice of positions;
* **model**: the remainder.

With accuracy a(M, d), the parts are ``law = min(1 - a(M, d), 1 - a(ideal, d))``,
``scheduler = a(M, label) - a(M, d) - law``, clipped to [0, 1 - a(M, d) - law], and ``model`` the
remainder; they are never negative and add up to ``1 - a(M, d)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from parallelbench.results.result import Result

IDEAL = "ideal"
LABEL = "label"


class Loss(NamedTuple):
    """Shares of lost accuracy by cause, in [0, 1]; None if the run lacks the comparison.

    Attributes:
        law: Loss of the ideal model with the same decoder setting; None without the ideal model
            in the run.
        scheduler: Part of the rest that the label oracle regains; None without it.
        model: remainder; None without either.
    """

    law: float | None
    scheduler: float | None
    model: float | None


def losses(results: Sequence[Result]) -> dict[tuple[str, str, str], Loss]:
    """Return the causes of each result's lost accuracy.

    Args:
        results: Results of one or several runs; those without marks are left out.

    Returns:
        By model, task label and decoder label.
    """
    accuracy = {
        (result.model, result.task_label, result.decoder_label): result.accuracy
        for result in results
        if result.accuracy is not None
    }
    ideal = next((result.model for result in results if is_ideal(result.model)), None)
    label = next((r.decoder_label for r in results if r.decoder == LABEL), None)
    return {
        (model, task, decoder): _loss(
            reached,
            accuracy.get((ideal or "", task, decoder)),
            accuracy.get((model, task, label or "")),
        )
        for (model, task, decoder), reached in accuracy.items()
    }


def is_ideal(model: str) -> bool:
    """Test if ``model`` is a label of the ideal model."""
    return model.partition(":")[0] == IDEAL


def _loss(reached: float, ideal: float | None, label: float | None) -> Loss:
    if ideal is None:
        return Loss(None, None, None)
    law = min(1 - reached, 1 - ideal)
    rest = 1 - reached - law
    if rest == 0:  # nothing is left to attribute
        return Loss(law, 0.0, 0.0)
    if label is None:
        return Loss(law, None, None)
    scheduler = min(max(label - reached - law, 0.0), rest)
    return Loss(law, scheduler, rest - scheduler)
