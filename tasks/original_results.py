r"""The original benchmark's published results: its replies with their published figures.

A folder of results is ``<model>/<unmasking>/<parameters>/<run>`` with
``results_parallelbench.json`` and ``samples_parallelbench_<group>_<task>.jsonl`` in it.  Fields
read from each line:

``doc``
    ``messages``, the chat; ``label``, the right answer, in the form of the task files' ``answer``;
    ``index``, the sample's number.
``arguments``
    Request: ``unmasking``, ``max_tokens`` and the strategy's parameters.
``filtered_resps``
    Reply as scored.
``score``, ``score_strict``, ``nfe``, ``tokens_per_step``
    Scores in [0, 1], the second not for free text; model calls; canvas tokens per model call.

The metric follows from the task's name.  If a setting was run several times, the newest run with a
task counts, by the name of its folder, which begins with date and time.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from parallelbench.decoder import DECODERS
from parallelbench.errors import FieldError
from parallelbench.record import PublishedFigures
from parallelbench.setting import Setting, make_setting
from parallelbench.storage.plain_json import json_of, regular_bytes
from parallelbench.tasks.original_bundle import OriginalDataError, OriginalSample
from parallelbench.tasks.original_rules import LIST_RULES, TEXT_METRICS

_RESULTS = "results_parallelbench.json"
_SAMPLES = "samples_parallelbench_"
_GROUPS = ("waiting_line_n15", "waiting_line", "puzzles", "text_writing")
#: Metrics by the beginning of their tasks' names.
_METRICS = (
    (r"(copy|reverse|sort|(insert|remove|replace)_index)$", "list_match_score"),
    (r"shuffle$", "list_shuffle_score"),
    (r"insert_random$", "list_random_insert_score"),
    (r"remove_random$", "list_random_remove_score"),
    (r"replace_random$", "list_random_replace_score"),
    (r"latin_square_n\d+$", "latin_square_score"),
    (r"sudoku_n\d+$", "sudoku_score"),
    (r"words_to_sentence_\w+$", "sentence_to_words_score"),
    (r"summarization$", "summary_score"),
    (r"paraphrasing$", "paraphrase_score"),
)
#: A parameter in the name of a folder, such as ``kl_threshold0.01``.
_PARAMETER = re.compile(r"([a-z][a-z_]*?)(\d+(?:\.\d+)?)(?:_|$)")
#: Relative tolerance for numbers that were written as fractions.
_DUST = 1e-6
#: Largest number of calls or tokens, and largest index of a sample.
_MOST = 1_000_000
#: Fields of a line and of its question that are read, or that repeat those.
_KNOWN = {
    "a line": re.compile(
        r"doc_id|doc|target|arguments|resps|filtered_resps|filter|metrics|(doc|prompt|target)_hash"
        r"|nfe|tokens_per_step|(input|output)_length|score|score_strict|\w+_score|dec_order_\w+"
    ),
    "doc": re.compile(r"messages|label|metadata|index|output_prefix"),
}


class _Strategy(NamedTuple):
    """Our strategy for one of theirs.

    Attributes:
        decoder: Registered name.
        fields: Our field for each of their parameters.
        fixed: Fields shared by all of their settings.
    """

    decoder: str
    fields: Mapping[str, str]
    fixed: Mapping[str, Any] = {}


_STRATEGIES: Mapping[str, _Strategy] = {
    "random": _Strategy("random", {"k": "k"}),
    "left_to_right": _Strategy("left_to_right", {"k": "k"}),
    "confidence_topk": _Strategy("confidence", {"k": "k"}),
    "entropy_topk": _Strategy("entropy", {"k": "k"}),
    "topk_margin": _Strategy("margin", {"k": "k"}),
    "confidence_threshold": _Strategy("confidence_threshold", {"t": "threshold"}),
    "confidence_factor": _Strategy("confidence_factor", {"f": "factor"}, {"rule": "published"}),
    "klass": _Strategy(
        "klass",
        {
            "conf_threshold": "threshold",
            "kl_threshold": "divergence",
            "kl_history_length": "history",
        },
    ),
    "slowfast": _Strategy(
        "slow_fast",
        {
            "sf_high_confidence_threshold": "threshold",
            "sf_cycle_confidence_threshold": "reach",
        },
    ),
    "dus": _Strategy(
        "dus",
        {"bl": "block_length", "dus_base": "base", "dus_remasking_threshold": "skip_below"},
    ),
}


@dataclass(frozen=True)
class PublishedReply:
    """One line of published results.

    Attributes:
        model: Published name of the model.
        decoder: Our setting for its strategy.
        task: ``group/task``.
        index: Number of the sample within the task.
        text: The reply.
        figures: Figures published with the reply.
    """

    model: str
    decoder: Setting
    task: str
    index: int
    text: str
    figures: PublishedFigures


@dataclass(frozen=True)
class PublishedResults:
    """Content of folders of results.

    Attributes:
        samples: Questions, tasks by name, samples by number.
        replies: Replies in the order of the files.
        remarks: Sentences on ignored content.
    """

    samples: Sequence[OriginalSample]
    replies: Sequence[PublishedReply]
    remarks: Sequence[str]


def read_results(folder: Path, *, with_text: bool = True) -> PublishedResults:
    """Return the published results in ``folder``, which may be any part of the tree of results.

    Args:
        folder: ``results`` itself, or a folder below it.
        with_text: True to read tasks of free text, too.

    Raises:
        OriginalDataError: There are no results, or a file or line has an unexpected form or
            contradicts itself; the message names it.
    """
    files = sorted(folder.resolve().rglob(f"{_SAMPLES}*.jsonl"), key=_with_numbers)
    if not files:
        raise OriginalDataError(
            f"{folder} has no files {_SAMPLES}<task>.jsonl: give results/MODEL of a checkout, or "
            "any folder above or below it"
        )
    passed: Counter[str] = Counter()
    questions, replies = _Questions(), list[PublishedReply]()
    models: dict[Path, str] = {}
    for file in _newest(files, passed):
        source = _source_of(file, passed)
        if source is None or (source.metric in TEXT_METRICS and not with_text):
            continue
        if file.parent not in models:
            models[file.parent] = _model_of(file.parent)
        for sample, text, figures, where in _lines(source, passed):
            questions.add(sample, where)
            replies.append(
                PublishedReply(
                    models[file.parent], source.decoder, sample.task, sample.index, text, figures
                )
            )
    remarks = _remarks(passed)
    if not replies:
        raise OriginalDataError("; ".join([f"{folder} holds no results that are read", *remarks]))
    numbers = questions.numbers()
    return PublishedResults(
        [replace(questions.samples[key][0], index=number) for key, number in numbers.items()],
        [replace(reply, index=numbers[reply.task, reply.index]) for reply in replies],
        remarks,
    )


@dataclass
class _Questions:
    """The samples read so far, with their place, by task and published number."""

    samples: dict[tuple[str, int], tuple[OriginalSample, str]] = field(default_factory=dict)

    def add(self, sample: OriginalSample, where: str) -> None:
        """Add a sample; refuse a different one with the same number."""
        known, first = self.samples.setdefault((sample.task, sample.index), (sample, where))
        if known != sample:
            raise OriginalDataError(
                f"{where} has another question, label or max_tokens as number {sample.index} of "
                f"{sample.task} than {first}: the results are on different data; import them "
                "separately"
            )

    def numbers(self) -> dict[tuple[str, int], int]:
        """Return consecutive numbers of the samples of each task, tasks by name."""
        counts: Counter[str] = Counter()
        numbers = {}
        for task, index in sorted(self.samples):
            numbers[task, index] = counts[task]
            counts[task] += 1
        return numbers


class _Source(NamedTuple):
    """A file of samples, with the facts in its path.

    Attributes:
        file: Path.
        task: ``group/task``.
        metric: Metric that scores its replies.
        strategy: Published name of the strategy.
        parameters: Parameters by their published names.
        decoder: Our setting for the strategy.
    """

    file: Path
    task: str
    metric: str
    strategy: str
    parameters: Mapping[str, float]
    decoder: Setting


def _newest(files: Sequence[Path], passed: Counter[str]) -> list[Path]:
    """Return the files of the newest run of each setting and task."""
    chosen: dict[tuple[Path, str], Path] = {}
    for file in files:  # by path, so that a later run comes later
        key = (file.parents[1], file.name)
        passed["files of runs that were made again since"] += key in chosen
        chosen[key] = file
    return list(chosen.values())


def _source_of(file: Path, passed: Counter[str]) -> _Source | None:
    """Return the facts in a path; None, counted in ``passed``, for an unknown task or strategy."""
    task = file.stem.removeprefix(_SAMPLES)
    group = next((group for group in _GROUPS if task.startswith(f"{group}_")), "")
    name = task.removeprefix(f"{group}_")
    metric = next((metric for form, metric in _METRICS if group and re.match(form, name)), None)
    strategy, folder = file.parents[2].name, file.parents[1].name
    pairs = _PARAMETER.findall(folder)
    parameters = {name: float(number) for name, number in pairs}
    ours = _STRATEGIES.get(strategy)
    if ours is None:
        passed[f"files of the strategy {strategy!r:.60}, which is not known here"] += 1
        return None
    if metric is None:
        passed[f"files of the task {task!r:.60}, which is not known here"] += 1
        return None
    if set(parameters) != set(ours.fields) or _PARAMETER.sub("", folder):
        raise OriginalDataError(
            f"{file.parents[1]} names the parameters {', '.join(parameters) or 'none'}, and "
            f"{strategy} has {', '.join(ours.fields)}: the folder was renamed, or has another form"
        )
    fields = {ours.fields[name]: number for name, number in pairs}
    try:
        decoder = make_setting(ours.decoder, {**fields, **ours.fixed}, DECODERS)
    except FieldError as error:
        raise OriginalDataError(
            f"{file.parents[1]} is no setting of {strategy}: {error}"
        ) from error
    return _Source(file, f"{group}/{name}", metric, strategy, parameters, decoder)


def _model_of(run: Path) -> str:
    """Return the name of the model of a run, checked against its folder."""
    file, folder = run / _RESULTS, run.parents[2].name
    try:
        content = json_of(regular_bytes(file))
    except (OSError, ValueError) as error:
        raise OriginalDataError(f"{file} cannot be read: {error}") from error
    name = content.get("model_name") if isinstance(content, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[\w./-]{1,96}", name):
        raise OriginalDataError(f"{file}: model_name must be a hub id, got {name!r:.80}")
    if name.replace("/", "__") != folder:
        raise OriginalDataError(
            f"{file} is of model {name!r}, but is in the folder of {folder!r:.80}"
        )
    return name


def _lines(
    source: _Source, passed: Counter[str]
) -> Iterator[tuple[OriginalSample, str, PublishedFigures, str]]:
    """Yield sample, reply, figures and place of every line of a file."""
    seen: dict[int, str] = {}
    try:
        content = regular_bytes(source.file)
    except OSError as error:
        raise OriginalDataError(f"{source.file} cannot be read: {error}") from error
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        where = f"{source.file} line {number}"
        try:
            row = json_of(line)
            json.dumps(row, ensure_ascii=False).encode()  # refuses unpaired surrogates
        except ValueError as error:
            raise OriginalDataError(f"{where} is no JSON: {error}") from error
        doc, request = _mapping(row, "doc", where), _request(row, where)
        for what, fields in (("a line", row), ("doc", doc)):
            passed.update(
                f"fields {name!r:.60} of {what}"
                for name in fields
                if not _KNOWN[what].fullmatch(name)
            )
        _refuse_other_request(source, request, where)
        tokens = _whole(request, "max_tokens", where)
        sample = _sample(source, doc, tokens, where)
        first = seen.setdefault(sample.index, where)
        if first != where:
            raise OriginalDataError(f"{where} is number {sample.index}, like {first}")
        yield sample, _reply(row, where), _figures(source, row, tokens, where), where


def _request(row: Any, where: str) -> Mapping[str, Any]:
    arguments = _mapping(row, "arguments", where)
    return _mapping(_mapping(arguments, "gen_args_0", where), "arg_1", where)


def _refuse_other_request(source: _Source, request: Mapping[str, Any], where: str) -> None:
    """Refuse a line whose request contradicts its path."""
    if request.get("unmasking") != source.strategy:
        raise OriginalDataError(
            f"{where} was decoded with unmasking {request.get('unmasking')!r:.60}, but is in the "
            f"folder of {source.strategy!r}"
        )
    numbers = {value for value in request.values() if _is_number(value)}
    for name, number in source.parameters.items():
        if number not in numbers:
            raise OriginalDataError(
                f"{where}: its request has no parameter of {number:g}, but its folder says {name} "
                f"{number:g}"
            )


def _sample(source: _Source, doc: Mapping[str, Any], tokens: int, where: str) -> OriginalSample:
    messages = doc.get("messages")
    turns = messages if isinstance(messages, list) else []
    chat = tuple(
        (turn["role"], turn["content"])
        for turn in turns
        if isinstance(turn, dict) and isinstance(turn.get("content"), str)
        if turn.get("role") in {"user", "assistant"}
    )
    if not chat or len(chat) < len(turns) or chat[-1][0] != "user":
        raise OriginalDataError(f"{where}: messages must be a chat that ends with a question")
    reference, facts = _right(source.metric, doc.get("label"), where)
    index = _whole(doc, "index", where, least=0)
    return OriginalSample(source.task, index, source.metric, chat, reference, facts, tokens)


def _right(metric: str, label: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Return a right answer and the inputs of the metric."""
    if metric in LIST_RULES:
        return _right_list(metric, label, where)
    if metric == "sudoku_score":
        rows = label.split("\n") if isinstance(label, str) else []
        reference, _ = _right_grid(label, [list(row) for row in rows], where)
        return reference, {"answer": rows}
    if not isinstance(label, dict):
        raise _no_label(metric, label, where)
    if metric == "latin_square_score":
        example = label.get("example")
        rows = example.split("\n") if isinstance(example, str) else []
        reference, facts = _right_grid(example, [row.split(",") for row in rows], where)
        if sorted(facts["symbols"]) != sorted(_texts(label.get("symbols"), where)):
            raise OriginalDataError(f"{where}: its example has other symbols than its label")
        return reference, {**facts, "symbols": label["symbols"]}
    if metric == "sentence_to_words_score":
        example = label.get("example")
        return example if isinstance(example, str) else "", {
            "words": _texts(label.get("words"), where)
        }
    if metric == "summary_score" and isinstance(label.get("summary"), str):
        return label["summary"], {"references": [label["summary"]]}
    if metric == "paraphrase_score" and isinstance(label.get("text"), str):
        references = _texts(label.get("examples"), where)
        return references[0], {"text": label["text"], "references": references}
    raise _no_label(metric, label, where)


