r"""The original benchmark's task files -> samples, checked.

The files are in the folder ``dataset/parallel_bench/data/output/test`` of a checkout:
``<group>/<task>.jsonl``, one object per line, and ``<group>/task_config.yaml``.

``input``
    An object with the fields of the template, each a text or a number: ``context``, a JSON list as
    text, in waiting lines; ``icl_examples`` in it are worked examples of the same form as a line.
``answer``
    A text, or an object with the inputs of the metric and one right answer; see
    :func:`_answer_of`.

The configuration gives for each task, under ``<group>/<task>``, its ``prompt``, in which
``{field}`` is a field of the input and ``\n`` then a line break, and ``metric``, one of those of
:mod:`parallelbench.tasks.original_rules`.

The origin of the files (``type``, ``seed``, ``metadata``, ...) is ignored; unknown fields are
ignored and counted.
"""

from __future__ import annotations

import ast
import itertools
import json
import string
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import yaml

from parallelbench.registry import unknown
from parallelbench.tasks.original_bundle import (
    OriginalDataError,
    OriginalSample,
    json_lines,
    refuse_metric,
)
from parallelbench.tasks.original_rules import (
    LIST_RULES,
    TEXT_METRICS,
    original_mark,
    original_strict_mark,
    quoted_list,
    read_list,
    read_list_strictly,
)
from parallelbench.tasks.text_scores import share_of_substrings

#: Folder of the task files in a checkout.
FOLDER = Path("dataset/parallel_bench/data/output/test")

_CONFIG = "task_config.yaml"
_EXAMPLES = "icl_examples"
#: Canvas length in tokens by group, as in the original's run files.
_TOKENS: Mapping[str, int] = {"waiting_line": 32, "waiting_line_n15": 128}
_OTHER_TOKENS = 64

#: Fields of a line and of a task's configuration; those after the first two are its origin.
_LINE_FIELDS = frozenset({"input", "answer", "output_format", "metadata"})
_CONFIG_FIELDS = frozenset(
    {"prompt", "metric", "name", "type", "seed", "words", "source", "size", "lengths"}
    | {"num_samples", "samples_per_length", "icl_example_count"}
    | {"min_length", "max_length", "random_index"}
)
#: Fields of an answer that is an object: the required ones, then the optional ones.
_ANSWER_FIELDS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "list_shuffle_score": (("input", "example"), ()),
    "list_random_remove_score": (("input", "example"), ()),
    "list_random_insert_score": (("input", "word", "example"), ()),
    "list_random_replace_score": (("input", "word", "example"), ()),
    "latin_square_score": (("symbols", "example"), ()),
    "sentence_to_words_score": (("words",), ("example",)),
    "summary_score": (("text", "summary"), ()),
    "paraphrase_score": (("text", "examples"), ()),
}


@dataclass(frozen=True, slots=True)
class Checkout:
    """The samples of a checkout of the original.

    Attributes:
        samples: Samples, tasks by name, lines in order.
        passed_over: Number of occurrences of each unknown field.
    """

    samples: list[OriginalSample] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def read_checkout(folder: Path) -> Checkout:
    """Return every sample of the original's task files.

    Args:
        folder: A checkout, its :data:`FOLDER`, or any folder between.

    Raises:
        OriginalDataError: There is no task file, a line is malformed or contradicts itself, a
            template names a field that a line lacks, a metric is unknown, or one of its inputs is
            missing; the message names file and line.
    """
    groups = _folder_of_groups(folder)
    checkout = Checkout()
    for file in sorted(groups.glob("*/*.jsonl")):
        checkout.samples.extend(_task_samples(file, checkout.passed_over))
    if not checkout.samples:
        raise OriginalDataError(f"{groups} holds no sample: its task files are empty")
    return checkout


def _folder_of_groups(folder: Path) -> Path:
    # The deepest first, because folders above hold older task files.
    for depth in range(len(FOLDER.parts) + 1):
        groups = folder.joinpath(*FOLDER.parts[depth:])
        if any(file.with_name(_CONFIG).is_file() for file in groups.glob("*/*.jsonl")):
            return groups
    raise OriginalDataError(
        f"{folder} has no files <group>/<task>.jsonl with a {_CONFIG}: give a checkout of the "
        f"original, or its folder {FOLDER.as_posix()}"
    )


