r"""The original benchmark's task files -> a bundle of checked samples in one file.

What is read is a folder with ``<group>/<task>.jsonl``, an object to a line, and with
``task_config.yaml`` beside the groups or in each of them:

``input``
    What the template names: a text, a list, or a mapping of such; ``icl_examples`` in it are
    worked examples, each with ``input`` and ``answer``.
``answer``
    A right answer: text, a list, or a list of rows; of free text also several, as a list.
``output_format``
    Words for the template, optional.
``metadata``
    What the metric needs to know, such as ``n_words`` and ``first_row``; optional.  Other
    fields are passed over.

The configuration says of each task, under its name or below its group's, ``prompt_template``,
in which ``\n`` is a line break and ``{field}`` a field of the input, ``output_format`` or a
field of the metadata, and ``metric``, one of those of
:mod:`parallelbench.tasks.original_rules`; ``max_tokens`` is optional.

A bundle is JSON Lines with sorted keys: the same files always give the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import string
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import yaml

from parallelbench.errors import RequestError, StorageError
from parallelbench.registry import unknown
from parallelbench.tasks.operations import written
from parallelbench.tasks.original_rules import (
    GRID_RULES,
    LIST_RULES,
    METRICS,
    TEXT_METRICS,
    original_mark,
    read_list,
)
from parallelbench.tasks.text_scores import share_of_substrings

T = TypeVar("T")

_CONFIG = "task_config.yaml"
_EXAMPLES = "icl_examples"
#: What a metric of free text marks by, and of which kind that is.
_FACT_OF_TEXTS: Mapping[str, tuple[str, type[Any]]] = {
    "sentence_to_words_score": ("words", list),
    "summary_score": ("references", list),
    "paraphrase_score": ("text", str),
}


class OriginalDataError(RequestError, ValueError):
    """A task file of the original, or a bundle of them, is not of the form that is read."""


@dataclass(frozen=True, slots=True)
class OriginalSample:
    """One question of the original benchmark.

    Attributes:
        task: ``group/task``.
        index: Its line, from 0.
        metric: By which it is marked.
        messages: Role and content of each turn: worked examples first, the question last.
        reference: A right answer, as text.
        facts: What the metric needs.
        max_tokens: Tokens of the canvas.
    """

    task: str
    index: int
    metric: str
    messages: tuple[tuple[str, str], ...]
    reference: str
    facts: Mapping[str, Any]
    max_tokens: int


def read_checkout(folder: Path) -> list[OriginalSample]:
    """Return every sample of the original's task files, tasks by name, lines in order.

    Raises:
        OriginalDataError: There is no task file, a line is malformed, a template names a
            field that a sample lacks, a metric is unknown, or what it needs is missing; the
            message names file and line.
    """
    files = sorted(folder.glob("*/*.jsonl"))
    if not files:
        raise OriginalDataError(
            f"{folder} has no files <group>/<task>.jsonl; give the folder that holds the groups"
        )
    return [sample for file in files for sample in _task_samples(folder, file)]


def bundle_of(samples: Sequence[OriginalSample]) -> str:
    """Return ``samples`` as the text of a bundle."""
    return "".join(
        json.dumps(asdict(sample), sort_keys=True, ensure_ascii=False) + "\n" for sample in samples
    )


def write_bundle(samples: Sequence[OriginalSample], path: Path) -> str:
    """Write a bundle and return its digest; a file that is there already stays.

    Raises:
        StorageError: It cannot be written, or ``path`` holds something else.
    """
    content = bundle_of(samples).encode()
    try:
        if path.exists() and path.read_bytes() != content:
            raise StorageError(
                f"{path} is there already and holds something else, maybe what a run was made "
                "with: name another --out"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error}") from error
    return digest_of(content)


def digest_of(content: bytes) -> str:
    """Return the first 12 digits of the SHA-256 of a bundle."""
    return hashlib.sha256(content).hexdigest()[:12]


def read_bundle(path: str | Path) -> tuple[str, Mapping[str, tuple[OriginalSample, ...]]]:
    """Return a bundle's digest and its samples by task.

    Raises:
        OriginalDataError: It cannot be read, or a line of it is no sample.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise OriginalDataError(
            f"{path} cannot be read: {error}; `parallelbench import original CHECKOUT "
            f"--out {path}` makes it"
        ) from error
    tasks: dict[str, list[OriginalSample]] = {}
    for where, fields in _json_lines(str(path), content):
        try:
            turns = tuple((role, text) for role, text in fields["messages"])
            sample = OriginalSample(**{**fields, "messages": turns})
            _refuse_kinds(sample)
        except (TypeError, KeyError, ValueError) as error:
            raise OriginalDataError(f"{where} is no sample of a bundle: {error}") from error
        _refuse_metric(sample.metric, where)
        _refuse_unmarkable(sample, where)
        own = tasks.setdefault(sample.task, [])
        if sample.index != len(own):
            raise OriginalDataError(
                f"{where} is sample {sample.index} of {sample.task} where sample {len(own)} is "
                "due: the bundle has lost or gained lines, import it again"
            )
        own.append(sample)
    if not tasks:
        raise OriginalDataError(f"{path} holds no sample")
    return digest_of(content), {task: tuple(own) for task, own in tasks.items()}


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


