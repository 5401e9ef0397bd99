"""Decode records again and test whether the named model and strategies gave them.

A model whose predictions are the same to the last bit everywhere must give the same records.
The last bits of a network depend on machine and batch, and where two choices are all but equal
they decide.  So a record of a network may differ in its tokens and calls, if all of this holds
(an order of writing that leads to the same tokens in the same number of calls is no difference):

1. **Few differ.**  Of all records, of each setting, and of each setting on each task, surely no
   more than rounding brings about in the precision of the network, whether they are better or
   worse than what is found here.
2. **Rounding explains them.**  Decoded once more with logits that are moved by no more than
   rounding moves them, all in favour of what is claimed, the very same tokens and calls come
   out, but for one record in a hundred.  That is asked of strategies that choose by the logits
   of the canvas alone; those that write again, look ahead or see more of a network than its
   logits answer to a small move in ways that cannot be foreseen.
3. **No favour.**  Of the records that differ, as many are better as worse, in marks and in calls:
   a one-sided sign test for each setting on each task, for each setting, and for all settings
   together.  Settings that were told the right answers are never pooled with others, so that
   spoiling those pays for nothing.
4. **No gain.**  Nor do the same groups gain more by the better than they lose by the worse: else
   many small losses would pay for a few great gains.  Which of two decodes is the claim is
   chance, so every difference has either sign with equal chance, and Hoeffding's inequality
   bounds the chance of their sum (Journal of the American Statistical Association 58, 1963).

Each kind of test refuses an honest entry with a chance of at most 2.5 %, all its parts together.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import torch
from scipy.stats import binom

from parallelbench.decode.lanes import Job, Outcome
from parallelbench.decode.loop import decode
from parallelbench.decoder import DECODERS, Chooser, Decoder
from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry.entry import Redecoded
from parallelbench.leaderboards.verify.model_facts import ModelFacts
from parallelbench.model import ComputeCost, Model, Prediction, Row
from parallelbench.prompt import Prompt, build_prompt
from parallelbench.record import Record
from parallelbench.run.recording import DecodeId, RecordKey, draw_sample, job_key, record_of
from parallelbench.run.runfile import RunFile
from parallelbench.setting import Setting, build
from parallelbench.task import TASKS

#: Records of a built-in network that every verification decodes again.
_RECORDS_OF_BUILT_IN: Final = 200
#: Chance that an honest entry is refused by one kind of test.
_FALSE_REFUSALS: Final = 0.025
#: Share of records that rounding need not explain: a strategy with a memory of its own may answer
#: to a small move in ways that cannot be foreseen.
_MOST_UNEXPLAINED: Final = 0.01
#: Greatest number of records decoded once more to see whether rounding explains them.
_MOST_EXPLAINED: Final = 100
_BATCH: Final = 512
#: Smallest chance that a message states.
_RAREST: Final = 1e-12


class _Precision(NamedTuple):
    """Effects of rounding in one precision.

    Attributes:
        move: Greatest change of a logit, as a share of the greatest one at that position.
        differing: Greatest share of records whose tokens or calls change.
    """

    move: float
    differing: float


#: By the type of the weights.  Between batches of 1 and of 64, logits of `mini` move by up to
#: 2.6e-6, 4e-3 and 3e-2.
_PRECISIONS: Final[Mapping[str, _Precision]] = {
    "float32": _Precision(move=2e-5, differing=0.1),
    "float16": _Precision(move=1e-2, differing=0.25),
    "bfloat16": _Precision(move=5e-2, differing=0.6),
}


def built_in_again(
    runfile: RunFile, models: Mapping[str, ModelFacts], records: Sequence[Record]
) -> dict[str, Redecoded]:
    """Decode records of the models of this package again.

    All records of the ideal model are decoded again, and 200 random ones of a network.

    Args:
        runfile: The run file.
        models: Facts about the models of the entry, by label.
        records: Records of the entry, each of which follows from its own trace.

    Returns:
        Counts of the records decoded again, by the label of their model.

    Raises:
        SubmissionError: The models of this package do not give these records.
    """
    redecoded = {}
    for setting in runfile.models:
        model = models[setting.label].model
        if model is None:
            continue
        own = [record for record in records if record.model_label == setting.label]
        chosen: Sequence[Record] = own
        if not is_exact(setting) and len(own) > _RECORDS_OF_BUILT_IN:
            chosen = random.SystemRandom().sample(own, _RECORDS_OF_BUILT_IN)
        same = decoded_again(runfile, setting, model, chosen)
        redecoded[setting.label] = Redecoded(records=len(chosen), of=len(own), same=same)
    return redecoded


def is_exact(setting: Setting) -> bool:
    """Return True if a model's predictions are the same to the last bit on every machine."""
    return setting.name == "ideal"


