"""The pivot strategies: worked by hand on small laws, and against plain Python."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parallelbench.decode.lanes import Job
from parallelbench.decode.loop import decode
from parallelbench.decoders.pivot import Pivot
from parallelbench.decoders.pivot_drafts import PivotDrafts
from parallelbench.decoders.pivot_gain import PivotGain
from parallelbench.model import Model, Prediction
from support.landscapes import CODEC, MASK, WORD, assert_agrees, batches, prompt_of
from support.references import pivots as plain

A, B, C, D = WORD[:4]


class Joint(Model):
    """The exact law of some equally likely answers; of a canvas that fits none, of all."""

    digest = "joint"

    def __init__(self, answers):
        self.codec = CODEC
        self.answers = answers

    def predict(self, rows):
        return Prediction(logits=torch.cat([self.lines(row) for row in rows]))

    def lines(self, row):
        canvas = row.canvas.tolist()
        fitting = [
            answer
            for answer in self.answers
            if all(token in (MASK, right) for token, right in zip(canvas, answer, strict=True))
        ] or self.answers
        lines = torch.full((len(canvas), CODEC.size), -torch.inf)
        for place in range(len(canvas)):
            for token, count in Counter(answer[place] for answer in fitting).items():
                lines[place, token] = torch.tensor(count / len(fitting)).log()
        return lines[row.wanted]

    def provenance(self):
        return {}


def outcomes(decoder, answers, count=1):
    prompt = prompt_of([None] * len(answers[0]))
    return list(decode([Job(prompt, decoder, key=str(i)) for i in range(count)], Joint(answers)))


def places(decoder, answers):
    (outcome,) = outcomes(decoder, answers)
    assert outcome.status == "ok", outcome.error
    assert tuple(outcome.output_ids) in answers
    return [sorted(step) for step in outcome.trace.positions]


def rows(decoder, answers):
    (outcome,) = outcomes(decoder, answers)
    return outcome.trace.rows


#: Three places that have nothing to do with each other, and a fourth that is fixed.
FREE = [(x, y, z, D) for x in (A, B) for y in (A, B) for z in (A, B, C)]
#: The first place decides all others.
TIED = [(x, x, x, D) for x in (A, B, C)]
#: Two names of two words each: "A B" or "C D".
NAMES = [(*x, *y) for x in ((A, B), (C, D)) for y in ((A, B), (C, D))]


def test_independent_places_take_a_pivot_a_call_and_drafts_are_confirmed_together():
    assert places(Pivot(), FREE) == [[2, 3], [0], [1]]
    assert places(PivotDrafts(), FREE) == [[2, 3], [0, 1]]
    assert rows(PivotDrafts(), FREE) == [1, 2]  # nothing is left to ask behind the last draft


def test_tied_places_take_one_pivot_and_drafts_that_fit_it_are_confirmed():
    assert places(Pivot(), TIED) == [[0, 3], [1, 2]]
    assert places(PivotDrafts(), TIED) == [[0, 3], [1, 2]]


def test_a_draft_that_no_longer_fits_ends_the_chain():
    # Every place is drafted as the first likely token, which the one before it has taken.
    orders = [(A, B, C), (A, C, B), (B, A, C), (B, C, A), (C, A, B), (C, B, A)]
    assert places(PivotDrafts(), orders) == [[0], [1], [2]]
    longer = [(*order, x) for order in orders for x in (A, B)]
    assert places(PivotDrafts(drafts=3), longer) == [[0], [1], [2, 3]]


def test_a_draft_is_confirmed_as_long_as_it_is_nearly_the_likeliest():
    # Once A is written in place 0, place 1 is A in 4 of 9 answers and B in 5.
    answers = [(A, A)] * 4 + [(A, B)] * 5 + [(B, A)] * 9
    assert places(PivotDrafts(tolerance=0.1), answers) == [[0], [1]]
    (outcome,) = outcomes(PivotDrafts(tolerance=0.1), answers)
    assert outcome.output_ids == [A, B]
    (outcome,) = outcomes(PivotDrafts(tolerance=0.25), answers)
    assert outcome.output_ids == [A, A]


def test_drafts_are_the_most_uncertain_and_no_more_than_asked_for():
    answers = [(x, y, z) for x in (A, B, C, D) for y in (A, B, C) for z in (A, B)]
    assert places(PivotDrafts(drafts=1), answers) == [[0], [1, 2]]
    assert rows(PivotDrafts(drafts=1), answers) == [1, 2]


@pytest.mark.parametrize("answers", [NAMES, TIED, FREE])
@pytest.mark.parametrize("decoder", [Pivot, PivotDrafts, PivotGain])
def test_each_draws_from_the_law_at_temperature_1(decoder, answers):
    drawn = outcomes(decoder(certain=0.0, temperature=1.0), answers, count=1200)
    counts = Counter(tuple(outcome.output_ids) for outcome in drawn)
    expected = len(drawn) / len(answers)
    assert set(counts) == set(answers)
    statistic = sum((count - expected) ** 2 / expected for count in counts.values())
    assert statistic < 32  # of 11 degrees of freedom at most: one in a thousand


def test_a_rejected_draft_is_drawn_anew_from_what_was_missed():
    # Half of the drafts that differ from the pivot are rejected, and no other is.
    weights = {(A, A): 3, (A, B): 1, (B, A): 1, (B, B): 3}
    answers = [answer for answer, weight in weights.items() for _ in range(weight)]
    answers = [(x, y, z) for x, y in answers for z in (A, B, C)]
    drawn = outcomes(PivotDrafts(certain=0.0, temperature=1.0), answers, count=1600)
    counts = Counter(tuple(outcome.output_ids[:2]) for outcome in drawn)
    expected = {answer: 200 * weight for answer, weight in weights.items()}
    assert sum((counts[each] - n) ** 2 / n for each, n in expected.items()) < 16.3


def test_the_candidate_that_decides_most_is_committed():
    # Place 2 has more entropy; place 0 or 1 decides the other.
    answers = [(x, x, z) for x in (A, B) for z in (A, B, C)]
    assert places(Pivot(), answers) == [[2], [0], [1]]
    assert places(PivotGain(moved=None), answers) == [[], [0, 1, 2]]


def test_candidates_that_do_not_touch_each_other_are_committed_together():
    assert places(PivotGain(), FREE) == [[3], [0, 1, 2]]
    assert places(PivotGain(moved=None), FREE) == [[3], [2], [0, 1]]
    assert rows(PivotGain(), FREE) == [1, 3]


def test_two_that_do_not_touch_each_other_save_no_call_and_wait_for_each_other():
    assert places(PivotGain(), NAMES) == [[], [0, 1], [2, 3]]


def test_three_names_are_decided_together_and_looked_at_again():
    names = [(*x, *y) for x in NAMES for y in ((A, B), (C, D))]
    assert places(PivotGain(), names) == [[], [0, 1, 2, 4], [3, 5]]


def test_no_more_candidates_are_tried_than_asked_for():
    answers = [(x, y, z) for x in (A, B, C, D) for y in (A, B, C) for z in (A, B)]
    assert rows(PivotGain(candidates=2, moved=None), answers) == [1, 2, 2]
    assert max(rows(PivotGain(candidates=8), answers)) == 3


def test_a_confidence_can_say_what_is_certain():
    answers = [(A, x) for x in (A, A, A, B)]
    assert places(Pivot(certain=0.0), answers) == [[0, 1]]
    assert places(Pivot(confidence=0.75), [(*answer, x) for answer in answers for x in (A, B)]) == [
        [0, 1, 2]
    ]


def test_an_implausible_draw_waits():
    answers = [(A,)] * 99 + [(B,)]
    alone = outcomes(Pivot(temperature=1.0, plausible=0.5), answers, 400)
    assert {outcome.counts.nfe for outcome in alone} == {
        1
    }  # where there is no other, it is written
    beside = [(x, y) for (x,) in answers for y in (C, D)]
    drawn = outcomes(Pivot(certain=1.0, temperature=1.0, plausible=0.5), beside, 400)
    # Place 0 waits for another call where B is drawn, and then it is alone.
    assert {outcome.counts.nfe for outcome in drawn} == {1, 2}


agreement = settings(max_examples=200, deadline=None)
blocks = st.sampled_from([None, None, 2, 3, 5])
certainty = {
    "certain": st.sampled_from([0.0, 0.05, 0.3, 1.0, 1.5]),
    "confidence": st.sampled_from([None, None, 0.5, 0.9]),
    "plausible": st.sampled_from([0.0, 0.0, 0.5, 1.0]),
    "block_length": blocks,
}


@agreement
@given(st.builds(Pivot, **certainty), batches())
def test_pivot_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.pivot, decoder, batch)


@agreement
@given(
    st.builds(
        PivotDrafts,
        drafts=st.integers(1, 5),
        tolerance=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
        **certainty,
    ),
    batches(),
)
def test_pivot_drafts_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.pivot_drafts, decoder, batch)


@agreement
@given(
    st.builds(
        PivotGain,
        candidates=st.integers(2, 5),
        moved=st.sampled_from([None, 0.01, 0.1, 0.5]),
        **certainty,
    ),
    batches(),
)
def test_pivot_gain_agrees_with_its_rule_in_plain_python(decoder, batch):
    assert_agrees(plain.pivot_gain, decoder, batch)