def _refuse_unmarkable(sample: OriginalSample, where: str) -> None:
    """Refuse a sample without the facts that its metric marks replies by."""
    told = ""
    fact = _FACT_OF_TEXTS.get(sample.metric)
    if fact is not None:
        name, kind = fact
        told = "" if isinstance(sample.facts.get(name), kind) else f"{name!r} is missing"
    else:
        try:
            original_mark(sample.metric, sample.facts, sample.reference)
        except KeyError as error:
            told = f"{error} is missing"
        except (TypeError, ValueError, AttributeError) as error:
            told = str(error)
    if told:
        raise OriginalDataError(
            f"{where}: {sample.metric} cannot mark replies by its facts: {told:.100}; import the "
            "bundle again"
        )


def _task_samples(folder: Path, file: Path) -> Iterator[OriginalSample]:
    group, task = file.parent.name, file.stem
    config, config_file = _config_of(folder, group, task)
    metric, template = config.get("metric"), config.get("prompt_template")
    if not isinstance(metric, str) or not isinstance(template, str):
        raise OriginalDataError(
            f"{config_file}: {group}/{task} needs prompt_template and metric, each a text"
        )
    _refuse_metric(metric, f"{config_file}: {group}/{task}")
    default = 32 if group == "waiting_line" else 64
    tokens = config.get("max_tokens", default)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise OriginalDataError(f"{config_file}: {group}/{task}: max_tokens must be 1 or more")
    lines = _json_lines(str(file), _bytes_of(file))
    for index, (where, row) in enumerate(lines):
        _refuse_fields(row, where)
        messages = tuple(_turns(template.replace("\\n", "\n"), row, where))
        if metric in TEXT_METRICS:
            reference, facts = _of_text(metric, row, _named(template), where)
        else:
            facts = _facts(metric, row, where)
            reference = _reference(row["answer"], facts, where)
            _refuse_unreadable(metric, facts, reference, where)
        yield OriginalSample(
            task=f"{group}/{task}",
            index=index,
            metric=metric,
            messages=messages,
            reference=reference,
            facts=facts,
            max_tokens=tokens,
        )


def _config_of(folder: Path, group: str, task: str) -> tuple[Mapping[str, Any], Path]:
    for file in (folder / group / _CONFIG, folder / _CONFIG):
        if not file.exists():
            continue
        try:
            content = yaml.safe_load(_bytes_of(file))
        # YAML lets Python's own errors through, for the month 13 or a million brackets.
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise OriginalDataError(f"{file} is no YAML: {error}") from error
        content = content if isinstance(content, Mapping) else {}
        below = content.get(group)
        found = content.get(f"{group}/{task}") or content.get(task)
        if found is None and isinstance(below, Mapping):
            found = below.get(task)
        if isinstance(found, Mapping):
            return found, file
    raise OriginalDataError(
        f"no {_CONFIG} in {folder} or {folder / group} says anything of {group}/{task}"
    )


def _turns(template: str, row: Mapping[str, Any], where: str) -> Iterator[tuple[str, str]]:
    asked = row["input"]
    examples = asked.get(_EXAMPLES, []) if isinstance(asked, Mapping) else []
    if not isinstance(examples, list):
        raise OriginalDataError(
            f"{where}: {_EXAMPLES} must be a list of worked examples, got {_brief(examples)}; "
            "leave it out where there are none"
        )
    for number, example in enumerate(examples, 1):
        place = f"{where}, example {number}"
        if not isinstance(example, Mapping) or not {"input", "answer"} <= set(example):
            raise OriginalDataError(f"{place} must have input and answer")
        yield "user", _worded(template, {**row, **example}, place)
        yield "assistant", _as_text(example["answer"], f"{place}: its answer")
    yield "user", _worded(template, row, where)


