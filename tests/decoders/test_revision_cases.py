"""Strategies that open again or overwrite, on canvases worked by hand."""

import pytest

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoders.joint_threshold import JointThreshold
from parallelbench.decoders.rcr import Rcr
from parallelbench.decoders.remdm import Remdm
from parallelbench.decoders.remdm_llada import RemdmLlada
from parallelbench.decoders.saber import Saber
from parallelbench.decoders.t2m import T2m
from parallelbench.decoders.wino import Wino
from support.landscapes import MASK, WORD, Landscape, played, prompt_of, written

A, B, C, D, *_ = WORD
X = (A, 0.5)  # said of a place that is not asked for


def said(*confidences):
    """The same token everywhere, at these confidences."""
    return [(A, c) for c in confidences]


# --- RCR ---------------------------------------------------------------------------------


def test_rcr_writes_everything_and_keeps_the_surest():
    calls = [said(0.9, 0.7, 0.8, 0.6), [X, (B, 0.9), X, (B, 0.9)]]
    outcome, rows = played(Rcr(k=2), calls)
    # Two calls for four tokens: the first keeps two.
    assert written(outcome) == [{0: A, 2: A}, {1: B, 3: B}]
    assert rows[1].wanted.tolist() == [False, True, False, True]
    # Two calls for three tokens: the first keeps one and a half, rounded up.
    outcome, _ = played(Rcr(k=2), [said(0.9, 0.7, 0.8)] * 2)
    assert [sorted(step) for step in written(outcome)] == [[0, 2], [1]]


def test_rcr_opens_an_old_token_again_when_newer_ones_are_surer():
    calls = [said(0.6, 0.5, 0.4), [X, (B, 0.9), (B, 0.8)], [(C, 0.3), X, X]]
    outcome, _ = played(Rcr(), calls)
    # Kept: 1 of 3, then 2, then all.  In the second call 0 is the least sure of all.
    assert written(outcome) == [{0: A}, {0: None, 1: B, 2: B}, {0: C}]
    assert outcome.counts.revisions == 1


def test_rcr_remembers_the_last_commit_and_not_the_highest():
    calls = [
        said(0.6, 0.9, 0.3, 0.2),
        [X, (A, 0.9), (B, 0.5), (B, 0.4)],
        [X, X, (C, 0.95), (C, 0.55)],
        [(D, 0.9), X, X, (D, 0.9)],
    ]
    calls[1][0] = (B, 0.35)
    outcome, _ = played(Rcr(), calls)
    # Kept 1: place 1.  Then .35, .9, .5, .4: kept 1 and 2.  Then .35 again is not asked for:
    # place 0 was opened, written at .5 (X), and is the least sure again.
    assert written(outcome)[:2] == [{1: A}, {2: B}]
    assert written(outcome)[2] == {3: C}
    assert written(outcome)[3] == {0: D}


@pytest.mark.parametrize(("k", "calls"), [(1, 8), (2, 4), (3, 3), (5, 2), (8, 1), (9, 1)])
def test_rcr_makes_exactly_the_calls_of_its_schedule(k, calls):
    for canvas in ([None] * 8, [A, *[None] * 8]):
        outcome, _ = played(Rcr(k=k), [said(*[0.9] * 9)] * calls, canvas)
        assert (outcome.status, outcome.counts.nfe) == ("ok", calls)


def test_rcr_keeps_the_higher_index_among_equally_sure_positions():
    outcome, _ = played(Rcr(k=2), [said(0.5, 0.5, 0.5, 0.5)] * 2)
    assert [sorted(step) for step in written(outcome)] == [[2, 3], [0, 1]]


def test_rcr_opens_a_doubtful_token_of_an_earlier_block_again():
    calls = [
        said(0.9, 0.2, 0.9, 0.9),
        [X, (B, 0.3), X, X],
        [X, X, (A, 0.8), (A, 0.7)],
        [X, (C, 0.6), X, X],
    ]
    outcome, rows = played(Rcr(block_length=2), calls)
    # Each block keeps one token after its first call.  The second's first call finds place 1
    # least sure of all, at .3.
    assert written(outcome) == [{0: A}, {1: B}, {1: None, 2: A, 3: A}, {1: C}]
    assert rows[3].wanted.tolist() == [False, True, False, False]


