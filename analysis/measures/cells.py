"""How a number is written, in the terminal and on the page alike.

A number that was not measured is :data:`ABSENT`, never 0.
"""

from __future__ import annotations

import re
import textwrap

from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: Stands for a number without data.
ABSENT = "\N{EN DASH}"
_TO = "\N{EN DASH}"


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as per cent, without the sign.

    Example:
        >>> percent(0.625)
        '62.5'
    """
    return ABSENT if share is None else f"{100 * share:.1f}"


def percent_range(interval: Interval | None) -> str:
    """Return an interval of shares as per cent, without the sign."""
    return ABSENT if interval is None else f"{percent(interval.low)}{_TO}{percent(interval.high)}"


def number(value: float | None, digits: int = 2) -> str:
    """Return ``value`` with ``digits`` decimals."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def number_range(interval: Interval | None) -> str:
    """Return an interval with two decimals."""
    return ABSENT if interval is None else f"{interval.low:.2f}{_TO}{interval.high:.2f}"


def range_if_reached(interval: Interval | None, reached: float | None, percent: int) -> str:
    """Return the interval of a speed, or what share of resamples has a speed where that is less.

    Args:
        interval: Of the speed at an accuracy, or of a ratio of speeds; None where too few
            resamples reach the accuracy.
        reached: Share of the resamples that reach it, in [0, 1]; None where nothing was resampled.
        percent: The accuracy, in per cent.

    Example:
        >>> range_if_reached(None, 0.8832, 80)
        'reaches 80 % in 88 % of resamples'
    """
    if interval is not None or reached in {None, 1}:
        return number_range(interval)
    return f"reaches {percent} % in {100 * (reached or 0):.0f} % of resamples"


def decodes(result: Result) -> str:
    """Return how many decodes ended how, such as ``98 ok, 2 stalled``; ``ok`` comes first.

    Replies that a server cut off are told last; they are among those before.
    """
    ordered = sorted(result.statuses.items(), key=lambda item: (item[0] != "ok", item[0]))
    listed = ", ".join(f"{count} {status}" for status, count in ordered) or ABSENT
    cut = result.finishes.get("length", 0)
    return f"{listed} ({cut} cut off)" if cut else listed


def problems(result: Result, most: int = 3) -> str:
    """Return the ``most`` frequent problems with their counts, such as ``12 repeated item``."""
    ordered = sorted(result.problems.items(), key=lambda item: (-item[1], item[0]))
    listed = [f"{count} {problem}" for problem, count in ordered[:most]]
    rest = len(ordered) - most
    return ", ".join([*listed, f"{rest} more kinds"] if rest > 0 else listed) or ABSENT


def decoder(result: Result) -> str:
    """Return the decoder's setting, marked if it was told the right answers."""
    return f"{result.decoder_label} (oracle)" if result.oracle else result.decoder_label


def folded(label: str, letters: int, indent: str = "") -> str:
    """Break a long label into lines, behind a colon, comma or slash where it can be.

    Args:
        label: Such as a setting, which has no spaces of its own.
        letters: Length of the longest line, at least 1.
        indent: Before the first line; before the others, twice.

    Example:
        >>> print(folded("threshold:block_length=8,bar=0.5", 30))
        threshold:block_length=8,
        bar=0.5
    """
    # A kind of white space that no label has marks the places, and is taken out again.
    marked = re.sub(r"(?<=[:,/])(?=\S)", "\v", label)
    lines = textwrap.wrap(
        marked,
        letters,
        initial_indent=indent,
        subsequent_indent=2 * indent,
        replace_whitespace=False,
        break_on_hyphens=False,
    )
    return "\n".join(lines).replace("\v", "")