def _worded(template: str, row: Mapping[str, Any], where: str) -> str:
    asked, metadata = row["input"], row.get("metadata") or {}
    slots = {**metadata, "output_format": row.get("output_format")}
    slots |= asked if isinstance(asked, Mapping) else {}
    slots.setdefault("input", asked)
    present = {name: value for name, value in slots.items() if value is not None}
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise OriginalDataError(f"the prompt template of {where} is malformed: {error}") from error
    text = ""
    for literal, name, _, _ in parts:
        text += literal
        if name is not None:
            if name not in present:
                raise OriginalDataError(
                    f"{where} lacks what its prompt template names: "
                    f"{unknown('field', name, present)}"
                )
            text += _as_text(present[name], f"{where}: its field {name!r}")
    return text


def _facts(metric: str, row: Mapping[str, Any], where: str) -> dict[str, Any]:
    if metric in GRID_RULES:
        return _grid_facts(row, where)
    answer = _as_list(row["answer"])
    if answer is None:
        raise OriginalDataError(
            f"{where}: {metric} needs a list of texts or numbers as its answer, got "
            f"{_brief(row['answer'])}"
        )
    if metric == "list_match_score":
        return {"answer": answer}
    items = _given_list(row, where)
    facts: dict[str, Any] = {"answer": answer, "items": items}
    n_words = (row.get("metadata") or {}).get("n_words")
    if metric == "list_random_replace_score" and n_words is not None:
        if not isinstance(n_words, int) or isinstance(n_words, bool):
            raise OriginalDataError(
                f"{where}: n_words must be a whole number, got {_brief(n_words)}"
            )
        facts["n_words"] = n_words
    elif metric in {"list_random_replace_score", "list_random_insert_score"}:
        new = [item for item in answer if item not in items]
        if len(new) != 1:
            raise OriginalDataError(
                f"{where}: {metric} needs an answer with one item that the given list lacks, "
                f"got {written(answer)} for {written(items)}"
            )
        facts["new"] = new[0]
    if not LIST_RULES[metric](facts, answer):
        raise OriginalDataError(
            f"{where}: by {metric} its own answer {written(answer)} is wrong for "
            f"{written(items)}, so the file is read amiss or at fault"
        )
    return facts


def _reference(answer: Any, facts: Mapping[str, Any], where: str) -> str:
    """Return the right answer of a list or a grid, as text."""
    if "symbols" in facts and not isinstance(answer, str):
        return "\n".join(" ".join(line) for line in facts["answer"])
    return _as_text(answer, f"{where}: its answer")


def _refuse_unreadable(metric: str, facts: Mapping[str, Any], reference: str, where: str) -> None:
    """Refuse what nobody could be right about: the metric reads another answer than is written."""
    items = [*facts["answer"], *facts.get("items", ())] if metric in LIST_RULES else []
    for item in items:
        if read_list(written([item])) != [item]:
            raise OriginalDataError(
                f"{where}: {metric} reads the item {item!r} as "
                f"{', '.join(map(repr, read_list(written([item]))))}, so no answer that holds it "
                "could be right; write it without commas, brackets, quotes or spaces at its ends"
            )
    if not original_mark(metric, facts, reference):
        raise OriginalDataError(
            f"{where}: by {metric} its own answer {reference!r} is wrong, so the file is read "
            "amiss or at fault"
        )


def _given_list(row: Mapping[str, Any], where: str) -> list[str]:
    found = {
        name: value
        for name, given in _inputs(row).items()
        if (value := _as_list(given)) is not None
    }
    if len(found) != 1:
        raise OriginalDataError(
            f"{where}: its input must hold one list, in brackets or as JSON, got "
            f"{', '.join(found) or 'none'}"
        )
    return next(iter(found.values()))


