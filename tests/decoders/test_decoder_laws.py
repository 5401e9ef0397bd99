"""Laws of every decoder, or of one decoder under two settings, on any canvas."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.nn.functional import pad

from parallelbench.decoder import Progress, Statistics, Step
from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.confidence_factor import ConfidenceFactor
from parallelbench.decoders.confidence_threshold import ConfidenceThreshold
from parallelbench.decoders.entropy import Entropy
from parallelbench.decoders.entropy_bound import EntropyBound
from parallelbench.decoders.entropy_threshold import EntropyThreshold
from parallelbench.decoders.hierarchy import Hierarchy
from parallelbench.decoders.left_to_right import LeftToRight
from parallelbench.decoders.local_leap import LocalLeap
from parallelbench.decoders.margin import Margin
from parallelbench.decoders.margin_threshold import MarginThreshold
from parallelbench.decoders.one_by_one import OneByOne
from parallelbench.decoders.pivot import Pivot
from parallelbench.decoders.random import Random

MASK = 7
law = settings(max_examples=75, deadline=None)

k = st.integers(1, 5)
probability = st.floats(0.0, 1.0, exclude_min=True)
nats = st.floats(0.0, 20.0, exclude_min=True)
factor = st.floats(0.01, 20.0)
reach = st.integers(0, 14)
fixed_counts = st.one_of(
    [st.builds(kind, k=k) for kind in (Confidence, Margin, Entropy, Random, LeftToRight)]
)
strategies = st.one_of(
    fixed_counts,
    st.builds(OneByOne),
    st.builds(ConfidenceThreshold, threshold=probability, comparison=st.sampled_from(["ge", "gt"])),
    st.builds(MarginThreshold, threshold=probability, comparison=st.sampled_from(["ge", "gt"])),
    st.builds(EntropyThreshold, threshold=nats, comparison=st.sampled_from(["le", "lt"])),
    st.builds(ConfidenceFactor, factor=factor, rule=st.sampled_from(["paper", "published"])),
    st.builds(EntropyBound, bound=nats),
    st.builds(Pivot, certain=nats),
    st.builds(LocalLeap, threshold=st.just(0.9), relaxed=st.floats(0.1, 0.9), radius=reach),
    st.builds(Hierarchy, threshold=st.floats(0.5, 1), low=st.floats(0, 0.5)),
)


@st.composite
def batches(draw):
    """Scores in [0, 1] and open positions, of which every row has one at least."""
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 12)))
    scores = draw(hnp.arrays(np.float32, shape, elements=st.floats(0, 1, width=32)))
    open_ = draw(hnp.arrays(bool, shape))
    for row in open_:
        row[draw(st.integers(0, shape[1] - 1))] = True
    return torch.from_numpy(scores), torch.from_numpy(open_)


def statistics_of(decoder, scores, open_):
    """Only what the decoder needs, made of one score in [0, 1]: high is sure."""
    given = {
        "confidence": scores.masked_fill(~open_, -torch.inf),
        "margin": scores.masked_fill(~open_, -torch.inf),
        "entropy": (12 * (1 - scores)).masked_fill(~open_, torch.inf),
        "uniform": scores,
    }
    needed = {name: given[name] for name in decoder.needs - {"token"}}
    return Statistics(token=torch.full_like(open_, MASK, dtype=torch.long), **needed)


def choose(decoder, scores, open_):
    zeros = torch.zeros(len(open_), dtype=torch.long, device=open_.device)
    progress = Progress(step=zeros, initial=open_.sum(dim=1))
    return decoder.choose(Step(statistics_of(decoder, scores, open_), open_, progress))


@law
@given(strategies, batches())
def test_a_choice_is_a_non_empty_subset_of_the_open_positions(decoder, batch):
    scores, open_ = batch
    chosen = choose(decoder, scores, open_)
    assert chosen.dtype == torch.bool
    assert chosen.any(dim=1).all()
    assert not (chosen & ~open_).any()


def decode(decoder, open_, seed):
    """Play a decode to its end, with fresh scores in every step; return the steps per row."""
    generator = torch.Generator().manual_seed(seed)
    open_ = open_.clone()
    writes = torch.zeros(open_.shape, dtype=torch.long)
    steps = torch.zeros(len(open_), dtype=torch.long)
    while open_.any():
        live = open_.any(dim=1)
        chosen = choose(decoder, torch.rand(open_.shape, generator=generator)[live], open_[live])
        writes[live] += chosen
        steps[live] += 1
        open_[live] &= ~chosen
        assert steps.max() <= open_.shape[1]
    return steps, writes


@law
@given(strategies, batches(), st.integers(0, 2**32))
def test_a_decode_writes_each_open_position_once_and_ends(decoder, batch, seed):
    _, open_ = batch
    steps, writes = decode(decoder, open_, seed)
    assert torch.equal(writes, open_.long())
    assert (steps <= open_.sum(dim=1)).all()


@law
@given(fixed_counts, batches(), st.integers(0, 2**32))
def test_a_fixed_count_ends_in_n_over_k_steps_rounded_up(decoder, batch, seed):
    _, open_ = batch
    steps, _ = decode(decoder, open_, seed)
    assert steps.tolist() == [math.ceil(n / decoder.k) for n in open_.sum(dim=1).tolist()]


@law
@given(strategies, batches())
def test_a_row_is_decided_alike_alone_and_in_a_batch(decoder, batch):
    scores, open_ = batch
    alone = [choose(decoder, s[None], o[None]) for s, o in zip(scores, open_, strict=True)]
    assert torch.equal(choose(decoder, scores, open_), torch.cat(alone))


@law
@given(strategies, batches(), st.randoms())
def test_permuting_the_rows_permutes_the_choice(decoder, batch, rng):
    scores, open_ = batch
    order = rng.sample(range(len(open_)), len(open_))
    permuted = choose(decoder, scores[order], open_[order])
    assert torch.equal(permuted, choose(decoder, scores, open_)[order])


@law
@given(strategies, batches(), st.integers(1, 5))
def test_closed_positions_at_the_end_change_nothing(decoder, batch, more):
    scores, open_ = batch
    padded = choose(decoder, pad(scores, (0, more), value=0.5), pad(open_, (0, more)))
    assert torch.equal(padded, pad(choose(decoder, scores, open_), (0, more)))


@law
@example(  # of the two open ones the second fails; a sure one behind them must not carry it
    ConfidenceFactor(),
    (torch.tensor([[0.9, 0.1, 0.5]]), torch.tensor([[True, True, False]])),
    1.0,
)
@given(strategies, batches(), st.sampled_from([0.0, 0.5, 1.0]))
def test_what_is_said_of_closed_positions_is_not_read(decoder, batch, other):
    scores, open_ = batch
    zeros = torch.zeros(len(open_), dtype=torch.long)
    said = statistics_of(decoder, scores.where(open_, other), torch.ones_like(open_))
    unread = decoder.choose(Step(said, open_, Progress(step=zeros, initial=zeros)))
    assert torch.equal(unread, choose(decoder, scores, open_))


def ordered(kind, field, values, **fields):
    """Two settings of one strategy, that with the lower value first."""
    return st.tuples(values, values).map(
        lambda pair: [kind(**{field: value}, **fields) for value in sorted(pair)]
    )


def reverse(pairs):
    return pairs.map(lambda pair: pair[::-1])


#: Pairs of settings, the one that commits more second.
stricter_and_looser = st.one_of(
    ordered(Confidence, "k", k),
    ordered(LeftToRight, "k", k),
    ordered(EntropyBound, "bound", nats),
    ordered(EntropyThreshold, "threshold", nats),
    ordered(ConfidenceFactor, "factor", factor, rule="paper"),
    reverse(ordered(ConfidenceThreshold, "threshold", probability)),
    reverse(ordered(MarginThreshold, "threshold", probability, comparison="gt")),
    reverse(ordered(ConfidenceThreshold, "comparison", st.sampled_from(["ge", "gt"]))),
    reverse(ordered(EntropyThreshold, "comparison", st.sampled_from(["le", "lt"]))),
    ordered(LocalLeap, "radius", reach),
    reverse(ordered(LocalLeap, "relaxed", st.floats(0.1, 0.9))),
    reverse(ordered(Hierarchy, "low", st.floats(0, 0.9))),
    ordered(ConfidenceFactor, "rule", st.sampled_from(["paper", "published"])),
)


@law
@given(stricter_and_looser, batches())
def test_the_looser_of_two_settings_commits_a_superset(pair, batch):
    strict, loose = (choose(decoder, *batch) for decoder in pair)
    assert not (strict & ~loose).any()


@pytest.mark.parametrize(
    "decoder",
    [
        Confidence(k=1),
        ConfidenceThreshold(threshold=1.0, comparison="gt"),
        ConfidenceFactor(factor=1e-12),
    ],
)
@given(batches())
@settings(max_examples=50, deadline=None)
def test_the_strictest_setting_is_one_by_one(decoder, batch):
    scores, open_ = batch
    scores = scores.clamp(max=0.5)  # a certain position passes a factor, however small
    assert torch.equal(choose(decoder, scores, open_), choose(OneByOne(), scores, open_))


def test_random_commits_every_position_equally_often():
    scores = torch.rand((6000, 4), generator=torch.Generator().manual_seed(0))
    open_ = torch.tensor([True, False, True, True]).expand(6000, 4)
    share = choose(Random(k=1), scores, open_).double().mean(dim=0)
    # Five standard deviations: 5 sqrt(1/3 2/3 / 6000) = 0.03.
    assert share.tolist() == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3], abs=0.03)


@law
@given(strategies)
def test_a_choice_is_made_without_reading_anything_back_from_the_device(decoder):
    # A meta tensor has a shape and no content: reading any of it raises.
    scores = torch.empty((3, 5), device="meta")
    assert choose(decoder, scores, scores.bool()).shape == (3, 5)
