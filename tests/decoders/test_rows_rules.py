"""Strategies of several rows or calls against the same rules in plain Python."""

import functools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench import evaluate
from parallelbench.decode.lanes import _generator
from parallelbench.decode.statistics import forbid_unwritable, statistics_of
from parallelbench.decoders.free_dave import FreeDave
from parallelbench.decoders.info_gain import InfoGain
from parallelbench.decoders.lopa import Lopa
from parallelbench.decoders.one_by_one import OneByOne
from parallelbench.decoders.punt import Punt
from parallelbench.model import Row
from support.landscapes import CODEC, assert_agrees, batches, outcomes, prompt_of
from support.references import rows as plain

#: Two canvases each: two hundred decodes of each strategy.
agreement = settings(max_examples=100, deadline=None)
blocks = st.sampled_from([None, None, 2, 3, 5])
probability = st.sampled_from([0.2, 0.4, 0.6, 0.8, 0.9])


def remembering(of):
    """The same function of a canvas, which asks once for each."""
    known = functools.cache(lambda canvas: of(list(canvas)))
    return lambda canvas: known(tuple(canvas))


def asking_once(rule):
    """The same rule, which asks once for each canvas: it comes back to some."""
    return lambda says, *canvas, **fields: rule(remembering(says), *canvas, **fields)


def doubt(landscape, _):
    """The entropies as a strategy is told them: a sum in another order is rounded otherwise."""

    def entropies(canvas):
        wanted = torch.ones(len(canvas), dtype=torch.bool)
        prediction = landscape.predict([Row(prompt_of(canvas), torch.tensor(canvas), wanted)])
        forbid_unwritable(prediction, CODEC)
        told = statistics_of(prediction, frozenset({"entropy"}), None, CODEC.size)
        return told.entropy.tolist()

    return remembering(entropies)


def uniform(_, key):
    """The numbers that the loop gives this decode, in order."""
    return _generator(key).random


@agreement
@given(st.builds(FreeDave, drafts=st.integers(1, 5), block_length=blocks), batches(count=2))
def test_free_dave_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(asking_once(plain.free_dave), decoder, batch)


@agreement
@given(
    st.builds(
        Lopa,
        threshold=probability,
        branches=st.integers(1, 4),
        score=st.sampled_from(["confidence", "entropy"]),
        lowest=st.sampled_from([0.1, 0.34, 0.5, 1.0]),
        block_length=blocks,
    ),
    batches(count=2),
)
def test_lopa_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(asking_once(plain.lopa), decoder, batch, doubt=doubt)


@agreement
@given(
    st.builds(Punt, threshold=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.6]), block_length=blocks),
    batches(count=2),
)
def test_punt_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(asking_once(plain.punt), decoder, batch)


@agreement
@given(
    st.builds(
        InfoGain,
        candidates=st.integers(2, 9),
        threshold=probability,
        position_temperature=st.sampled_from([0.02, 0.2, 5.0]),
        objective=st.sampled_from(["info_gain", "lookum"]),
        block_length=blocks,
    ),
    batches(count=2),
)
def test_info_gain_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(asking_once(plain.info_gain), decoder, batch, doubt=doubt, uniform=uniform)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), blocks, batches())
def test_free_dave_writes_what_one_by_one_writes_in_no_more_calls(drafts, block_length, batch):
    single = outcomes(OneByOne(block_length=block_length), *batch)
    drafted = outcomes(FreeDave(drafts=drafts, block_length=block_length), *batch)
    for one, other in zip(single, drafted, strict=True):
        assert other.output_ids == one.output_ids
        assert other.counts.nfe <= one.counts.nfe <= other.counts.rows
        written = [sorted(step) for step in other.trace.positions]
        order = [position for (position,) in one.trace.positions]
        # The same order, too: each step writes the next few of it.
        for step in written:
            assert step == sorted(order[: len(step)])
            order = order[len(step) :]


def test_free_dave_loses_nothing_on_exact_laws_and_saves_calls():
    tasks = "choices/roster,waiting_line/shuffle,puzzles/latin_square"
    done = evaluate(tasks=tasks, decoders="one_by_one,free_dave", samples=4).records
    told = [
        {
            (r.task.name, r.index): (r.decoding.output_ids, r.decoding.counts.nfe)
            for r in done
            if r.decoder.name == decoder
        }
        for decoder in ("one_by_one", "free_dave")
    ]
    assert [len(each) for each in told] == [12, 12]
    for key, (ids, calls) in told[0].items():
        assert told[1][key][0] == ids
        assert told[1][key][1] < calls


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 5), batches(count=1))
def test_the_rows_of_a_free_dave_call_are_no_more_than_its_drafts(drafts, batch):
    for outcome in outcomes(FreeDave(drafts=drafts), *batch):
        assert max(outcome.trace.rows) <= drafts
        assert all(
            len(step) <= rows
            for step, rows in zip(outcome.trace.positions, outcome.trace.rows, strict=True)
        )


@pytest.mark.parametrize("kind", [FreeDave, Lopa, Punt, InfoGain])
@settings(max_examples=8, deadline=None)
@given(batches())
def test_tokens_that_are_drawn_are_the_same_alone_and_in_a_batch(kind, batch):
    told = [
        [
            (outcome.output_ids, outcome.status, outcome.error, outcome.trace)
            for outcome in outcomes(kind(temperature=1.0, block_length=4), *batch, batch_size=size)
        ]
        for size in (1, 3)
    ]
    assert told[0] == told[1]
    assert all(status == "ok" for _, status, _, _ in told[0])
