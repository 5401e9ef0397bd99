"""Strategies that remember but never revise, on canvases worked by hand."""

import math

import pytest

from parallelbench.decoders.credit import Credit
from parallelbench.decoders.klass import Klass, KlassDream
from parallelbench.decoders.persistence import Persistence
from parallelbench.decoders.slow_fast import SlowFast
from support.landscapes import WORD, played, written

A, B, *_ = WORD


def said(*confidences):
    """The same token everywhere, at these confidences."""
    return [(A, c) for c in confidences]


def places(outcome):
    """The places written in each step."""
    return [sorted(step) for step in written(outcome)]


# --- KLASS -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Klass, KlassDream])
def test_klass_commits_together_what_was_calm_twice_and_sure(kind):
    outcome, _ = played(kind(), [said(0.95, 0.94, 0.93, 0.92)] * 3)
    # The first call has nothing to compare with; the second is calm once, the third twice.
    assert places(outcome) == [[0], [1], [2, 3]]


def test_klass_with_a_shorter_history_trusts_sooner_and_with_a_longer_one_later():
    calls = [said(0.95, 0.94, 0.93, 0.92)] * 4
    assert places(played(Klass(history=1), calls)[0]) == [[0], [1, 2, 3]]
    assert places(played(Klass(history=3), calls)[0]) == [[0], [1], [2], [3]]


def test_klass_waits_for_what_still_moves_however_sure_it_is():
    calls = [said(0.99, 0.98, 0.97, 0.96, 0.95)] * 4
    calls[2] = [(A, 0.99), (A, 0.98), (B, 0.97), (A, 0.96), (A, 0.95)]
    calls[3] = calls[2]
    # In the third call place 2 moved: only 3 and 4 are ready.  Then it is calm once, not
    # twice, and goes as the surest.
    assert places(played(Klass(), calls)[0]) == [[0], [1], [3, 4], [2]]


def test_klass_waits_for_what_is_calm_and_not_sure():
    calls = [said(0.95, 0.94, 0.5, 0.4, 0.92)] * 5
    # In the third call only 4 is ready, then nothing: one by one, the surest first.
    assert places(played(Klass(), calls)[0]) == [[0], [1], [4], [2], [3]]


def test_klass_compares_the_divergence_strictly_with_its_limit():
    # From 0.9 to 0.8 for one token of a few hundred: 0.8 ln(8/9) + 0.2 ln 2 = 0.0444 nats.
    calls = [said(0.99, 0.98, 0.9, 0.9), said(0.99, 0.98, 0.8, 0.8)] * 2
    nats = 0.8 * math.log(8 / 9) + 0.2 * math.log(2)
    back = 0.9 * math.log(9 / 8) + 0.1 * math.log(1 / 2)
    limit = max(nats, back)
    assert places(played(Klass(threshold=0.7, divergence=limit + 1e-4), calls)[0])[2] == [2, 3]
    assert places(played(Klass(threshold=0.7, divergence=limit - 1e-4), calls)[0])[2] == [2]


def test_klass_for_dream_takes_a_confidence_equal_to_the_threshold_and_for_llada_does_not():
    calls = [said(1.0, 1.0, 1.0, 1.0)] * 4
    assert places(played(KlassDream(threshold=1.0), calls)[0]) == [[0], [1], [2, 3]]
    assert places(played(Klass(threshold=1.0), calls)[0]) == [[0], [1], [2], [3]]


def test_klass_begins_a_later_block_with_a_past_but_for_llada_not_in_its_first_call():
    calls = [said(*[0.95] * 6)] * 6
    llada = played(Klass(block_length=3), calls)[0]
    assert places(llada) == [[0], [1], [2], [3], [4, 5]]
    dream = played(KlassDream(block_length=3), calls)[0]
    assert places(dream) == [[0], [1], [2], [3, 4, 5]]
    anew = played(KlassDream(block_length=3, memory="block"), calls)[0]
    assert places(anew) == [[0], [1], [2], [3], [4], [5]]


def test_klass_asks_beyond_the_block_only_to_remember_it():
    _, rows = played(Klass(block_length=2), [said(*[0.95] * 4)] * 4)
    assert [int(row.wanted.sum()) for row in rows] == [4, 3, 2, 1]
    _, rows = played(Klass(block_length=2, memory="block"), [said(*[0.95] * 4)] * 4)
    assert [int(row.wanted.sum()) for row in rows] == [2, 1, 2, 1]


