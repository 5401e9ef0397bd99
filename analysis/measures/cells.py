"""Text of table cells, the same in the terminal and on the page.

A number that was not measured is :data:`ABSENT`, never 0.
"""

from __future__ import annotations

import re
import textwrap

from parallelbench.results.intervals import Interval
from parallelbench.results.result import Result

#: Text of a number without data.
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
    """Return the interval of a speed, or else the share of resamples that have a speed.

    Args:
        interval: Interval of the speed at an accuracy, or of a ratio of speeds; None if too few
            resamples reach the accuracy.
        reached: Share of the resamples that reach it, in [0, 1]; None if nothing was resampled.
        percent: The accuracy, in per cent.

    Example:
        >>> range_if_reached(None, 0.8832, 80)
        'reaches 80 % in 88 % of resamples'
    """
    if interval is not None or reached in {None, 1}:
        return number_range(interval)
    return f"reaches {percent} % in {100 * (reached or 0):.0f} % of resamples"


def decodes(result: Result) -> str:
    """Return the number of decodes by status, such as ``98 ok, 2 stalled``; ``ok`` comes first.

    Replies that a server cut off are counted last, and in their status as well.
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
    return (
        ", ".join([*listed, f"{rest} other kind{'s' * (rest > 1)}"] if rest > 0 else listed)
        or ABSENT
    )


def decoder(result: Result) -> str:
    """Return the decoder's setting, marked if the decoder is an oracle."""
    return f"{result.decoder_label} (oracle)" if result.oracle else result.decoder_label


def folded(label: str, letters: int, indent: str = "") -> str:
    """Break a long label into lines, after a colon, comma or slash where possible.

    Args:
        label: A label without spaces, such as a setting.
        letters: Length of the longest line, at least 1.
        indent: Text before the first line; the other lines get it twice.

    Example:
        >>> print(folded("threshold:block_length=8,bar=0.5", 30))
        threshold:block_length=8,
        bar=0.5
    """
    # White space that no label contains marks the possible breaks, and is removed again.
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
