"""Estimates from a model's predictions against the exact figures of the law behind them."""

import math

import numpy as np
import pytest
import torch

from parallelbench.analysis.theory import dependence as exact
from parallelbench.analysis.theory.estimate import (
    ORDERS,
    data_dependence,
    dependence,
    reference_of,
)
from parallelbench.decode.loop import predict_log_probs
from parallelbench.model import Prediction, Row
from parallelbench.models.ideal import Ideal
from parallelbench.prompt import build_prompt, lay_out
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build, parse_settings
from parallelbench.task import TASKS
from support.toys import ToyNetwork, prompts

TASKS_WITH_CHOICES = [
    "choices/city",
    "choices/dice:rolls=3",
    "choices/roster",
    "choices/sum",
    "list_operations/shuffle:length=4",
    "list_operations/insert_random:length=4",
    "waiting_line/remove_random:length=4",
]


@pytest.fixture(scope="module")
def ideal():
    return Ideal(noise=0.0).open()


@pytest.fixture
def rng():
    return np.random.default_rng(11)


def prompt_of(text, model, index=0):
    task = build(parse_settings(text, TASKS)[0], TASKS)
    return build_prompt(task, draw_sample(task, 0, index), model.codec)


def law_of(prompt):
    return exact.token_law(prompt, prompt.answers)


def agrees(bits, error, truth):
    return abs(bits - truth) <= 4 * error + 1e-3


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("text", TASKS_WITH_CHOICES)
def test_on_the_ideal_model_the_dependence_is_that_of_the_law(ideal, rng, text, order):
    prompt = prompt_of(text, ideal)
    law = law_of(prompt)
    found = dependence(ideal, prompt, rng, order=order, count=60)
    entropies = sum(exact.entropy(law, [position]) for position in range(law.length))
    assert found.at_once == pytest.approx(entropies, abs=1e-4)
    assert agrees(found.one_by_one, found.standard_error, exact.entropy(law))
    assert agrees(found.bits, found.standard_error, exact.total_correlation(law))
    assert (found.order, found.count) == (order, 60)


def test_a_context_and_a_set_of_positions_are_kept_to(ideal, rng):
    prompt = prompt_of("list_operations/shuffle:length=4", ideal)
    law = law_of(prompt)
    answer = lay_out(prompt, prompt.answers)[5]
    revealed, *others = law.varying
    canvas = prompt.canvas.clone()
    canvas[revealed] = answer[revealed]
    found = dependence(ideal, prompt, rng, canvas=canvas, positions=others[:2], count=60)
    left = law.given({revealed: int(answer[revealed])})
    assert agrees(found.bits, found.standard_error, exact.total_correlation(left, others[:2]))
    assert canvas.tolist().count(prompt.codec.mask_id) == 31


def test_the_standard_error_is_that_of_repeated_estimates(ideal):
    # In sums the entropies on the way depend on what was drawn, so the estimate has a spread.
    prompt = prompt_of("choices/sum", ideal)
    where = law_of(prompt).varying
    found = [
        dependence(ideal, prompt, np.random.default_rng(seed), positions=where, count=20)
        for seed in range(60)
    ]
    spread = np.std([one.bits for one in found], ddof=1)
    assert spread == pytest.approx(np.mean([one.standard_error for one in found]), rel=0.4)
    assert spread > 0.01


@pytest.mark.parametrize("order", ORDERS)
def test_right_answers_tell_the_dependence_of_the_data(ideal, rng, order):
    for text, steps in (
        ("choices/city:canvas_length=8", 1),
        ("list_operations/insert_random:length=4,canvas_length=12", None),
    ):
        references = [reference_of(prompt_of(text, ideal, index)) for index in range(150)]
        found = data_dependence(ideal, references, rng, order=order)
        truth = exact.total_correlation(law_of(references[0][0]))
        if steps is not None:
            assert truth == pytest.approx(steps)
        assert found.count == 150
        assert agrees(found.bits, found.standard_error, truth)


def test_a_model_that_ignores_what_stands_sees_no_dependence(rng):
    model = ToyNetwork(scale=1.0)
    model._token.zero_()
    references = [reference_of(prompt) for prompt in prompts(model.codec, 4)]
    for order in ORDERS:
        found = dependence(model, references[0][0], rng, order=order, count=5)
        assert found.bits == pytest.approx(0, abs=1e-9)
        assert found.at_once > 6
        assert data_dependence(model, references, rng, order=order).bits == pytest.approx(0)


