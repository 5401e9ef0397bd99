"""Files of verdicts and labels -> what a judge did.

A file is CSV with a header, or JSON Lines with an object to a line.  Its columns:

``text``
    What was judged.
``verdict``
    What the judge said: ``pass`` or ``fail``.
``label``
    The truth, where it is known: ``good`` or ``bad``.
``kind``
    What is wrong with it, such as ``doubled word``; for a table by kinds.
``judge``, ``reply``
    Who said so, and in which words; kept for the record.

For ``pass`` and ``good`` one may also write ``yes``, ``true`` or 1, for ``fail`` and ``bad``
``no``, ``false`` or 0.  Any other column is ignored, and the reader is told; one that is nearly
called as a column that the file has not is refused, for it would be passed over if misspelt.
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

#: How alike a name must be to that of a column to be taken for a slip of the pen, in [0, 1].
_MISSPELT = 0.8

COLUMNS = ("text", "label", "verdict", "kind", "judge", "reply")

_POSITIVE = frozenset({"pass", "good", "yes", "true", "1"})
_NEGATIVE = frozenset({"fail", "bad", "no", "false", "0"})


@dataclass(frozen=True, slots=True)
class Item:
    """One line of a file.

    Attributes:
        text: What was judged; None if the file does not say.
        label: Whether it is good; None if that is not known.
        verdict: Whether the judge passed it; None if it was not asked.
        kind: What is wrong with it; None if nothing is, or nobody said.
        judge: Who judged it; None if the file does not say.
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
    """What a judge did with the examples of one kind.

    Attributes:
        judge: Its name.
        kind: Of the examples.
        label: Whether they are good.
        right: Those it judged rightly: good ones passed, bad ones failed.
        count: All of them.
        share: ``right`` of ``count``.
        interval: Wilson's, of ``share``.
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
        path: Of the file.
        tell: Is told once, in a sentence, which columns are ignored.

    Raises:
        JudgeError: It cannot be read, has no line, a misspelt column or a value that is none
            of those above, or labels a text both ways; the message names the line.
    """
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
    """Return what the judge did with the examples.

    Raises:
        JudgeError: One has no label or no verdict, one of the two classes is missing, or
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
    """Return how many passed, and of how many.

    Raises:
        JudgeError: One has no verdict, or there are verdicts of several judges.
    """
    _refuse_several_judges(items)
    return sum(_verdict(item) for item in items), len(items)


def by_kind(judges: Mapping[str, Sequence[Item]]) -> list[KindShare]:
    """Return what each judge did with each kind of example, judges and kinds as they come.

    Args:
        judges: The labelled and judged examples of each, by the judge's name.

    Raises:
        JudgeError: An example has no label or no verdict.
    """
    found = []
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
            found.append(KindShare(judge, kind, label, sum(right), len(right), share, interval))
    return found


def agreement_table(shares: Sequence[KindShare]) -> str:
    """Return a Markdown table: a line per kind, a column per judge, shares in percent.

    A good kind shows how many passed (sensitivity), a bad one how many failed (specificity).
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
        told = " | ".join("" if share is None else _percent(share) for share in own)
        lines.append(f"| {kind} | {count} | {'pass' if label else 'fail'} | {told} |")
    return "\n".join(lines)


def written(item: Item, **more: str) -> str:
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
            f"{item.where} has no verdict: add a column with pass or fail, or let a judge say it "
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
                    f"{item.where} labels a text otherwise than {first.where}: {item.text!r}"
                )


def _lines(text: str, path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if path.suffix.lower() == ".csv":
        yield from _csv_lines(text, path)
    elif path.suffix.lower() in {".jsonl", ".ndjson"}:
        yield from _json_lines(text, path)
    else:
        raise JudgeError(f"{path} must be a file of CSV (.csv) or JSON Lines (.jsonl)")


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
                    "a text with a comma stands in double quotes"
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
    said = "" if value is None else str(value).strip().lower()
    if said in _POSITIVE:
        return True
    if said in _NEGATIVE:
        return False
    if said:
        raise JudgeError(f"{where}: {column} must be {words}, got {value!r}")
    return None