def _right_list(metric: str, label: Any, where: str) -> tuple[str, dict[str, Any]]:
    alone = metric == "list_match_score"
    if not alone and not isinstance(label, dict):
        raise _no_label(metric, label, where)
    reference = label if alone else label.get("example")
    answer = _texts(reference, where) if isinstance(reference, str) else []
    if not answer:
        raise _no_label(metric, label, where)
    facts: dict[str, Any] = {"answer": answer}
    if not alone:
        facts["items"] = _texts(label.get("input"), where)
    if metric in {"list_random_insert_score", "list_random_replace_score"}:
        if not isinstance(label.get("word"), str):
            raise _no_label(metric, label, where)
        facts["new"] = label["word"]
    for name in facts.keys() - {"new"}:
        item, times = Counter(facts[name]).most_common(1)[0]
        if times > 1:
            raise OriginalDataError(f"{where}: {item!r:.60} occurs {times} times in its label")
    if not LIST_RULES[metric](facts, answer):
        raise OriginalDataError(
            f"{where} contradicts itself: by {metric} the answer {reference!r:.120} of its label "
            "is wrong"
        )
    return reference, facts


def _right_grid(text: Any, rows: list[list[str]], where: str) -> tuple[str, dict[str, Any]]:
    symbols = sorted(set(rows[0])) if rows else []
    lines = [*rows, *zip(*rows, strict=False)]
    if len(rows) < 2 or len(rows) != len(symbols) or any(sorted(line) != symbols for line in lines):
        raise OriginalDataError(
            f"{where}: the answer of its label is no grid with each symbol once in every row and "
            f"column: {text!r:.120}"
        )
    return text, {"answer": rows, "symbols": symbols}


