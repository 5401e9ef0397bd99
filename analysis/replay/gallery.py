"""The decodes that a report shows step by step: failures first, as many as fit on the page.

The page holds every sample in a piece of its own, which is read when somebody opens it.  All
decodes of a sample are in one piece, so that any two of them can be looked at side by side.
Samples come in this order: one for each kind of failure on each task; then, task by task in
turn, those that some decoder failed; then those that none did.

A run may have more records than fit into memory: they are shown to a :class:`GalleryBuilder` one
by one, which keeps a few numbers of each, and only those that the page shows are read again.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

from parallelbench.analysis.measures.losses import is_ideal
from parallelbench.analysis.replay.steps import Replay, Replayer, ReplayStep, RightAnswer
from parallelbench.record import Record
from parallelbench.results.record_summary import AnyRecord, RecordSummaries, RecordSummary
from parallelbench.run.runfile import RunFile

#: Of all replays of one page.
DEFAULT_BYTES = 4_000_000
#: The longest list of words that a sentence about a step names.
_WORDS = 4
#: Characters of a reply in the table of failures.
_CHARACTERS = 1000
#: Decodes whose order of writing is averaged at once: bounds the memory of a large run.
_ROWS_AT_ONCE = 4096


class Kind(NamedTuple):
    """One kind of failure on one task.

    Attributes:
        problem: Name, as the task's marks have it.
        task_label: The task's setting.
        decodes: Number of decodes of the run that failed like this.
        place: Position of one of them on the page, as ``chunk/decode``; None if none is there.
        text: Reply, up to 1,000 characters.
        model: The model's setting; empty if none is there.
        decoder_label: The decoder's setting; likewise.
        told: Sentence about how the answer was lost; None if that is not known.
        right: A right answer, the nearest where they can be listed; None where none is known.
    """

    problem: str
    task_label: str
    decodes: int
    place: str | None
    text: str
    model: str
    decoder_label: str
    told: str | None
    right: str | None


@dataclass(frozen=True, slots=True)
class Gallery:
    """The decodes that a report shows step by step.

    Attributes:
        index: Labels and the places of all failures, which the page reads first.
        chunks: One JSON text per sample.
        kinds: The kinds of failures, most frequent first.
        told: Sentences about the number of decodes shown, and why others are not.
        orders: Per (model, task label) the mean place of each position in the order of writing:
            a row per decoder setting, per cent of a decode's steps; None where never written.
    """

    index: Mapping[str, Any] = field(default_factory=dict)
    chunks: Sequence[str] = ()
    kinds: Sequence[Kind] = ()
    told: Sequence[str] = ()
    orders: Mapping[tuple[str, str], Sequence[tuple[str, Sequence[int | None]]]] = field(
        default_factory=dict
    )

    @property
    def lead(self) -> Kind | None:
        """The failure to show first: one that can be told, of a network, if there is one.

        None if none can be watched.
        """
        shown = [kind for kind in self.kinds if kind.place is not None]
        return min(shown, key=lambda kind: (kind.told is None, is_ideal(kind.model)), default=None)


_Where = TypeVar("_Where")


@dataclass(frozen=True, slots=True)
class _Entry(Generic[_Where]):
    """The part of a marked record that is kept.

    Attributes:
        summary: Marks.
        first_commits: The number of the step, from 1, in which each position was first written;
            0 where never.  None for a server, which shows no steps.
        where: Place from which the record can be read again.
    """

    summary: RecordSummary
    first_commits: array[int] | None
    where: _Where


class GalleryBuilder(Generic[_Where]):
    """Makes the gallery of records that are shown to it one by one.

    Args:
        runfile: Run file of their run.
    """

    def __init__(self, runfile: RunFile) -> None:
        self._runfile = runfile
        self._entries: dict[tuple[str, str, int, str, int], _Entry[_Where]] = {}

    def add(self, record: Record, summary: RecordSummary, where: _Where) -> None:
        """Take one record into account; of several of the same decode the last counts.

        Args:
            record: Record of the run.
            summary: Summary of this record.
            where: Says to :meth:`build` which record to read again.
        """
        if summary.marks is None:
            self._entries.pop(summary.key, None)
        else:
            self._entries[summary.key] = _Entry(summary, _first_commits(record), where)

    def build(self, read: Callable[[_Where], Record], most_bytes: int = DEFAULT_BYTES) -> Gallery:
        """Return the gallery of the records that were added.

        Args:
            read: Returns the record that was added with this ``where``.
            most_bytes: Size of all pieces together.  At least one decode is there, whatever its
                size; the other decodes of its sample only if they fit.
        """
        marked = sorted(
            self._entries.values(), key=lambda entry: _place(self._runfile, entry.summary)
        )
        steered = [entry for entry in marked if entry.summary.steered]
        replayer = Replayer(self._runfile)
        labels = _Labels(self._runfile)
        chunks: list[str] = []
        shown: list[tuple[str, Replay]] = []
        room = most_bytes
        for sample in _in_turn(steered):
            replays = [replayer.replay(record) for record in _fitting(sample, read, room)]
            chunk = _written(labels, replays)
            while not chunks and len(chunk) > room and len(replays) > 1:
                replays = replays[: len(replays) // 2]
                chunk = _written(labels, replays)
            if chunks and (len(replays) < len(sample) or len(chunk) > room):
                break
            room -= len(chunk)
            shown += [(f"{len(chunks)}/{number}", replay) for number, replay in enumerate(replays)]
            chunks.append(chunk)
        return Gallery(
            index=labels.index(shown),
            chunks=tuple(chunks),
            kinds=tuple(_kinds([entry.summary for entry in marked], shown)),
            told=tuple(_told([entry.summary for entry in marked], shown)),
            orders=_orders(steered),
        )


def gallery_of(
    runfile: RunFile, records: Iterable[Record], most_bytes: int = DEFAULT_BYTES
) -> Gallery:
    """Return the gallery of ``records`` that are in memory.

    Args:
        runfile: Run file of their run.
        records: Records of one run; of several of the same decode only the last counts.
        most_bytes: Size limit, see :meth:`GalleryBuilder.build`.
    """
    summaries = RecordSummaries()
    builder: GalleryBuilder[Record] = GalleryBuilder(runfile)
    for record in records:
        builder.add(record, summaries.of(record), record)
    return builder.build(lambda record: record, most_bytes)


def _fitting(
    sample: Sequence[_Entry[_Where]], read: Callable[[_Where], Record], room: int
) -> list[Record]:
    """Read the decodes of a sample until they surely fill ``room`` bytes; at least one."""
    records: list[Record] = []
    for entry in sample:
        record = read(entry.where)
        # A position and a token take two characters each, with their commas.
        room -= len(record.text) + 4 * sum(map(len, record.require_decoding().trace.ids))
        if records and room < 0:
            break
        records.append(record)
    return records


def _written(labels: _Labels, replays: Sequence[Replay]) -> str:
    return json.dumps(labels.chunk(replays), separators=(",", ":"))


def _place(runfile: RunFile, record: AnyRecord) -> tuple[int, int, int, int, int]:
    places = runfile.places
    return (
        places["task"][record.task_label],
        record.index,
        places["model"][record.model_label],
        places["decoder"][record.decoder_label],
        record.repeat,
    )


def _failed(record: AnyRecord) -> bool:
    return record.marks is not None and record.marks.lenient < 1


def _problem(record: AnyRecord) -> str | None:
    return record.marks.problem if record.marks is not None else None


def _in_turn(entries: Iterable[_Entry[_Where]]) -> Iterator[list[_Entry[_Where]]]:
    """Yield the decodes sample by sample, those first that are most worth a look."""
    samples: dict[tuple[str, int], list[_Entry[_Where]]] = defaultdict(list)
    first: dict[tuple[str, str | None], tuple[str, int]] = {}
    failing: dict[tuple[str, int], None] = {}
    for entry in entries:
        summary = entry.summary
        key = summary.task_label, summary.index
        samples[key].append(entry)
        if _failed(summary):
            failing[key] = None
            first.setdefault((summary.task_label, _problem(summary)), key)
    right = [key for key in samples if key not in failing]
    order = dict.fromkeys([*first.values(), *_round_robin(failing), *_round_robin(right)])
    return (samples[key] for key in order)


def _round_robin(keys: Iterable[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    by_task: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for key in keys:
        by_task[key[0]].append(key)
    for turn in itertools.zip_longest(*by_task.values()):
        yield from (key for key in turn if key is not None)


class _Labels:
    """Numbers for the labels of a run, so that the page writes each of them once."""

    def __init__(self, runfile: RunFile) -> None:
        self._places = runfile.places
        self._missing: dict[str, int] = {}
        self._problems: dict[str, int] = {}

    def index(self, shown: Sequence[tuple[str, Replay]]) -> dict[str, Any]:
        """Return the labels, and of each decode that is shown what the filters ask for."""
        failures = [
            [
                *map(int, place.split("/")),
                self._places["task"][replay.record.task_label],
                self._places["model"][replay.record.model_label],
                self._places["decoder"][replay.record.decoder_label],
                _number(self._problems, _problem(replay.record) or "wrong"),
            ]
            for place, replay in shown
            if _failed(replay.record)
        ]
        samples = {
            place.partition("/")[0]: [
                self._places["task"][replay.record.task_label],
                replay.record.index,
            ]
            for place, replay in shown
        }
        return {
            "models": list(self._places["model"]),
            "tasks": list(self._places["task"]),
            "decoders": list(self._places["decoder"]),
            "problems": list(self._problems),
            "missing": list(self._missing),
            "samples": list(samples.values()),
            "failures": failures,
        }

    def chunk(self, replays: Sequence[Replay]) -> dict[str, Any]:
        """Return all decodes of one sample as JSON values."""
        first = replays[0]
        tokens: dict[str, int] = {}
        messages = first.sample.messages if first.sample is not None else ()
        return {
            "question": messages[-1].content if messages else None,
            "examples": [list(message) for message in messages[:-1]],
            "decodes": [self._decode(replay, tokens) for replay in replays],
            "tokens": list(tokens),
        }

    def _decode(self, replay: Replay, tokens: dict[str, int]) -> dict[str, Any]:
        record = replay.record
        decoding = record.require_decoding()
        ends = decoding.ends

        def numbered(token: int) -> int:
            # Open positions and ends are the same for all models, whatever they call them.
            if token == decoding.mask_id:
                return -1
            return -2 if token in ends else _number(tokens, replay.text(token))

        given = decoding.initial_ids
        return {
            "model": self._places["model"][record.model_label],
            "decoder": self._places["decoder"][record.decoder_label],
            "repeat": record.repeat,
            "problem": _problem(record) or ("wrong" if _failed(record) else None),
            "status": record.status,
            "oracle": record.decoder.oracle,
            "text": record.text,
            "length": len(decoding.output_ids),
            "given": None if given is None else [numbered(token) for token in given],
            "answers": replay.answers,
            "lost": replay.lost,
            "told": None if replay.lost is None else what_was_lost(replay),
            "bits": replay.bits_sentence,
            "missing": None if replay.missing is None else _number(self._missing, replay.missing),
            "right": None if replay.right is None else _right_answer(replay.right, numbered),
            "steps": [_step(step, numbered) for step in replay.steps],
        }


def _right_answer(right: RightAnswer, numbered: Callable[[int], int]) -> list[Any]:
    differences = [[place, numbered(token)] for place, token in right.differences or ()]
    return [right.text, differences]


def _step(step: ReplayStep, numbered: Callable[[int], int]) -> list[Any]:
    return [
        list(step.positions),
        [numbered(token) for token in step.ids],
        None if step.bits is None else round(step.bits, 3),
        step.answers,
        _shortened(step.probabilities),
    ]


def _shortened(probabilities: Sequence[float | None]) -> list[float | None] | int:
    """Return probabilities with three digits; 1 or 0 where all of them are 1 or absent."""
    digits = [None if each is None else round(each, 3) for each in probabilities]
    if digits and all(each == 1 for each in digits):
        return 1
    return digits if any(each is not None for each in digits) else 0


def _number(numbers: dict[str, int], label: str) -> int:
    return numbers.setdefault(label, len(numbers))


def what_was_lost(replay: Replay) -> str | None:
    """Return in a sentence how a wrong answer came about; None where that is not known.

    Example: ``step 3 of 5 wrote "Farah" and "Carver" at once; they depend on each other by
    1.58 bits, which it could not know``
    """
    lost = replay.lost
    if lost is None:
        return None
    step = replay.steps[lost]
    words = [replay.text(token).strip() for token in step.ids if _is_word(replay, token)]
    listed = [
        f"\N{LEFT DOUBLE QUOTATION MARK}{word}\N{RIGHT DOUBLE QUOTATION MARK}" for word in words
    ]
    if len(listed) > _WORDS:
        listed = [*listed[:_WORDS], f"{len(listed) - _WORDS} more"]
    said = " and ".join(filter(None, [", ".join(listed[:-1]), *listed[-1:]])) or "no word"
    begun = f"step {lost + 1} of {len(replay.steps)} wrote {said}"
    if step.bits is None:
        return begun
    if step.bits < 0.005:
        return (
            f"{begun}; the tokens already on the canvas were enough to choose a right one, so this "
            "is an error of the model"
        )
    return (
        f"{begun} at once; they depend on each other by {step.bits:.2f} bits, which that step "
        "could not know"
    )


def _is_word(replay: Replay, token: int) -> bool:
    decoding = replay.record.require_decoding()
    special = {decoding.mask_id, *decoding.ends}
    return token not in special and any(letter.isalnum() for letter in replay.text(token))


def _kinds(marked: Sequence[RecordSummary], shown: Sequence[tuple[str, Replay]]) -> list[Kind]:
    failed = [record for record in marked if _failed(record)]
    counts = Counter((_problem(record) or "wrong", record.task_label) for record in failed)
    totals = Counter(_problem(record) or "wrong" for record in failed)
    best: dict[tuple[str, str], tuple[str, Replay]] = {}
    for place, replay in shown:
        if not _failed(replay.record):
            continue
        key = _problem(replay.record) or "wrong", replay.record.task_label
        if key not in best or _clarity(replay) > _clarity(best[key][1]):
            best[key] = place, replay
    return [
        _kind(problem, task, count, best.get((problem, task)))
        for (problem, task), count in sorted(
            counts.items(), key=lambda item: (-totals[item[0][0]], item[0][0], -item[1], item[0][1])
        )
    ]


def _clarity(replay: Replay) -> tuple[bool, bool, int]:
    """Return the sort key of a failure by clarity: few dependent tokens, several steps."""
    if replay.lost is None:
        return (False, False, 0)
    step = replay.steps[replay.lost]
    words = sum(_is_word(replay, token) for token in step.ids)
    return (bool(step.bits and step.bits >= 0.005), words > 1, -words)


def _kind(problem: str, task: str, count: int, example: tuple[str, Replay] | None) -> Kind:
    if example is None:
        return Kind(problem, task, count, None, "", "", "", None, None)
    place, replay = example
    record = replay.record
    return Kind(
        problem=problem,
        task_label=task,
        decodes=count,
        place=place,
        text=_cut(record.text),
        model=record.model_label,
        decoder_label=record.decoder_label,
        told=what_was_lost(replay),
        right=None if replay.right is None else _cut(replay.right.text),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _CHARACTERS else f"{text[:_CHARACTERS]} ..."


def _told(marked: Sequence[RecordSummary], shown: Sequence[tuple[str, Replay]]) -> Iterator[str]:
    """Yield sentences about the decodes that the page holds, and those that it does not."""
    steered = [summary for summary in marked if summary.steered]
    if steered:
        samples = len({(summary.task_label, summary.index) for summary in steered})
        held = len({(replay.record.task_label, replay.record.index) for _, replay in shown})
        failed = sum(map(_failed, steered))
        held_failed = sum(_failed(replay.record) for _, replay in shown)
        yield (
            f"{len(shown):,} of {len(steered):,} decodes can be watched here: those of {held:,} of "
            f"{samples:,} samples, with {held_failed:,} of {failed:,} failures"
            + ("." if held == samples else "; failures were taken first.")
        )
    unseen = Counter(
        (summary.model_label, summary.costs is not None)
        for summary in marked
        if not summary.steered
    )
    for (model, published), count in unseen.items():
        why = "only their replies are published" if published else "a server decoded them"
        yield f"{count:,} decodes of {model} have no steps to watch: {why}."
    if not marked:
        yield "Nothing is marked yet, so there is nothing to watch."


def _orders(
    entries: Iterable[_Entry[_Where]],
) -> dict[tuple[str, str], list[tuple[str, list[int | None]]]]:
    groups: dict[tuple[str, str, str], list[array[int]]] = defaultdict(list)
    for entry in entries:
        if entry.first_commits is not None:
            summary = entry.summary
            group = groups[summary.model_label, summary.task_label, summary.decoder_label]
            group.append(entry.first_commits)
    orders: dict[tuple[str, str], list[tuple[str, list[int | None]]]] = defaultdict(list)
    for (model, task, decoder), own in groups.items():
        orders[model, task].append((decoder, _mean_places(own)))
    return dict(orders)


def _mean_places(rows: Sequence[array[int]]) -> list[int | None]:
    """Return the mean step at which each position was first written, in percent of the steps."""
    width = max(map(len, rows))
    shares, counts = np.zeros(width), np.zeros(width, dtype=int)
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        part = rows[start : start + _ROWS_AT_ONCE]
        numbers = np.zeros((len(part), width), dtype=np.uint32)
        for row, first_commits in zip(numbers, part, strict=True):
            row[: len(first_commits)] = first_commits
        written = numbers > 0
        # The first step is 0 % of the way and the last 100 %.
        last = np.maximum(numbers.max(axis=1, keepdims=True), 2) - 1
        shares += np.where(written, (numbers - 1.0) / last, 0.0).sum(axis=0)
        counts += written.sum(axis=0)
    return [
        round(100 * float(share) / int(count)) if count else None
        for share, count in zip(shares, counts, strict=True)
    ]


def _first_commits(record: Record) -> array[int] | None:
    decoding = record.decoding
    if decoding is None:
        return None
    steps = decoding.trace.first_commit(len(decoding.output_ids), decoding.mask_id)
    numbers = [0 if step is None else step + 1 for step in steps]
    # One byte per position where a byte holds the number of steps.
    return array("B" if max(numbers, default=0) < 256 else "I", numbers)
