"""Decode records of an entry again with the named weights."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.entry import Redecoded, level_of
from parallelbench.leaderboards.entry.submission import BUILT_IN
from parallelbench.leaderboards.verify.redecode import decoded_again, remark_of
from parallelbench.leaderboards.verify.verification import Verified
from parallelbench.model import MODELS, Model
from parallelbench.ranges import LEAST_SPOT_CHECK
from parallelbench.record import Record
from parallelbench.registry import load_plugins
from parallelbench.setting import Setting, build, parse_settings


def regenerated(
    found: Verified,
    count: int | None,
    *,
    weights: str | None = None,
    rng: random.Random | None = None,
) -> Verified:
    """Decode all records of an entry, or some of each of its models, again and return the result.

    A model whose records were all decoded again by the verification is skipped.

    Args:
        found: The entry as verified without its models.
        count: Number of records of each model, chosen at random, at least
            :data:`~parallelbench.ranges.LEAST_SPOT_CHECK`; None for all.
        weights: Setting of the model on this machine; None takes that of the entry.
        rng: Chooses the records; None takes random numbers that no submitter can know.

    Raises:
        ValueError: ``count`` is too small to distinguish a difference from chance.
        SubmissionError: The weights are not those that were named, or the records differ.
        RequestError: A model cannot be opened here.
    """
    if count is not None and count < LEAST_SPOT_CHECK:
        raise ValueError(f"count must be {LEAST_SPOT_CHECK} or more, got {count}")
    by_model: dict[str, list[Record]] = defaultdict(list)
    for record in found.entry.records:
        by_model[record.model_label].append(record)
    redecoded, remarks = dict(found.entry.redecoded), list(found.entry.remarks)
    for label, records in by_model.items():
        before = redecoded.get(label)
        if before is not None and before.records == before.of:
            continue
        chosen: Sequence[Record] = records
        if count is not None and count < len(records):
            chosen = (rng or random.SystemRandom()).sample(records, count)
        setting = next(each for each in found.runfile.models if each.label == label)
        model = _opened(setting, chosen[0], weights)
        same = decoded_again(found.runfile, setting, model, chosen)
        if before is not None:
            remarks.remove(remark_of(label, before))
        redecoded[label] = Redecoded(records=len(chosen), of=len(records), same=same)
        remarks.append(remark_of(label, redecoded[label]))
    entry = replace(
        found.entry,
        level=level_of(by_model, redecoded),
        remarks=tuple(remarks),
        redecoded=redecoded,
    )
    return replace(found, entry=entry)


def _opened(setting: Setting, record: Record, weights: str | None) -> Model:
    load_plugins()
    if weights is not None and setting.name not in BUILT_IN:
        (setting,) = parse_settings(weights, MODELS)
    model = build(setting, MODELS).open()
    if not isinstance(model, Model):
        raise SubmissionError(
            f"{record.model_label} is a server, whose replies nobody can make again; its level "
            "stays self-reported"
        )
    for what, claimed, here in (
        ("digest", record.model.digest, model.digest),
        ("weights_digest", record.model.weights_digest, model.weights_digest),
    ):
        if claimed != here:
            raise SubmissionError(
                f"{record.model_label} claims {what} {claimed!s:.12}, and the weights here have "
                f"{here!s:.12}: they are not those that decoded this entry"
            )
    return model
