"""Where texts come from: written for this benchmark, or the data sets that the paper used.

Our own texts lie in ``tasks/data`` and are in the public domain (CC0 1.0).  The data sets
of the paper are read by the ``datasets`` library from a folder, a file or the hub, in the
columns in which they are published:

======================  ============  ====================  =====
data set                text          references            split
======================  ============  ====================  =====
SAMSum                  ``dialogue``  ``summary``           test
ChatGPT-paraphrases     ``text``      ``paraphrases``       train
======================  ============  ====================  =====

As in the paper, a text counts only if the grammar engine finds nothing wrong with it.  The
paper does not say which of those it takes: here it is the first hundred in their order.

Source: Kang et al., ParallelBench (arXiv:2510.04767); Gliwa et al. (2019), "SAMSum corpus";
the data set ``humarin/chatgpt-paraphrases``.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from parallelbench.errors import EngineError, SourceError
from parallelbench.tasks.grammar import open_engine

#: Texts of each kind, as in the paper.
COUNT = 100

#: Of our own texts.
OWN = "own"
CC0 = "CC0-1.0"


class Text(NamedTuple):
    """A text with right answers to what is asked of it.

    Attributes:
        text: What is given.
        references: At least one right answer.
    """

    text: str
    references: tuple[str, ...]


class WordSet(NamedTuple):
    """Words for one sentence.

    Attributes:
        words: Seven words; whoever asks for fewer takes the first.
        sentence: Holds the first four.
    """

    words: tuple[str, ...]
    sentence: str


class Columns(NamedTuple):
    """How a data set is published.

    Attributes:
        text: Column of what is given.
        references: Column of the right answers: a text, a list, or a list written as text.
        split: Which part of it is taken.
        own: Our own file of the same columns.
    """

    text: str
    references: str
    split: str
    own: str


SAMSUM = Columns("dialogue", "summary", "test", "dialogues.jsonl")
PARAPHRASES = Columns("text", "paraphrases", "train", "paraphrases.jsonl")


def read_texts(source: str, columns: Columns, grammar: str) -> tuple[Text, ...]:
    """Return the texts of ``source``: all of our own, or the first hundred clean ones.

    Args:
        source: ``own``, a folder or file (CSV, JSON Lines or Parquet), or an id on the hub.
        columns: How it is published.
        grammar: The engine that must find nothing wrong with a text.

    Raises:
        SourceError: It cannot be read, lacks a column, or has too few clean texts.
        EngineError: The package datasets, or the engine, is not installed.
    """
    return _read(source, columns, grammar, _state_of(source))


def digest_of(texts: Iterable[Text]) -> str:
    """Return the SHA-256 of ``texts`` and their references."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _state_of(source: str) -> tuple[tuple[str, int, int], ...]:
    """Return name, size in bytes and time of change in nanoseconds of every file of ``source``."""
    place = Path(source)
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    states = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), state.st_size, state.st_mtime_ns) for file, state in states)


@cache
def _read(
    source: str,
    columns: Columns,
    grammar: str,
    state: tuple[tuple[str, int, int], ...],  # noqa: ARG001  files that changed are read again
) -> tuple[Text, ...]:
    if source == OWN:
        return tuple(_texts(_own_rows(columns.own), columns, source))
    clean = _clean(_texts(_rows(source, columns), columns, source), grammar)
    taken = tuple(islice(clean, COUNT))
    if not taken:
        raise SourceError(f"source={source} has no text in which {grammar} finds nothing wrong")
    return taken


@cache
def read_word_sets(level: str) -> tuple[WordSet, ...]:
    """Return our hundred word sets of ``level``: ``easy``, ``medium`` or ``hard``."""
    return tuple(
        WordSet(tuple(row["words"]), row["sentence"])
        for row in _own_rows("word_sets.jsonl")
        if row["level"] == level
    )


def _own_rows(file: str) -> Iterator[dict[str, Any]]:
    content = (resources.files(__package__) / "data" / file).read_text("ascii")
    return map(json.loads, content.splitlines())


def _texts(rows: Iterable[Mapping[str, Any]], columns: Columns, source: str) -> Iterator[Text]:
    for number, row in enumerate(rows, start=1):
        text, told = row[columns.text], row[columns.references]
        references = tuple(_listed(told))
        # SAMSum has an empty dialogue.
        if not isinstance(text, str) or not text.strip() or not references:
            continue
        if not all(isinstance(reference, str) for reference in references):
            raise SourceError(
                f"source={source}, row {number}: {columns.references!r} must be text or a list of "
                f"texts, got {told!r}"
            )
        # Windows line ends stand in SAMSum.
        yield Text("\n".join(text.split("\r\n")).strip(), references)


def _listed(told: Any) -> list[Any]:
    if isinstance(told, str) and told.startswith("["):
        # ChatGPT-paraphrases writes each list as Python does.
        try:
            told = ast.literal_eval(told)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [told]
    return told if isinstance(told, list) else [] if told is None else [told]


def _clean(texts: Iterable[Text], grammar: str) -> Iterator[Text]:
    engine = open_engine(grammar)
    for each in texts:
        (problems,) = engine.problems([each.text])
        if not problems:
            yield each


def _rows(source: str, columns: Columns) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise EngineError(
            f"source={source} is read by datasets, which is not installed: "
            f"pip install 'parallelbench[datasets]' ({error})"
        ) from error
    try:
        rows = _loaded(datasets, source, columns.split)
    # The library, the hub and what parses the files raise whatever they like.
    except Exception as error:
        raise SourceError(
            f"source={source} cannot be read: it is neither a folder nor a file here with a split "
            f"{columns.split!r}, nor can it be had from the hub (are you offline?); "
            f"source={OWN} needs nothing ({type(error).__name__}: {error})"
        ) from error
    for column in (columns.text, columns.references):
        if column not in rows.column_names:
            raise SourceError(
                f"source={source} has no column {column!r}, only {', '.join(rows.column_names)}"
            )
    return rows


def _loaded(datasets: Any, source: str, split: str) -> Any:
    path = Path(source)
    if not path.is_file():
        return datasets.load_dataset(source, split=split)
    kinds = {".csv": "csv", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    kind = kinds.get(path.suffix)
    if kind is None:
        raise ValueError(f"a file must end in {', '.join(kinds)}")
    return datasets.load_dataset(kind, data_files={split: source}, split=split)