def test_rcr_leaves_filled_places_alone():
    calls = [said(0.1, 0.2, 0, 0, 0), said(0.1, 0, 0, 0, 0)]
    calls += [said(0, 0, 0, 0.9, 0.9), said(0, 0, 0, 0.8, 0.9)]
    outcome, _ = played(Rcr(block_length=2), [*calls, *calls], [None, None, B, None, None])
    assert [sorted(step) for step in written(outcome)] == [[1], [0], [3], [4]]


# --- Saber -------------------------------------------------------------------------------


def test_saber_ranks_the_first_call_by_confidence():
    calls = [said(0.9, 0.8, 0.7, 0.6), [(B, 0.9), (B, 0.86), (B, 0.87), (B, 0.9)]]
    outcome, rows = played(Saber(), calls)
    # The two surest, of which the less sure goes back.  The bar is the mean of .9 and .8:
    # the others pass, all is full, nothing goes back.
    assert written(outcome) == [{0: A}, {1: B, 2: B, 3: B}]
    assert all(row.wanted.all() for row in rows)


def test_saber_takes_back_what_lost_most_confidence_however_old():
    calls = [
        said(0.9, 0.8, *[0.1] * 4),
        [(B, 0.99), (B, 0.86), (B, 0.9), *[(B, 0.1)] * 3],
        [(C, 0.5), (C, 0.9), (C, 0.9), (C, 0.95), *[(C, 0.1)] * 2],
        [(D, 0.97)] * 6,
    ]
    outcome, _ = played(Saber(), calls)
    # Bars: 1; .85, of .9 and .8; .8867, of .9, .86 and .9.
    # Gains of what is written: .9 and .8; .09, .06 and .8; -.49, .04, 0 and .85.
    # So place 0, written two calls before, is opened again in the third.
    assert written(outcome) == [
        {0: A},
        {2: B},
        {0: None, 1: C, 3: C},
        {0: D, 4: D, 5: D},
    ]


def test_saber_takes_back_tokens_of_earlier_blocks():
    calls = [
        [*said(0.9, 0.8, 0.1), X, X, X],
        [*said(0.9, 0.9, 0.9), X, X, X],
        [(A, 0.9), (A, 0.2), (A, 0.9), (B, 0.95), (B, 0.92), (B, 0.1)],
        [(C, 0.95)] * 6,
    ]
    outcome, rows = played(Saber(block_length=3), calls)
    # In the third call place 1 has lost .7, 0 and 2 have kept what they had, and the second
    # block was not asked before.  The next call fills both blocks.
    assert written(outcome) == [{0: A}, {1: A, 2: A}, {1: None, 3: B, 4: B}, {1: C, 5: C}]
    assert [row.wanted.tolist() for row in rows] == [[True] * 3 + [False] * 3] * 2 + [
        [True] * 6
    ] * 2


def test_saber_commits_the_surest_where_too_few_pass_the_bar():
    calls = [said(0.9, 0.9, 0.2, 0.1), [(B, 0.9), (B, 0.9), (B, 0.5), (B, 0.4)]]
    outcome, _ = played(Saber(), [*calls, calls[1], calls[1]])
    # One of the first two goes back; then 0 is not above the bar of .9, and joins 2 as one
    # of the two surest.  2 gained .3, 0 and 1 nothing: 0 goes back, by its index.
    assert written(outcome)[:2] == [{1: A}, {2: B}]


def test_saber_takes_back_an_eighth_of_what_it_committed_rounded_up():
    calls = [said(*[0.1] * 12), said(*[0.9] * 9, 0.05, 0.05, 0.05), said(*[0.9] * 12)]
    outcome, _ = played(Saber(), [*calls, calls[2], calls[2], calls[2]])
    assert [len(step) for step in written(outcome)[:1]] == [1]
    # Place 1 is held; eight others pass the bar of .1.  All nine gained alike, and one goes
    # back, max(2 // 2, 8 / 8): by its index, 0, which was committed in this very call.
    assert written(outcome)[1] == dict.fromkeys(range(2, 9), A)
    first = played(Saber(), [said(*[0.1] * 12), said(*[0.9] * 12), *[said(*[0.9] * 12)] * 3])[0]
    # Eleven pass and fill the canvas: nothing goes back.
    assert len(written(first)[1]) == 11
    assert first.counts.nfe == 2


