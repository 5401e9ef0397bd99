"""Tables of results for notebooks."""

from __future__ import annotations

from collections.abc import Sequence

from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: Rows that are shown; a longer table hides the rest of a notebook.
MOST_ROWS = 60

_TABLE = """\
<table>
<caption style="text-align: left">{{ caption }}</caption>
<thead><tr>{% for name in heads %}<th>{{ name }}</th>{% endfor %}</tr></thead>
<tbody>
{% for row in rows -%}
<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor -%}
</tbody>
</table>
{% if hidden %}<p>{{ hidden }} more rows: frame() has them all.</p>
{% endif -%}
{% for note in notes %}<p>{{ note }}.</p>
{% endfor -%}
"""
_HEADS = (
    *("model", "task", "decoder", "right, %", "95 % interval", "tokens per step"),
    *("model calls", "samples"),
)
_ABSENT = "\N{EN DASH}"


def table_of(results: Sequence[Result], caption: str, notes: Sequence[str] = ()) -> str:
    """Return ``results`` as an HTML table; all text in it is escaped.

    Args:
        results: One row each.
        caption: Above the table.
        notes: Sentences below it.
    """
    from jinja2 import Environment

    shown = results[:MOST_ROWS]
    template = Environment(autoescape=True).from_string(_TABLE)
    return template.render(
        caption=caption,
        heads=_HEADS,
        rows=[_cells(result) for result in shown],
        hidden=len(results) - len(shown),
        notes=notes,
    )


def _cells(result: Result) -> list[str]:
    oracle = " (oracle)" if result.oracle else ""
    return [
        result.model,
        result.task_label,
        f"{result.decoder_label}{oracle}",
        _number(result.accuracy, 100, 1),
        _range(result.interval),
        _number(result.tokens_per_step, 1, 2),
        _number(result.nfe, 1, 1),
        str(result.samples),
    ]


def _number(value: float | None, scale: int, digits: int) -> str:
    return _ABSENT if value is None else f"{scale * value:.{digits}f}"


def _range(interval: Interval | None) -> str:
    if interval is None:
        return _ABSENT
    return f"{_number(interval.low, 100, 1)}{_ABSENT}{_number(interval.high, 100, 1)}"
