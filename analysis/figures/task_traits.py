"""A map of tasks by two traits: parallelizability and order preference.

Source: Kang et al., ParallelBench (arXiv:2510.04767), figure 6 and appendix G.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.figure import Figure

from parallelbench.analysis.figures.pictures import look
from parallelbench.analysis.measures.curves import INK
from parallelbench.analysis.measures.task_traits import TaskTraits

_MARK = "#0072B2"


@dataclass(frozen=True, slots=True)
class TraitPoint:
    """A task on the map: the means over the decoders for which both traits are measured.

    Attributes:
        model: Label of the model.
        task: Label of the task.
        parallelizability: Tokens per step.
        order_preference: Accuracy in percentage points per token of block length.
        decoders: Number of decoders.
    """

    model: str
    task: str
    parallelizability: float
    order_preference: float
    decoders: int


def trait_points(traits: Iterable[TaskTraits]) -> dict[str, list[TraitPoint]]:
    """Return the points of each model that has at least two, by its label."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for each in traits:
        if each.parallelizability is not None and each.order_preference is not None:
            pair = each.parallelizability.value, 100 * each.order_preference.value
            groups.setdefault((each.model, each.task_label), []).append(pair)
    points: dict[str, list[TraitPoint]] = {}
    for (model, task), pairs in groups.items():
        parallel, preference = (fmean(values) for values in zip(*pairs, strict=True))
        points.setdefault(model, []).append(
            TraitPoint(model, task, parallel, preference, len(pairs))
        )
    return {model: own for model, own in points.items() if len(own) > 1}


def traits_figure(points: Sequence[TraitPoint]) -> Figure:
    """Return the map of one model: a labelled point per task."""
    with look():
        figure = Figure(figsize=(6.2, 3.6), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=0.6, linestyle=":")
        axes.scatter(
            [point.parallelizability for point in points],
            [point.order_preference for point in points],
            color=_MARK,
            s=14,
            zorder=3,
        )
        for point in points:
            axes.annotate(
                point.task,
                (point.parallelizability, point.order_preference),
                xytext=(4, 3),
                textcoords="offset points",
                fontsize=6,
                color=INK,
            )
        axes.margins(x=0.2, y=0.15)
        axes.set_xlabel("parallelizability (tokens per step)")
        axes.set_ylabel("order preference (points per token of block length)")
        axes.spines[["top", "right"]].set_visible(False)
    return figure