class _TaskLine(NamedTuple):
    """A line of a task file, or a worked example in one."""

    where: str
    metric: str
    asked: Mapping[str, Any]
    answer: Any

    def refuse(self, reason: str) -> NoReturn:
        raise OriginalDataError(f"{self.where}: {reason}")


def _task_samples(file: Path, passed_over: Counter[str]) -> Iterator[OriginalSample]:
    task = f"{file.parent.name}/{file.stem}"
    metric, template = _config_of(file.with_name(_CONFIG), task, passed_over)
    named = {name for _, name in template}
    index = -1
    for index, (where, row) in enumerate(json_lines(str(file), _bytes_of(file))):
        line = _line_of(metric, row, where)
        turns = list(_worked_examples(template, line))
        reference, facts = _answer_of(line)
        passed_over.update(set(row) - _LINE_FIELDS)
        passed_over.update(f"input.{name}" for name in {*line.asked} - named - {_EXAMPLES})
        passed_over.update(f"answer.{name}" for name in _unknown_fields(line))
        yield OriginalSample(
            task=task,
            index=index,
            metric=metric,
            messages=(*turns, ("user", _worded(template, line))),
            reference=reference,
            facts=facts,
            max_tokens=_TOKENS.get(file.parent.name, _OTHER_TOKENS),
        )
    if index < 0:
        raise OriginalDataError(f"{file} holds no sample: it is empty")


def _config_of(
    file: Path, task: str, passed_over: Counter[str]
) -> tuple[str, list[tuple[str, str]]]:
    """Return a task's metric and its template as pairs of a literal text and a field or ``""``."""
    try:
        content = yaml.safe_load(_bytes_of(file))
    # YAML lets Python's own errors through, such as those of month 13 or a million brackets.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise OriginalDataError(f"{file} is no YAML: {error}") from error
    config = content.get(task) if isinstance(content, Mapping) else None
    if not isinstance(config, Mapping):
        raise OriginalDataError(f"{file} has no configuration of {task}, whose file is there")
    metric, prompt = config.get("metric"), config.get("prompt")
    if not isinstance(metric, str) or not isinstance(prompt, str):
        raise OriginalDataError(f"{file}: {task} needs prompt and metric, each a text")
    refuse_metric(metric, f"{file}: {task}")
    passed_over.update(f"{_CONFIG}: {name}" for name in set(config) - _CONFIG_FIELDS)
    try:
        parts = list(string.Formatter().parse(prompt))
    except ValueError as error:
        raise OriginalDataError(f"{file}: the prompt of {task} is malformed: {error}") from error
    if any(name == "" or form or conversion for _, name, form, conversion in parts):
        raise OriginalDataError(
            f"{file}: the prompt of {task} must name its fields as {{field}}, without a form"
        )
    return metric, [(literal, name or "") for literal, name, _, _ in parts]


def _line_of(metric: str, row: Any, where: str) -> _TaskLine:
    if not isinstance(row, Mapping):
        raise OriginalDataError(f"{where} must be an object, got {_brief(row)}")
    for name in ("input", "answer"):
        if row.get(name) is None:
            raise OriginalDataError(f"{where} has no field {name!r}")
    asked, answer = row["input"], row["answer"]
    if not isinstance(asked, Mapping):
        raise OriginalDataError(
            f"{where}: input must be an object with the fields of the prompt, got {_brief(asked)}"
        )
    line = _TaskLine(where, metric, asked, answer)
    if metric not in _ANSWER_FIELDS:
        if not isinstance(answer, str):
            line.refuse(f"{metric} needs a text as its answer, got {_brief(answer)}")
        return line
    if not isinstance(answer, Mapping):
        line.refuse(f"{metric} needs an object as its answer, got {_brief(answer)}")
    for name in _ANSWER_FIELDS[metric][0]:
        if name not in answer:
            line.refuse(f"{metric} needs {name!r} in its answer, got {', '.join(answer)}")
    return line


def _unknown_fields(line: _TaskLine) -> set[str]:
    known = itertools.chain(*_ANSWER_FIELDS.get(line.metric, ()))
    return set(line.answer) - set(known) if isinstance(line.answer, Mapping) else set()


