"""Strategies of several rows a call, or several calls a step, on canvases worked by hand."""

import math

import pytest
import torch

from parallelbench.decode.lanes import Job, _generator
from parallelbench.decode.loop import decode
from parallelbench.decoders.free_dave import FreeDave
from parallelbench.decoders.info_gain import InfoGain
from parallelbench.decoders.lopa import Lopa
from parallelbench.decoders.punt import Punt
from support.landscapes import CODEC, MASK, WORD, Tale, prompt_of, written

A, B, *_ = WORD
E = None


def said(*confidences):
    """The same token everywhere, at these confidences."""
    return [(A, c) for c in confidences]


def told(decoder, empty, further=None, canvas=None):
    """Decode with a model that says this of the empty canvas, and that of some further ones."""
    tale = Tale({None: empty, **(further or {})})
    start = [None] * len(empty) if canvas is None else canvas
    (outcome,) = decode([Job(prompt_of(start), decoder, key="0")], tale, share=False)
    assert outcome.status == "ok", outcome.error
    return outcome, tale.calls


def places(outcome):
    """The places written in each step."""
    return [sorted(step) for step in written(outcome)]


# --- FreeDave ----------------------------------------------------------------------------


def test_free_dave_writes_as_many_tokens_as_rows_where_every_draft_is_right():
    outcome, calls = told(FreeDave(drafts=3), said(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3))
    assert places(outcome) == [[0], [1, 2, 3], [4, 5, 6]]
    assert calls[1] == [
        [A, E, E, E, E, E, E],
        [A, A, E, E, E, E, E],
        [A, A, A, E, E, E, E],
    ]
    assert outcome.trace.rows == [1, 3, 3]


def test_free_dave_writes_one_token_a_call_where_no_draft_is_right():
    # What is second surest changes its token as soon as the surest stands.
    outcome, calls = told(
        FreeDave(drafts=4),
        said(0.9, 0.8, 0.7),
        {(A, E, E): [(A, 0), (B, 0.8), (A, 0.7)], (A, B, E): [(A, 0), (A, 0), (B, 0.9)]},
    )
    assert written(outcome) == [{0: A}, {1: B}, {2: B}]
    assert outcome.trace.rows == [1, 2, 1]
    assert calls[1] == [[A, E, E], [A, A, E]]


def test_free_dave_stops_at_the_first_wrong_draft_whatever_comes_behind():
    right = said(0.9, 0.8, 0.7, 0.6, 0.5)
    other = [(A, 0.9), (A, 0.8), (A, 0.6), (A, 0.7), (A, 0.5)]
    outcome, _ = told(FreeDave(drafts=4), right, {(A, A, E, E, E): other})
    # Behind 0 and 1 the surest is 3, not 2 as drafted: the row with 0, 1 and 2 says nothing.
    assert places(outcome) == [[0], [1, 3], [2, 4]]
    assert outcome.trace.rows == [1, 4, 2]


def test_free_dave_counts_a_draft_only_with_its_token():
    outcome, _ = told(
        FreeDave(drafts=2),
        said(0.9, 0.8, 0.7),
        {(A, E, E): [(A, 0), (B, 0.8), (A, 0.7)]},
    )
    assert written(outcome) == [{0: A}, {1: B}, {2: A}]


def test_free_dave_drafts_no_row_that_leaves_nothing_open():
    outcome, calls = told(FreeDave(drafts=8), said(0.9, 0.8, 0.7))
    assert places(outcome) == [[0], [1, 2]]
    assert calls[1] == [[A, E, E], [A, A, E]]


def test_free_dave_begins_each_block_without_drafts():
    outcome, calls = told(FreeDave(drafts=4, block_length=2), said(0.9, 0.8, 0.7, 0.6, 0.5))
    assert places(outcome) == [[0], [1], [2], [3], [4]]
    assert [len(rows) for rows in calls] == [1, 1, 1, 1, 1]
    assert calls[2] == [[A, A, E, E, E]]


