"""Files of verdicts and labels, and the verdict counts in them.

A file is CSV with a header, or JSON Lines with an object per line.  Its columns:

``text``
    The judged text.
``verdict``
    The judge's verdict: ``pass`` or ``fail``.
``label``
    The truth, if it is known: ``good`` or ``bad``.
``kind``
    The kind of error, such as ``doubled word``; for a table by kinds.
``judge``, ``reply``
    The judge's name and its reply; kept for the record.

``yes``, ``true`` and 1 stand for ``pass`` and ``good``; ``no``, ``false`` and 0 for ``fail`` and
``bad``.  Other columns are ignored and reported; a column whose name nearly equals that of a
missing one is refused as misspelt.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from parallelbench.analysis.judging.judges import Calibration, JudgeError
from parallelbench.registry import unknown
from parallelbench.results.intervals import Interval, wilson
from parallelbench.storage.plain_json import json_of

#: Least similarity of a misspelt column name to the correct one, in [0, 1].
_MISSPELT = 0.8

#: Endings of the names of files, by their form.
_CSV = (".csv",)
_JSON_LINES = (".jsonl", ".ndjson")

COLUMNS = ("text", "label", "verdict", "kind", "judge", "reply")

_POSITIVE = frozenset({"pass", "good", "yes", "true", "1"})
_NEGATIVE = frozenset({"fail", "bad", "no", "false", "0"})


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a file.

    Attributes:
        text: The judged text; None if the file lacks it.
        label: True if it is good; None if that is not known.
        verdict: True if the judge passed it; None without a verdict.
        kind: Kind of its error; None without an error, or if the file lacks it.
        judge: Name of the judge; None if the file lacks it.
        where: File and line, for messages.
    """

    text: str | None
    label: bool | None
    verdict: bool | None
    kind: str | None
    judge: str | None
    where: str


@dataclass(frozen=True, slots=True)
class KindShare:
    """Share of right verdicts of one judge on the examples of one kind.

    Attributes:
        judge: Name of the judge.
        kind: Kind of the examples.
        label: True if they are good.
        right: Number of right verdicts: good examples passed, bad ones failed.
        count: Number of examples.
        share: ``right`` of ``count``.
        interval: Wilson's interval of ``share``.
    """

    judge: str
    kind: str
    label: bool
    right: int
    count: int
    share: float
    interval: Interval

    def as_dict(self) -> dict[str, Any]:
        """Return all attributes, as JSON values."""
        return {**asdict(self), "label": "good" if self.label else "bad"}