def _worked_examples(
    template: Sequence[tuple[str, str]], line: _TaskLine
) -> Iterator[tuple[str, str]]:
    examples = line.asked.get(_EXAMPLES, [])
    if not isinstance(examples, list):
        line.refuse(
            f"{_EXAMPLES} must be a list of worked examples, got {_brief(examples)}; leave it out "
            "if there are none"
        )
    for number, row in enumerate(examples, 1):
        example = _line_of(line.metric, row, f"{line.where}, worked example {number}")
        reference, _ = _answer_of(example)
        if not reference:
            example.refuse("it has no right answer, so it is no example")
        yield "user", _worded(template, example)
        yield "assistant", reference


def _worded(template: Sequence[tuple[str, str]], line: _TaskLine) -> str:
    text = ""
    for literal, name in template:
        text += literal
        if not name:
            continue
        if name not in line.asked:
            line.refuse(
                f"its input lacks a field of its prompt: {unknown('field', name, line.asked)}"
            )
        value = line.asked[name]
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            line.refuse(f"its field {name!r} must be a text or a number, got {_brief(value)}")
        text += str(value)
    return text.replace("\\n", "\n")


def _answer_of(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    """Return a right answer, "" if none is known, and the inputs of the metric.

    The content of the answer depends on the metric:

    - ``list_match_score``: the right list, as text;
    - the other lists: ``input``, the given one, ``word``, the new item, and ``example``, a right
      answer as text;
    - ``latin_square_score``: ``symbols`` and ``example``, rows of comma-separated cells;
    - ``sudoku_score``: the solution, rows of digits, as text;
    - ``sentence_to_words_score``: ``words`` and optionally ``example``, a sentence with them;
    - ``summary_score``: ``text`` and its ``summary``;
    - ``paraphrase_score``: ``text`` and ``examples``, a Python list of texts as text.
    """
    reference, facts = _READERS[line.metric](line)
    if line.metric not in TEXT_METRICS and not (
        original_mark(line.metric, facts, reference)
        and original_strict_mark(line.metric, facts, reference)
    ):
        line.refuse(
            f"by {line.metric} its own answer {_brief(reference)} is wrong, so the file is faulty "
            "or of an unknown form"
        )
    return reference, facts


def _matched_list(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    items = _items(line, line.answer, "its answer")
    given = _context(line)
    unexpected = {*items} - {*given, line.asked.get("word")}
    if given and unexpected:
        line.refuse(f"its answer has {_brief(min(unexpected))}, but its input does not")
    return line.answer, {"answer": items}


def _changed_list(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    answer = line.answer
    items = _texts(line, answer["input"], "answer.input")
    given = _context(line)
    if given and given != items:
        line.refuse("input.context and answer.input are different lists")
    facts: dict[str, Any] = {"items": items}
    if "word" in _ANSWER_FIELDS[line.metric][0]:
        facts["new"] = _text(line, answer["word"], "answer.word")
        if line.asked.get("word", facts["new"]) != facts["new"]:
            line.refuse("input.word and answer.word are different")
    _refuse_items(line, [*items, *filter(None, [facts.get("new")])], "its list")
    example = _text(line, answer["example"], "answer.example")
    return example, facts


def _latin_square(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    symbols = _texts(line, line.answer["symbols"], "answer.symbols")
    _refuse_twice(line, symbols, "answer.symbols")
    expected = {"symbols": f"[{', '.join(symbols)}]", "size": len(symbols)}
    for name, value in expected.items():
        if line.asked.get(name, value) != value:
            line.refuse(f"input.{name} {_brief(line.asked[name])} does not match answer.symbols")
    return _text(line, line.answer["example"], "answer.example"), {"symbols": symbols}


def _sudoku(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    rows = line.answer.strip().split("\n")
    digits = set(rows[0])
    for each in (*rows, *map("".join, zip(*rows, strict=False))):
        if not (each.isdecimal() and len(rows) == len(each) == len(digits)) or set(each) != digits:
            line.refuse(
                f"its answer {_brief(line.answer)} must be rows of digits, each once in every row "
                "and column"
            )
    asked = line.asked.get("sudoku")
    if isinstance(asked, str):
        given, solved = "".join(asked.split()), "".join(rows)
        if len(given) != len(solved) or any(
            ours not in {"0", theirs} for ours, theirs in zip(given, solved, strict=True)
        ):
            line.refuse("its answer is not a solution of input.sudoku")
    return line.answer, {"answer": rows}


def _words(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    words = _texts(line, line.answer["words"], "answer.words")
    _refuse_twice(line, words, "answer.words")
    asked = line.asked.get("words")
    lacking = [word for word in words if isinstance(asked, str) and word not in asked]
    if lacking:
        line.refuse(f"answer.words has {_brief(lacking[0])}, but input.words does not")
    if line.answer.get("example") is None:
        return "", {"words": words}
    example = _text(line, line.answer["example"], "answer.example")
    if share_of_substrings(words, example) < 1:
        line.refuse(f"its example {_brief(example)} lacks some of the words {', '.join(words)}")
    return example, {"words": words}


def _summary(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    _given_text(line)
    summary = _text(line, line.answer["summary"], "answer.summary")
    return summary, {"references": [summary]}


def _paraphrase(line: _TaskLine) -> tuple[str, dict[str, Any]]:
    text = _given_text(line)
    literal = _text(line, line.answer["examples"], "answer.examples")
    try:
        listed = ast.literal_eval(literal)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        line.refuse(f"answer.examples is no Python list: {_brief(literal)}")
    examples = _texts(line, listed, "answer.examples")
    return examples[0], {"text": text, "references": examples}


_READERS: Mapping[str, Callable[[_TaskLine], tuple[str, dict[str, Any]]]] = {
    "list_match_score": _matched_list,
    **dict.fromkeys(LIST_RULES.keys() - {"list_match_score"}, _changed_list),
    "latin_square_score": _latin_square,
    "sudoku_score": _sudoku,
    "sentence_to_words_score": _words,
    "summary_score": _summary,
    "paraphrase_score": _paraphrase,
}


def _given_text(line: _TaskLine) -> str:
    text = _text(line, line.answer["text"], "answer.text")
    if line.asked.get("text", text) != text:
        line.refuse("input.text and answer.text are different")
    return text


def _context(line: _TaskLine) -> list[str]:
    """Return the given list; empty if there is none."""
    context = line.asked.get("context")
    return [] if context is None else _items(line, context, "input.context")


def _items(line: _TaskLine, value: Any, what: str) -> list[str]:
    """Return the items of a JSON list given as text."""
    try:
        decoded = json.loads(_text(line, value, what))
    except (ValueError, RecursionError):
        line.refuse(f"{what} is no JSON list: {_brief(value)}")
    items = _texts(line, decoded, what)
    _refuse_items(line, items, what)
    return items


def _refuse_items(line: _TaskLine, items: Sequence[str], what: str) -> None:
    """Refuse lists without a right reply: an item is repeated or read as another one."""
    for item in items:
        if not read_list_strictly(quoted_list([item])) == read_list(quoted_list([item])) == [item]:
            line.refuse(
                f"{what} has {_brief(item)}, which {line.metric} reads as another item, so no "
                "answer with it can be right; write it without commas, brackets, double quotes or "
                "blanks at its ends"
            )
    _refuse_twice(line, items, what)


def _refuse_twice(line: _TaskLine, items: Sequence[str], what: str) -> None:
    twice = [item for item, count in Counter(items).items() if count > 1]
    if twice:
        line.refuse(f"{what} has {_brief(twice[0])} twice")


def _texts(line: _TaskLine, value: Any, what: str) -> list[str]:
    if not isinstance(value, list) or not value:
        line.refuse(f"{what} must be a list of texts, got {_brief(value)}")
    return [_text(line, each, f"an item of {what}") for each in value]


def _text(line: _TaskLine, value: Any, what: str) -> str:
    if not isinstance(value, str) or not value.strip():
        line.refuse(f"{what} must be a text, got {_brief(value)}")
    return value


def _brief(value: Any) -> str:
    """Return a value as JSON, cut to 80 characters."""
    return json.dumps(value, ensure_ascii=False, default=str)[:80]


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OriginalDataError(f"{file} cannot be read: {error}") from error
