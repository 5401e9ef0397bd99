"""Strategies that ask what attends to what, or a trained head, on canvases worked by hand."""

import pytest
import torch

from parallelbench.decoders.dapd import Dapd
from parallelbench.decoders.dawn import Dawn
from parallelbench.decoders.demask import Demask
from parallelbench.decoders.learn2pd import Learn2pd
from parallelbench.decoders.mean_field import MeanField
from support.landscapes import WORD, played, written

A, B, C, D, *_ = WORD


def said(*confidences):
    """The same token everywhere, at these confidences."""
    return [(A, c) for c in confidences]


def square(length, pairs):
    """Values of pairs of positions; 0 for those that are not named."""
    given = torch.zeros(length, length)
    for (i, j), share in pairs.items():
        given[i, j] = share
    return given


def places(decoder, calls, **given):
    """The places written in each step; a single call repeats."""
    calls = calls if isinstance(calls[0], list) else [calls] * len(calls)
    outcome, _ = played(
        decoder, calls, given={name.replace("__", ":"): v for name, v in given.items()}
    )
    assert outcome.status == "ok", outcome.error
    return [sorted(step) for step in written(outcome)]


# --- DAPD --------------------------------------------------------------------------------


def dapd(decoder, calls, pairs, length):
    return places(decoder, calls, attention_late=square(length, pairs))


def test_dapd_commits_everything_that_attends_to_nothing():
    assert dapd(Dapd(), said(0.5, 0.4, 0.3), {}, 3) == [[0, 1, 2]]


def test_dapd_commits_the_centre_of_a_chain_first_and_then_both_ends():
    chain = {(0, 1): 0.2, (1, 0): 0.2, (1, 2): 0.2, (2, 1): 0.2}
    # Sums .2, .4 and .2; then two of three are open, which is no less than half.
    assert dapd(Dapd(), said(0.5, 0.5, 0.5), chain, 3) == [[1], [0, 2]]
    # Weighed by confidence: .18, .12 and .16; what is left is less than half.
    assert dapd(Dapd(), said(0.9, 0.3, 0.8), chain, 3) == [[0, 2], [1]]


def test_dapd_joins_two_by_the_mean_of_their_attention_to_each_other_if_it_exceeds_the_edge():
    one_way = {(1, 0): 0.25}
    assert dapd(Dapd(edge=0.12), said(0.5, 0.4), one_way, 2) == [[0], [1]]
    assert dapd(Dapd(edge=0.125), said(0.5, 0.4), one_way, 2) == [[0, 1]]


def test_dapd_adds_what_is_certain_whatever_it_attends_to_and_that_keeps_others_away():
    # Sums .6, .25, .4 and .05 in this order even where 1 is certain; it is joined to 0 and 3.
    pairs = {(0, 1): 0.4, (0, 2): 0.8, (1, 3): 0.1}
    assert dapd(Dapd(), said(0.5, 1.0, 0.5, 0.5), pairs, 4) == [[0, 1], [2, 3]]
    assert dapd(Dapd(), said(0.5, 0.999, 0.5, 0.5), pairs, 4) == [[0, 3], [1, 2]]


def test_dapd_commits_all_that_is_sure_when_little_is_open_and_else_the_surest():
    everybody = {(i, j): 0.1 for i in range(5) for j in range(5) if i != j}
    decoder = Dapd(tail_below=1.0)
    calls = [said(0.95, 0.91, 0.92, 0.89, 0.5)] * 4
    assert dapd(decoder, calls, everybody, 5) == [[0], [1, 2], [3], [4]]
    # At half of four, two are not yet less than half.
    calls = [said(0.99, 0.98, 0.97, 0.96)] * 4
    four = {(i, j): 0.1 for i in range(4) for j in range(4) if i != j}
    assert dapd(Dapd(), calls, four, 4) == [[0], [1], [2], [3]]
    assert dapd(Dapd(tail_below=0.6), calls, four, 4) == [[0], [1], [2, 3]]


def test_dapd_looks_at_the_open_positions_of_its_block_only():
    # 1 would be the centre if 2 and 3 counted.
    pairs = {(0, 1): 0.1, (1, 0): 0.1, (1, 2): 0.9, (3, 1): 0.9, (2, 0): 0.9}
    blocks = Dapd(block_length=2)
    assert dapd(blocks, said(0.6, 0.5, 0.4, 0.4), pairs, 4) == [[0], [1], [2, 3]]
    assert dapd(Dapd(), said(0.6, 0.5, 0.4, 0.4), pairs, 4)[0] == [1]


# --- DAWN --------------------------------------------------------------------------------


def dawn(calls, pairs, length, **fields):
    decoder = Dawn(**{"sink": 0.5, **fields})
    return places(decoder, calls, attention_last_four=square(length, pairs))


