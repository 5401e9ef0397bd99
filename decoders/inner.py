"""A strategy inside another: how it is written, and what it may be.

``confidence_threshold(threshold=0.8;comparison=gt)``: a name, and its fields in parentheses
with ``;`` between them, since ``,`` and ``|`` separate the fields and values of the setting
around it.  Only choosers fit, and blocks and temperature are fields of the outer strategy.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from parallelbench.decoder import DECODERS, Chooser, Decoder
from parallelbench.errors import RequestError
from parallelbench.setting import build, make_setting

#: Fields that every strategy has; of two, one inside the other, only the outer one's count.
_OUTER = frozenset(Decoder.__dataclass_fields__)


class Inner(NamedTuple):
    """A chooser inside another decoder.

    Attributes:
        text: Setting as text, with all of its own fields.
        chooser: The strategy.
    """

    text: str
    chooser: Chooser


def read_inner(text: str) -> Inner:
    """Return the strategy that ``text`` describes.

    Raises:
        ValueError: It is not of the form ``name(field=value;field=value)``, no such chooser or
            field exists, a value is refused, or it sets ``block_length`` or ``temperature``.
    """
    name, opening, rest = text.partition("(")
    if opening and not rest.endswith(")"):
        raise ValueError(
            f"strategy must be written as name or name(field=value;field=value), got {text!r}"
        )
    parts = [part.partition("=") for part in rest.removesuffix(")").split(";") if part.strip()]
    fields: dict[str, Any] = {field.strip(): value.strip() for field, _, value in parts}
    _check_own(text, fields)
    try:
        setting = make_setting(name.strip(), fields, DECODERS)
    except RequestError as error:
        raise ValueError(f"strategy {text!r}: {error}") from error
    made = build(setting, DECODERS)
    if not isinstance(made, Chooser):
        raise ValueError(  # noqa: TRY004  a field's value is wrong, whatever it names
            f"strategy must be one that only chooses among open positions, got {name.strip()!r}, "
            "which also moves windows, spends calls or revises"
        )
    own = {field: value for field, value in setting.fields.items() if field not in _OUTER}
    fields_text = ";".join(f"{field}={value}" for field, value in own.items())
    return Inner(f"{setting.name}({fields_text})" if fields_text else setting.name, made)


def _check_own(text: str, fields: dict[str, Any]) -> None:
    for field in fields.keys() & _OUTER:
        raise ValueError(
            f"strategy {text!r}: {field} belongs to the strategy around; write it after the "
            "parentheses"
        )