def remark_of(label: str, redecoded: Redecoded) -> str:
    """Return the sentence on the number of records of a model that were decoded again."""
    return (
        f"{label!r}: {redecoded.records:,} of {redecoded.of:,} records were decoded again; "
        f"{redecoded.same:,} came out the same"
    )


def decoded_again(
    runfile: RunFile, setting: Setting, model: Model, claimed: Sequence[Record]
) -> int:
    """Decode records again; return the number with the same tokens in the same number of calls.

    Args:
        runfile: The run file.
        setting: The model's setting.
        model: The model.
        claimed: Records of the model, each of which follows from its own trace.

    Raises:
        SubmissionError: They are not what this model and their strategies give.
    """
    found = _outcomes(runfile, setting, model, claimed)
    pairs = [_Redecode(record, outcome) for record, outcome in zip(claimed, found, strict=True)]
    for pair in pairs:
        if pair.outcome.error is not None:
            raise SubmissionError(
                f"{_called(pair.claimed)} could not be decoded again: {pair.outcome.error:.200}"
            )
    if is_exact(setting):
        _refuse_any(setting.label, pairs)
    else:
        _refuse_other_reading(setting.label, pairs)
    other = [pair for pair in pairs if pair.differs]
    if other:
        _refuse_many(setting.label, model, pairs)
        _refuse_unexplained(setting.label, model, pairs)
        found_again = {
            pair.claimed.key: record_of(pair.outcome, runfile, model.digest, model.weights_digest)
            for pair in other
        }
        _refuse_favour(setting.label, pairs, found_again)
    return len(pairs) - len(other)


class _Redecode(NamedTuple):
    """A claimed record and the outcome of decoding it again."""

    claimed: Record
    outcome: Outcome

    @property
    def differs(self) -> bool:
        """True if tokens, number of calls or status differ, from which figures follow."""
        claimed, found = self.claimed, self.outcome
        decoding = claimed.require_decoding()
        return (decoding.output_ids, decoding.counts.nfe, claimed.status) != (
            found.output_ids,
            found.trace.nfe,
            found.status,
        )

    @property
    def differs_in_a_step(self) -> bool:
        """True if anything differs except the time."""
        decoding, found = self.claimed.require_decoding(), self.outcome
        return (
            self.differs
            or (decoding.trace, decoding.note) != (found.trace, found.note)
            or decoding.counts.off_law_calls != found.off_law_calls
        )

    @property
    def decoder(self) -> Decoder:
        """The strategy."""
        return self.outcome.job.decoder


def _outcomes(
    runfile: RunFile, setting: Setting, model: Model, claimed: Sequence[Record]
) -> list[Outcome]:
    """Decode the records in ``claimed`` again and return the outcomes in their order."""
    found: dict[int, Outcome] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(model.threads or before)
    try:
        jobs = _jobs(runfile, setting, model, claimed)
        for outcome in decode(jobs, model, batch_size=_BATCH):
            place, decode_id = outcome.job.tag
            found[place] = replace(outcome, job=replace(outcome.job, tag=decode_id))
    finally:
        torch.set_num_threads(before)
    return [found[place] for place in range(len(claimed))]


def _jobs(
    runfile: RunFile, setting: Setting, model: Model, claimed: Sequence[Record]
) -> Iterator[Job]:
    """Yield a job for each of ``claimed``, grouped by sample, tagged with its place."""
    tasks = {each.label: (each, build(each, TASKS)) for each in runfile.tasks}
    decoders = {each.label: (each, build(each, DECODERS)) for each in runfile.decoders}
    by_sample: dict[tuple[str, int], list[int]] = defaultdict(list)
    for place, record in enumerate(claimed):
        by_sample[record.task_label, record.index].append(place)
    for (label, index), places in by_sample.items():
        task_setting, task = tasks[label]
        prompt = build_prompt(task, draw_sample(task, runfile.seed, index), model.codec)
        for place in places:
            decoder_setting, decoder = decoders[claimed[place].decoder_label]
            decode_id = DecodeId(
                setting, task_setting, decoder_setting, index, claimed[place].repeat, {}
            )
            key = job_key(runfile, decode_id)
            yield Job(prompt, decoder, key=key, tag=(place, decode_id))


# Tests of the records that differ.