def _texts(value: Any, where: str) -> list[str]:
    """Return a list of texts, given as a list or as a JSON or Python literal."""
    texts = value
    if isinstance(value, str):
        try:
            texts = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            texts = None
    if not isinstance(texts, list) or not texts or not all(isinstance(x, str) for x in texts):
        raise OriginalDataError(f"{where}: its label must hold a list of texts, got {value!r:.120}")
    return texts


def _no_label(metric: str, label: Any, where: str) -> OriginalDataError:
    return OriginalDataError(f"{where}: its label has no right answer for {metric}: {label!r:.120}")


def _reply(row: Mapping[str, Any], where: str) -> str:
    replies = row.get("filtered_resps")
    if not isinstance(replies, list) or len(replies) != 1 or not isinstance(replies[0], str):
        raise OriginalDataError(
            f"{where}: filtered_resps must hold one reply as text, got {replies!r:.80}"
        )
    return replies[0]


def _figures(source: _Source, row: Mapping[str, Any], tokens: int, where: str) -> PublishedFigures:
    calls, speed = _whole(row, "nfe", where), row.get("tokens_per_step")
    if not _is_number(speed) or speed <= 0:
        raise OriginalDataError(f"{where}: tokens_per_step must be above 0, got {speed!r:.60}")
    canvas = round(speed * calls)
    if abs(speed * calls - canvas) > _DUST * canvas or not 1 <= canvas <= tokens:
        raise OriginalDataError(
            f"{where} contradicts itself: {calls} calls with {speed:g} tokens each are no canvas "
            f"of up to {tokens} tokens"
        )
    strict = None if source.metric in TEXT_METRICS else _share(row, "score_strict", where)
    return PublishedFigures(
        nfe=calls,
        canvas_tokens=canvas,
        tokens_per_step=canvas / calls,
        score=_share(row, "score", where),
        score_strict=strict,
    )