def test_free_dave_with_one_row_is_one_by_one():
    outcome, calls = told(FreeDave(drafts=1), said(0.5, 0.7, 0.6))
    assert places(outcome) == [[1], [2], [0]]
    assert all(len(rows) == 1 for rows in calls)


@pytest.mark.parametrize(("drafts", "calls"), [(1, 9), (2, 5), (4, 3), (8, 2), (9, 2)])
def test_free_dave_takes_one_call_and_one_for_every_so_many_drafts_at_least(drafts, calls):
    outcome, _ = told(FreeDave(drafts=drafts), said(*[0.9 - i / 20 for i in range(9)]))
    assert outcome.counts.nfe == calls == 1 + math.ceil((9 - 1) / drafts)


# --- LoPA --------------------------------------------------------------------------------


def test_lopa_keeps_the_token_of_the_branch_that_leaves_least_doubt():
    outcome, calls = told(
        Lopa(branches=2),
        said(0.95, 0.6, 0.5, 0.4, 0.3),
        {(A, E, A, E, E): [(A, 0), (A, 0.7), (A, 0), (A, 0.92), (A, 0.91)]},
    )
    # The anchor's mean is .45, that with 1 too is .4, that with 2 too .843: it commits two more.
    assert calls[1] == [[A, E, E, E, E], [A, A, E, E, E], [A, E, A, E, E]]
    assert places(outcome) == [[0], [2, 3, 4], [1]]
    assert outcome.trace.rows == [1, 3, 1]


def test_lopa_goes_on_from_the_anchor_if_no_branch_is_better():
    outcome, calls = told(Lopa(branches=2), said(0.5, 0.5, 0.5, 0.5))
    # Equal means: the anchor is first, and commits its surest.
    assert places(outcome) == [[0], [1], [2], [3]]
    assert [len(rows) for rows in calls] == [1, 3, 3, 1]


def test_lopa_writes_the_surest_where_nothing_passes_and_all_where_everything_does():
    none, _ = told(Lopa(branches=1), said(0.3, 0.5, 0.4))
    assert places(none)[0] == [1]
    everything, calls = told(Lopa(threshold=1.0), said(1.0, 1.0, 1.0))
    assert places(everything) == [[0, 1, 2]]
    assert len(calls) == 1


def test_lopa_writes_the_token_that_the_branch_was_made_with():
    outcome, _ = told(
        Lopa(branches=1),
        [(A, 0.95), (B, 0.6), (A, 0.3)],
        {(A, B, E): [(A, 0.1), (A, 0.1), (A, 0.99)]},
    )
    assert written(outcome) == [{0: A}, {1: B, 2: A}]


def test_lopa_makes_no_branch_that_leaves_nothing_to_judge_it_by():
    outcome, calls = told(Lopa(branches=3), said(0.95, 0.5, 0.4, 0.3))
    # The branch without the least sure position has the highest mean.
    assert places(outcome) == [[0], [1, 3], [2]]
    assert [len(rows) for rows in calls] == [1, 4, 1]
    assert calls[-1] == [[A, A, E, A]]


def test_lopa_begins_each_block_with_the_anchor_alone():
    outcome, calls = told(Lopa(branches=1, block_length=3), said(0.5, 0.4, 0.3, 0.5, 0.4, 0.3))
    assert places(outcome) == [[0], [1], [2], [3], [4], [5]]
    assert [len(rows) for rows in calls] == [1, 2, 1, 1, 2, 1]
    assert calls[4] == [[A, A, A, A, E, E], [A, A, A, A, A, E]]


