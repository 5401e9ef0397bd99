"""Sources of texts: written for this benchmark, or the data sets of the paper.

Our own texts are in ``tasks/data``, in the public domain (CC0 1.0).  The data sets of the paper
are read by the ``datasets`` library from a folder, a file or the hub, in their published columns:

======================  ============  ====================  =====
data set                text          references            split
======================  ============  ====================  =====
SAMSum                  ``dialogue``  ``summary``           test
ChatGPT-paraphrases     ``text``      ``paraphrases``       train
======================  ============  ====================  =====

As in the paper, a text counts only if the grammar engine finds no error in it.  The paper does
not say which of those it takes: here it is the first hundred in their order.

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

#: Number of texts of each kind, as in the paper.
COUNT = 100

#: Source and licence of our own texts.
OWN = "own"
CC0 = "CC0-1.0"


class Text(NamedTuple):
    """A text with right answers.

    Attributes:
        text: The given text.
        references: Right answers, at least one.
    """

    text: str
    references: tuple[str, ...]


class WordSet(NamedTuple):
    """Words for one sentence.

    Attributes:
        words: Seven words; shorter questions take the first ones.
        sentence: Example sentence with the first four words.
    """

    words: tuple[str, ...]
    sentence: str


class Columns(NamedTuple):
    """Column names of a published data set.

    Attributes:
        text: Column of the given text.
        references: Column of the right answers: a text, a list, or a list written as text.
        split: Name of the split to read.
        own: File of our own texts with the same columns.
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
        columns: Column names of the data set.
        grammar: Engine that must find no error in a text.

    Raises:
        SourceError: The source cannot be read, lacks a column, or has no clean text.
        EngineError: The package datasets or the engine is not installed.
    """
    return _read(source, columns, grammar, _state_of(source))


def texts_digest(texts: Iterable[Text]) -> str:
    """Return the SHA-256 of ``texts`` and their references."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _state_of(source: str) -> tuple[tuple[str, int, int], ...]:
    """Return path, size in bytes and modification time in nanoseconds of the files of a source."""
    place = Path(source)
    files = sorted(place.rglob("*")) if place.is_dir() else [place]
    states = [(file, file.stat()) for file in files if file.is_file()]
    return tuple((str(file), state.st_size, state.st_mtime_ns) for file, state in states)


@cache
def _read(
    source: str,
    columns: Columns,
    grammar: str,
    state: tuple[tuple[str, int, int], ...],  # noqa: ARG001  part of the cache key
) -> tuple[Text, ...]:
    if source == OWN:
        return tuple(_texts(_own_rows(columns.own), columns, source))
    clean = _clean(_texts(_rows(source, columns), columns, source), grammar)
    taken = tuple(islice(clean, COUNT))
    if not taken:
        raise SourceError(f"source={source} has no text in which {grammar} finds no error")
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
        text, value = row[columns.text], row[columns.references]
        references = tuple(_as_list(value))
        # SAMSum has an empty dialogue.
        if not isinstance(text, str) or not text.strip() or not references:
            continue
        if not all(isinstance(reference, str) for reference in references):
            raise SourceError(
                f"source={source}, row {number}: {columns.references!r} must be text or a list of "
                f"texts, got {value!r}"
            )
        # SAMSum has Windows line ends.
        yield Text("\n".join(text.split("\r\n")).strip(), references)


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str) and value.startswith("["):
        # ChatGPT-paraphrases writes each list as a Python literal.
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [value]
    return value if isinstance(value, list) else [] if value is None else [value]


def _clean(texts: Iterable[Text], grammar: str) -> Iterator[Text]:
    engine = open_engine(grammar)
    for each in texts:
        (errors,) = engine.problems([each.text])
        if not errors:
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
    # The library, the hub and the parsers raise exceptions of many kinds.
    except Exception as error:
        raise SourceError(
            f"source={source} cannot be read: it is no local folder or file with a split "
            f"{columns.split!r}, and the hub does not deliver it (are you offline?); "
            f"source={OWN} needs no download ({type(error).__name__}: {error})"
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
