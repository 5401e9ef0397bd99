"""A scene as an animated GIF, for places that show no SVG."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
from jaxtyping import Int
from matplotlib import get_data_path
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageColor, ImageDraw, ImageFont

from parallelbench.analysis.replay.scene import (
    COLUMNS,
    PAUSE,
    Moment,
    Panel,
    Scene,
    drawable,
    flowed,
    question_lines,
    said,
)

_SIZE = 14
_LINE, _MARGIN = 24.0, 16.0

_PAPER, _INK, _FAINT, _OPEN = "#ffffff", "#1f2430", "#6b7280", "#d4d8e0"
_NEW, _LOST, _RIGHT = "#0072b2", "#c2410c", "#047857"
#: Between paper and ink, so that letters have smooth edges.
_SHADES = 10
_ALL = (_INK, _FAINT, _OPEN, _NEW, _LOST, _RIGHT)
_INKS = {"step": _INK, "lost": _LOST, "wrong": _LOST, "right": _RIGHT}


def to_gif(scene: Scene, delay: float) -> bytes:
    """Return ``scene`` as a GIF that repeats for ever.

    Args:
        scene: Scene whose texts hold only :func:`letters`, which can be drawn.
        delay: Seconds between moments.
    """
    frames = [_frame(scene, tick) for tick in range(scene.ticks)]
    flat = [_flattened(frame) for frame in frames]
    lasting = [round(1000 * delay)] * len(flat)
    lasting[-1] *= 1 + PAUSE
    stream = BytesIO()
    flat[0].save(stream, "GIF", save_all=True, append_images=flat[1:], duration=lasting, loop=0)
    return stream.getvalue()


def _flattened(frame: Image.Image) -> Image.Image:
    """Return ``frame`` in the colours of :func:`_palette`, the nearest for each of its own."""
    palette = _palette()
    red, green, blue = np.moveaxis(np.asarray(frame, dtype=np.int64), 2, 0)
    colours, places = np.unique(red << 16 | green << 8 | blue, return_inverse=True)
    own = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    nearest = ((own[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)
    flat = Image.fromarray(nearest[places].reshape(red.shape).astype(np.uint8), "P")
    flat.putpalette(palette.astype(np.uint8).tobytes())
    return flat


@cache
def _palette() -> Int[np.ndarray, "colours 3"]:
    """Return the colours of every frame: ours, and some between each of them and paper."""
    shares = np.linspace(0, 1, _SHADES + 1)[:, None]
    paper = np.array(ImageColor.getrgb(_PAPER))
    inks = [np.array(ImageColor.getrgb(ink)) for ink in _ALL]
    return np.concatenate([np.rint(paper + (ink - paper) * shares) for ink in inks]).astype(int)


def _frame(scene: Scene, tick: int) -> Image.Image:
    letter = _font("").getlength("0")
    columns = len(scene.panels) * (COLUMNS + 2) - 2
    asked = question_lines(scene)
    top = _MARGIN + _LINE * (len(asked) + 1)
    height = top + max(map(_height, scene.panels)) + _MARGIN
    image = Image.new("RGB", (round(2 * _MARGIN + columns * letter), round(height)), _PAPER)
    draw = ImageDraw.Draw(image)
    _write(draw, (_MARGIN, _MARGIN), scene.title, _INK, "-Bold")
    for number, line in enumerate(asked, start=1):
        _write(draw, (_MARGIN, _MARGIN + number * _LINE), line, _FAINT)
    for number, panel in enumerate(scene.panels):
        _panel(draw, panel, (_MARGIN + number * (COLUMNS + 2) * letter, top), tick)
    return image


def _height(panel: Panel) -> float:
    lines = max(len(said(panel, tick)) for tick in range(len(panel.moments)))
    return _LINE * (1 + len(flowed(panel.widths, COLUMNS)) + lines)


def _panel(draw: ImageDraw.ImageDraw, panel: Panel, corner: tuple[float, float], tick: int) -> None:
    left, y = corner
    letter = _font("").getlength("0")
    moment = panel.at(tick)
    _write(draw, (left, y), panel.title[:COLUMNS], _INK, "-Bold")
    for row in flowed(panel.widths, COLUMNS):
        y += _LINE
        x = left
        for place in row:
            width = panel.widths[place] * letter
            _cell(draw, moment, place, (x, y, width), fresh=tick < len(panel.moments))
            x += width + letter
    for line, kind in said(panel, tick):
        y += _LINE
        _write(draw, (left, y), line, _INKS[kind], "" if kind == "step" else "-Bold")


def _cell(
    draw: ImageDraw.ImageDraw,
    moment: Moment,
    place: int,
    box: tuple[float, float, float],
    *,
    fresh: bool,
) -> None:
    x, y, width = box
    cell = moment.cells[place]
    new = fresh and place in moment.new
    mark = _LOST if moment.lost else _NEW
    if cell.kind == "open":
        line = (x, y + _SIZE + 2, x + width, y + _SIZE + 3)
        draw.rectangle(line, fill=mark if new else _OPEN)
        return
    if new:
        draw.rounded_rectangle((x - 2, y - 2, x + width + 2, y + _SIZE + 5), 3, fill=mark)
    ink = _PAPER if new else _FAINT if cell.kind == "end" else _INK
    _write(draw, (x, y), cell.text, ink, "-Bold" if new else "")


def _write(
    draw: ImageDraw.ImageDraw,
    corner: tuple[float, float],
    text: str,
    ink: str,
    weight: str = "",
) -> None:
    draw.text(corner, drawable(text, letters()), fill=ink, font=_font(weight))


def _file(weight: str) -> Path:
    return Path(get_data_path()) / "fonts" / "ttf" / f"DejaVuSansMono{weight}.ttf"


@cache
def _font(weight: str) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(_file(weight)), _SIZE)


@cache
def letters() -> frozenset[int]:
    """Return the letters that both weights of the font have."""
    regular, bold = (FT2Font(str(_file(weight))).get_charmap() for weight in ("", "-Bold"))
    return frozenset(regular.keys() & bold.keys())
