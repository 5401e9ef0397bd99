"""A scene as an animated SVG: no script, no font and no file beside it.

Everything that stands on the canvas for a while is one element, and CSS shows it for that while;
elements of the same while share their animation.  Where nothing moves, on paper or for a reader
who asked for less motion, the end is shown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

from parallelbench.analysis.replay.scene import (
    COLUMNS,
    PAUSE,
    Panel,
    Scene,
    flowed,
    question_lines,
    said,
)

#: Of a letter and a line, in pixels.
_LETTER, _LINE = 8.4, 24.0
_SIZE = 14
_MARGIN = 16.0

_STYLE = f"""
svg {{ --paper: #ffffff; --ink: #1f2430; --faint: #6b7280; --open: #d4d8e0; --new: #0072b2;
  --on: #ffffff; --lost: #c2410c; --right: #047857; color-scheme: light dark; }}
@media (prefers-color-scheme: dark) {{
  svg {{ --paper: #14171f; --ink: #e5e7eb; --faint: #9aa3b2; --open: #3a4150; --new: #56b4e9;
    --on: #14171f; --lost: #fb923c; --right: #34d399; }}
}}
text {{ font: {_SIZE}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  fill: var(--ink); white-space: pre; }}
.paper {{ fill: var(--paper); }}
.bold {{ font-weight: 700; }}
.faint, .end {{ fill: var(--faint); }}
.open {{ fill: var(--open); }}
.new, .opened {{ fill: var(--new); }}
.lost {{ fill: var(--lost); }}
.on {{ fill: var(--on); font-weight: 700; }}
text.lost, .wrong {{ fill: var(--lost); font-weight: 700; }}
.right {{ fill: var(--right); font-weight: 700; }}
"""


class _While(NamedTuple):
    """From one moment to before another."""

    begin: int
    end: int


def to_svg(scene: Scene, delay: float, remark: str = "") -> str:
    """Return ``scene`` as an SVG that repeats for ever.

    Args:
        scene: Scene to draw.
        delay: Seconds between moments.
        remark: Origin of the scene; a comment in the file.
    """
    ticks = scene.ticks + PAUSE
    top, head = _head(scene)
    drawn: list[str] = []
    heights: list[float] = []
    whiles: dict[_While, str] = {}
    for number, panel in enumerate(scene.panels):
        left = _MARGIN + number * (COLUMNS + 2) * _LETTER
        lines, height = _panel(panel, left, top, scene.ticks, whiles)
        drawn += lines
        heights.append(height)
    width = 2 * _MARGIN + (len(scene.panels) * (COLUMNS + 2) - 2) * _LETTER
    size = round(width), round(top + max(heights) + _MARGIN)
    label = escape(f"{scene.title}: {'; '.join(p.title + ': ' + p.verdict for p in scene.panels)}")
    # Two hyphens would end a comment.
    comment = f"<!-- {escape(remark.replace('--', '- -'))} -->\n" if remark else ""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size[0]} {size[1]}"',
            f'  width="{size[0]}" height="{size[1]}" role="img">',
            f"{comment}<title>{label}</title>",
            f"<style>{_STYLE}{_animations(whiles, scene.ticks, ticks, delay)}</style>",
            f'<rect class="paper" width="{size[0]}" height="{size[1]}" rx="8"/>',
            *head,
            *drawn,
            "</svg>\n",
        ]
    )


def _head(scene: Scene) -> tuple[float, list[str]]:
    """Return the height of the head, and its elements."""
    y = _MARGIN + _SIZE
    lines = [_text(_MARGIN, y, scene.title, "bold")]
    for line in question_lines(scene):
        y += _LINE * 0.8
        lines.append(_text(_MARGIN, y, line, "faint"))
    return y + _LINE * 0.5, lines


def _panel(
    panel: Panel, left: float, top: float, ticks: int, whiles: dict[_While, str]
) -> tuple[list[str], float]:
    """Return the elements of one decode, and their height."""
    y = top + _LINE
    elements = [_text(left, y, panel.title[:COLUMNS], "bold")]
    rows = flowed(panel.widths, COLUMNS)
    for row in rows:
        y += _LINE
        x = left
        for place in row:
            width = panel.widths[place] * _LETTER
            elements += _cell(panel, place, (x, y, width), ticks, whiles)
            x += width + _LETTER
    y += _LINE * 0.4
    every = [said(panel, tick) for tick in range(ticks)]
    for (begin, lines), (end, _) in itertools.pairwise([*_runs(every), (ticks, [])]):
        own = _group(whiles, begin, end, ticks)
        inner = [
            _text(left, y + (number + 1) * _LINE * 0.8, line, kind)
            for number, (line, kind) in enumerate(lines)
        ]
        elements.append(f'<g class="{own}">{"".join(inner)}</g>')
    return elements, y - top + (max(map(len, every)) + 0.5) * _LINE * 0.8


def _runs(states: Sequence[list[tuple[str, str]]]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    for tick, state in enumerate(states):
        if not tick or state != states[tick - 1]:
            yield tick, state


def _cell(
    panel: Panel,
    place: int,
    box: tuple[float, float, float],
    ticks: int,
    whiles: dict[_While, str],
) -> Iterator[str]:
    """Yield the content of one position, an element for each period."""
    states = []
    for tick in range(ticks):
        moment = panel.at(tick)
        new = place in moment.new and tick < len(panel.moments)
        states.append((moment.cells[place], new, new and moment.lost))
    changes = [tick for tick in range(ticks) if not tick or states[tick] != states[tick - 1]]
    for begin, end in itertools.pairwise([*changes, ticks]):
        cell, new, lost = states[begin]
        own = _group(whiles, begin, end, ticks)
        yield f'<g class="{own}">{_drawn(cell.kind, cell.text, box, new=new, lost=lost)}</g>'


def _drawn(kind: str, text: str, box: tuple[float, float, float], *, new: bool, lost: bool) -> str:
    x, y, width = box
    behind = f'x="{x - 2:.1f}" y="{y - _SIZE:.1f}" width="{width + 4:.1f}" height="{_SIZE + 5}"'
    mark = "lost" if lost else "new"
    if kind == "open":
        name = mark if new else "open"
        return f'<rect class="{name}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="2"/>'
    if new:
        return f'<rect class="{mark}" {behind} rx="3"/>{_text(x, y, text, "on")}'
    return _text(x, y, text, kind)


def _text(x: float, y: float, text: str, name: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _group(whiles: dict[_While, str], begin: int, end: int, ticks: int) -> str:
    """Return the class of what is shown for a while; "always" for what is never hidden."""
    if (begin, end) == (0, ticks):
        return "always"
    return whiles.setdefault(_While(begin, end), f"w{len(whiles)}")


def _animations(whiles: dict[_While, str], last: int, ticks: int, delay: float) -> str:
    """Return the CSS that shows every while in its time, and its end where nothing moves."""
    rules = []
    for (begin, end), name in whiles.items():
        until = ticks if end == last else end
        rest = "visible" if end == last else "hidden"
        frames = {0.0: "visible" if begin == 0 else "hidden"}
        frames[100 * begin / ticks] = "visible"
        frames[100 * until / ticks] = "hidden" if until < ticks else "visible"
        steps = " ".join(f"{at:.4g}% {{ visibility: {how}; }}" for at, how in frames.items())
        rules.append(f".{name} {{ visibility: {rest}; animation-name: {name}; }}")
        rules.append(f"@keyframes {name} {{ {steps} }}")
    timing = (
        f"g {{ animation-duration: {ticks * delay:g}s; animation-timing-function: step-end; "
        "animation-iteration-count: infinite; }"
    )
    still = "@media (prefers-reduced-motion: reduce) { g { animation: none !important; } }"
    return "\n".join([timing, *rules, still, ""])
