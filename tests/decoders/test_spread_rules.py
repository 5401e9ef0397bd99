"""Strategies that look at where positions stand: by hand, then against plain Python."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decoders.dilated import Dilated
from parallelbench.decoders.dsb import DSB
from parallelbench.decoders.dus import DUS, dilated_groups
from parallelbench.decoders.hierarchy import Hierarchy
from parallelbench.decoders.local_leap import LocalLeap
from support.plain import assert_same_decode, canvases, scripted, written

T, F = True, False
many = settings(max_examples=200, deadline=None)


block_lengths = st.one_of(st.none(), st.integers(1, 7))
levels = st.sampled_from([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0])


# --- local leap --------------------------------------------------------------------------


def test_without_an_anchor_only_the_surest_is_committed():
    assert written(LocalLeap(), [0.8, 0.85, 0.8])[0] == [1]


def test_an_anchor_relaxes_the_threshold_as_far_as_its_radius():
    sure = [0.8, 0.8, 0.95, 0.7, 0.8, 0.8]
    assert written(LocalLeap(radius=1), sure)[0] == [1, 2]
    assert written(LocalLeap(radius=2), sure)[0] == [0, 1, 2, 4]
    assert written(LocalLeap(radius=3), sure)[0] == [0, 1, 2, 4, 5]


def test_a_relaxed_position_is_no_anchor_for_its_neighbours():
    assert written(LocalLeap(radius=1), [0.95, 0.8, 0.8, 0.8])[0] == [0, 1]


def test_a_written_position_is_an_anchor_no_more():
    # In the second step nothing reaches .9, so the surest goes alone.
    assert written(LocalLeap(radius=1), [0.95, 0.7, 0.8, 0.8]) == [[0], [2], [3], [1]]


def test_positions_are_counted_across_what_is_filled():
    assert written(LocalLeap(radius=2), [0.95, 0.0, 0.8], [T, F, T]) == [[0, 2]]
    assert written(LocalLeap(radius=1), [0.95, 0.0, 0.8], [T, F, T]) == [[0], [2]]


def test_an_anchor_does_not_reach_into_the_next_block():
    assert written(LocalLeap(block_length=2), [0.8, 0.95, 0.8, 0.8]) == [[0, 1], [2], [3]]


def test_equality_is_enough_for_both_thresholds_with_ge_and_for_neither_with_gt():
    # Dyadic numbers survive the way through logits: softmax gives them back within rounding,
    # and what is compared is one number with itself.
    assert written(LocalLeap(threshold=0.5, relaxed=0.25), [0.5, 0.26, 0.2])[0] == [0, 1]
    assert written(LocalLeap(threshold=1.0, relaxed=0.5), [1.0, 0.6, 0.4])[0] == [0, 1]
    leap = LocalLeap(threshold=1.0, relaxed=0.5, comparison="gt")
    assert written(leap, [1.0, 0.6, 0.4])[0] == [0]


def test_where_everything_passes_one_call_is_enough():
    assert written(LocalLeap(), [0.99, 0.8, 0.9]) == [[0, 1, 2]]


def plain_local_leap(threshold, relaxed, radius, strict):
    def passes(score, level):
        return score > level if strict else score >= level

    def rule(seen):
        sure = seen.confidence
        anchors = [i for i in seen.open if passes(sure[i], threshold)]
        for i in seen.open:
            close = any(abs(i - anchor) <= radius for anchor in anchors)
            if passes(sure[i], relaxed if close else threshold):
                yield i
        yield min(seen.open, key=lambda i: (-sure[i], i))

    return rule


@many
@given(
    scripted,
    canvases(),
    st.tuples(levels, levels).map(sorted),
    st.integers(0, 14),
    st.tuples(st.booleans(), block_lengths),
)
def test_local_leap_agrees_with_plain_python(model, rows, bars, radius, others):
    (relaxed, threshold), (strict, length) = bars, others
    decoder = LocalLeap(
        threshold=threshold,
        relaxed=relaxed,
        radius=radius,
        comparison="gt" if strict else "ge",
        block_length=length,
    )
    rule = plain_local_leap(threshold, relaxed, radius, strict)
    assert_same_decode(decoder, rule, model, rows)


# --- hierarchy ---------------------------------------------------------------------------


def test_the_surest_of_every_gap_is_committed():
    sure = [0.5, 0.6, 0.0, 0.7, 0.5, 0.0, 0.45]
    assert written(Hierarchy(), sure, [T, T, F, T, T, F, T])[0] == [1, 3, 6]


def test_every_commit_cuts_its_gap_in_two():
    sure = [0.5, 0.6, 0.55, 0.8, 0.5, 0.6, 0.52]
    assert written(Hierarchy(), sure) == [[3], [1, 5], [0, 2, 4, 6]]


def test_a_gap_whose_surest_is_not_above_low_gives_none():
    assert written(Hierarchy(), [0.5, 0.0, 0.39], [T, F, T]) == [[0], [2]]


def test_what_exceeds_the_threshold_is_committed_wherever_it_stands():
    assert written(Hierarchy(), [0.95, 0.92, 0.8, 0.99])[0] == [0, 1, 3]


def test_where_no_gap_is_sure_the_surest_of_all_is_committed():
    assert written(Hierarchy(), [0.2, 0.0, 0.3, 0.1], [T, F, T, T])[0] == [2]


def test_equally_sure_positions_of_one_gap_are_all_committed():
    assert written(Hierarchy(), [0.5, 0.7, 0.7, 0.0, 0.6], [T, T, T, F, T])[0] == [1, 2, 4]


def test_of_equally_sure_positions_below_low_only_the_first_is_committed():
    assert written(Hierarchy(), [0.3, 0.3, 0.3])[0] == [0]


def test_gaps_end_with_their_block():
    assert written(Hierarchy(block_length=2), [0.5, 0.6, 0.7, 0.5]) == [[1], [0], [2], [3]]


def test_a_threshold_of_one_lets_nothing_through():
    assert written(Hierarchy(threshold=1.0, low=0.4), [1.0, 0.5, 0.5])[0] == [0]


def plain_hierarchy(low, threshold):
    def rule(seen):
        sure = seen.confidence
        runs = []
        for i in seen.open:
            if runs and runs[-1][-1] == i - 1:
                runs[-1].append(i)
            else:
                runs.append([i])
        for run in runs:
            best = max(sure[i] for i in run)
            yield from (i for i in run if sure[i] == best > low)
        yield from (i for i in seen.open if sure[i] > threshold)
        yield min(seen.open, key=lambda i: (-sure[i], i))

    return rule


@many
@given(scripted, canvases(), st.tuples(levels, levels).map(sorted), block_lengths)
def test_hierarchy_agrees_with_plain_python(model, rows, bars, length):
    low, threshold = bars
    decoder = Hierarchy(low=low, threshold=threshold, block_length=length)
    rule = plain_hierarchy(low, threshold)
    assert_same_decode(decoder, rule, model, rows)


# --- dus ---------------------------------------------------------------------------------

EVEN = [0.5] * 32


def test_eight_positions_are_written_from_coarse_to_fine():
    assert written(DUS(), EVEN[:8]) == [[0, 4], [2, 6], [1, 3, 5, 7]]


def test_predictions_do_not_change_the_order():
    assert written(DUS(), [0.1, 0.9, 0.8, 0.2]) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("length", [2, 4, 8, 16, 32])
def test_a_block_of_a_power_of_two_takes_its_logarithm_of_calls(length):
    steps = written(DUS(block_length=length), EVEN)
    assert 32 / len(steps) == length / math.ceil(math.log2(length))


def test_blocks_of_one_position_take_a_call_each():
    assert written(DUS(block_length=1), EVEN[:3]) == [[0], [1], [2]]


def test_an_empty_last_group_makes_no_call():
    # 6: strides 3, 1, 1.  3: strides 1, 1.
    assert written(DUS(), EVEN[:6]) == [[0, 3], [1, 2, 4, 5]]
    assert written(DUS(), EVEN[:3]) == [[0, 1, 2]]


def test_a_last_group_that_is_smaller_joins_the_one_before():
    # Base 3: strides 2, 1.  7 positions make groups of 4 and 3, 8 make groups of 4 and 4.
    assert written(DUS(base=3), EVEN[:7]) == [[0, 1, 2, 3, 4, 5, 6]]
    assert written(DUS(base=3), EVEN[:8]) == [[0, 2, 4, 6], [1, 3, 5, 7]]


def test_a_shorter_last_block_has_groups_of_its_own():
    steps = written(DUS(block_length=8), EVEN[:12])
    assert steps == [[0, 4], [2, 6], [1, 3, 5, 7], [8, 10], [9, 11]]


def test_a_group_without_an_open_position_makes_no_call():
    assert written(DUS(), EVEN[:8], [F, T, F, F, F, T, F, F]) == [[1, 5]]
    assert written(DUS(), EVEN[:8], [T, T, F, T, F, F, F, F]) == [[0], [1, 3]]


def test_an_unsure_member_waits_for_the_next_group_and_the_last_takes_all():
    sure = [0.2, 0.9, 0.9, 0.3, 0.9, 0.9, 0.1, 0.9]
    assert written(DUS(skip_below=0.5), sure) == [[4], [2], [0, 1, 3, 5, 6, 7]]


def test_a_step_in_which_all_wait_still_counts_its_call():
    assert written(DUS(skip_below=0.5), [0.2] * 4) == [[], [0, 1, 2, 3]]


def test_a_member_exactly_as_sure_as_asked_does_not_wait():
    assert written(DUS(skip_below=1.0), [1.0] * 4) == [[0, 2], [1, 3]]


def plain_groups(size, base):
    count, power = 0, 1
    while power < size:
        count, power = count + 1, power * base
    groups, used = [], set()
    for r in range(1, max(count, 1) + 1):
        stride = max(1, size // base**r)
        groups.append([j for j in range(size) if j not in used and j % stride == 0])
        used |= set(groups[-1])
    if len(groups) > 1 and len(groups[-1]) < len(groups[-2]):
        groups[-2:] = [groups[-2] + groups[-1]]
    return groups


def plain_dus(base, skip_below):
    def rule(seen):
        groups = [
            [seen.low + j for j in group] for group in plain_groups(seen.high - seen.low, base)
        ]
        kept = [group for group in groups if set(group) & set(seen.initial)]
        due = [i for group in kept[: seen.step + 1] for i in group if i in seen.open]
        last = seen.step == len(kept) - 1
        return [i for i in due if last or seen.confidence[i] >= skip_below]

    return rule


@many
@given(scripted, canvases(), st.integers(2, 5), st.sampled_from([0.0, 0.1, 0.4]), block_lengths)
def test_dus_agrees_with_plain_python(model, rows, base, skip_below, length):
    decoder = DUS(base=base, skip_below=skip_below, block_length=length)
    rule = plain_dus(base, skip_below)
    assert_same_decode(decoder, rule, model, rows)


@many
@given(st.integers(1, 300), st.integers(2, 20))
def test_every_position_of_a_window_is_in_one_group_of_the_plain_rule(size, base):
    offset = torch.arange(size)[None]
    group = dilated_groups(offset, torch.tensor([[size]]), base, size)[0].tolist()
    groups = plain_groups(size, base)
    assert group == [next(r for r, g in enumerate(groups) if j in g) for j in range(size)]


# --- dilated -----------------------------------------------------------------------------


def test_neighbours_of_a_surer_position_wait():
    sure = [0.91, 0.99, 0.92, 0.5, 0.95, 0.97]
    assert written(Dilated(), sure) == [[1, 5], [0, 2, 4], [3]]


def test_a_position_waits_only_for_one_that_is_kept():
    # 1 yields to 0 and is no reason for 2 to wait, though it is surer.
    assert written(Dilated(), [0.99, 0.98, 0.97, 0.96])[0] == [0, 2]


def test_the_distance_is_how_far_away_the_next_may_not_be():
    assert written(Dilated(distance=2), [0.99] * 7)[0] == [0, 3, 6]
    assert written(Dilated(distance=99), [0.99] * 7)[0] == [0]


def test_where_nothing_passes_the_surest_is_still_committed():
    assert written(Dilated(), [0.3, 0.6, 0.5])[0] == [1]


def test_of_a_fixed_count_fewer_may_remain():
    assert written(Dilated(strategy="left_to_right(k=3)"), [0.5, 0.6, 0.5, 0.4])[0] == [1]


def plain_apart(rule, distance):
    def spread(seen):
        kept = []
        for i in sorted(set(rule(seen)), key=lambda i: (-seen.confidence[i], i)):
            if all(abs(i - other) > distance for other in kept):
                kept.append(i)
        return kept

    return spread


def plain_threshold(threshold):
    def rule(seen):
        yield from (i for i in seen.open if seen.confidence[i] >= threshold)
        yield min(seen.open, key=lambda i: (-seen.confidence[i], i))

    return rule


inside = st.one_of(
    levels.map(lambda bar: (f"confidence_threshold(threshold={bar})", plain_threshold(bar))),
    st.integers(1, 9).map(lambda k: (f"left_to_right(k={k})", lambda seen: seen.open[:k])),
    st.integers(1, 9).map(
        lambda k: (
            f"entropy(k={k})",
            lambda seen: sorted(seen.open, key=lambda i: (seen.entropy[i], i))[:k],
        )
    ),
)


@many
@given(scripted, canvases(), inside, st.integers(1, 10), block_lengths)
def test_dilated_agrees_with_plain_python(model, rows, inner, distance, length):
    strategy, rule = inner
    decoder = Dilated(strategy=strategy, distance=distance, block_length=length)
    assert_same_decode(decoder, plain_apart(rule, distance), model, rows)


# --- dsb ---------------------------------------------------------------------------------


def test_a_window_lets_one_more_in_for_every_position_written():
    # Of the first three, 0 is written: then 1, 2, 3; of these 3: then 1, 2, 4; ...
    sure = [0.6, 0.1, 0.2, 0.7, 0.8, 0.3]
    assert written(DSB(length=3), sure) == [[0], [3], [4], [5], [2], [1]]


def test_a_window_of_one_position_writes_from_left_to_right():
    assert written(DSB(length=1), [0.1, 0.5, 0.95]) == [[0], [1], [2]]


def test_a_longest_window_ends_so_far_behind_its_first_open_position():
    sure = [0.1, 0.8, 0.9, 0.7, 0.6]
    assert written(DSB(length=2, longest=2), sure) == [[1], [0], [2], [3], [4]]
    assert written(DSB(length=2, longest=3), sure) == [[1], [2], [0], [3], [4]]
    assert written(DSB(length=2), sure) == [[1], [2], [3], [4], [0]]


def test_several_may_be_written_in_one_window():
    sure = [0.95, 0.1, 0.92, 0.99, 0.99]
    assert written(DSB(length=3), sure) == [[0, 2], [3, 4], [1]]


def test_pre_filled_positions_count_as_filled():
    assert written(DSB(length=1), [0.1, 0.2, 0.3, 0.4], [T, F, F, T]) == [[0], [3]]


def plain_dsb(rule, decoder):
    def slid(seen):
        filled = (seen.high - seen.low) - len(seen.open)
        end = seen.low + decoder.length + filled
        if decoder.longest is not None:
            end = min(end, seen.open[0] + decoder.longest)
        return rule(replace(seen, open=[i for i in seen.open if i < end]))

    return slid


@many
@given(
    scripted,
    canvases(),
    inside,
    st.tuples(st.integers(1, 6), st.one_of(st.none(), st.integers(0, 4))),
    block_lengths,
)
def test_dsb_agrees_with_plain_python(model, rows, inner, lengths, block_length):
    (strategy, rule), (length, more) = inner, lengths
    decoder = DSB(
        strategy=strategy,
        length=length,
        longest=None if more is None else length + more,
        block_length=block_length,
    )
    assert_same_decode(decoder, plain_dsb(rule, decoder), model, rows)