@pytest.mark.parametrize("history", [1, 2, 3, 4])
def test_klass_takes_one_call_more_than_its_history_at_least(history):
    calls = [said(*[0.99] * 32)] * 5
    outcome, _ = played(KlassDream(history=history), calls)
    assert outcome.counts.nfe == history + 1


# --- persistence -------------------------------------------------------------------------


def test_persistence_commits_what_was_predicted_alike_twice_and_is_sure():
    calls = [
        [(A, 0.99), (A, 0.95), (A, 0.94), (A, 0.5)],
        [(A, 0.99), (A, 0.98), (B, 0.97), (A, 0.6)],
        [(A, 0.99), (A, 0.98), (B, 0.97), (B, 0.96)],
        [(A, 0.99), (A, 0.98), (B, 0.97), (B, 0.96)],
    ]
    # Second call: 1 stayed and is the surest; 2 changed.  Third: 2 stayed, 3 changed.
    assert places(played(Persistence(), calls)[0]) == [[0], [1], [2], [3]]
    calls[1][2] = (A, 0.95)
    calls[2][2] = (A, 0.95)
    assert places(played(Persistence(), calls)[0])[:2] == [[0], [1, 2]]


def test_persistence_of_one_call_is_the_confidence_threshold():
    assert places(played(Persistence(history=1), [said(0.95, 0.5, 0.91), said(0, 0.5, 0)])[0]) == [
        [0, 2],
        [1],
    ]


# --- credit ------------------------------------------------------------------------------


def test_credit_lifts_a_token_over_the_threshold_that_is_proposed_again_and_again():
    calls = [said(0.99, 0.8, 0.8), said(0, 0.8, 0.8), said(0, 0.8, 0.8), said(0, 0.8, 0.8)]
    credit, fused = 0.0, []
    for _ in range(3):
        credit = 0.8 * credit + 0.8**0.2
        raised = 0.8 * (1 + credit) ** 0.7
        fused.append(raised / (raised + 0.2))
    assert [c >= 0.885 for c in fused] == [False, True, True]
    outcome, _ = played(Credit(threshold=0.885), calls)
    assert places(outcome) == [[0], [1, 2]]
    # Without credit none would pass.
    assert places(played(Credit(threshold=0.885, strength=0.0), calls)[0]) == [[0], [1], [2]]


def test_credit_keeps_to_a_token_that_another_has_barely_overtaken():
    calls = [[(A, 0.99), (A, 0.98), {A: 0.5, B: 0.3}]] * 2
    calls = [*calls, [(A, 0.99), (A, 0.98), {A: 0.45, B: 0.46}]]
    # Credit of A is (.8 + .64) .5^.2 = 1.25, that of B .46^.2 = .86.
    assert written(played(Credit(threshold=0.9999), calls)[0])[2] == {2: A}
    assert written(played(Credit(threshold=0.9999, strength=0.0), calls)[0])[2] == {2: B}


def test_credit_fades():
    calls = [[(A, 0.99), (A, 0.98), {A: 0.9, B: 0.05}]] * 2
    calls = [*calls, [(A, 0.99), (A, 0.98), {A: 0.43, B: 0.44}]]
    fields = {"threshold": 0.9999, "exponent": 0.0, "strength": 1.0}
    # Undiminished, the credit of A is 2 and that of B 1: .43 (1 + 2) against .44 (1 + 1).
    assert written(played(Credit(decay=1.0, **fields), calls)[0])[2] == {2: A}
    assert written(played(Credit(decay=0.0, **fields), calls)[0])[2] == {2: B}


def test_credit_is_given_anew_in_each_block():
    calls = [
        [{A: 0.9}, {A: 0.6, B: 0.3}],
        [{A: 0.9}, {A: 0.45, B: 0.46}],
    ]
    outcome, _ = played(Credit(block_length=1), calls)
    assert written(outcome) == [{0: A}, {1: B}]


# --- SlowFast ----------------------------------------------------------------------------


def test_slow_fast_makes_all_calls_of_a_slow_phase_even_if_nothing_is_left():
    outcome, rows = played(SlowFast(), [said(*[0.95] * 12)] * 6)
    assert places(outcome) == [[*range(12)], [], [], [], [], []]
    assert [int(row.wanted.sum()) for row in rows] == [12, 0, 0, 0, 0, 0]
    assert (outcome.status, outcome.counts.tokens_per_step) == ("ok", 12 / 6)