def _with_numbers(path: Path) -> list[tuple[int, float, str]]:
    """Return a sort key that compares numbers in paths by value: k2 before k16."""
    parts = re.split(r"(\d+(?:\.\d+)?)", path.as_posix())
    return [(1, float(part), "") if i % 2 else (0, 0.0, part) for i, part in enumerate(parts)]


def _mapping(fields: Any, name: str, where: str) -> Mapping[str, Any]:
    value = fields.get(name) if isinstance(fields, dict) else None
    if not isinstance(value, dict):
        raise OriginalDataError(f"{where} has no {name} that is a JSON object")
    return value


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _whole(fields: Mapping[str, Any], name: str, where: str, least: int = 1) -> int:
    value = fields.get(name)
    if not _is_number(value) or value != int(value) or not least <= value <= _MOST:
        raise OriginalDataError(
            f"{where}: {name} must be a whole number from {least} to {_MOST:,}, got {value!r:.60}"
        )
    return int(value)


def _share(fields: Mapping[str, Any], name: str, where: str) -> float:
    value = fields.get(name)
    if not _is_number(value) or not 0 <= value <= 1:
        raise OriginalDataError(f"{where}: {name} must be from 0 to 1, got {value!r:.60}")
    return float(value)


def _remarks(passed: Mapping[str, int]) -> list[str]:
    ignored = [f"{count} {what}" for what, count in sorted(passed.items()) if count]
    return [f"passed over: {'; '.join(ignored)}"] if ignored else []
