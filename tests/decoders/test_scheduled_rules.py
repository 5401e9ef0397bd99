"""Strategies that are told the number of steps: by hand, then against plain Python."""

import itertools
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decode.lanes import _generator
from parallelbench.decoders.ass import ASS
from parallelbench.decoders.confidence import Confidence
from parallelbench.decoders.dream import Dream, perturbed
from parallelbench.decoders.eoser import EOSER
from parallelbench.decoders.llada import LLaDA
from parallelbench.decoders.prophet_whole_canvas import ProphetWholeCanvas
from support.plain import CODEC, Scripted, assert_same_decode, canvases, decoded, scripted, written

T, F = True, False
many = settings(max_examples=200, deadline=None)
block_lengths = st.one_of(st.none(), st.integers(1, 7))
steps = st.sampled_from([*range(1, 10), 33])
EVEN = [0.5] * 32


def sizes(decoder, length):
    return [len(step) for step in written(decoder, [0.5] * length)]


def best_first(seen, score):
    return sorted(seen.open, key=lambda i: (-score(i), i))


# --- llada -------------------------------------------------------------------------------


def test_what_the_steps_do_not_divide_goes_to_the_first_ones():
    sure = [0.5, 0.9, 0.6, 0.8, 0.7, 0.3, 0.4, 0.2]
    assert written(LLaDA(steps=3), sure) == [[1, 3, 4], [0, 2, 6], [5, 7]]


def test_steps_behind_a_full_block_are_calls_that_write_nothing():
    assert written(LLaDA(steps=5), [0.5, 0.7, 0.6]) == [[1], [2], [0], [], []]


def test_every_block_takes_its_steps():
    decoder = LLaDA(steps=2, block_length=3)
    assert written(decoder, [0.5, 0.7, 0.6, 0.1]) == [[1, 2], [0], [3], []]


def test_a_block_that_was_filled_from_the_start_takes_none():
    decoder = LLaDA(steps=2, block_length=2)
    assert written(decoder, [0.5] * 4, [F, F, T, T]) == [[2], [3]]