def _grid_facts(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    answer = row["answer"]
    lines = answer.splitlines() if isinstance(answer, str) else answer
    rows = lines if isinstance(lines, list) else []
    grid = [line.split() if isinstance(line, str) else _as_list(line) or [] for line in rows]
    if not grid or any(len(line) != len(grid) for line in grid):
        raise OriginalDataError(f"{where}: its answer must be a square grid, got {answer!r}")
    facts: dict[str, Any] = {"answer": grid, "symbols": sorted(grid[0])}
    first_row = (row.get("metadata") or {}).get("first_row")
    if first_row is not None:
        row_read = _as_list(first_row)
        if row_read is None and not isinstance(first_row, str):
            raise OriginalDataError(
                f"{where}: first_row must be a text or a list of symbols, got {_brief(first_row)}"
            )
        facts["first_row"] = row_read or str(first_row).split()
    return facts


def _named(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _of_text(
    metric: str, row: Mapping[str, Any], named: AbstractSet[str], where: str
) -> tuple[str, dict[str, Any]]:
    """Return a right answer, and the facts of our own task that has the same scores."""
    answer = row["answer"]
    references = list(answer) if isinstance(answer, list) else [answer]
    if not references or not all(isinstance(each, str) for each in references):
        raise OriginalDataError(f"{where}: {metric} needs a text as its answer, or several")
    if metric == "summary_score":
        return references[0], {"references": references}
    if metric == "paraphrase_score":
        texts = {name: value for name, value in _inputs(row).items() if isinstance(value, str)}
        given = _the_one(texts, named, f"{where}: {metric} needs one text in its input")
        return references[0], {"text": given, "references": references}
    words = _given_words(row, named, where)
    holding = [each for each in references if share_of_substrings(words, each) == 1]
    if not holding and sorted(references) != sorted(words):
        raise OriginalDataError(
            f"{where}: by {metric} its own answer {' / '.join(references)!r} is wrong, for it has "
            f"not all of the words {', '.join(words)}, so the file is read amiss or at fault"
        )
    # The words alone are no sentence that holds them.
    return next(iter(holding), ""), {"words": words}


def _given_words(row: Mapping[str, Any], named: AbstractSet[str], where: str) -> list[str]:
    inputs = _inputs(row)
    lists = {name: found for name, value in inputs.items() if (found := _as_list(value))}
    if not lists:
        texts = {name: value for name, value in inputs.items() if isinstance(value, str)}
        lists = {name: [word.strip() for word in text.split(",")] for name, text in texts.items()}
    words = _the_one(lists, named, f"{where}: its input must hold one list of words")
    if not all(words):
        raise OriginalDataError(f"{where}: one of the words asked for is empty")
    return words


def _inputs(row: Mapping[str, Any]) -> dict[str, Any]:
    asked = row["input"] if isinstance(row["input"], Mapping) else {"input": row["input"]}
    return {name: value for name, value in asked.items() if name != _EXAMPLES}


def _the_one(found: Mapping[str, T], named: AbstractSet[str], wanted: str) -> T:
    """Return the only one, or of several the only one that the prompt template names."""
    chosen = found if len(found) == 1 else {name: found[name] for name in found if name in named}
    if len(chosen) != 1:
        told = ", ".join(chosen or found) or "none"
        raise OriginalDataError(f"{wanted} that its prompt template names, got {told}")
    return next(iter(chosen.values()))


def _as_list(value: Any) -> list[str] | None:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [str(item) for item in value] if all(map(_is_plain, value)) else None
    text = value.strip() if isinstance(value, str) else ""
    if not (text.startswith("[") and text.endswith("]")):
        return None
    return [item.strip().strip("\"'").strip() for item in text[1:-1].split(",")]


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _as_text(value: Any, what: str) -> str:
    if _is_plain(value):
        return str(value)
    items = _as_list(value)
    if items is not None:
        return written(items)
    lines = [_as_list(line) for line in value] if isinstance(value, list) else [None]
    if None in lines:
        raise OriginalDataError(
            f"{what} must be a text, a number, a list of those or a list of such lists, got "
            f"{_brief(value)}"
        )
    return "\n".join(" ".join(line) for line in lines if line is not None)


def _brief(value: Any) -> str:
    """Return a value as JSON, cut to what a sentence can hold."""
    return json.dumps(value, ensure_ascii=False, default=str)[:80]


def _bytes_of(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise OriginalDataError(f"{file} cannot be read: {error}") from error


def _json_lines(name: str, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line, parse_constant=_refuse_constant)
            # Half of a surrogate pair can be read, and never written.
            json.dumps(fields, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise OriginalDataError(f"{name} line {number} is no JSON: {error}") from error
        if not isinstance(fields, dict):
            raise OriginalDataError(f"{name} line {number} must be a JSON object")
        yield f"{name} line {number}", fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _refuse_fields(row: Mapping[str, Any], where: str) -> None:
    for field in ("input", "answer"):
        if row.get(field) is None:
            raise OriginalDataError(f"{where} has no field {field!r}")
    if not isinstance(row.get("metadata") or {}, Mapping):
        raise OriginalDataError(f"{where}: metadata must be a JSON object")


def _refuse_metric(metric: str, where: str) -> None:
    if metric not in METRICS:
        raise OriginalDataError(f"{where}: {unknown('metric', metric, METRICS)}")