def test_dawn_commits_what_is_sure_and_else_the_surest():
    assert dawn(said(0.9, 0.5, 0.6), {}, 3) == [[0], [2], [1]]


def test_dawn_trusts_what_attends_to_a_written_position_of_which_the_model_is_sure():
    calls = [said(0.95, 0.71, 0.74)] * 3
    anchored = {(1, 0): 0.08}
    assert dawn(calls, anchored, 3) == [[0], [1], [2]]
    for pairs, fields, again in (
        ({(1, 0): 0.06}, {}, (A, 0.95)),  # no edge
        ({(0, 1): 0.08}, {}, (A, 0.95)),  # the anchor attends to it, not it to the anchor
        (anchored, {"induce": 0.72}, (A, 0.95)),  # not sure enough
        (anchored, {"sink": 0.02}, (A, 0.95)),  # all three attend to it by .027 on average
        (anchored, {}, (A, 0.89)),  # the model has come to doubt it
    ):
        later = [again, *said(0.71, 0.74)]
        assert dawn([calls[0], later, later], pairs, 3, **fields) == [[0], [2], [1]]


def test_dawn_trusts_an_anchor_where_another_token_is_now_likeliest():
    calls = [said(0.95, 0.71, 0.74), [(B, 0.95), *said(0.71, 0.74)], said(0.95, 0.71, 0.74)]
    assert dawn(calls, {(1, 0): 0.08}, 3) == [[0], [1], [2]]


def test_dawn_takes_pre_filled_positions_for_anchors_as_well():
    outcome, rows = played(
        Dawn(sink=0.5),
        [said(0.95, 0.71, 0.74)] * 2,
        canvas=[A, None, None],
        given={"attention_last_four": square(3, {(1, 0): 0.08})},
    )
    assert [sorted(step) for step in written(outcome)] == [[1], [2]]
    assert [row.wanted.tolist() for row in rows] == [[True] * 3] * 2


@pytest.mark.parametrize("pair", [(0, 1), (1, 0)])
def test_dawn_commits_of_the_rest_only_what_no_edge_joins(pair):
    calls = [said(0.85, 0.84, 0.83, 0.7)] * 3
    assert dawn(calls, {pair: 0.07}, 4) == [[0, 2], [1], [3]]
    assert dawn(calls, {pair: 0.05}, 4) == [[0, 1, 2], [3]]


def test_dawn_lets_only_what_is_both_sure_and_induced_keep_others_away():
    calls = [said(0.95, 0.5, 0.8), [(A, 0.95), (A, 0.95), (A, 0.8)], said(0.95, 0.95, 0.8)]
    # 2 is joined to 1; in the first call no position that is sure keeps it away.
    joined = {(2, 1): 0.1}
    assert dawn(calls, {(2, 0): 0.1}, 3)[0] == [0, 2]
    first = said(0.95, 0.5, 0.7)
    assert dawn([first, *calls[1:]], joined, 3) == [[0], [1, 2]]
    # In the second, 1 attends to the anchor 0 and is sure, and 2 waits.
    assert dawn([first, *calls[1:]], {**joined, (1, 0): 0.1}, 3) == [[0], [1], [2]]
    # It waits because it attends to 1, and would not if 1 attended to it.
    assert dawn([first, *calls[1:]], {(1, 2): 0.1, (1, 0): 0.1}, 3) == [[0], [1, 2]]


def test_dawn_keeps_to_its_block():
    assert dawn(said(0.6, 0.95, 0.95), {}, 3, block_length=1) == [[0], [1], [2]]


def test_dawn_does_not_count_what_was_not_computed_in_the_mean_of_a_sink():
    # Rows 2 and 3 attend to nothing: the mean of column 0 is .2 / 2.
    pairs = {(0, 0): 0.1, (1, 0): 0.1}
    calls = [said(0.95, 0.71, 0.74, 0.74)] * 4
    assert dawn(calls, pairs, 4, sink=0.11, block_length=2)[1] == [1]
    calls = [said(0.85, 0.84, 0.2, 0.2)] * 4
    assert dawn(calls, pairs, 4, sink=0.11, block_length=2)[0] == [0]
    assert dawn(calls, pairs, 4, sink=0.09, block_length=2)[0] == [0, 1]


# --- mean field --------------------------------------------------------------------------

TWO_ALIKE = [{A: 0.6, B: 0.4}, {A: 0.6, B: 0.4}, {C: 0.8, D: 0.2}]


def test_mean_field_lets_like_predictions_hold_each_other_back():
    # Of the two: q = .6, then sigmoid(.405 - .6) = .451, then sigmoid(.405 - .451) = .488.
    assert places(MeanField(), TWO_ALIKE) == [[2], [0], [1]]
    # One round leaves them at .451.
    assert places(MeanField(threshold=0.46), TWO_ALIKE) == [[0, 1, 2]]
    assert places(MeanField(threshold=0.46, rounds=1), TWO_ALIKE) == [[2], [0], [1]]