def test_no_block_takes_more_than_four_calls_per_open_position():
    assert written(LLaDA(steps=99), [0.5, 0.6]) == [[1], [0], *[[]] * 6]


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_where_the_steps_divide_the_positions_it_is_a_fixed_count(k):
    model = Scripted(3, levels=50)
    (fixed,) = decoded(Confidence(k=k), model, [[True] * 16])
    (scheduled,) = decoded(LLaDA(steps=16 // k), model, [[True] * 16])
    assert fixed.trace == scheduled.trace


def plain_llada(score, total):
    def rule(seen):
        scores = {
            "confidence": lambda i: seen.confidence[i],
            "random": lambda i: seen.uniform[i],
            "margin": lambda i: seen.margin[i],
            "entropy": lambda i: -seen.entropy[i],
        }[score]
        n = len(seen.initial)
        count = n // total + (1 if seen.step < n % total else 0)
        return best_first(seen, scores)[:count]

    return rule


@many
@given(
    scripted,
    canvases(),
    st.sampled_from(["confidence", "random", "margin", "entropy"]),
    steps,
    block_lengths,
)
def test_llada_agrees_with_plain_python(model, rows, score, total, length):
    decoder = LLaDA(score=score, steps=total, block_length=length)
    rule = plain_llada(score, total)
    assert_same_decode(decoder, rule, model, rows, least_calls=lambda n: min(total, 4 * n))


# --- dream -------------------------------------------------------------------------------


def ranked(**fields):
    return Dream(**{"algorithm": "maskgit_plus", "eps": 0.0} | fields)


def test_the_published_schedule_rounds_as_measured_on_the_authors_code():
    assert sizes(ranked(steps=32), 32) == [1, 1, 1, 1, 0, *[1] * 26, 2]
    assert sizes(ranked(steps=64), 64) == [1, 0, *[1] * 61, 2]
    assert sizes(ranked(steps=16), 32) == [2, 1, *[2] * 13, 3]
    assert sizes(ranked(steps=16), 64) == [4, 3, *[4] * 13, 5]


def test_the_exact_schedule_commits_the_same_number_in_every_step():
    assert sizes(ranked(steps=32, schedule="exact"), 32) == [1] * 32
    assert sizes(ranked(steps=16, schedule="exact"), 64) == [4] * 16


@pytest.mark.parametrize("schedule", ["exact", "published"])
def test_an_end_above_zero_leaves_the_first_of_as_many_steps_as_positions_empty(schedule):
    counts = sizes(ranked(steps=32, eps=0.001, schedule=schedule), 32)
    assert counts[0] == 0
    assert len(counts) == sum(counts) == 32


def test_more_steps_than_positions_are_all_calls():
    # 1/5, 1/4, 1/3 and 1/2 of 2 positions round down to none.
    assert sizes(ranked(steps=5, schedule="exact"), 2) == [0, 0, 0, 1, 1]


def test_the_last_step_commits_all_that_is_left():
    # Half of the time has passed before it, and with it half of the positions.
    assert sizes(ranked(steps=2, eps=0.5, schedule="exact"), 8) == [2, 6]
    assert sizes(ranked(steps=1), 8) == [8]


def test_a_schedule_ends_at_four_calls_per_open_position():
    assert sizes(ranked(steps=99), 2) == [0] * 7 + [2]


@pytest.mark.parametrize("algorithm", ["maskgit_plus", "topk_margin", "entropy"])
def test_the_surest_positions_are_due_first(algorithm):
    decoder = ranked(algorithm=algorithm, steps=2, schedule="exact")
    assert written(decoder, [0.9, 0.6, 0.8, 0.7]) == [[0, 2], [1, 3]]


def test_origin_commits_what_drew_less_than_the_share_that_is_due():
    (outcome,) = decoded(Dream(steps=4, eps=0.0), Scripted(0), [[True] * 12])
    rng, left, expected = _generator("0"), list(range(12)), []
    for share in (1 / 4, 1 / 3, 1 / 2, 1):
        drawn = rng.random(12)
        expected.append([i for i in left if drawn[i] < share])
        left = [i for i in left if drawn[i] >= share]
    assert outcome.trace.positions == expected


def test_origin_ends_when_the_block_is_full():
    calls = [o.counts.nfe for o in decoded(Dream(steps=8), Scripted(0), [[True] * 2] * 40)]
    assert max(calls) == 8
    assert min(calls) < 8


def plain_dream(decoder):
    def due(seen, n):
        """The share of n that is due, as a number of positions before rounding."""
        i, total = seen.step, decoder.steps
        if decoder.schedule == "exact":
            end = Fraction(str(decoder.eps))
            now, then = (1 - (1 - end) * Fraction(j, total) for j in (i, i + 1))
            return n * (1 - then / now)
        time = torch.linspace(1, decoder.eps, total + 1)
        return torch.tensor(float(n)) * (1 - time[i + 1] / time[i])

    def rule(seen):
        if seen.step == min(decoder.steps, 4 * len(seen.initial)) - 1:
            return seen.open
        if decoder.algorithm == "origin":
            return [i for i in seen.open if seen.uniform[i] < float(due(seen, 1))]
        scores = {
            "maskgit_plus": lambda i: seen.confidence[i],
            "topk_margin": lambda i: seen.margin[i],
            "entropy": lambda i: -seen.entropy[i],
        }[decoder.algorithm]
        count = int(due(seen, len(seen.open)))
        if decoder.alg_temp > 0:
            noise = {i: -math.log(-math.log(seen.uniform[i])) for i in seen.open}
            return best_first(seen, lambda i: scores(i) / decoder.alg_temp + noise[i])[:count]
        return best_first(seen, scores)[:count]

    return rule


dreams = st.one_of(
    st.builds(
        Dream,
        steps=steps,
        eps=st.sampled_from([0.0, 1e-12, 0.001, 0.25]),
        schedule=st.sampled_from(["exact", "published"]),
        block_length=block_lengths,
    ),
    st.builds(
        Dream,
        algorithm=st.sampled_from(["maskgit_plus", "topk_margin", "entropy"]),
        steps=steps,
        eps=st.sampled_from([0.0, 1e-12, 0.001, 0.25]),
        alg_temp=st.sampled_from([0.0, 0.1, 2.0]),
        schedule=st.sampled_from(["exact", "published"]),
        block_length=block_lengths,
    ),
)


@settings(max_examples=300, deadline=None)
@given(scripted, canvases(), dreams)
def test_dream_agrees_with_plain_python(model, rows, decoder):
    assert_same_decode(decoder, plain_dream(decoder), model, rows)


def test_the_largest_perturbed_sums_are_draws_without_replacement():
    chances = [0.5, 0.3, 0.2]
    # Every cell of a grid over the cube of random numbers, by its middle.
    side = (torch.arange(60) + 0.5) / 60
    uniform = torch.cartesian_prod(side, side, side).double()
    logits = torch.tensor(chances).log().double().expand(len(uniform), 3)
    order = perturbed(logits, uniform).argsort(dim=1, descending=True)
    for first, second in itertools.permutations(range(3), 2):
        one_after_the_other = chances[first] * chances[second] / (1 - chances[first])
        share = ((order[:, 0] == first) & (order[:, 1] == second)).double().mean()
        assert float(share) == pytest.approx(one_after_the_other, abs=0.01)


def test_a_position_that_drew_zero_comes_last():
    sums = perturbed(torch.zeros(1, 3), torch.tensor([[0.5, 0.0, 1e-9]]))
    assert sums.argsort(dim=1, descending=True).tolist() == [[0, 2, 1]]


# --- prophet, whole canvas ---------------------------------------------------------------


def gaps(*nats):
    """Confidences of predictions whose two highest logits are so far apart."""
    others = sum(i != CODEC.mask_id and i not in CODEC.unwritable for i in range(CODEC.size)) - 1
    return [math.exp(gap) / (math.exp(gap) + others) for gap in nats]


def test_a_settled_canvas_is_written_in_the_first_call():
    assert written(ProphetWholeCanvas(steps=4), gaps(7.6, 8.0, 9.0, 6.0)) == [[0, 1, 2, 3]]


def test_a_canvas_that_never_settles_follows_the_schedule():
    assert written(ProphetWholeCanvas(steps=2), gaps(2.0, 1.0, 2.3, 1.5)) == [[0, 2], [1, 3]]


def test_the_threshold_falls_with_progress():
    # A step counts as done: they are 1/4, 2/4, 3/4 and 4/4 of the way, and 7.5, 5, 2.5 and
    # 2.5 nats are asked for.
    assert written(ProphetWholeCanvas(steps=4), gaps(6, 6, 6, 6)) == [[0], [1, 2, 3]]
    assert written(ProphetWholeCanvas(steps=4), gaps(3, 3, 3, 3)) == [[0], [1], [2, 3]]
    # A third of the way is 0.333, and that is not below 0.33; two thirds are below 0.67.
    assert written(ProphetWholeCanvas(steps=3), gaps(6, 6, 6)) == [[0, 1, 2]]
    assert written(ProphetWholeCanvas(steps=3), gaps(4, 4, 4)) == [[0], [1], [2]]
    assert written(ProphetWholeCanvas(steps=5), gaps(3, 3, 3, 3, 3)) == [[0], [1], [2], [3, 4]]
    assert written(ProphetWholeCanvas(steps=10), gaps(*[3] * 10))[5:] == [[5], [6, 7, 8, 9]]


def test_only_open_positions_are_averaged():
    sure = gaps(20, 1, 1)
    assert written(ProphetWholeCanvas(steps=4), sure) == [[0], [1], [2]]  # 22 / 3 is below 7.5
    assert written(ProphetWholeCanvas(steps=4), sure, [T, T, F]) == [[0, 1]]


def test_each_block_is_settled_for_itself():
    decoder = ProphetWholeCanvas(steps=2, block_length=2)
    assert written(decoder, gaps(9, 9, 1, 1)) == [[0, 1], [2], [3]]


def test_a_block_that_is_full_takes_no_more_steps():
    assert written(ProphetWholeCanvas(steps=9), gaps(1, 1)) == [[0], [1]]


def test_a_mean_equal_to_the_threshold_settles():
    # Equally likely tokens have no gap at all.
    assert written(ProphetWholeCanvas(early=0.0, steps=4), gaps(0, 0)) == [[0, 1]]


def plain_prophet(thresholds, total):
    by_schedule = plain_llada("confidence", total)

    def rule(seen):
        progress = (seen.step + 1) / total
        asked = thresholds[0 if progress < 0.33 else 1 if progress < 0.67 else 2]
        mean = sum(seen.logit_margin[i] for i in seen.open) / len(seen.open)
        return seen.open if mean >= asked else by_schedule(seen)

    return rule


@many
@given(
    scripted,
    canvases(),
    st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 7.5])] * 3),
    steps,
    block_lengths,
)
def test_prophet_agrees_with_plain_python(model, rows, thresholds, total, length):
    early, middle, late = thresholds
    decoder = ProphetWholeCanvas(
        early=early, middle=middle, late=late, steps=total, block_length=length
    )
    assert_same_decode(decoder, plain_prophet(thresholds, total), model, rows)


