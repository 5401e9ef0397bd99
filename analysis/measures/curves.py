"""Curves: decoder settings that form one family, with the same look in every figure.

Settings of one decoder that differ in a single numeric field, the *dial*, are points of
one curve: ``confidence:k=1``, ``:k=2`` and ``:k=4`` trade accuracy for speed by ``k``.
"""

from __future__ import annotations

import colorsys
import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from parallelbench.decoder import Decoder
from parallelbench.results.result import Result

#: Colour of text and axes, and the black of the palette, so that both turn light on a dark page.
INK = "#1f2430"

#: Okabe and Ito (2008), "Color universal design", distinct for every kind of colour
#: vision; without the yellow, which does not show on white.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
#: Lines of the models in one figure; the ideal model in the background is dotted.
_LINES = ("-", (0, (5.0, 1.5)), (0, (5.0, 1.2, 1.0, 1.2)), (0, (2.0, 1.2)))

#: Share of the circle of hues between two computed colours: multiples of the golden ratio never
#: repeat a hue.
_HUE_STEP = (5**0.5 - 1) / 2
#: Relative luminances (WCAG 2.2) of computed colours in turn: from 0.12 to 0.3, a contrast of
#: 3 with a white page and with a dark one.
_LUMINANCES, _SATURATIONS = (0.14, 0.28, 0.2), (0.9, 0.5)

#: Fields that every decoder has; a curve runs along them only if nothing else varies.
_SHARED = frozenset(field.name for field in dataclasses.fields(Decoder))


@dataclass(frozen=True, slots=True)
class Curve:
    """A family of decoder settings and its look in figures.

    Attributes:
        label: Text in the legend.
        colour: Hexadecimal colour.
        marker: matplotlib's name of the marker.
        oracle: True if the decoder was given the right answers: drawn dashed and hollow.
        line: matplotlib's line style; None for the default.
    """

    label: str
    colour: str
    marker: str
    oracle: bool
    line: str | tuple[int, tuple[float, ...]] | None = None


class Overlay(NamedTuple):
    """The look of several models in one figure.

    Attributes:
        curves: Curves by model and ``decoder_label``.
        behind: Curves of the ideal model in the background, by ``decoder_label``.
        legend: Entries of the legend.
        apart: True if each family of settings needs a panel of its own.
    """

    curves: Mapping[tuple[str, str], Curve]
    behind: Mapping[str, Curve]
    legend: Sequence[Curve]
    apart: bool


def curves_of(results: Iterable[Result]) -> dict[str, Curve]:
    """Return the curve that each decoder setting belongs to, by ``decoder_label``.

    Args:
        results: All results of a run, so that a decoder looks the same in all its figures.
    """
    settings = {result.decoder_label: result for result in results}
    dials = _dials(settings.values())
    families: dict[str, list[Result]] = {}
    for result in settings.values():
        families.setdefault(_family(result, dials[result.decoder]), []).append(result)
    return {
        result.decoder_label: _curve(number, family, dials[result.decoder])
        for number, family in enumerate(families.values())
        for result in family
    }


def overlay_of(results: Sequence[Result], curves: Mapping[str, Curve]) -> Overlay:
    """Return the look of the models of ``results`` in one figure.

    While there are enough colours, a colour is a family of settings, and a marker with a line is
    a model.  Otherwise each family has a panel, and a colour with marker and line is a model.

    Args:
        results: Results of at least two models.
        curves: Curves of the whole run; see :func:`curves_of`.
    """
    models = list(dict.fromkeys(result.model for result in results))
    families = list(dict.fromkeys(curves[result.decoder_label] for result in results))
    apart = len(families) > len(_COLOURS) or len(models) > len(_MARKERS)
    of_models = {
        model: Curve(
            label=model,
            colour=colour_of(number) if apart else INK,
            marker=_MARKERS[number % len(_MARKERS)],
            oracle=False,
            line=_LINES[number % len(_LINES)],
        )
        for number, model in enumerate(models)
    }
    of_families = {
        family: replace(family, colour=colour_of(number), marker="", line="-")
        for number, family in enumerate(families)
    }
    drawn, behind = {}, {}
    for result in results:
        model, family = of_models[result.model], curves[result.decoder_label]
        behind[result.decoder_label] = replace(family, colour=INK) if apart else of_families[family]
        colour = model.colour if apart else of_families[family].colour
        label = f"{model.label}: {family.label}"
        drawn[result.model, result.decoder_label] = replace(
            model, label=label, colour=colour, oracle=family.oracle
        )
    legend = [*([] if apart else of_families.values()), *of_models.values()]
    return Overlay(drawn, behind, legend, apart)


def colour_of(number: int) -> str:
    """Return the colour of the curve with this number, from 0: no two have the same.

    The first are Okabe and Ito's; further hues are spread by the golden ratio.

    Example:
        >>> len({colour_of(number) for number in range(200)})
        200
    """
    if number < len(_COLOURS):
        return _COLOURS[number]
    luminance = _LUMINANCES[number % len(_LUMINANCES)]
    saturation = _SATURATIONS[number % len(_SATURATIONS)]
    low, high = 0.0, 1.0
    for _ in range(16):  # finer than 256 shades
        lightness = (low + high) / 2
        shares = colorsys.hls_to_rgb(number * _HUE_STEP % 1, lightness, saturation)
        low, high = (lightness, high) if _luminance(shares) < luminance else (low, lightness)
    return "#" + "".join(f"{round(255 * share):02X}" for share in shares)


def _luminance(shares: Sequence[float]) -> float:
    red, green, blue = (
        share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _dials(settings: Iterable[Result]) -> dict[str, str | None]:
    fields: dict[str, list[Mapping[str, Any]]] = {}
    for setting in settings:
        fields.setdefault(setting.decoder, []).append(setting.fields)
    return {decoder: _dial(of_decoder) for decoder, of_decoder in fields.items()}


def _dial(settings: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the numeric field with most values, one of the decoder's own if any varies."""
    values = {name: {setting[name] for setting in settings} for name in settings[0]}
    varying = [name for name in values if len(values[name]) > 1 and _is_numeric(values[name])]
    return max(varying, key=lambda name: (name not in _SHARED, len(values[name])), default=None)


def _is_numeric(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float, type(None)) for value in values)


def _family(result: Result, dial: str | None) -> str:
    held = {name: value for name, value in result.fields.items() if name != dial}
    return f"{result.decoder}:{json.dumps(held, sort_keys=True)}"


def _curve(number: int, family: Sequence[Result], dial: str | None) -> Curve:
    first = family[0]
    return Curve(
        label=_legend_label(family, dial) + (" (oracle)" if first.oracle else ""),
        colour=colour_of(number),
        marker=_MARKERS[number % len(_MARKERS)],
        oracle=first.oracle,
    )


def _legend_label(family: Sequence[Result], dial: str | None) -> str:
    label = family[0].decoder_label
    if len(family) == 1:
        return label
    name, _, fields = label.partition(":")
    held = [field for field in fields.split(",") if field and not field.startswith(f"{dial}=")]
    return f"{name}:{','.join(held)}, varying {dial}" if held else f"{name}, varying {dial}"
