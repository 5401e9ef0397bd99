"""Printing: control characters in text never reach the terminal.

Names, replies and settings may come from others and hold any characters; those that a terminal
would interpret are printed as symbols.
"""

from __future__ import annotations

import re
from typing import Final

import click

#: Characters that a terminal would interpret: controls other than tabs and ends of lines, marks of
#: direction, line separators and surrogates.
_OBEYED: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
#: The symbols of the first 32 controls begin there, and that of delete.
_SYMBOLS, _SYMBOL_OF_DELETE = 0x2400, "\N{SYMBOL FOR DELETE}"


def plain(text: str) -> str:
    r"""Return ``text`` with a symbol for every character that a terminal would interpret.

    Ends of lines and tabs stay, and so does its length.

    Example:
        >>> plain("a\x1b[31mred")
        'a␛[31mred'
    """
    return _OBEYED.sub(_symbol, text)


def tell(text: str = "", *, err: bool = False, nl: bool = True, bold: bool = False) -> None:
    """Print ``text`` on stdout, or on stderr.

    Args:
        text: Text; its control characters are printed as symbols.
        err: True for stderr.
        nl: True to end the line.
        bold: True for bold text, where the terminal supports it.
    """
    shown = plain(text)
    click.echo(click.style(shown, bold=True) if bold else shown, err=err, nl=nl)


def tell_line(text: str, *, err: bool = False) -> None:
    """Print ``text`` as one line, whatever ends of lines others put into it."""
    tell(" ".join(text.split()), err=err)


def warn(sentence: str) -> None:
    """Print ``sentence`` on stderr as a remark of the program."""
    tell(f"parallelbench: {sentence}", err=True)


def _symbol(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 32:
        return chr(_SYMBOLS + code)
    return _SYMBOL_OF_DELETE if code == 0x7F else "\N{REPLACEMENT CHARACTER}"