# --- eoser and ass -----------------------------------------------------------------------

END, WORD = CODEC.end_id, CODEC.encode(["red"])[0][0]


def test_end_of_text_is_held_back_at_first_and_not_in_the_last_step():
    # Scales .5, .75 and 1: the .9 counts .45, then .675; in the last step all is taken.
    decoder = EOSER(floor=0.5, steps=3)
    assert written(decoder, [0.9, 0.6, 0.7], tokens=[END, WORD, WORD]) == [[2], [0], [1]]


def test_where_all_is_end_of_text_the_surest_still_goes_first():
    assert written(EOSER(steps=2), [0.5, 0.6], tokens=[END, END]) == [[1], [0]]


def test_eoser_takes_all_its_calls_as_llada_does():
    assert written(EOSER(steps=3), [0.9], tokens=[WORD]) == [[0], [], []]


def test_in_several_blocks_the_line_is_that_of_all_their_steps_and_begins_anew_in_each():
    # Two blocks of three steps: the scales are .5, .6 and .7 in both, for .5 + .5 i / 5.
    tokens = [END, WORD, WORD] * 2
    decoder = EOSER(floor=0.5, steps=3, block_length=3)
    # The .9 counts .45, then .54, and .55 is before it; of a line per block it would count .675.
    assert written(decoder, [0.9, 0.55, 0.7] * 2, tokens=tokens) == [
        [2],
        [1],
        [0],
        [5],
        [4],
        [3],
    ]


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        (1, [1]),
        (2, [2]),
        (3, [3]),
        (4, [1, 3]),
        (7, [1, 6]),
        (8, [1, 2, 5]),
        (9, [1, 2, 6]),
        (16, [1, 2, 4, 9]),
    ],
)
def test_every_step_commits_twice_as_many_and_the_last_what_is_left(length, expected):
    assert sizes(ASS(), length) == expected