def test_slow_fast_ends_a_cycle_where_two_estimates_agree_and_shows_nothing_behind_it():
    calls = [
        said(0.5, 0.4, 0.35, 0.1, 0.1, 0.1),  # slow: reaches place 2, so an end of 3
        said(0, 0.4, 0.35, 0.1, 0.1, 0.1),  # slow: again 3
        said(0, 0, 0.1, 0.1, 0.1, 0.95),  # slow: the end is known; the surest, behind it
        said(0, 0, 0.2, 0.95, 0.95, 0),  # fast: only what is before the end
        said(0, 0, 0, 0.6, 0.5, 0),  # the next cycle
        said(0, 0, 0, 0, 0.5, 0),
        said(0, 0, 0, 0, 0, 0),
    ]
    outcome, rows = played(SlowFast(exploration=3), calls)
    assert places(outcome) == [[0], [1], [5], [2], [3], [4], []]
    assert [len(row.canvas) for row in rows] == [6] * 7


def test_slow_fast_shows_the_whole_canvas_in_the_first_fast_call_only():
    calls = [
        said(0.5, 0.4, 0.4, 0.4, 0.1),  # slow: an end of 4
        said(0, 0.5, 0.45, 0.4, 0.95),
        said(0, 0, 0.5, 0.4),
        said(0, 0, 0, 0.4),
        said(0, 0, 0, 0, 0.4),
    ]
    outcome, rows = played(SlowFast(exploration=1), calls)
    assert places(outcome) == [[0], [1], [2], [3], [4]]
    assert [len(row.canvas) for row in rows] == [5, 5, 4, 4, 5]
    assert outcome.counts.token_positions == 5 * len(rows[0].prompt.ids) + 23


def test_slow_fast_commits_by_confidence_only_where_two_pass():
    calls = [
        said(0.95, 0.5, 0.94, 0.2),  # two pass
        said(0, 0.91, 0, 0.2),  # one passes, and is the surest
        said(0, 0, 0, 0.2),
    ]
    outcome, _ = played(SlowFast(exploration=3), calls)
    assert places(outcome) == [[0, 2], [1], [3]]


@pytest.mark.parametrize(
    ("furthest", "spread", "end"),
    [(3, 1.0, 4), (3, 0.6, 4), (3, 0.5, 3), (4, 1.0, 4), (4, 1.1, 5), (2, 1.0, 3)],
)
def test_slow_fast_takes_the_newest_estimate_if_they_agree_and_else_their_mean(
    furthest, spread, end
):
    calls = [
        said(0.5, 0.4, 0.4, 0.1, 0.1, 0.1),
        said(0, *[0.4] * furthest, *[0.1] * (5 - furthest)),
        *[said(*[0.2] * 6)] * 20,
    ]
    # 3 and 4 deviate by 1/2, 3 and 5 by 1: if that is below the spread, the newest is the end.
    _, rows = played(SlowFast(exploration=2, spread=spread), calls)
    # Place 2 is filled by a fast call that shows all; only further ones show the cycle alone.
    assert min(len(row.canvas) for row in rows) == (end if end > 3 else 6)


def test_slow_fast_rounds_the_mean_of_estimates_down():
    calls = [
        said(0.5, 0.4, 0.4, 0.1, 0.1, 0.1),  # 3
        said(0, 0.4, 0.4, 0.4, 0.4, 0.4),  # 6
        said(*[0.2] * 6),
        *[said(*[0.2] * 6)] * 20,
    ]
    _, rows = played(SlowFast(exploration=2), calls)
    assert [len(row.canvas) for row in rows[:4]] == [6, 6, 6, 4]


def test_slow_fast_without_any_position_that_takes_shape_advances_by_one():
    outcome, rows = played(SlowFast(exploration=1, block_length=3), [said(*[0.1] * 6)] * 6)
    assert places(outcome) == [[0], [1], [2], [3], [4], [5]]
    assert [len(row.canvas) for row in rows] == [6] * 6


@pytest.mark.parametrize("length", [6, 12, 24])
def test_slow_fast_writes_a_sixth_of_a_block_per_call_at_most(length):
    calls = [said(*[0.99] * 24)] * 24
    outcome, _ = played(SlowFast(block_length=length), calls)
    assert outcome.counts.tokens_per_step == length / 6