@pytest.mark.parametrize(
    ("lowest", "best"), [(1.0, [1, 2]), (0.9, [2, 4]), (0.34, [2, 4]), (0.1, [2, 4])]
)
def test_lopa_looks_at_the_most_doubtful_share_of_a_row_rounded_down_to_one_at_least(lowest, best):
    empty = said(0.95, 0.6, 0.5, 0.5, 0.5)
    # With 1 written the mean of the rest is higher; with 2 written the lowest, or lowest two, are.
    further = {
        (A, A, E, E, E): said(0, 0, 0.89, 0.89, 0.3),
        (A, E, A, E, E): said(0, 0.6, 0, 0.6, 0.65),
    }
    assert places(told(Lopa(branches=2, lowest=lowest), empty, further)[0])[1] == best


@pytest.mark.parametrize(("score", "best"), [("confidence", [1, 2]), ("entropy", [2, 3])])
def test_lopa_may_judge_by_entropy_instead_of_confidence(score, best):
    empty = said(0.95, 0.6, 0.5, 0.4)
    # With 1 written the likeliest tokens are likelier, and the rest is spread over all others.
    further = {
        (A, A, E, E): said(0, 0, 0.55, 0.55),
        (A, E, A, E): [(A, 0), {A: 0.5, B: 0.5}, (A, 0), {A: 0.52, B: 0.48}],
    }
    assert places(told(Lopa(branches=2, score=score), empty, further)[0])[1] == best


# --- PUNT --------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "calls"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (8, 4)])
def test_punt_writes_all_that_never_moves_in_one_step(count, calls):
    outcome, _ = told(Punt(), said(*[0.5 - i / 100 for i in range(count)]))
    assert places(outcome) == [[]] * (calls - 1) + [[*range(count)]]
    assert outcome.counts.nfe == calls == 1 + math.ceil(math.log2(count))


def test_punt_reveals_the_first_halves_of_all_groups_at_the_same_time():
    _, calls = told(Punt(), said(0.5, 0.45, 0.4, 0.35, 0.3))
    assert calls == [
        [[E, E, E, E, E]],
        [[A, A, A, E, E]],
        [[A, A, E, A, E]],
        [[A, E, A, A, A]],
    ]


def test_punt_drops_what_moves_when_others_are_revealed_and_hides_it_from_then_on():
    outcome, calls = told(
        Punt(),
        said(0.5, 0.45, 0.4, 0.35),
        {(A, A, E, E): said(0, 0, 0.4, 0.5)},
    )
    # 3 moves when 0 and 1 are revealed: it waits, and is not shown in the next test.
    assert calls[2] == [[A, E, A, E]]
    assert places(outcome) == [[], [], [0, 1, 2], [3]]


def test_punt_writes_only_the_surest_where_everything_moves():
    moving = {
        (E, A, E): said(0.6, 0, 0.1),
        (E, A, A): said(0.7, 0, 0),
        (A, A, E): said(0, 0, 0.9),
        (E, A, E, E): said(0, 0, 0, 0),
    }
    outcome, calls = told(Punt(), said(0.4, 0.5, 0.3), moving)
    # 1 and 0 are the first half; with them 2 moves.  Then 0 moves with 1.  So 1 alone.
    assert calls[:3] == [[[E, E, E]], [[A, A, E]], [[E, A, E]]]
    assert places(outcome)[:3] == [[], [], [1]]
    assert places(outcome)[3:] == [[], [0], [2]]


def test_punt_compares_the_total_variation_with_its_threshold():
    # From {A: .5, B: .25} to {A: .375, B: .375}: an eighth of the probability moves.
    empty = [{A: 0.75}, {A: 0.5, B: 0.25}]
    further = {(A, E): [{A: 0.75}, {A: 0.375, B: 0.375}]}
    assert places(told(Punt(threshold=0.126), empty, further)[0]) == [[], [0, 1]]
    assert places(told(Punt(threshold=0.124), empty, further)[0]) == [[], [0], [1]]


def test_punt_writes_the_tokens_of_the_first_call_of_a_step():
    empty = [{A: 0.5}, {A: 0.35, B: 0.34}]
    further = {(A, E): [{A: 0.5}, {A: 0.34, B: 0.35}]}
    assert written(told(Punt(), empty, further)[0]) == [{}, {0: A, 1: A}]