def test_saber_with_one_token_a_call_takes_nothing_back_and_needs_more_than_the_bar():
    outcome, _ = played(Saber(least=1), [said(0.5, 0.5, 0.5)] * 3)
    assert [sorted(step) for step in written(outcome)] == [[0], [1], [2]]


# --- WINO --------------------------------------------------------------------------------


def test_wino_commits_all_that_is_likely_enough_at_once():
    outcome, _ = played(Wino(), [said(0.7, 0.8, 0.61)], [None] * 3)
    assert (written(outcome), outcome.counts.nfe) == ([{0: A, 1: A, 2: A}], 1)


def test_wino_commits_the_surest_where_nothing_is_likely_enough():
    outcome, _ = played(Wino(), [said(0.5, 0.6, 0.4, *[0.1] * 3)] * 3, [None] * 3)
    # Never two at once, so nothing is taken back however unlikely its shadow finds it.
    assert [sorted(step) for step in written(outcome)] == [[1], [0], [2]]


def test_wino_commits_together_only_what_exceeds_its_limit():
    calls = [said(*[1.0] * 4)] * 2
    outcome, _ = played(Wino(draft=1.0), calls, [None] * 2)
    assert [sorted(step) for step in written(outcome)] == [[0], [1]]


def test_wino_takes_back_what_its_shadow_finds_unlikely():
    calls = [
        [*said(0.7, 0.8, 0.5, 0.4), X, X, X, X],
        [X, X, (B, 0.7), (B, 0.7), (A, 0.95), (A, 0.3), X, X],
        [X, (C, 0.9), X, X, (A, 0.1), X, (A, 0.1), (A, 0.1)],
    ]
    outcome, rows = played(Wino(), calls, [None] * 4)
    # The last call commits a single token, and so takes nothing back.
    assert written(outcome) == [{0: A, 1: A}, {1: None, 2: B, 3: B}, {1: C}]
    assert [row.wanted.nonzero().flatten().tolist() for row in rows] == [
        [0, 1, 2, 3],
        [2, 3, 4, 5],
        [1, 4, 6, 7],
    ]


def test_wino_takes_back_the_probability_of_the_written_token_and_not_of_the_likeliest():
    calls = [
        [*said(0.7, 0.8, 0.8, 0.5, 0.4), *[X] * 5],
        [X, X, X, (B, 0.7), (B, 0.7), {A: 0.05, B: 0.94}, (A, 0.95), (A, 0.95), X, X],
        [(C, 0.9), *[X] * 5, *[(A, 0.95)] * 4],
    ]
    outcome, _ = played(Wino(), calls, [None] * 5)
    assert written(outcome)[1] == {0: None, 3: B, 4: B}


def test_wino_takes_back_fewer_than_it_committed_before_the_least_likely_first():
    calls = [
        [*said(0.7, 0.8, 0.75, 0.5, 0.4), *[X] * 5],
        [X, X, X, (B, 0.7), (B, 0.7), (A, 0.3), (A, 0.2), (A, 0.4), X, X],
        [(C, 0.7), (C, 0.8), X, X, X, X, X, (A, 0.95), (B, 0.95), (B, 0.95)],
    ]
    outcome, _ = played(Wino(), calls, [None] * 5)
    # Three were committed, all three are doubted: two go back, the least likely.
    assert written(outcome)[1] == {0: None, 1: None, 3: B, 4: B}


def test_wino_writes_32_tokens_in_20_and_8_and_4():
    said_twice = said(*[0.8] * 32, *[0.95] * 32)
    outcome, _ = played(Wino(), [said_twice] * 3, [None] * 32)
    assert [len(step) for step in written(outcome)] == [20, 8, 4]
    assert outcome.counts.tokens_per_step == 32 / 3


