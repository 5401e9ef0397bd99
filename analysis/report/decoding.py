"""Decoding order and traits of the tasks, as a report shows them."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from parallelbench.analysis.figures.pictures import write_picture
from parallelbench.analysis.figures.plots import images
from parallelbench.analysis.figures.task_traits import TraitPoint, trait_points, traits_figure
from parallelbench.analysis.measures.decoding_order import OrderSummary
from parallelbench.analysis.measures.task_traits import TaskTraits
from parallelbench.run.rundir import RunDirectory


class TraitFigure(NamedTuple):
    """The map of one model's tasks, ready for the page.

    Attributes:
        model: Label of the model.
        image: Data URI of the picture.
    """

    model: str
    image: str


@dataclass(frozen=True, slots=True)
class DecodingReport:
    """Order statistics and traits of the tasks.

    Attributes:
        orders: Decoding order of each decoder setting, by model and task.
        traits: Parallelizability and order preference, one per model, task and decoder.
        figures: Maps of the tasks, one per model for which at least two tasks have both traits.
    """

    orders: Mapping[tuple[str, str], Sequence[OrderSummary]] = field(default_factory=dict)
    traits: Sequence[TaskTraits] = ()
    figures: Sequence[TraitFigure] = ()


def decoding_report(
    run: RunDirectory,
    names: Mapping[str, str],
    orders: Sequence[OrderSummary],
    traits: Sequence[TaskTraits],
) -> DecodingReport:
    """Write the statistics into ``run`` and return what its page shows of them.

    The files are ``orders.json``, ``task_traits.json`` and ``figures/task-traits--MODEL.*``; those
    without content are not written.

    Args:
        run: Run directory.
        names: Name in file names of each model, by its label.
        orders: Order statistics.
        traits: Traits of the tasks.

    Raises:
        StorageError: A file cannot be written.
    """
    for name, rows in (("orders", orders), ("task_traits", traits)):
        if rows:
            content = json.dumps([row.as_dict() for row in rows], indent=1)
            run.write_text(f"{name}.json", f"{content}\n")
    groups: dict[tuple[str, str], list[OrderSummary]] = {}
    places = run.runfile.places["decoder"]
    for each in sorted(orders, key=lambda each: places[each.decoder_label]):
        groups.setdefault((each.model, each.task_label), []).append(each)
    figures = [
        _figure(run.path / "figures", names[model], points)
        for model, points in trait_points(traits).items()
    ]
    return DecodingReport(groups, traits, figures)


def _figure(folder: Path, name: str, points: Sequence[TraitPoint]) -> TraitFigure:
    figure = traits_figure(points)
    write_picture(f"task-traits--{name}", points, figure, folder)
    encoded = base64.b64encode(images(figure).either).decode()
    return TraitFigure(points[0].model, f"data:image/svg+xml;base64,{encoded}")
