"""Bundles: samples of the original in one file, written by ``parallelbench import original``.

A bundle is JSON Lines with sorted keys: the same samples always give the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from parallelbench.errors import RequestError, StorageError
from parallelbench.registry import unknown
from parallelbench.storage.folders import storage, write_whole
from parallelbench.tasks.original_rules import METRICS


class OriginalDataError(RequestError, ValueError):
    """A task file of the original, or a bundle of them, has an unexpected form."""


@dataclass(frozen=True, slots=True)
class OriginalSample:
    """One question of the original benchmark.

    Attributes:
        task: ``group/task``.
        index: Line number, from 0.
        metric: Metric of the original that scores it.
        messages: Role and content of each turn: worked examples first, the question last.
        reference: A right answer, as text.
        facts: Inputs of the metric.
        max_tokens: Length of the canvas in tokens.
    """

    task: str
    index: int
    metric: str
    messages: tuple[tuple[str, str], ...]
    reference: str
    facts: Mapping[str, Any]
    max_tokens: int


def bundle_of(samples: Sequence[OriginalSample]) -> str:
    """Return ``samples`` as the text of a bundle."""
    return "".join(
        json.dumps(asdict(sample), sort_keys=True, ensure_ascii=False) + "\n" for sample in samples
    )


def write_bundle(bundle: str, runfile: str, path: Path) -> None:
    """Write a bundle and a run file with the same name, each completely or not at all.

    Existing files stay.

    Raises:
        StorageError: A file cannot be written, or exists with other content.
    """
    texts = {path: bundle, path.with_suffix(".yaml"): runfile}
    for file, text in texts.items():
        with storage(file):
            other = file.exists() and file.read_bytes() != text.encode()
        if other:
            raise StorageError(
                f"{file} exists with other content, which a run may depend on: name another --out"
            )
    for file, text in texts.items():
        write_whole(file, text)


def bundle_digest(content: bytes) -> str:
    """Return the first 12 digits of the SHA-256 of a bundle."""
    return hashlib.sha256(content).hexdigest()[:12]


def read_bundle(path: str | Path) -> tuple[str, Mapping[str, tuple[OriginalSample, ...]]]:
    """Return a bundle's digest and its samples by task.

    Raises:
        OriginalDataError: The bundle cannot be read, or one of its lines is no sample.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OriginalDataError(
            f"{path} cannot be read: {error}; `parallelbench import original CHECKOUT "
            f"--out {path}` makes it"
        ) from error
    tasks: dict[str, list[OriginalSample]] = {}
    for where, fields in json_lines(str(path), content):
        try:
            turns = tuple((role, text) for role, text in fields["messages"])
            sample = OriginalSample(**{**fields, "messages": turns})
            _refuse_kinds(sample)
        except (TypeError, KeyError, ValueError) as error:
            raise OriginalDataError(f"{where} is no sample of a bundle: {error}") from error
        refuse_metric(sample.metric, where)
        _refuse_facts(sample, where)
        own = tasks.setdefault(sample.task, [])
        if sample.index != len(own):
            raise OriginalDataError(
                f"{where} is sample {sample.index} of {sample.task} where sample {len(own)} is "
                "due: the bundle has lost or gained lines, import it again"
            )
        own.append(sample)
    if not tasks:
        raise OriginalDataError(f"{path} holds no sample")
    return bundle_digest(content), {task: tuple(own) for task, own in tasks.items()}


def _refuse_kinds(sample: OriginalSample) -> None:
    if not sample.messages:
        raise ValueError("messages holds no question")
    texts = (sample.task, sample.metric, sample.reference, *itertools.chain(*sample.messages))
    numbers = (sample.index, sample.max_tokens)
    if not (
        all(isinstance(text, str) for text in texts)
        and all(isinstance(number, int) for number in numbers)
        and isinstance(sample.facts, Mapping)
    ):
        raise ValueError("a field has a value of another kind")


def _is_texts(value: Any) -> bool:
    """Return True if a value is a non-empty list of different texts."""
    held = isinstance(value, list) and value and all(isinstance(each, str) for each in value)
    return bool(held) and len(set(value)) == len(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


#: Facts of each metric, with a check of their kind.
_FACTS: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "list_match_score": {"answer": _is_texts},
    "list_shuffle_score": {"items": _is_texts},
    "list_random_remove_score": {"items": _is_texts},
    "list_random_insert_score": {"items": _is_texts, "new": _is_text},
    "list_random_replace_score": {"items": _is_texts, "new": _is_text},
    "latin_square_score": {"symbols": _is_texts},
    "sudoku_score": {"answer": _is_texts},
    "sentence_to_words_score": {"words": _is_texts},
    "summary_score": {"references": _is_texts},
    "paraphrase_score": {"text": _is_text},
}


def _refuse_facts(sample: OriginalSample, where: str) -> None:
    """Refuse a sample that lacks a fact of its metric."""
    for name, is_right in _FACTS[sample.metric].items():
        if not is_right(sample.facts.get(name)):
            fault = "of another kind" if name in sample.facts else "missing"
            raise OriginalDataError(
                f"{where}: {sample.metric} cannot score replies: its fact {name!r} is {fault}; "
                "import the bundle again"
            )


def json_lines(name: str, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place (file and line number) and the object of each line.

    Raises:
        OriginalDataError: A line is no JSON object.
    """
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, parse_constant=_refuse_constant)
            # An unpaired surrogate can be read, but never written.
            json.dumps(fields, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise OriginalDataError(f"{name} line {number} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise OriginalDataError(f"{name} line {number} must be a JSON object")
        yield f"{name} line {number}", fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def refuse_metric(metric: str, where: str) -> None:
    """Refuse a metric without a known rule.

    Raises:
        OriginalDataError: The metric is none of ``METRICS``.
    """
    if metric not in METRICS:
        raise OriginalDataError(f"{where}: {unknown('metric', metric, METRICS)}")