def test_a_model_that_is_no_law_gives_each_order_its_own_figure():
    model = ToyNetwork(scale=1.0)
    (prompt,) = prompts(model.codec)
    found = [dependence(model, prompt, np.random.default_rng(0), order=one) for one in ORDERS]
    assert len({round(one.bits, 3) for one in found}) == 3
    assert len({one.at_once for one in found}) == 1


def test_the_same_numbers_come_at_any_batch_size_and_every_call_is_counted():
    def told(batch_size):
        model = ToyNetwork(scale=1.0)
        (prompt,) = prompts(model.codec)
        found = dependence(
            model,
            prompt,
            np.random.default_rng(0),
            order="confidence",
            count=10,
            batch_size=batch_size,
        )
        assert found.calls == len(model.calls)
        assert found.rows == sum(map(len, model.calls))
        assert max(map(len, model.calls)) <= batch_size
        return found.bits, found.standard_error, found.rows

    assert told(1) == told(3) == told(64)


def test_the_order_by_confidence_reveals_the_surest_position_first(rng):
    model = ToyNetwork(scale=1.0)
    (prompt,) = prompts(model.codec)
    logs = predict_log_probs([Row(prompt, prompt.canvas, prompt.open)], model)
    model.calls.clear()
    dependence(model, prompt, rng, order="confidence", count=2)
    for canvas in model.calls[2]:  # after the one call and the first position
        (revealed,) = (canvas != prompt.codec.mask_id).nonzero().flatten().tolist()
        assert revealed == logs.amax(dim=1).argmax()


def test_equal_rows_are_sent_once(ideal, rng):
    prompt = prompt_of("waiting_line/copy:length=3", ideal)
    found = dependence(ideal, prompt, rng, positions=[0, 1, 2], count=10)
    assert (found.bits, found.rows, found.calls) == (0, 4, 4)


def test_one_position_shares_nothing_with_itself(ideal, rng):
    prompt = prompt_of("choices/city", ideal)
    found = dependence(ideal, prompt, rng, positions=[0], count=2)
    assert found.bits == 0
    assert found.calls == 2


def test_look_gives_whole_distributions_without_the_unwritable():
    class Mischievous(ToyNetwork):
        """Columns in its own order: twice the same impossible id, the mask, ids beyond all."""

        def predict(self, rows):
            beyond = self.codec.size + 3
            ids = torch.tensor([0, 0, 4, self.codec.mask_id, beyond])
            logits = torch.tensor([-torch.inf, 1.0, 2.0, 9.0, 9.0])
            wanted = sum(int(row.wanted.sum()) for row in rows)
            return Prediction(logits=logits.repeat(wanted, 1), token_ids=ids.repeat(wanted, 1))

    model = Mischievous()
    (prompt,) = prompts(model.codec)
    row = Row(prompt, prompt.canvas, prompt.open)
    logs = predict_log_probs([row, row], model)
    assert logs.shape == (12, model.codec.size)
    first = logs[0].exp()
    assert first[0] == pytest.approx(1 / (1 + math.e))
    assert first[4] == pytest.approx(math.e / (1 + math.e))
    assert first.sum() == pytest.approx(1)
    plain = ToyNetwork()
    logs = predict_log_probs([row], plain)
    assert logs.shape == (6, plain.codec.size)
    assert (logs[:, plain.codec.mask_id] == -torch.inf).all()
    assert logs.exp().sum(dim=1) == pytest.approx(torch.ones(6))


def test_look_refuses_what_is_no_number():
    class Broken(ToyNetwork):
        def predict(self, rows):
            prediction = super().predict(rows)
            prediction.logits[0] = torch.nan
            return prediction

    model = Broken()
    (prompt,) = prompts(model.codec)
    with pytest.raises(ValueError, match="not numbers"):
        predict_log_probs([Row(prompt, prompt.canvas, prompt.open)], model)


def test_what_cannot_be_estimated_is_refused(ideal, rng):
    prompt = prompt_of("choices/city", ideal)
    canvas = prompt.canvas.clone()
    canvas[3] = 7
    with pytest.raises(ValueError, match=r"open positions, got \[3\]; open are \[0, 1, 2, 4,"):
        dependence(ideal, prompt, rng, canvas=canvas, positions=[3])
    with pytest.raises(ValueError, match="at least 2 completions, got 1"):
        dependence(ideal, prompt, rng, count=1)
    with pytest.raises(ValueError, match="at least 2 references, got 1"):
        data_dependence(ideal, [reference_of(prompt)], rng)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        dependence(ideal, prompt, rng, batch_size=0)
