"""Replays: what each step could not know, and in which step a wrong answer was lost."""

import pytest

from parallelbench import evaluate
from parallelbench.analysis.replay.gallery import what_was_lost
from parallelbench.analysis.replay.steps import Replay, Replayer, ReplayStep, token_text
from parallelbench.errors import RecordsError
from support.fabricated import altered, traced_record


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
    slow = [replayer.replay(r) for r in done.records if r.decoder.name == "one_by_one"]
    assert {step.bits for replay in slow for step in replay.steps} == {0.0}
    assert {replay.steps[-1].answers for replay in slow} == {1}


def test_a_model_that_errs_by_itself_is_not_blamed_on_the_step(done):
    replayer = Replayer(done.runfile)
    right = next(r for r in done.records if r.decoder.name == "one_by_one")
    # The first word that counts becomes one that no place begins with.
    step = next(n for n, (place,) in enumerate(right.decoding.trace.positions) if place == 0)
    ids = [list(each) for each in right.decoding.trace.ids]
    ids[step] = [right.decoding.output_ids[1]]
    trace = right.decoding.trace.__class__(
        right.decoding.trace.positions,
        ids,
        right.decoding.trace.rows,
        right.decoding.trace.row_tokens,
        right.decoding.trace.auxiliary_calls,
    )
    marks = right.marks.model_copy(update={"lenient": 0.0, "problem": "unknown place"})
    output = [right.decoding.output_ids[1], *right.decoding.output_ids[1:]]
    wrong = altered(right, trace=trace, marks=marks, output_ids=output)
    replay = replayer.replay(wrong)
    assert replay.lost is not None
    assert "were enough to choose a right one, so this is an error of the model" in what_was_lost(
        replay
    )


def test_a_sample_that_is_another_now_has_steps_and_no_bits(done):
    changed = altered(done.records[0], sample_digest="0", task_version=7)
    replay = Replayer(done.runfile).replay(changed)
    assert replay.sample is None
    assert "choices/city was at version 7" in replay.missing
    assert {step.bits for step in replay.steps} == {None}
    assert replay.lost is None


def test_another_tokenizer_is_told_and_shown_by_numbers(done):
    changed = altered(done.records[0], prompt_digest="0")
    replay = Replayer(done.runfile).replay(changed)
    assert "another tokenizer or chat template" in replay.missing
    assert replay.text(5) == "#5"


def test_too_many_right_answers_are_told_and_the_words_still_read(done):
    replay = Replayer(done.runfile, limit=3).replay(done.records[0])
    assert "4 right answers, over the limit of 3" in replay.missing
    assert not replay.text(replay.record.decoding.output_ids[0]).startswith("#")


def test_an_id_that_the_tokenizer_has_not_is_shown_by_its_number():
    assert token_text(None, 12) == "#12"


def test_a_reply_of_a_server_has_no_replay(done):
    served = altered(traced_record([[0]]), decoding=None)
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


def test_the_bits_of_a_decode_are_the_sum_over_its_steps(done):
    replayer = Replayer(done.runfile)
    slow = next(r for r in done.records if r.decoder.name == "one_by_one")
    assert replayer.replay(slow).total_bits == 0.0
    assert replayer.replay(slow).bits_sentence == "ignored 0.00 bits in 32 model calls"
    fast = next(r for r in done.records if r.decoder.name == "random")
    assert replayer.replay(fast).bits_sentence == "ignored 1.00 bits in 1 model call"


def test_steps_after_the_last_right_answer_have_no_bits(done):
    step = ReplayStep((0,), (3,), 1.0, 0, (0.5,))
    record = traced_record([[0], [1]])
    replay = Replay(record, None, (step, step._replace(bits=None)), None, 4, None)
    assert replay.total_bits is None
    assert replay.bits_sentence == (
        "ignored 1.00 bits in 1 of 2 model calls; before the others no right answer was left"
    )