def test_punt_tests_one_block_after_the_other():
    outcome, calls = told(Punt(block_length=2), said(0.5, 0.4, 0.6, 0.7, 0.1))
    assert places(outcome) == [[], [0, 1], [], [2, 3], [4]]
    assert calls[3] == [[A, A, E, A, E]]


class Contrary(Tale):
    """Moves every prediction with each canvas that it is shown."""

    def predict(self, rows):
        shown = sum(int((row.canvas != MASK).sum()) for row in rows)
        self.told = {None: [(WORD[shown % 6], 0.9 - 0.01 * i) for i in range(9)]}
        return super().predict(rows)


def test_punt_is_not_stalled_by_tests_that_all_fail():
    tale = Contrary({})
    (outcome,) = decode([Job(prompt_of([None] * 9), Punt(), key="0")], tale, share=False)
    # Each of nine steps drops all but the surest: 9 are 5 and 4, then 3 and 2, 2 and 1, 1 and 1.
    assert outcome.status == "ok"
    assert [len(step) for step in outcome.trace.positions if step] == [1] * 9
    assert outcome.counts.nfe == sum(1 + math.ceil(math.log2(n)) for n in range(1, 10))


def test_punt_has_as_many_steps_as_its_tests_may_take():
    most = Punt().most_steps
    assert [most(n) for n in (0, 1, 2, 3, 4, 5, 64)] == [0, 1, 4, 9, 12, 20, 64 * 7]


# --- Info-Gain ---------------------------------------------------------------------------

#: So many draws with nearly equal chances try every position.
EVERY = {"candidates": 200, "position_temperature": 100.0}


def test_info_gain_fills_a_sure_block_without_a_call():
    outcome, calls = told(InfoGain(threshold=1.0), said(1.0, 1.0, 1.0))
    assert places(outcome) == [[], [0, 1, 2]]
    assert outcome.trace.rows == [1, 0]
    assert (outcome.counts.nfe, len(calls)) == (1, 1)


def test_info_gain_tries_candidates_as_soon_as_one_position_is_below_the_threshold():
    further = {(E, A, E, E): said(0.81, 0, 0.81, 0.81)}
    outcome, _ = told(InfoGain(**EVERY), said(0.81, 0.9, 0.79, 0.81), further)
    assert outcome.trace.rows == [1, 4, 0]
    assert places(outcome) == [[], [1], [0, 2, 3]]


def test_info_gain_writes_the_candidate_that_leaves_least_uncertain():
    further = {(E, A, E): said(0.99, 0, 0.99)}
    outcome, calls = told(InfoGain(**EVERY), said(0.7, 0.5, 0.6), further)
    assert sorted(map(str, calls[1])) == sorted(map(str, [[A, E, E], [E, A, E], [E, E, A]]))
    assert calls[1][0] == [A, E, E], "the surest is the first"
    # What 1 leaves is sure, so the rest is filled without a call.
    assert places(outcome) == [[], [1], [0, 2]]
    assert outcome.trace.rows == [1, 3, 0]


def entropy(confidence):
    """Of a token this sure and all others alike."""
    others = sum(token not in CODEC.unwritable for token in range(CODEC.size)) - 1
    rest = 1 - confidence
    return -confidence * math.log(confidence) - rest * math.log(rest / others)


def test_info_gain_charges_a_candidate_its_own_entropy_and_lookum_does_not():
    empty = said(0.7, 0.2)
    further = {(A, E): said(0, 0.5), (E, A): said(0.9, 0)}
    # 1 leaves 0 surer than 0 leaves 1, but is itself far more uncertain.
    assert entropy(0.9) < entropy(0.5)
    assert entropy(0.2) + entropy(0.9) > entropy(0.7) + entropy(0.5)
    assert places(told(InfoGain(**EVERY), empty, further)[0])[1] == [0]
    assert places(told(InfoGain(objective="lookum", **EVERY), empty, further)[0])[1] == [1]