def test_wino_shows_the_block_twice():
    outcome, rows = played(Wino(block_length=2), [said(*[0.8] * 5)] * 2, [None] * 3)
    first, second = rows
    assert first.canvas.tolist() == [MASK] * 5
    assert first.positions.tolist() == [0, 1, 2, 0, 1]
    assert first.attention.int().tolist() == [
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1],
        [1, 0, 1, 1, 1],
    ]
    assert first.unseen.tolist() == [False, False, False, True, True]
    assert second.positions.tolist() == [0, 1, 2, 2]
    assert second.attention[3].tolist() == [True, True, False, True]
    prompt = len(first.prompt.ids)
    assert outcome.counts.token_positions == 2 * prompt + 5 + 4


def test_wino_takes_n_calls_for_n_tokens_at_most():
    for seed in range(20):
        landscape = Landscape(seed, pull=2.0)
        decoder = Wino(draft=0.3, verify=1.0)
        (outcome,) = decode([Job(prompt_of([None] * 8), decoder, "0")], landscape, share=False)
        assert outcome.status == "ok"
        assert outcome.counts.nfe <= 8


# --- joint threshold ---------------------------------------------------------------------


def test_joint_threshold_overwrites_while_it_fills_and_until_nothing_changes():
    calls = [
        said(0.9, 0.4, 0.3),
        [(B, 0.2), (A, 0.6), (A, 0.55)],
        [(B, 0.2), (C, 0.9), (A, 0.9)],
        [(B, 0.2), (C, 0.9), (A, 0.9)],
    ]
    outcome, rows = played(JointThreshold(), calls)
    assert written(outcome) == [{0: A}, {0: B, 1: A, 2: A}, {1: C}, {}]
    assert all(row.wanted.all() for row in rows)


def test_joint_threshold_edits_only_above_its_limit():
    calls = [said(0.9, 0.9, 0.9), [(B, 0.8), (B, 0.95), (A, 0.99)], [(B, 0.8), *said(0, 0)]]
    calls[2][1] = (B, 0.95)
    outcome, _ = played(JointThreshold(edit=0.9), calls)
    assert written(outcome) == [{0: A, 1: A, 2: A}, {1: B}, {}]


def test_joint_threshold_commits_the_surest_where_none_passes():
    outcome, _ = played(JointThreshold(), [said(0.3, 0.4)] * 3)
    assert written(outcome) == [{1: A}, {0: A}, {}]


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_joint_threshold_overwrites_a_full_block_so_many_times_at_most(after):
    calls = [said(*[0.9] * 3), [(B, 0.9)] * 3] * 4
    outcome, _ = played(JointThreshold(after=after), calls)
    # It never settles: one call fills it, and each further one overwrites all of it.
    assert (outcome.status, outcome.counts.nfe) == ("ok", 1 + after)
    assert [set(step.values()) for step in written(outcome)] == [{A}, {B}, {A}, {B}][: 1 + after]


@pytest.mark.parametrize("after", [0, 2])
def test_joint_threshold_counts_the_calls_on_a_full_block_anew_in_each_block(after):
    calls = [said(*[0.9] * 4), [(B, 0.9)] * 4] * 3
    outcome, _ = played(JointThreshold(after=after, block_length=2), calls)
    assert (outcome.status, outcome.counts.nfe) == ("ok", 2 * (1 + after))


def test_joint_threshold_leaves_filled_places_and_finished_blocks_alone():
    calls = [said(0.9, 0, 0, 0.9)] * 2 + [[(B, 0.99), X, (A, 0.9), (A, 0.9)]] * 2
    outcome, rows = played(JointThreshold(block_length=2), calls, [None, C, None, None])
    assert written(outcome) == [{0: A}, {}, {2: A, 3: A}, {}]
    assert rows[0].wanted.tolist() == [True, False, False, False]
    assert rows[2].wanted.tolist() == [False, False, True, True]


# --- T2M ---------------------------------------------------------------------------------