def read_items(path: Path, tell: Callable[[str], None] = lambda _: None) -> list[Item]:
    """Return the lines of a file of verdicts, labels or both.

    Args:
        path: The file.
        tell: Function that is called with a sentence about ignored columns.

    Raises:
        JudgeError: The file cannot be read, has no line, a misspelt column or an unknown value,
            or labels a text both good and bad; the message names the line.
    """
    if path.suffix.lower() not in (*_CSV, *_JSON_LINES):
        raise JudgeError(
            f"{path} is neither CSV nor JSON Lines by its name: give a file that ends in .csv, "
            "with a header, or in .jsonl, with a JSON object on each line; its columns are "
            f"{', '.join(COLUMNS)}"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JudgeError(f"{path} cannot be read: {error}") from error
    lines = list(_lines(text, path))
    items = [_item(fields, where) for where, fields in lines]
    extra = [name for name in dict.fromkeys(chain(*(f for _, f in lines))) if name not in COLUMNS]
    if extra:
        tell(f"{path}: ignored {', '.join(map(repr, extra))}; columns are {', '.join(COLUMNS)}")
    if not items:
        raise JudgeError(f"{path} is empty: it needs a line for every text, see `judge --help`")
    _refuse_contradictions(items)
    return items


def calibration_of(items: Sequence[Item]) -> Calibration:
    """Count the verdicts of a judge on labelled examples.

    Raises:
        JudgeError: An example has no label or no verdict, one of the two classes is missing, or
            there are verdicts of several judges.
    """
    _refuse_several_judges(items)
    verdicts: dict[bool, list[bool]] = {True: [], False: []}
    for item in items:
        if item.label is None:
            raise JudgeError(f"{item.where} has no label: in a calibration set it is good or bad")
        verdicts[item.label].append(_verdict(item))
    good, bad = verdicts[True], verdicts[False]
    return Calibration(sum(good), len(good), bad.count(False), len(bad))


def passed_of(items: Sequence[Item]) -> tuple[int, int]:
    """Return the number of items that passed, and of all items.

    Raises:
        JudgeError: An item has no verdict, or there are verdicts of several judges.
    """
    _refuse_several_judges(items)
    return sum(_verdict(item) for item in items), len(items)


def by_kind(judges: Mapping[str, Sequence[Item]]) -> list[KindShare]:
    """Return the share of right verdicts of each judge on each kind of example, in order.

    Args:
        judges: Labelled and judged examples, by the judge's name.

    Raises:
        JudgeError: An example has no label or no verdict.
    """
    shares = []
    for judge, items in judges.items():
        kinds: dict[tuple[str, bool], list[bool]] = {}
        for item in items:
            if item.label is None:
                raise JudgeError(f"{item.where} has no label, good or bad")
            kind = item.kind or ("clean" if item.label else "any")
            kinds.setdefault((kind, item.label), []).append(_verdict(item) == item.label)
        for (kind, label), right in kinds.items():
            share = sum(right) / len(right)
            interval = wilson(float(sum(right)), float(len(right)))
            shares.append(KindShare(judge, kind, label, sum(right), len(right), share, interval))
    return shares


def kind_table(shares: Sequence[KindShare]) -> str:
    """Return a Markdown table: a line per kind, a column per judge, shares in percent.

    A good kind shows the share that passed (sensitivity), a bad one the share that failed
    (specificity).
    """
    judges = list(dict.fromkeys(share.judge for share in shares))
    kinds = list(dict.fromkeys((share.kind, share.label) for share in shares))
    cell = {(share.judge, share.kind, share.label): share for share in shares}
    lines = [
        f"| kind | examples | right is | {' | '.join(judges)} |",
        f"|---|---|---|{'---|' * len(judges)}",
    ]
    for kind, label in kinds:
        own = [cell.get((judge, kind, label)) for judge in judges]
        count = next(share.count for share in own if share is not None)
        cells = " | ".join("" if share is None else _percent(share) for share in own)
        lines.append(f"| {kind} | {count} | {'pass' if label else 'fail'} | {cells} |")
    return "\n".join(lines)


def item_line(item: Item, **more: str) -> str:
    """Return ``item`` as a line of JSON Lines, with ``more`` columns."""
    words = {"label": ("bad", "good"), "verdict": ("fail", "pass")}
    fields = {name: value for name, value in asdict(item).items() if value is not None}
    del fields["where"]
    for name, (no, yes) in words.items():
        if name in fields:
            fields[name] = yes if fields[name] else no
    return json.dumps({**fields, **more}, ensure_ascii=False) + "\n"


def _percent(share: KindShare) -> str:
    low, high = (100 * end for end in share.interval)
    return f"{100 * share.share:.0f} ({low:.0f} to {high:.0f})"


def _verdict(item: Item) -> bool:
    if item.verdict is None:
        raise JudgeError(
            f"{item.where} has no verdict: add a column with pass or fail, or let a judge decide "
            "with --judge"
        )
    return item.verdict


def _refuse_several_judges(items: Iterable[Item]) -> None:
    judges = {item.judge: item.where for item in items}
    if len(judges) > 1:
        (one, where), (other, elsewhere) = list(judges.items())[:2]
        raise JudgeError(
            f"the verdicts at {where} are of judge {one!r}, those at {elsewhere} of {other!r}; "
            "judges err differently, so give a file for each"
        )


def _refuse_contradictions(items: Iterable[Item]) -> None:
    labels: dict[str, Item] = {}
    for item in items:
        if item.text is not None and item.label is not None:
            first = labels.setdefault(item.text, item)
            if first.label != item.label:
                raise JudgeError(
                    f"{item.where} labels a text differently from {first.where}: {item.text!r}"
                )


def _lines(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from (_csv_lines if path.suffix.lower() in _CSV else _json_lines)(text, path)


def _csv_lines(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _refuse_columns(header, f"{path} line 1")
        for cells in reader:
            where = f"{path} line {reader.line_num}"
            if not cells:
                continue
            if len(cells) != len(header):
                raise JudgeError(
                    f"{where} has {len(cells)} cells, but the header names {len(header)} columns: "
                    "put a text with a comma in double quotes"
                )
            yield where, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise JudgeError(f"{path} line {reader.line_num} is no CSV: {error}") from error


def _json_lines(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{path} line {number}"
        if not line.strip():
            continue
        try:
            fields = json_of(line)
        except ValueError as error:
            raise JudgeError(f"{where} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise JudgeError(f"{where} must be a JSON object, got {line[:60]}")
        _refuse_columns(list(fields), where)
        yield where, fields


def _refuse_columns(names: Sequence[str], where: str) -> None:
    for name in names:
        near = difflib.get_close_matches(name, COLUMNS, n=1, cutoff=_MISSPELT)
        if name not in COLUMNS and near and near[0] not in names:
            raise JudgeError(f"{where}: {unknown('column', name, COLUMNS)}")
    if len(set(names)) < len(names):
        raise JudgeError(f"{where} names a column twice: {', '.join(names)}")
    if names and not {"label", "verdict", "text"} & set(names):
        raise JudgeError(f"{where}: there is none of the columns text, label and verdict")


def _item(fields: Mapping[str, Any], where: str) -> Item:
    return Item(
        text=_text(fields.get("text")),
        label=_truth(fields.get("label"), "label", "good or bad", where),
        verdict=_truth(fields.get("verdict"), "verdict", "pass or fail", where),
        kind=_text(fields.get("kind")),
        judge=_text(fields.get("judge")),
        where=where,
    )


def _text(value: Any) -> str | None:
    return None if value is None or str(value) == "" else str(value)


def _truth(value: Any, column: str, words: str, where: str) -> bool | None:
    word = "" if value is None else str(value).strip().lower()
    if word in _POSITIVE:
        return True
    if word in _NEGATIVE:
        return False
    if word:
        raise JudgeError(f"{where}: {column} must be {words}, got {value!r}")
    return None
