"""The ideal model against the definition of conditional probability, by brute force."""

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from parallelbench import evaluate
from parallelbench.errors import CanvasError, NotEnumerableError
from parallelbench.model import Row
from parallelbench.models.ideal import Ideal, zero_mean_noise
from parallelbench.prompt import build_prompt, lay_out
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS, Answers
from support.toys import Colours


@dataclass(frozen=True, kw_only=True)
class Weighted(Colours):
    """Four answers of different probability."""

    canvas_length: int = 16
    law: ClassVar = {"red, green": 1, "red, blue": 2, "green, red": 3, "blue": 10}

    def answers(self, sample, limit=100_000):
        return Answers(tuple(self.law), tuple(self.law.values()))


def prompt_of(text, model, index=0):
    task = build(parse_settings(text, TASKS)[0], TASKS)
    return build_prompt(task, draw_sample(task, 0, index), model.codec)


def distributions(model, prompt, *canvases):
    """Probability of every id at every position, for each canvas."""
    everywhere = torch.ones_like(prompt.open)
    prediction = model.predict([Row(prompt, canvas, everywhere) for canvas in canvases])
    p = torch.softmax(prediction.logits.double(), dim=-1)
    full = torch.zeros(len(p), model.codec.size + 1, dtype=torch.float64)
    full.scatter_add_(1, prediction.token_ids, p)
    return full.unflatten(0, (len(canvases), -1)), prediction.off_support.tolist()


def brute_force(rows, weights, canvas, mask_id, size):
    """Share of the answers that agree best with the canvas, position by position."""
    agreements = [
        sum(int(a) == int(c) for a, c in zip(row, canvas, strict=True) if int(c) != mask_id)
        for row in rows
    ]
    most = max(agreements)
    alive = [i for i, agreement in enumerate(agreements) if agreement == most]
    total = sum(weights[i] for i in alive)
    expected = torch.zeros(len(canvas), size + 1, dtype=torch.float64)
    for i in alive:
        for position, token in enumerate(rows[i].tolist()):
            expected[position, token] += weights[i] / total
    written = sum(int(c) != mask_id for c in canvas)
    return expected, most < written


@pytest.fixture(scope="module")
def exact():
    return Ideal(noise=0.0).open()


@pytest.mark.parametrize(
    "task",
    [
        "choices/city",
        "choices/roster:people=2",
        "choices/date",
        "list_operations/shuffle:length=4,form=infill",
        "list_operations/insert_random:length=3",
        "waiting_line/replace_random:length=3",
        "waiting_line/copy:length=3",
        "puzzles/latin_square:size=3",
    ],
)
def test_predictions_are_the_conditional_shares_of_the_right_answers(exact, task):
    prompt = prompt_of(task, exact)
    rows = lay_out(prompt, prompt.answers)
    mask_id = exact.codec.mask_id
    generator = torch.Generator().manual_seed(0)
    canvases = []
    for number in range(12):
        # Reveal a random part of a random right answer; in some, spoil one position.
        canvas = prompt.canvas.clone()
        answer = rows[int(torch.randint(len(rows), (), generator=generator))]
        shown = torch.rand(len(canvas), generator=generator) < number / 12
        canvas[shown] = answer[shown]
        if number % 3 == 2:
            canvas[int(prompt.open.nonzero()[0])] = rows[0].max()
        canvases.append(canvas)
    predicted, off_law = distributions(exact, prompt, *canvases)
    for canvas, found, off in zip(canvases, predicted, off_law, strict=True):
        expected, expected_off = brute_force(
            rows, prompt.answers.weights, canvas, mask_id, exact.codec.size
        )
        assert torch.allclose(found, expected, atol=1e-6)
        assert off == expected_off


