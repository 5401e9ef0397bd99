"""Oracle efficiency: the speed of decoder settings over that of an oracle at the same accuracy.

This is the one definition that reports and leaderboards use.  The speed is pooled tokens per step,
read as :func:`~parallelbench.analysis.measures.speed.speed_at` reads it.  The oracle is the one
that was run with the same model (:func:`oracle_for`), else hindsight: the best choice of a setting
for each sample, made after the run.  Where setting or oracle does not reach the accuracy, there is
no efficiency.  An oracle counts at its own settings, which is a lower bound of its speed; against
hindsight the efficiency is at most 1, unless a model ends some decodes early.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from jaxtyping import Float

from parallelbench.analysis.measures.hindsight import frontier_of
from parallelbench.analysis.measures.losses import LABEL, is_ideal
from parallelbench.analysis.measures.speed import (
    SpeedEstimate,
    check_accuracy,
    drawn_means,
    drawn_weights,
    estimate_of_draws,
    speeds_at,
)
from parallelbench.analysis.measures.sweep import Sweep
from parallelbench.results.intervals import RESAMPLES

#: Share of right answers at which reports read the oracle efficiency.
ACCURACY = 0.8
PERCENT = round(100 * ACCURACY)
#: Meaning of a column of oracle efficiencies.
DEFINITION = (
    f"Pooled tokens per step over those of an oracle at {PERCENT} % right answers; absent for a "
    "setting with fewer right answers. It compares speeds: writing one by one has 1 over the "
    "oracle's tokens per step, however right it is."
)
INFORMATION = "information"


def oracle_for(model: str, ran: Collection[str]) -> str | None:
    """Return the decoder that is the oracle of a model's efficiency.

    Args:
        model: Label of the model.
        ran: Names of the oracles that were run with it.

    Returns:
        The label oracle, which goes by the predictions of the model; for the ideal model the
        information oracle, which goes by the exact law; the other one if that was not run.  None
        if neither was run: the efficiency is then against hindsight.

    Example:
        >>> oracle_for("mini", {"information", "label"}), oracle_for("mini", set())
        ('label', None)
    """
    names = (INFORMATION, LABEL) if is_ideal(model) else (LABEL, INFORMATION)
    return next((name for name in names if name in ran), None)


def oracle_speeds(
    accuracies: Float[np.ndarray, " accuracies"],
    settings: Sweep,
    oracle: Sweep | None,
    weights: Float[np.ndarray, "draws samples"],
) -> Float[np.ndarray, "draws accuracies"]:
    """Return the pooled tokens per step of the oracle at each accuracy, in each draw.

    Args:
        accuracies: Shares in [0, 1].
        settings: Decoder settings that were not given the right answers.
        oracle: Settings of an oracle on the same samples; None for hindsight over ``settings``.
        weights: Weight of each sample in each draw, as
            :func:`~parallelbench.analysis.measures.speed.drawn_weights` gives them.

    Returns:
        NaN where the oracle does not reach the accuracy.

    Raises:
        ValueError: The oracle was run on other samples.
    """
    if oracle is None:
        return frontier_of(settings).speeds_along(accuracies, weights)
    if (settings.tasks, settings.indices) != (oracle.tasks, oracle.indices):
        raise ValueError(
            "efficiency compares decoders on the same samples, got "
            f"{settings.samples} and {oracle.samples} samples that are not the same"
        )
    return speeds_at(accuracies, *drawn_means(oracle, weights))


def relative_speeds(
    speeds: Float[np.ndarray, "draws accuracies"],
    oracle: Float[np.ndarray, "oracle_draws accuracies"],
) -> Float[np.ndarray, "oracle_draws accuracies"]:
    """Return the oracle efficiency in each draw, from speeds at equal accuracies.

    Args:
        speeds: Pooled tokens per step of a curve; NaN where it does not reach the accuracy.
        oracle: Pooled tokens per step of its oracle, in as many draws or fewer.

    Returns:
        NaN where either does not reach the accuracy.
    """
    ratios: Float[np.ndarray, "oracle_draws accuracies"] = speeds[: len(oracle)] / oracle
    return ratios


def oracle_speed(accuracy: float, settings: Sweep, oracle: Sweep | None) -> float | None:
    """Return the pooled tokens per step of the oracle at ``accuracy``, without resampling.

    Args:
        accuracy: Share in [0, 1].
        settings: Decoder settings that were not given the right answers.
        oracle: Settings of an oracle on the same samples; None for hindsight over ``settings``.

    Returns:
        None if the oracle does not reach ``accuracy``.

    Raises:
        ValueError: The oracle was run on other samples.
    """
    weights = settings.weights[None]
    speed = float(oracle_speeds(np.array([accuracy]), settings, oracle, weights)[0, 0])
    return None if math.isnan(speed) else speed


def oracle_efficiencies(
    accuracy: float,
    settings: Sweep,
    oracle: Sweep | None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, SpeedEstimate]:
    """Return the oracle efficiency of each setting, by its label.

    The speed of a setting is its own pooled tokens per step; a setting with an accuracy below
    ``accuracy`` has no efficiency.

    Args:
        accuracy: Share in [0, 1].
        settings: Decoder settings that were not given the right answers.
        oracle: Settings of an oracle on the same samples; None for hindsight over ``settings``.
        resamples: Number of bootstrap resamples, which are the same for settings and oracle.
        seed: Random seed of the resamples.

    Raises:
        ValueError: ``accuracy`` is not in [0, 1], or the oracle was run on other samples.
    """
    check_accuracy(accuracy)
    wanted = np.array([accuracy])
    weights = drawn_weights(settings, resamples, seed)
    best = oracle_speeds(wanted, settings, oracle, weights)
    speeds, marks = drawn_means(settings, weights)
    return {
        setting.label: estimate_of_draws(
            relative_speeds(speeds_at(wanted, speeds[:, [row]], marks[:, [row]]), best)[:, 0],
            settings.samples,
        )
        for row, setting in enumerate(settings.settings)
    }
