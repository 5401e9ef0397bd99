"""The choice of the decodes to replay: by default the clearest failure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from parallelbench.analysis.replay.gallery import Gallery, gallery_of
from parallelbench.errors import RecordsError, RequestError, UnknownNameError
from parallelbench.record import Record, latest_records
from parallelbench.registry import unknown
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import RunFile

#: Most decodes shown side by side.
MOST = 2


@dataclass(frozen=True)
class ReplayRequest:
    """The decodes that a user asks to see; fields that are left open are chosen.

    Attributes:
        sample: ``TASK/NUMBER``, or a number where the run has one task.
        decoders: Labels of at most :data:`MOST` settings, or names of which there is one setting.
        model: A label.
    """

    sample: str | None = None
    decoders: tuple[str, ...] = ()
    model: str | None = None


def choose(run: RunDirectory, request: ReplayRequest) -> list[Record]:
    """Return the decodes that ``request`` asks for: of one sample by one model, one or two.

    Where no sample is named, it is the clearest failure, as a report has it first: of a network
    rather than of the ideal model.  Where no decoder is named, a failure has beside it, on the
    left, a setting that got the same sample right, if there is one: of the same strategy rather
    than of another.

    Raises:
        UnknownNameError: The run has no such task, model or decoder.
        RecordsError: What is asked for is not recorded, or has no steps.
        RequestError: The sample's number, or how many decoders are asked for.
    """
    request = _looked_up(run.runfile, request)
    place = None if request.sample is None else _place(run, request.sample)
    records = latest_records(each for each in run.records() if _asked(each, request, place))
    if not records:
        raise RecordsError(
            f"{run.path} holds no decode {_described(request)} yet; "
            "parallelbench run, with the same --out, goes on with it"
        )
    steered = [record for record in records if record.steered]
    if not steered:
        names = ", ".join(sorted({record.model_label for record in records}))
        raise RecordsError(
            f"{run.path} has no steps of {names}: a server decoded by itself and showed replies "
            "alone, so there is nothing to replay"
        )
    lead = _lead(run.runfile, steered)
    same = [r for r in steered if r.key[:3] == lead.key[:3] and r.repeat == lead.repeat]
    if request.decoders:
        return _named(same, request.decoders, lead)
    return _with_companion(run.runfile, same, lead)


def _looked_up(runfile: RunFile, request: ReplayRequest) -> ReplayRequest:
    """Return ``request`` with labels of the run."""
    places = runfile.places
    if request.model is not None and request.model not in places["model"]:
        raise UnknownNameError(f"in this run {unknown('model', request.model, places['model'])}")
    labels = tuple(_decoder(runfile, asked) for asked in request.decoders)
    if len(set(labels)) != len(labels) or len(labels) > MOST:
        raise RequestError(
            f"--decoder {','.join(labels)}: one setting or two different ones are shown"
        )
    return replace(request, decoders=labels)


def _decoder(runfile: RunFile, asked: str) -> str:
    labels = runfile.places["decoder"]
    if asked in labels:
        return asked
    named = [setting.label for setting in runfile.decoders if setting.name == asked]
    if len(named) != 1:
        raise UnknownNameError(f"in this run {unknown('decoder', asked, labels)}")
    return named[0]


def _place(run: RunDirectory, asked: str) -> tuple[str, int]:
    """Return the task's label and the number that ``TASK/NUMBER`` or a number stands for."""
    name, _, digits = asked.rpartition("/")
    labels = [setting.label for setting in run.runfile.tasks]
    if not digits.isdecimal():
        known = ", ".join(f"{label}/{run.samples[0]}" for label in labels[:3])
        raise RequestError(
            f"--sample {asked!r} does not end in a number; samples of this run are {known} "
            f"and others up to {run.samples[-1]}"
        )
    if not name and len(labels) > 1:
        raise RequestError(
            f"--sample {asked}: this run has {len(labels)} tasks, so say which, such as "
            f"--sample {labels[0]}/{asked}"
        )
    named = [setting.label for setting in run.runfile.tasks if name in (setting.label, "")]
    named = named or [each.label for each in run.runfile.tasks if each.name == name]
    if len(named) != 1:
        raise UnknownNameError(f"in this run {unknown('task', name, labels)}")
    if int(digits) not in run.samples:
        raise RequestError(
            f"--sample {asked}: the samples here are {run.samples[0]} to {run.samples[-1]}"
        )
    return named[0], int(digits)


def _asked(record: Record, request: ReplayRequest, place: tuple[str, int] | None) -> bool:
    return (
        (place is None or place == (record.task_label, record.index))
        and request.model in (None, record.model_label)
        and (not request.decoders or record.decoder_label in request.decoders)
    )


def _described(request: ReplayRequest) -> str:
    parts = [
        f"of sample {request.sample}" if request.sample is not None else "",
        f"by {' or '.join(request.decoders)}" if request.decoders else "",
        f"with {request.model}" if request.model is not None else "",
    ]
    return " ".join(filter(None, parts)) or "at all"


def _lead(runfile: RunFile, records: Sequence[Record]) -> Record:
    gallery = gallery_of(runfile, records)
    if not gallery.chunks:
        return records[0]  # nothing is marked: decodes that ended in an error
    kind = gallery.lead
    chunk, decode = (kind.place if kind is not None and kind.place else "0/0").split("/")
    return _found(gallery, int(chunk), int(decode), records)


def _found(gallery: Gallery, chunk: int, decode: int, records: Sequence[Record]) -> Record:
    task, index = gallery.index["samples"][chunk]
    shown = json.loads(gallery.chunks[chunk])["decodes"][decode]
    key = (
        gallery.index["models"][shown["model"]],
        gallery.index["tasks"][task],
        index,
        gallery.index["decoders"][shown["decoder"]],
        shown["repeat"],
    )
    return next(record for record in records if record.key == key)


def _named(same: Sequence[Record], labels: Sequence[str], lead: Record) -> list[Record]:
    found = {record.decoder_label: record for record in same}
    for label in labels:
        if label not in found:
            raise RecordsError(
                f"sample {lead.index} of {lead.task_label} by {label} with {lead.model_label} is "
                "not recorded; parallelbench run, with the same --out, goes on with it"
            )
    return [found[label] for label in labels]


def _with_companion(runfile: RunFile, same: Sequence[Record], lead: Record) -> list[Record]:
    if not _wrong(lead):
        return [lead]
    right = [r for r in same if r.marks is not None and not _wrong(r) and not r.decoder.oracle]
    companion = min(
        right,
        key=lambda r: (
            r.decoder.name != lead.decoder.name,
            runfile.places["decoder"][r.decoder_label],
        ),
        default=None,
    )
    return [lead] if companion is None else [companion, lead]


def _wrong(record: Record) -> bool:
    return record.marks is not None and record.marks.lenient < 1
