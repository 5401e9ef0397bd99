"""A scene in a terminal: moving, or moment by moment in plain lines."""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.cells import set_cell_size
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from parallelbench.analysis.replay.scene import OPEN, Moment, Panel, Scene, flowed

#: The narrowest panel that may have another beside it, in columns.
_BESIDE = 48
#: In front of a cell that was written, and of one that was opened again.
_WRITTEN, _OPENED = "+", "-"

_STYLES = {
    "step": "",
    "lost": "bold red",
    "right": "bold green",
    "wrong": "bold red",
    "open": "dim",
    "end": "dim",
    "word": "",
}


def play(console: Console, scene: Scene, delay: float) -> None:
    """Show a scene moving; leave its end on the screen.

    Args:
        console: A terminal.
        scene: Scene to play.
        delay: Seconds between moments.
    """
    _introduce(console, scene)
    with Live(_shown(console, scene, 0), console=console, auto_refresh=False) as live:
        for tick in range(1, scene.ticks):
            time.sleep(delay)
            live.update(_shown(console, scene, tick), refresh=True)


def show(console: Console, scene: Scene, tick: int) -> None:
    """Print one moment of a scene."""
    _introduce(console, scene)
    console.print(_shown(console, scene, tick))


def write_all(console: Console, scene: Scene) -> None:
    """Print every moment of a scene, one decode behind the other."""
    _introduce(console, scene)
    for panel in scene.panels:
        console.print()
        console.print(Text(panel.title, style="bold"))
        for moment in panel.moments:
            console.print(Text(moment.told(panel.steps), style=_style(moment)), soft_wrap=True)
            for row in _canvas(panel, moment, console.width - 2):
                console.print(Text("  ").append_text(row), soft_wrap=True)
        for line, kind in list(panel.lines(len(panel.moments)))[1:]:
            console.print(Text(line, style=_STYLES[kind]), soft_wrap=True)
        for line in _remarks(panel):
            console.print(Text(line, style="dim"), soft_wrap=True)


def _introduce(console: Console, scene: Scene) -> None:
    console.print(Text(scene.title, style="bold"), soft_wrap=True)
    if scene.question is not None:
        for line in scene.question.splitlines():
            console.print(Text(f"  {line}", style="dim"), soft_wrap=True)


def _shown(console: Console, scene: Scene, tick: int) -> RenderableType:
    count, width = len(scene.panels), console.width
    if count == 1 or not console.is_terminal or width // count < _BESIDE:
        return Group(*(_panel(panel, tick, width) for panel in scene.panels))
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    for _ in scene.panels:
        grid.add_column(ratio=1)
    own = width // count - 2
    grid.add_row(*(_panel(panel, tick, own) for panel in scene.panels))
    return grid


def _panel(panel: Panel, tick: int, width: int) -> RenderableType:
    moment = panel.at(tick)
    # What was written last is no news any more while another decode goes on.
    moment = moment if tick < len(panel.moments) else moment._replace(new=frozenset())
    lines = [Text(), Text(panel.title, style="bold"), *_canvas(panel, moment, width)]
    lines += [Text(line, style=_STYLES[kind]) for line, kind in panel.lines(tick)]
    return Group(*lines, *(Text(line, style="dim") for line in _remarks(panel)))


def _canvas(panel: Panel, moment: Moment, width: int) -> Iterator[Text]:
    for row in flowed(panel.widths, width):
        text = Text(no_wrap=True, overflow="crop")
        for place in row:
            cell = moment.cells[place]
            new = place in moment.new
            mark = (_OPENED if place in moment.opened else _WRITTEN) if new else " "
            text.append(mark, style="bold" if new else "")
            wide = panel.widths[place]
            shown = OPEN * wide if cell.kind == "open" else set_cell_size(cell.text, wide)
            style = "bold reverse" if new else _STYLES[cell.kind]
            text.append(shown, style=f"{style} red".strip() if new and moment.lost else style)
        yield text


def _style(moment: Moment) -> str:
    return _STYLES["lost" if moment.lost else "step"]


def _remarks(panel: Panel) -> Iterator[str]:
    if panel.hidden:
        yield f"{panel.hidden} more positions never held a word"
    if panel.missing is not None:
        yield f"no bits here: {panel.missing}"
