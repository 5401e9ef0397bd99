"""Strategies of blocks, on canvases worked by hand."""

import pytest

from parallelbench.decoders.multi_block import MultiBlock, MultiBlockEntropy
from parallelbench.decoders.sdar import SDAR
from support.landscapes import WORD, played, written

A, B, *_ = WORD


def said(*confidences):
    """The same token everywhere, at these confidences."""
    return [(A, c) for c in confidences]


def places(decoder, *calls, canvas=None):
    """The places written in each step; the last call repeats."""
    outcome, _ = played(decoder, [*calls, *[calls[-1]] * 20], canvas)
    assert outcome.status == "ok", outcome.error
    return [sorted(step) for step in written(outcome)]


# --- SDAR --------------------------------------------------------------------------------


def test_sdar_commits_what_exceeds_its_threshold_where_that_is_enough():
    assert places(SDAR(), said(0.9, 0.85, 0.86, 0.5)) == [[0, 2], [1], [3]]


def test_sdar_commits_everything_at_once_if_all_of_it_is_sure():
    assert places(SDAR(), said(*[0.9] * 8)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_sdar_commits_the_surest_if_nothing_is_sure():
    assert places(SDAR(), said(0.5, 0.7, 0.6, 0.7)) == [[1], [3], [2], [0]]


def test_sdar_commits_as_many_as_its_schedule_asks_for_if_fewer_are_sure():
    # Four tokens in three steps: two, one, one.
    assert places(SDAR(steps=3), said(0.9, 0.5, 0.6, 0.4)) == [[0, 2], [1], [3]]
    # As many as asked for are enough, and then only those.
    assert places(SDAR(steps=2), said(0.5, 0.9, 0.6, 0.9)) == [[1, 3], [0, 2]]


def test_sdar_counts_whole_blocks_where_some_of_one_was_filled():
    # Of a block of four in two steps, two positions are one step.
    assert places(SDAR(steps=2), said(*[0.5] * 4), canvas=[A, None, None, B]) == [[1, 2]]
    assert places(SDAR(steps=2), said(*[0.5] * 6)) == [[0, 1], [2, 3], [4, 5]]


def test_sdar_ends_a_block_that_is_full_before_its_steps_are_taken():
    assert places(SDAR(steps=9), said(*[0.5] * 4)) == [[0], [1], [2], [3]]


def test_sdar_in_one_block_spreads_its_steps_over_the_canvas():
    assert places(SDAR(steps=2, block_length=None), said(*[0.5] * 5)) == [[0, 1, 2], [3, 4]]


# --- several blocks ----------------------------------------------------------------------


def test_a_block_joins_as_soon_as_the_one_before_it_is_begun():
    several = MultiBlock(length=2, joins=0.5, forces=1.0)
    # First only 0 and 1 are active.  Then 2 and 3 are too, but only what is sure goes.
    calls = [said(0.8, 0.7, 0.99, 0.99, 0.99), said(0, 0.7, 0.95, 0.5, 0.99)]
    # In the second call the first block is full, and in the third all are active.
    assert places(several, *calls) == [[0], [1, 2], [3, 4]]


def test_a_block_in_which_nothing_passes_waits_until_the_one_before_is_nearly_done():
    calls = said(*[0.5] * 6)
    waiting = MultiBlock(length=3, joins=0.3, forces=1.0)
    assert places(waiting, calls) == [[0], [1], [2], [3], [4], [5]]
    # Two of three are enough here, so 3 goes beside 2.
    assert places(MultiBlock(length=3, joins=0.3, forces=0.6), calls) == [
        [0],
        [1],
        [2, 3],
        [4],
        [5],
    ]


def test_every_active_block_that_must_commits_its_own_best():
    several = MultiBlock(length=2, joins=0.5, forces=0.5)
    calls = said(0.6, 0.5, 0.4, 0.5, 0.5, 0.4)
    assert places(several, calls) == [[0], [1, 3], [2, 4], [5]]


def test_a_sure_position_spares_a_block_its_best_and_all_of_them_go_together():
    several = MultiBlock(length=4)
    assert places(several, said(0.95, 0.91, 0.89, 0.8)) == [[0, 1], [2], [3]]
    assert places(several, said(*[0.91] * 8)) == [[0, 1, 2, 3], [4, 5, 6, 7]]


def test_one_block_joins_in_a_step_however_far_the_others_are():
    several = MultiBlock(length=1, joins=0.1)
    assert places(several, said(*[0.99] * 4)) == [[0], [1], [2], [3]]


def test_shares_are_of_what_was_open_and_a_block_without_is_passed_over():
    several = MultiBlock(length=2, joins=1.0)
    canvas = [A, None, B, B, None, None]
    assert places(several, said(*[0.5] * 6), canvas=canvas) == [[1], [4], [5]]
    # The one before 4 is then the first of all: half full, it makes nobody hurry.
    slow = MultiBlock(length=2, joins=0.5)
    canvas = [None, None, B, B, None, None]
    assert places(slow, said(*[0.5] * 6), canvas=canvas) == [[0], [1], [4], [5]]


def test_a_canvas_shorter_than_a_block_is_one():
    assert places(MultiBlock(), said(0.5, 0.6)) == [[1], [0]]


def test_blocks_begin_where_the_outer_ones_do():
    several = MultiBlock(length=2, joins=0.5, forces=1.0, block_length=3)
    # 2 is alone in its block; 3 and 4 are one, 5 the next.
    assert places(several, said(*[0.95] * 6)) == [[0, 1], [2], [3, 4], [5]]


def test_by_entropy_the_least_spread_passes_and_is_the_best():
    several = MultiBlockEntropy(length=2, joins=0.5)
    even, sure = {A: 0.5, B: 0.5}, (A, 0.9999)  # ln 2 = 0.69 nats, and almost none
    assert places(several, [even, sure, even, sure]) == [[1], [0, 3], [2]]
    # Nothing passes: the more settled goes, though the other's likeliest token is as likely.
    assert places(several, [(A, 0.5), even]) == [[1], [0]]


def test_by_entropy_the_most_settled_of_all_active_blocks_goes_beside_one_of_the_first():
    several = MultiBlockEntropy(length=2, joins=0.5)
    # Nothing passes.  Place 2 is the most settled of all when its block joins, and so is 5
    # later; 1 and 3 are the best of the first block that is not full.
    calls = said(0.8, 0.5, 0.7, 0.6, 0.55, 0.65)
    assert places(several, calls) == [[0], [1, 2], [3, 5], [4]]


def test_by_entropy_only_the_first_block_that_is_not_full_must_write():
    several = MultiBlockEntropy(length=2, joins=0.5)
    # In the second call 0 is the most settled of all, and the block behind it waits.
    assert places(several, said(0.6, 0.8, 0.5, 0.4)) == [[1], [0], [2], [3]]


@pytest.mark.parametrize("threshold", [0.68, 0.7])
def test_an_entropy_is_compared_in_nats(threshold):
    several = MultiBlockEntropy(length=2, threshold=threshold)
    even = {A: 0.5, B: 0.5}
    assert places(several, [even, even]) == ([[0, 1]] if threshold > 0.693 else [[0], [1]])