def _refuse_other_reading(label: str, pairs: Sequence[_Redecode]) -> None:
    """Refuse records whose tokenizer or chat template differs from that of the opened model.

    The entry's may be the submitter's own.
    """
    for claimed, outcome in pairs:
        prompt = outcome.job.prompt
        for what, same in (
            ("prompt", claimed.sample.prompt_digest == prompt.digest),
            ("text", claimed.text == prompt.read(claimed.require_decoding().output_ids)),
        ):
            if not same:
                raise SubmissionError(
                    f"{label}: the {what} of {_called(claimed)} is another with the tokenizer and "
                    "chat template of the model that is opened here, so the entry's are not its own"
                )


def _refuse_any(label: str, pairs: Sequence[_Redecode]) -> None:
    """Refuse any difference for a model whose predictions are the same on every machine."""
    other = [pair for pair in pairs if pair.differs_in_a_step]
    if other:
        raise SubmissionError(
            f"{label}: {len(other)} of {len(pairs)} records came out otherwise when decoded again, "
            f"the first {_called(other[0].claimed)}; this model gives the same everywhere, so they "
            "were not decoded as claimed"
        )


def _refuse_many(label: str, model: Model, pairs: Sequence[_Redecode]) -> None:
    """Refuse records if surely more of them differ than rounding accounts for."""
    most = _precision_of(model).differing
    for groups in _groupings(pairs, with_oracles=True):
        for which, group in groups.items():
            differing = sum(pair.differs for pair in group)
            chance = _chance_of_at_least(differing, len(group), most)
            if chance < _FALSE_REFUSALS / (3 * len(groups)):
                raise SubmissionError(
                    f"{label}: {differing} of {len(group)} records{which} came out otherwise when "
                    f"decoded again, and rounding accounts for {100 * most:.0f} % at most; they "
                    "were not decoded as claimed, or in another precision"
                )


def _refuse_unexplained(label: str, model: Model, pairs: Sequence[_Redecode]) -> None:
    """Refuse records if rounding fails to explain more than a few of the differences."""
    differing = [pair for pair in pairs if pair.differs and _is_position_wise(pair.decoder)]
    if len(differing) > _MOST_EXPLAINED:
        differing = random.SystemRandom().sample(differing, _MOST_EXPLAINED)
    unexplained = [pair for pair in differing if not _is_explained(pair, model)]
    if len(unexplained) > max(1, _MOST_UNEXPLAINED * len(pairs)):
        raise SubmissionError(
            f"{label}: of {len(pairs)} records that were decoded again, {len(unexplained)} came "
            "out otherwise and follow from no rounding of its predictions, the first "
            f"{_called(unexplained[0].claimed)}; they were not decoded as claimed"
        )


def _is_position_wise(decoder: Decoder) -> bool:
    """Return True if a strategy uses only the logits of the canvas itself."""
    return (
        isinstance(decoder, Chooser)
        and not decoder.remasks
        and not decoder.extras
        and decoder.rows == "1"
    )


def _refuse_favour(
    label: str, pairs: Sequence[_Redecode], found: Mapping[RecordKey, Record]
) -> None:
    """Refuse claims that beat the decodes here more often, or by more, than chance allows."""
    for what, of in (("marks", _mark), ("calls", _calls)):
        for groups in _groupings(pairs, with_oracles=False):
            for which, group in groups.items():
                gains = [
                    of(pair.claimed) - of(found[pair.claimed.key]) for pair in group if pair.differs
                ]
                chance = _chance_message(gains, what, _FALSE_REFUSALS / (6 * len(groups)))
                if chance is not None:
                    raise SubmissionError(
                        f"{label}: of {len(group)} records{which} that were decoded again, "
                        f"{chance}; they were not decoded as claimed"
                    )


def _chance_message(gains: Sequence[float], what: str, level: float) -> str | None:
    """Return a clause on claims that are better more than chance allows; None if they are not.

    Args:
        gains: Gain of each claim over the decode here.
        what: Name of the compared quantity.
        level: Chance below which the gains are refused.
    """
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    chance = _chance_of_at_least(better, better + worse, 0.5)
    if chance < level:
        return (
            f"{better} claim better {what} than were found and {worse} worse; by chance that is as "
            f"one-sided once in {1 / max(chance, _RAREST):,.0f} times"
        )
    total, squares = sum(gains), sum(gain * gain for gain in gains)
    if total > 0 and (bound := math.exp(-total * total / (2 * squares))) < level:
        return (
            f"{better} claim better {what} than were found and {worse} worse, and together they "
            f"gain {total:,.1f}; by chance that is once in {1 / max(bound, _RAREST):,.0f} times"
        )
    return None


def _chance_of_at_least(successes: int, trials: int, probability: float) -> float:
    return float(binom.sf(successes - 1, trials, probability))