def test_t2m_opens_the_least_likely_written_token_again():
    calls = [
        said(*[0.9] * 4),
        [(A, 0.4), (A, 0.3), (A, 0.9), (A, 0.9)],
        [(A, 0.9), (B, 0.9), (A, 0.9), (A, 0.9)],
        [(A, 0.9), (B, 0.9), (A, 0.9), (A, 0.9)],
    ]
    outcome, _ = played(T2m(), calls)
    # Two of four are doubtful; a quarter is one.
    assert written(outcome) == [{0: A, 1: A, 2: A, 3: A}, {1: None}, {1: B}, {}]


def test_t2m_opens_up_to_a_quarter_in_one_call():
    calls = [said(*[0.9] * 8), said(0.1, 0.2, 0.3, *[0.9] * 5), *[said(*[0.9] * 8)] * 2]
    assert written(played(T2m(), calls)[0])[1] == {0: None, 1: None}


def test_t2m_may_doubt_a_token_for_another_that_is_surer():
    calls = [
        said(0.9, 0.9),
        [(B, 0.95), (B, 0.85)],
        [(B, 0.95), (B, 0.85)],
        [(B, 0.95), (A, 0.85)],
    ]
    outcome, _ = played(T2m(trigger="other"), calls)
    assert written(outcome) == [{0: A, 1: A}, {0: None}, {0: B}, {}]


def test_t2m_may_doubt_a_token_for_what_it_lost_in_one_call():
    calls = [
        said(0.9, 0.6, 0.4),
        said(0.9, 0.6, 0.8),
        said(0.55, 0.5, 0.8),
        said(0.9, 0.25, 0.8),
        said(0.85, 0.24, 0.8),
    ]
    outcome, _ = played(T2m(trigger="drop"), calls)
    # .9 to .55 is more than .3, .6 to .5 and .5 to .25 are not.
    assert written(outcome) == [{0: A, 1: A}, {2: A}, {0: None}, {0: A}, {}]


def test_t2m_compares_the_second_call_of_every_block_with_nothing():
    fallen = [said(0.9, 0.9), said(0.1, 0.1)]
    outcome, _ = played(T2m(trigger="drop"), fallen)
    # A block that its first call fills is done with the next, whatever its tokens lost.
    assert written(outcome) == [{0: A, 1: A}, {}]
    # Here the second call fills 1; the third is the first to compare: .5 to .1, and .9 to .8.
    calls = [said(0.9, 0.4), said(0.5, 0.9), said(0.1, 0.8), said(0.9, 0.8), said(0.9, 0.8)]
    outcome, _ = played(T2m(trigger="drop"), calls)
    assert written(outcome) == [{0: A}, {1: A}, {0: None}, {0: A}, {}]
    outcome, _ = played(T2m(trigger="drop", block_length=1), [*fallen, *fallen])
    assert written(outcome) == [{0: A}, {}, {1: A}, {}]


def test_t2m_opens_no_token_more_than_five_times():
    calls = [said(0.9, 0.9, 0.9), *[said(0.1, 0.9, 0.9), said(0.9, 0.9, 0.9)] * 5]
    outcome, _ = played(T2m(), [*calls, said(0.1, 0.9, 0.9)])
    assert outcome.status == "ok"
    assert [step.get(0) for step in written(outcome)] == [*[A, None] * 5, A, None]
    assert 0 not in written(outcome)[-1]
    assert outcome.counts.nfe == 12


def test_t2m_looks_sixteen_times_at_a_full_block_and_ends_when_it_is_full_again():
    # Four places are doubted in turn, five times at most each: more than sixteen looks.
    sure = [0.9] * 4
    looks = [said(*sure[:turn], 0.1, *sure[turn + 1 :]) for turn in (0, 1, 2, 3)] * 4
    calls = [said(*sure), *(call for look in looks for call in (look, said(*sure)))]
    outcome, _ = played(T2m(), calls)
    assert (outcome.status, outcome.counts.nfe) == ("ok", 1 + 2 * 16)
    assert written(outcome)[-2:] == [{3: None}, {3: A}]