def test_mean_field_without_a_round_asks_each_position_for_itself():
    assert places(MeanField(rounds=0), TWO_ALIKE) == [[0, 1, 2]]


def test_mean_field_commits_the_best_where_nothing_passes():
    assert places(MeanField(threshold=0.9), TWO_ALIKE) == [[2], [0], [1]]


def test_mean_field_tells_apart_as_many_tokens_as_it_is_told_to():
    calls = [{A: 0.6, B: 0.4}, {A: 0.6, C: 0.4}]
    # On {A, B, C} the divergence is .4 ln 2: q = .6, .511, .525.
    assert places(MeanField(candidates=2), calls) == [[0, 1]]
    # On A and all others they are the same.
    assert places(MeanField(candidates=1), calls) == [[0], [1]]


def test_mean_field_looks_at_its_block_only():
    calls = [{A: 0.6, B: 0.4}] * 3
    assert places(MeanField(block_length=1), calls) == [[0], [1], [2]]
    alone = [{A: 0.6, B: 0.4}, {C: 0.6, B: 0.4}, {A: 0.6, B: 0.4}, {C: 0.6, D: 0.4}]
    assert places(MeanField(block_length=2, candidates=1), alone)[0] == [0, 1]


# --- Learn2PD ----------------------------------------------------------------------------


def test_learn2pd_commits_what_its_filter_holds_for_final_and_the_surest_in_every_call():
    final = torch.tensor([0.97, 0.96, 0.5, 0.99])
    assert places(Learn2pd(), said(0.2, 0.3, 0.4, 0.1), head__learn2pd=final) == [[0, 2, 3], [1]]
    assert places(Learn2pd(threshold=0.4), said(0.2, 0.3, 0.4, 0.1), head__learn2pd=final) == [
        [0, 1, 2, 3]
    ]
    blocks = Learn2pd(block_length=2)
    assert places(blocks, said(0.2, 0.3, 0.4, 0.1), head__learn2pd=final) == [[0, 1], [2, 3]]


@pytest.mark.parametrize(
    ("final", "sentence"),
    [
        ([0.5, 1.5], "'head:learn2pd' must hold numbers in [0, 1], got one that is not"),
        ([0.5, torch.nan], "'head:learn2pd' must hold numbers in [0, 1], got one that is not"),
        ([0.5], "must have the shape (1, 2) of rows and positions, got (1, 1)"),
        ([[0.5, 0.5]] * 2, "must have the shape (1, 2) of rows and positions, got (1, 2, 2)"),
        (None, "the model gave no 'head:learn2pd', or the decoder's needs do not name it"),
    ],
)
def test_a_head_that_does_not_fit_ends_the_decode_with_a_sentence(final, sentence):
    given = {} if final is None else {"head:learn2pd": torch.tensor(final)}
    outcome, _ = played(Learn2pd(), [said(0.5, 0.4)] * 2, given=given)
    assert outcome.status == "error"
    assert sentence in outcome.error


# --- DEMASK ------------------------------------------------------------------------------


def demask(budget, confidences, pairs, **fields):
    head = square(len(confidences), pairs)
    return places(Demask(budget=budget, **fields), said(*confidences), head__demask=head)


def test_demask_adds_the_surest_as_long_as_the_budget_lasts():
    pairs = {(0, 1): 0.25, (0, 2): 0.125, (1, 2): 0.125}
    assert demask(0.25, (0.9, 0.8, 0.7), pairs) == [[0, 1], [2]]
    assert demask(0.5, (0.9, 0.8, 0.7), pairs) == [[0, 1, 2]]


def test_demask_passes_over_what_does_not_fit_and_looks_further():
    assert demask(0.25, (0.9, 0.8, 0.7), {(0, 1): 0.5, (0, 2): 0.125}) == [[0, 2], [1]]


def test_demask_with_no_budget_commits_together_only_what_is_independent():
    assert demask(0.0, (0.9, 0.8, 0.7), {(0, 1): 0.01, (1, 2): 0.01}) == [[0, 2], [1]]
    everybody = {(i, j): 0.01 for i in range(3) for j in range(3)}
    assert demask(0.0, (0.7, 0.8, 0.9), everybody) == [[2], [1], [0]]


def test_demask_counts_how_much_the_less_sure_hangs_on_the_surer():
    assert demask(0.1, (0.9, 0.8), {(1, 0): 1.0}) == [[0, 1]]
    assert demask(0.1, (0.8, 0.9), {(1, 0): 1.0}) == [[1], [0]]


def test_demask_keeps_to_its_block():
    assert demask(1.0, (0.9, 0.8, 0.7), {}, block_length=2) == [[0, 1], [2]]