def _precision_of(model: Model) -> _Precision:
    # A model of another package that states no type computes in torch's default one.
    return _PRECISIONS[str(model.provenance().get("dtype", "float32"))]


def _groupings(
    pairs: Sequence[_Redecode], *, with_oracles: bool
) -> Iterator[dict[str, list[_Redecode]]]:
    """Yield groupings of the records: by setting and task, by setting, and all in one.

    Args:
        pairs: Records of one model.
        with_oracles: True to include oracles in the last grouping.

    Yields:
        Groups by their name, which follows a number of records in a sentence.
    """
    cells: dict[str, list[_Redecode]] = defaultdict(list)
    settings: dict[str, list[_Redecode]] = defaultdict(list)
    for pair in pairs:
        record = pair.claimed
        cells[f" of {record.decoder_label} on {record.task_label}"].append(pair)
        settings[f" of {record.decoder_label}"].append(pair)
    yield cells
    yield settings
    pooled = [pair for pair in pairs if with_oracles or not pair.claimed.decoder.oracle]
    yield {"": pooled} if pooled else {}


def _mark(record: Record) -> float:
    return 0.0 if record.marks is None else record.marks.lenient


def _calls(record: Record) -> float:
    return -float(record.require_decoding().counts.nfe)


def _called(record: Record) -> str:
    return f"{record.task_label} sample {record.index} with {record.decoder_label}"


# Differences that rounding explains.


def _is_explained(pair: _Redecode, model: Model) -> bool:
    """Return True if predictions that differ only by rounding give the claimed decode."""
    job = pair.outcome.job
    rounded = _RoundedModel(model, job.prompt, pair.claimed)
    (outcome,) = decode([job], rounded, batch_size=1, share=False)
    return not _Redecode(pair.claimed, outcome).differs


class _RoundedModel(Model):
    """A model whose logits are changed, within their rounding, in favour of a record.

    On each canvas of the record, the tokens that it wrote next become slightly more likely, and
    the most likely tokens of other positions slightly less.

    Args:
        model: The model.
        prompt: Prompt of the record.
        claimed: The record.
    """

    def __init__(self, model: Model, prompt: Prompt, claimed: Record) -> None:
        self.codec, self.device, self.threads = model.codec, model.device, model.threads
        self.capabilities, self.digest = model.capabilities, model.digest
        self.blocks, self.stops, self.pads = model.blocks, model.stops, model.pads
        self.uses_window_snapshot, self.context_length = (
            model.uses_window_snapshot,
            model.context_length,
        )
        self._model = model
        self._share = _precision_of(model).move
        self._next = _writes(prompt, claimed)

    def predict(self, rows: Sequence[Row]) -> Prediction:
        """Return the predictions with changed logits."""
        prediction = self._model.predict(rows)
        logits, line = prediction.logits.float().clone(), 0
        for row in rows:
            wanted = row.wanted.nonzero().flatten().tolist()
            writes = self._next.get(tuple(row.canvas.tolist()))
            if writes is not None:
                own = slice(line, line + len(wanted))
                ids = None if prediction.token_ids is None else prediction.token_ids[own]
                self._lean(logits[own], ids, [writes.get(position) for position in wanted])
            line += len(wanted)
        return replace(prediction, logits=logits)

    def compute_cost(self, row: Row) -> ComputeCost:
        """Return the compute cost of a row for the wrapped model."""
        return self._model.compute_cost(row)

    def provenance(self) -> dict[str, object]:
        """Return the provenance of the wrapped model."""
        return self._model.provenance()

    def _lean(
        self, logits: torch.Tensor, ids: torch.Tensor | None, tokens: Sequence[int | None]
    ) -> None:
        for place, token in enumerate(tokens):
            values = logits[place]
            finite = values.isfinite()
            if not finite.any():
                continue
            step = self._share * float(values[finite].abs().max())
            if token is None:
                values[values.argmax()] -= step
                continue
            column = token if ids is None else (ids[place] == token).nonzero().flatten()
            values[column] += step


def _writes(prompt: Prompt, claimed: Record) -> dict[tuple[int, ...], dict[int, int]]:
    """Return the next writes of a record on each canvas that it goes through."""
    trace, canvas = claimed.require_decoding().trace, prompt.canvas.tolist()
    writes: dict[tuple[int, ...], dict[int, int]] = {}
    for positions, ids in zip(trace.positions, trace.ids, strict=True):
        writes.setdefault(tuple(canvas), dict(zip(positions, ids, strict=True)))
        for position, token in zip(positions, ids, strict=True):
            canvas[position] = token
    return writes
