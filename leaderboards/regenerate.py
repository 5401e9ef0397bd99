"""Decode records of an entry again with the named weights, and compare.

A model whose predictions are the same to the last bit everywhere must give the same records.
Of others, whose last bits depend on machine and batch, some tokens may differ, but not in
favour of what was handed in.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from parallelbench.decode import Tally
from parallelbench.decoder import DECODERS
from parallelbench.errors import SubmissionError
from parallelbench.lanes import Job
from parallelbench.leaderboards.pack import BUILT_IN
from parallelbench.leaderboards.submission import Level
from parallelbench.leaderboards.verify import Verified
from parallelbench.model import MODELS, Model
from parallelbench.prompt import build_prompt
from parallelbench.record import Record
from parallelbench.registry import load_plugins
from parallelbench.runfile import RunFile
from parallelbench.runner import Origin, decode_jobs, draw, job_key
from parallelbench.setting import Setting, build, parse_settings
from parallelbench.task import TASKS

#: A claim is refused where differences as much in its favour come about by chance less often.
_LEVEL: Final = 0.025


def regenerated(
    found: Verified,
    count: int | None,
    *,
    weights: str | None = None,
    rng: random.Random | None = None,
) -> Verified:
    """Return an entry whose records, or some of them, were decoded again.

    Args:
        found: The entry, as far as it was checked without its models.
        count: How many records, chosen at random; None for all.
        weights: The setting of the model as it lies here; None takes that of the entry.
        rng: Chooses them; None takes numbers that no submitter can know.

    Raises:
        SubmissionError: The weights are not those that were named, or the records differ.
        RequestError: A model cannot be opened here.
    """
    records = found.entry.records
    chosen = list(records)
    if count is not None and count < len(records):
        chosen = (rng or random.SystemRandom()).sample(chosen, count)
    by_model: dict[str, list[Record]] = defaultdict(list)
    for record in chosen:
        by_model[record.model].append(record)
    remarks = list(found.entry.remarks)
    for label, claimed in by_model.items():
        setting = next(each for each in found.runfile.models if each.label == label)
        model = _opened(setting, claimed[0], weights)
        remarks.append(
            _compared(
                label,
                claimed,
                _decoded(found.runfile, setting, model, claimed),
                exact=setting.name == "ideal",
            )
        )
    level: Level = "reproduced" if len(chosen) == len(records) else "spot-checked"
    return replace(found, entry=replace(found.entry, level=level, remarks=tuple(remarks)))


def _opened(setting: Setting, record: Record, weights: str | None) -> Model:
    load_plugins()
    if weights is not None and setting.name not in BUILT_IN:
        (setting,) = parse_settings(weights, MODELS)
    model = build(setting, MODELS).open()
    if not isinstance(model, Model):
        raise SubmissionError(
            f"{record.model} is a server, whose replies nobody can make again; its level stays "
            "self-reported"
        )
    for what, claimed, here in (
        ("digest", record.model_digest, model.digest),
        ("weights_digest", record.weights_digest, model.weights_digest),
    ):
        if claimed != here:
            raise SubmissionError(
                f"{record.model} claims {what} {claimed!s:.12}, and the weights here have "
                f"{here!s:.12}: they are not those that decoded this entry"
            )
    return model


def _decoded(
    runfile: RunFile, setting: Setting, model: Model, claimed: Sequence[Record]
) -> list[Record]:
    """Return the records of the decodes in ``claimed``, in its order, decoded here."""
    jobs = _jobs(runfile, setting, model, claimed)
    found = {each.key: each for each in decode_jobs(runfile, model, jobs, 512, Tally())}
    return [found[record.key] for record in claimed]


def _jobs(
    runfile: RunFile, setting: Setting, model: Model, claimed: Sequence[Record]
) -> Iterator[Job]:
    tasks = {each.label: each for each in runfile.tasks}
    decoders = {each.label: (each, build(each, DECODERS)) for each in runfile.decoders}
    by_sample: dict[tuple[str, int], list[Record]] = defaultdict(list)
    for record in claimed:
        by_sample[record.task_label, record.index].append(record)
    for (label, index), records in by_sample.items():
        task = build(tasks[label], TASKS)
        prompt = build_prompt(task, draw(task, runfile.seed, index), model.codec)
        for record in records:
            asked, decoder = decoders[record.decoder_label]
            origin = Origin(setting, tasks[label], asked, index, record.repeat, {})
            yield Job(prompt, decoder, key=job_key(runfile, origin), tag=origin)


def _compared(
    label: str, claimed: Sequence[Record], found: Sequence[Record], *, exact: bool
) -> str:
    """Return in words how well the records of one model agree.

    Raises:
        SubmissionError: They do not.
    """
    pairs = list(zip(claimed, found, strict=True))
    other = [pair for pair in pairs if _content(pair[0]) != _content(pair[1])]
    if exact and other:
        one = other[0][0]
        raise SubmissionError(
            f"{label}: {len(other)} of {len(pairs)} records came out otherwise when decoded again, "
            f"the first {one.task_label} sample {one.index} with {one.decoder_label}; this model "
            "gives the same everywhere, so they were not decoded as claimed"
        )
    _refuse_favour(label, "marks", [(_mark(one), _mark(two)) for one, two in pairs])
    _refuse_favour(label, "calls", [(-_calls(one), -_calls(two)) for one, two in pairs])
    same = sum(one.output_ids == two.output_ids for one, two in pairs)
    return f"{label}: {len(pairs)} records were decoded again; {same} gave the very same tokens"


def _content(record: Record) -> Record:
    # What a clock says is no difference, nor which version wrote it down.
    return record.model_copy(update={"seconds": 0.0, "library_version": ""})


def _mark(record: Record) -> float:
    return 0.0 if record.marks is None else record.marks.lenient


def _calls(record: Record) -> float:
    return 0.0 if record.counts is None else float(record.counts.nfe)


def _refuse_favour(label: str, what: str, pairs: Sequence[tuple[float, float]]) -> None:
    """Refuse a claim that is better than what was found more often than chance makes it.

    A sign test: of records that differ, as many should be better as worse.
    """
    better = sum(claimed > found for claimed, found in pairs)
    worse = sum(claimed < found for claimed, found in pairs)
    count = better + worse
    tail = sum(math.comb(count, wins) for wins in range(better, count + 1)) / 2**count
    if count and tail < _LEVEL:
        raise SubmissionError(
            f"{label}: of {len(pairs)} records that were decoded again, {better} claim better "
            f"{what} than were found and {worse} worse; by chance that is as one-sided once in "
            f"{1 / tail:,.0f} times"
        )