def test_t2m_counts_anew_where_nothing_else_is_written():
    # Of a block of one place nothing is written while it is open: the sixteen looks end it.
    calls = [said(0.9), *[said(0.1), said(0.9)] * 16]
    outcome, _ = played(T2m(), calls)
    assert (outcome.status, outcome.counts.nfe) == ("ok", 1 + 2 * 16)


def test_t2m_fills_the_surest_where_none_passes_and_what_passes_otherwise():
    calls = [said(0.3, 0.4, 0.35), said(0.6, 0.9, 0.55), said(0.9, 0.9, 0.9)]
    assert written(played(T2m(), calls)[0]) == [{1: A}, {0: A, 2: A}, {}]


# --- ReMDM for LLaDA ---------------------------------------------------------------------


def test_remdm_for_llada_reconsiders_the_least_sure_token_after_seven_eighths():
    calls = [said(*[0.9 - step / 100] * 8) for step in range(7)]
    calls[2] = said(*[0.2] * 8)
    calls += [[(B, 0.7)] * 8, [(C, 0.6)] * 8]
    outcome, _ = played(RemdmLlada(), calls)
    # Place 2 was written at .2.  With it 7 is open; as sure, the lower index goes first.
    assert [sorted(step) for step in written(outcome)[:6]] == [[i] for i in range(6)]
    assert written(outcome)[6:] == [{2: None, 6: A}, {2: B}, {7: C}]


@pytest.mark.parametrize(("k", "revisions", "calls"), [(1, 0, 8), (1, 3, 11), (3, 2, 5), (8, 1, 2)])
def test_remdm_for_llada_adds_its_revisions_to_the_calls(k, revisions, calls):
    decoder = RemdmLlada(k=k, revisions=revisions)
    outcome, _ = played(decoder, [said(*[0.9] * 8)] * calls)
    assert (outcome.status, outcome.counts.nfe) == ("ok", calls)


def test_remdm_for_llada_commits_in_a_revision_as_many_as_it_opened():
    outcome, _ = played(RemdmLlada(reopened=2), [said(*[0.9] * 8)] * 9)
    assert (outcome.status, outcome.counts.nfe) == ("ok", 9)
    assert [len(step) for step in written(outcome)][6:] == [3, 2, 1]


# --- ReMDM -------------------------------------------------------------------------------


def shares(decoder, samples=40, length=20):
    """The mean written share of the canvas after each call."""
    jobs = [Job(prompt_of([None] * length), decoder, str(index)) for index in range(samples)]
    held = [0.0] * decoder.steps
    for outcome in decode(jobs, Landscape(0, pull=0.0), share=False):
        assert (outcome.status, outcome.counts.nfe) == ("ok", decoder.steps)
        places = set()
        for index, step in enumerate(written(outcome)):
            places -= {place for place, token in step.items() if token is None}
            places |= {place for place, token in step.items() if token is not None}
            held[index] += len(places) / length / samples
    return held


@pytest.mark.parametrize(
    ("schedule", "eta"), [("cap", None), ("cap", 0.5), ("rescale", 0.9), ("loop", 0.1)]
)
def test_remdm_keeps_the_share_of_the_process_however_much_falls_open(schedule, eta):
    expected = [step / 20 for step in range(1, 21)]
    if schedule == "loop":
        expected = [*[step / 10 for step in range(1, 10)], *[0.9] * 10, 1.0]
    # Five deviations of a mean over 800 places: 5 sqrt(1/4 / 800) = 0.088.
    decoder = Remdm(steps=20, schedule=schedule, eta=eta)
    assert shares(decoder) == pytest.approx(expected, abs=0.088)


@pytest.mark.parametrize(("eta", "revises"), [(0.0, False), (0.5, True)])
def test_remdm_revises_unless_nothing_may_fall_open(eta, revises):
    jobs = [Job(prompt_of([None] * 12), Remdm(steps=12, eta=eta), str(i)) for i in range(5)]
    done = list(decode(jobs, Landscape(0), share=False))
    assert any(outcome.counts.revisions for outcome in done) is revises