def test_info_gain_averages_over_the_whole_canvas_and_chooses_in_the_block():
    empty = said(0.7, 0.6, 0.5, 0.5)
    # In the block alone, 0 leaves less; on the canvas, 1 does.
    further = {(A, E, E, E): said(0, 0.79, 0.2, 0.2), (E, A, E, E): said(0.7, 0, 0.99, 0.99)}
    outcome, calls = told(InfoGain(block_length=2, **EVERY), empty, further)
    assert sorted(map(str, calls[1])) == sorted(map(str, [[A, E, E, E], [E, A, E, E]]))
    assert places(outcome)[:3] == [[], [1], [0]]


def test_info_gain_tries_the_last_token_of_a_block_too_and_looks_anew_at_the_next():
    outcome, calls = told(InfoGain(block_length=1), said(0.5, 0.4))
    assert places(outcome) == [[], [0], [], [1]]
    assert calls == [[[E, E]], [[A, E]], [[A, E]], [[A, A]]]
    assert outcome.counts.nfe == 2 + 2


def test_info_gain_reads_the_next_step_from_the_row_that_it_chose():
    further = {(A, E, E): [(A, 0), (B, 0.6), (A, 0.5)], (A, B, E): said(0, 0, 0.5)}
    empty = [(A, 0.7), (A, 0.1), (A, 0.1)]
    outcome, calls = told(InfoGain(**EVERY), empty, further)
    assert written(outcome) == [{}, {0: A}, {1: B}, {2: A}]
    assert [A, B, E] in calls[2]


def test_info_gain_tries_every_candidate_once_and_no_more_than_it_may():
    for candidates in (2, 3, 5):
        outcome, calls = told(
            InfoGain(candidates=candidates), said(*[0.5 - i / 50 for i in range(9)])
        )
        for rows in calls:
            assert len(rows) <= candidates
            assert len({tuple(canvas) for canvas in rows}) == len(rows)
        assert outcome.counts.nfe == 1 + 9


def test_info_gain_draws_candidates_with_the_softmax_of_their_confidence():
    confidence = torch.tensor([0.1, 0.6, 0.3, 0.5])
    open_ = torch.tensor([True, True, False, True])
    decoder = InfoGain(candidates=2, position_temperature=0.2)
    chances = torch.softmax(confidence[open_].double() / 0.2, dim=0).tolist()
    first, second = chances[0], chances[0] + chances[1]
    for number, drawn in (
        (0.0, 0),
        (first - 1e-9, 0),
        (first + 1e-9, 1),
        (second - 1e-9, 1),
        (second + 1e-9, 3),
        (1 - 2**-53, 3),
    ):
        uniform = torch.tensor([number], dtype=torch.float64)
        tried = decoder._candidates(confidence, open_, uniform)
        assert tried == list(dict.fromkeys([1, drawn]))


def test_info_gain_draws_anew_in_every_step_from_its_own_key():
    decoder = InfoGain(candidates=2, position_temperature=100.0)
    tale = Tale({None: said(*[0.5] * 6)})
    queue = [Job(prompt_of([None] * 6), decoder, key=str(number)) for number in range(8)]
    tried = {}
    for outcome in decode(queue, tale, share=False):
        assert outcome.status == "ok"
        numbers = _generator(outcome.job.key).random
        # All chances are equal but for rounding: a number in the second sixth draws place 1.
        left, rows = [*range(6)], [1]
        for step in places(outcome)[1:]:
            drawn = left[min(int(numbers(1)[0] * len(left)), len(left) - 1)]
            rows.append(len({left[0], drawn}))
            left = [place for place in left if place not in step]
        assert outcome.trace.rows == rows
        tried[outcome.job.key] = tuple(rows)
    assert len(set(tried.values())) > 1
