"""Replays: what each step could not know, and in which step a wrong answer was lost."""

import math

import numpy as np
import pytest

from parallelbench import evaluate
from parallelbench.analysis.replay.gallery import what_was_lost
from parallelbench.analysis.replay.steps import Left, Replayer, token_text
from parallelbench.analysis.theory.dependence import Law
from parallelbench.errors import RecordsError
from support.fabricated import END, MASK, traced_record


@pytest.fixture(scope="module")
def city():
    """Two places: New York is 3 4, Mexico City 5 6; then end-of-text."""
    law = Law.counted([[3, 4, END], [5, 6, END]])
    return Left(law, MASK, frozenset({END, 9}), END)


def test_dependent_tokens_that_are_written_at_once_cost_a_bit(city):
    assert city.unknowable([MASK, MASK, MASK], [0, 1]) == pytest.approx(1)
    assert city.unknowable([MASK, MASK, MASK], [0, 1, 2]) == pytest.approx(1)


def test_what_stands_on_the_canvas_is_known(city):
    assert city.unknowable([3, MASK, MASK], [1, 2]) == 0
    assert city.unknowable([MASK, MASK, MASK], [1]) == 0


def test_a_position_that_is_written_again_does_not_know_what_stood_there(city):
    assert city.unknowable([3, 6, MASK], [0, 1]) == pytest.approx(1)


def test_a_canvas_that_no_answer_fits_has_no_bits(city):
    assert city.unknowable([3, 6, MASK], [2]) is None
    assert not city.fits([3, 6, MASK]).any()


def test_what_stands_behind_the_end_rules_nothing_out():
    law = Law.counted([[3, END, END], [5, END, END]])
    left = Left(law, MASK, frozenset({END, 9}), END)
    assert left.fits([3, 9, 7]).tolist() == [True, False]
    assert left.fits([3, 7, END]).tolist() == [False, False]


def test_a_token_has_the_probability_that_it_has_among_the_answers_that_fit(city):
    assert city.probabilities([MASK] * 3, [0, 1, 2], [3, 6, 9]) == (0.5, 0.5, 1)
    assert city.probabilities([3, MASK, MASK], [1], [4]) == (1,)
    assert city.probabilities([3, MASK, MASK], [1, 2], [6, MASK]) == (0, None)
    assert city.probabilities([3, 6, MASK], [2], [END]) == (None,)


def test_the_nearest_right_answer_differs_in_the_fewest_tokens():
    law = Law.counted([[3, 4, END], [5, 6, END], [5, 6, END], [3, 7, 8]])
    left = Left(law, MASK, frozenset({END, 9}), END)
    assert left.nearest([3, 8, 9]) == ([3, 4, END], ((1, 4),))
    # What stands behind the end counts for nothing; of equally near ones the likeliest stands.
    assert left.nearest([9, 7, 8]) == ([5, 6, END], ((0, 5), (1, 6)))
    assert left.nearest([3, MASK, 8]) == ([3, 7, 8], ((1, 7),))


def test_a_uniform_order_of_names_costs_the_closed_form():
    import itertools

    for n in (2, 3, 4):
        law = Law.counted(np.array(list(itertools.permutations(range(3, 3 + n)))))
        left = Left(law, MASK, frozenset({END}), END)
        # ParallelBench, equation 4.
        expected = n * math.log2(n) - math.log2(math.factorial(n))
        assert left.unknowable([MASK] * n, list(range(n))) == pytest.approx(expected)


@pytest.fixture(scope="module")
def done():
    return evaluate(
        model="ideal", tasks="choices/city", decoders=["one_by_one", "random:k=32"], samples=12
    )


def test_the_step_that_lost_an_answer_is_named_with_its_bits(done):
    replayer = Replayer(done.runfile)
    for record in done.records:
        replay = replayer.replay(record)
        assert replay.missing is None
        assert replay.answers == 4
        assert (replay.lost is None) == (record.marks.lenient == 1)
        if replay.lost is not None:
            assert replay.lost == 0
            assert replay.steps[0].answers == 0
            assert what_was_lost(replay) == (
                "step 1 of 1 wrote \N{LEFT DOUBLE QUOTATION MARK}New\N{RIGHT DOUBLE QUOTATION MARK}"
                " and \N{LEFT DOUBLE QUOTATION MARK}City\N{RIGHT DOUBLE QUOTATION MARK} at once; "
                "they depend on each other by 1.00 bits, which that step could not know"
            )


def test_one_token_a_step_costs_nothing(done):
    replayer = Replayer(done.runfile)
    slow = [replayer.replay(r) for r in done.records if r.decoder == "one_by_one"]
    assert {step.bits for replay in slow for step in replay.steps} == {0.0}
    assert {replay.steps[-1].answers for replay in slow} == {1}


def test_a_model_that_errs_by_itself_is_not_blamed_on_the_step(done):
    replayer = Replayer(done.runfile)
    right = next(r for r in done.records if r.decoder == "one_by_one")
    # The first word that counts becomes one that no place begins with.
    step = next(n for n, (place,) in enumerate(right.trace.positions) if place == 0)
    ids = [list(each) for each in right.trace.ids]
    ids[step] = [right.output_ids[1]]
    trace = right.trace.__class__(
        right.trace.positions,
        ids,
        right.trace.rows,
        right.trace.row_tokens,
        right.trace.auxiliary_calls,
    )
    marks = right.marks.model_copy(update={"lenient": 0.0, "problem": "unknown place"})
    output = [right.output_ids[1], *right.output_ids[1:]]
    wrong = right.model_copy(update={"trace": trace, "marks": marks, "output_ids": output})
    replay = replayer.replay(wrong)
    assert replay.lost is not None
    assert "the model itself erred" in what_was_lost(replay)


def test_a_sample_that_is_another_now_has_steps_and_no_bits(done):
    changed = done.records[0].model_copy(update={"sample_digest": "0", "task_version": 7})
    replay = Replayer(done.runfile).replay(changed)
    assert replay.sample is None
    assert "choices/city was at version 7" in replay.missing
    assert {step.bits for step in replay.steps} == {None}
    assert replay.lost is None


def test_another_tokenizer_is_told_and_shown_by_numbers(done):
    changed = done.records[0].model_copy(update={"prompt_digest": "0"})
    replay = Replayer(done.runfile).replay(changed)
    assert "another tokenizer or chat template" in replay.missing
    assert replay.text(5) == "#5"


def test_too_many_right_answers_are_told_and_the_words_still_read(done):
    replay = Replayer(done.runfile, limit=3).replay(done.records[0])
    assert "4 right answers, over the limit of 3" in replay.missing
    assert not replay.text(replay.record.output_ids[0]).startswith("#")


def test_an_id_that_the_tokenizer_has_not_is_shown_by_its_number():
    assert token_text(None, 12) == "#12"


def test_a_reply_of_a_server_has_no_replay(done):
    served = traced_record([[0]]).model_copy(update={"trace": None})
    with pytest.raises(RecordsError, match="a server decoded it"):
        Replayer(done.runfile).replay(served)


def test_a_codec_is_had_without_weights(tmp_path):
    import shutil

    from parallelbench.models.hf import HuggingFace
    from parallelbench.models.mini import FOLDER, Mini

    for file in FOLDER.iterdir():
        if file.suffix != ".safetensors":
            shutil.copy(file, tmp_path)
    assert (
        HuggingFace(path=str(tmp_path)).open_codec(fetch=False).digest == Mini().open().codec.digest
    )