@given(data=st.data())
@settings(deadline=None, max_examples=40)
def test_weights_and_impossible_canvases_follow_the_definition(exact, data):
    task = Weighted()
    prompt = build_prompt(task, draw_sample(task, 0, 0), exact.codec)
    rows = lay_out(prompt, prompt.answers)
    choices = [*rows.unique().tolist(), exact.codec.mask_id, exact.codec.mask_id, 9]
    canvas = torch.tensor([data.draw(st.sampled_from(choices)) for _ in prompt.canvas])
    (found,), (off,) = distributions(exact, prompt, canvas)
    expected, expected_off = brute_force(
        rows, prompt.answers.weights, canvas, exact.codec.mask_id, exact.codec.size
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert off == expected_off


def test_the_founding_example_has_the_marginals_of_four_cities(exact):
    prompt = prompt_of("choices/city", exact)
    (p,), (off,) = distributions(exact, prompt, prompt.canvas)
    chance = {
        (place, word): p[place, exact.codec.tokenizer.convert_tokens_to_ids(word)].item()
        for place, word in itertools.product((0, 1), ("New", "Mexico", "York", "City"))
    }
    assert chance[0, "New"] == pytest.approx(1 / 2)
    assert chance[0, "Mexico"] == pytest.approx(1 / 4)
    assert chance[1, "York"] == pytest.approx(1 / 4)
    assert chance[1, "City"] == pytest.approx(1 / 2)
    assert p[2, exact.codec.end_id] == 1
    assert not off


def test_a_row_is_predicted_to_the_last_bit_alike_in_any_batch():
    model = Ideal().open()
    rows = []
    for task in ("list_operations/shuffle:form=infill", "choices/city", "puzzles/latin_square"):
        for index in range(7):
            prompt = prompt_of(task, model, index)
            answer = lay_out(prompt, prompt.answers)[index % len(prompt.answers)]
            canvas = prompt.canvas.clone()
            canvas[: index % 4] = answer[: index % 4]
            rows.append(Row(prompt, canvas, canvas == model.codec.mask_id))
    together = model.predict(rows)
    backwards = model.predict(rows[::-1])
    parts = together.logits.split([int(row.wanted.sum()) for row in rows])
    parts_backwards = backwards.logits.split([int(row.wanted.sum()) for row in rows[::-1]])[::-1]
    for row, part, other in zip(rows, parts, parts_backwards, strict=True):
        alone = model.predict([row]).logits
        width = alone.shape[1]
        assert torch.equal(part[:, :width], alone)
        assert torch.equal(other[:, :width], alone)
        assert (part[:, width:] == -torch.inf).all()
        # What decoders are told is computed from these: it must not depend on the batch.
        assert torch.equal(torch.softmax(part, -1)[:, :width], torch.softmax(alone, -1))


def test_noise_breaks_ties_without_favour_and_depends_on_sample_and_canvas_alone():
    numbers = zero_mean_noise(["a"] * 2000, torch.arange(10_000).reshape(2000, 5), 8)
    assert abs(float(numbers.mean())) < 4 / math.sqrt(numbers.numel())
    assert float(numbers.var()) == pytest.approx(1, abs=0.03)
    counts = numbers.argmax(dim=1).bincount(minlength=8)
    assert ((counts - 250).abs() < 4 * math.sqrt(250)).all()
    canvas = torch.tensor([[1, 2, 3]])
    again = zero_mean_noise(["a"], canvas, 4)
    assert torch.equal(zero_mean_noise(["a"], canvas, 4), again)
    assert not torch.equal(zero_mean_noise(["b"], canvas, 4), again)
    assert not torch.equal(zero_mean_noise(["a"], torch.tensor([[2, 1, 3]]), 4), again)


def test_noise_is_too_small_to_change_what_is_likely(exact):
    noisy = Ideal().open()
    prompt = prompt_of("choices/city", noisy)
    (with_noise,), _ = distributions(noisy, prompt, prompt.canvas)
    (without,), _ = distributions(exact, prompt, prompt.canvas)
    assert 0 < (with_noise - without).abs().max() < 0.01


def test_without_noise_ties_go_to_the_lowest_id(exact):
    prompt = prompt_of("list_operations/shuffle:form=infill,allow_identity=true", exact)
    prediction = exact.predict([Row(prompt, prompt.canvas, prompt.open)])
    ids = prediction.token_ids.gather(1, prediction.logits.argmax(1)[:, None]).flatten()
    assert set(ids.tolist()) == {int(lay_out(prompt, prompt.answers)[:, prompt.open].min())}


@pytest.fixture(scope="module")
def subwords(tmp_path_factory):
    """A byte-level BPE tokenizer that splits words, as real checkpoints have."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
    )
    text = ["New York and New Orleans", "Mexico City, Panama City"] * 20
    tokenizer.train_from_iterator(text, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)  # noqa: S106
    return str(folder)


@pytest.mark.parametrize("task", ["choices/city", "waiting_line/shuffle:length=3,canvas_length=64"])
def test_any_hugging_face_tokenizer_gives_an_exact_law_over_its_own_tokens(subwords, task):
    model = Ideal(noise=0.0, tokenizer=subwords).open()
    prompt = prompt_of(task, model)
    rows = lay_out(prompt, prompt.answers)
    assert model.codec.mask_id not in rows
    assert [model.codec.decode(row.tolist()) for row in rows] == list(prompt.answers.texts)
    canvas = prompt.canvas.clone()
    canvas[1] = rows[-1][1]
    (found,), (off,) = distributions(model, prompt, canvas)
    expected, _ = brute_force(
        rows, prompt.answers.weights, canvas, model.codec.mask_id, model.codec.size
    )
    assert torch.allclose(found, expected, atol=1e-6)
    assert not off


def test_decoding_one_by_one_from_subword_laws_is_always_right(subwords):
    evaluation = evaluate(
        model=f"ideal:tokenizer={subwords}",
        tasks="choices/city,choices/roster:people=2,list_operations/shuffle:length=3,form=infill",
        decoders="one_by_one,one_by_one:temperature=1",
        samples=10,
    )
    assert [result.accuracy for result in evaluation.results] == [1.0] * 6


def test_an_infilling_canvas_that_cannot_hold_every_answer_is_refused(subwords):
    model = Ideal(tokenizer=subwords).open()
    prompt = prompt_of("waiting_line/insert_random:form=infill", model)
    with pytest.raises(CanvasError, match="use form=free with this tokenizer"):
        model.check(prompt)


def test_a_canvas_too_short_for_an_answer_is_refused_with_the_length_it_needs(exact):
    with pytest.raises(CanvasError, match=r"takes 7 tokens, .* canvas has 5; set canvas_length=7"):
        prompt_of("waiting_line/copy:length=2,canvas_length=5", exact)


def test_a_law_over_the_limit_is_refused_with_its_size():
    model = Ideal(limit=100).open()
    with pytest.raises(NotEnumerableError, match="119 right answers, over the limit of 100"):
        model.check(prompt_of("list_operations/shuffle:length=5", model))


def test_a_tokenizer_that_changes_the_answers_is_refused(exact):
    class Fused(Colours):
        name = "choices/fused"  # of the families with the word-level tokenizer

        def answers(self, sample, limit=100_000):
            return Answers.uniform(["red , green", "red, green"])

    task = Fused(canvas_length=16)
    with pytest.raises(CanvasError, match="turns the answer 'red , green' into 'red, green'"):
        exact.check(build_prompt(task, draw_sample(task, 0, 0), exact.codec))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"noise": -1.0}, "noise must be 0 or more, got -1.0"),
        ({"noise": math.nan}, "noise must be 0 or more, got nan"),
        ({"limit": 0}, "limit must be at least 1 answer, got 0"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Ideal(**fields)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(CanvasError, match="no tokenizer can be loaded from"):
        Ideal(tokenizer=str(tmp_path)).open()