@pytest.mark.parametrize("power", range(1, 8))
def test_as_many_positions_as_a_power_of_two_take_its_logarithm_of_calls(power):
    assert len(sizes(ASS(), 2**power)) == power


def test_doubling_begins_anew_in_every_block():
    assert sizes(ASS(block_length=4), 8) == [1, 3, 1, 3]


def test_doubling_takes_the_surest_and_holds_end_of_text_back_in_a_line_of_tokens():
    tokens = [END, *[WORD] * 7]
    # Three steps, and the scales are .01 and .99 times 1 / 8, 3 / 8 and 7 / 8 more.  So the .9
    # counts .12, then .34: behind .45 and .35.  By a line of steps it would count .45 then.
    sure = [0.9, 0.6, 0.45, 0.35, 0.3, 0.3, 0.3, 0.3]
    assert written(ASS(), sure, tokens=tokens) == [[1], [2, 3], [0, 4, 5, 6, 7]]
    sure[3] = 0.3
    assert written(ASS(), sure, tokens=tokens) == [[1], [0, 2], [3, 4, 5, 6, 7]]
    assert written(ASS(floor=1.0), sure, tokens=tokens) == [[0], [1, 2], [3, 4, 5, 6, 7]]


def plain_held_back(floor, way):
    """The score of a position, so far along the way."""

    def score(seen, i):
        if seen.token[i] not in CODEC.ends:
            return seen.confidence[i]
        return seen.confidence[i] * (floor + (1 - floor) * way(seen))

    return score


def plain_eoser(floor, total):
    def way(seen):
        blocks = math.ceil(seen.length / (seen.high - seen.low))
        return seen.step / max(total * blocks - 1, 1)

    score = plain_held_back(floor, way)

    def rule(seen):
        n = len(seen.initial)
        count = n // total + (1 if seen.step < n % total else 0)
        return best_first(seen, lambda i: score(seen, i))[:count]

    return rule


def plain_ass(floor):
    def steps_of(seen):
        return max(1, len(seen.initial).bit_length() - 1)

    score = plain_held_back(floor, lambda seen: (2 ** (seen.step + 1) - 1) / 2 ** steps_of(seen))

    def rule(seen):
        count = 2**seen.step if seen.step < steps_of(seen) - 1 else len(seen.initial)
        return best_first(seen, lambda i: score(seen, i))[:count]

    return rule


# Powers of two: products with confidences are exact, and ties stay ties.
floors = st.sampled_from([0.0, 0.0078125, 0.5, 1.0])


@many
@given(scripted, canvases(), floors, st.sampled_from([1, 2, 3, 5, 9, 33]), block_lengths)
def test_eoser_agrees_with_plain_python(model, rows, floor, total, length):
    decoder = EOSER(floor=floor, steps=total, block_length=length)
    rule = plain_eoser(floor, total)
    assert_same_decode(decoder, rule, model, rows, least_calls=lambda n: min(total, 4 * n))


@many
@given(scripted, canvases(), floors, block_lengths)
def test_ass_agrees_with_plain_python(model, rows, floor, length):
    decoder = ASS(floor=floor, block_length=length)
    assert_same_decode(decoder, plain_ass(floor), model, rows)
