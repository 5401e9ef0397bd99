"""The objective: a bound on -log p(answer), unbiased, equal where the model is exact."""

import itertools
import math
import random
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from scipy import stats

from parallelbench.model import Row
from parallelbench.models.checkpoint import CheckpointRequest, load_checkpoint
from parallelbench.models.masked import MaskedModel
from parallelbench.training.data import Example
from parallelbench.training.objective import (
    collate,
    draw_counts,
    draw_masks,
    group_by_length,
    masked_losses,
)
from support import checkpoints
from support.toys import prompts

MASK, END, VOCABULARY = 9, 8, 10


def seeded(seed):
    return random.Random(seed)  # noqa: S311  not for secrets


class Exact(torch.nn.Module):
    """Predicts every masked token from the exact law of right answers.

    Its hidden states are the log-probabilities themselves.
    """

    def __init__(self, answers, weights, sharpen=1.0):
        super().__init__()
        self.answers, self.weights = torch.tensor(answers), torch.tensor(weights).double()
        self.sharpen = sharpen

    def model(self, input_ids, attention_mask, position_ids, use_cache):
        length = self.answers.shape[1]
        hidden = torch.full((*input_ids.shape, VOCABULARY), -60.0)
        for row, canvas in enumerate(input_ids[:, -length:]):
            fits = ((self.answers == canvas) | (canvas == MASK)).all(dim=1)
            chances = self.weights * fits
            for place in range(length):
                column = torch.zeros(VOCABULARY, dtype=torch.float64)
                column.index_add_(0, self.answers[:, place], chances / chances.sum())
                logs = column.log().clamp(min=-60).float() * self.sharpen
                hidden[row, place - length] = logs
        return SimpleNamespace(last_hidden_state=hidden)

    def lm_head(self, hidden):
        return hidden


class Uniform(torch.nn.Module):
    """Predicts every token alike."""

    def model(self, input_ids, attention_mask, position_ids, use_cache):
        return SimpleNamespace(last_hidden_state=torch.zeros(*input_ids.shape, 4))

    def lm_head(self, hidden):
        return torch.zeros(len(hidden), VOCABULARY)


def example(answer, prompt=3, opened=None):
    answer = torch.tensor(answer)
    opened = torch.ones(len(answer), dtype=torch.bool) if opened is None else torch.tensor(opened)
    return Example(0, torch.arange(prompt), answer, opened)


def every_mask(opened):
    """Every mask of the open positions, with its probability."""
    places = [place for place, each in enumerate(opened) if each]
    for count in range(1, len(places) + 1):
        for chosen in itertools.combinations(places, count):
            mask = torch.zeros(len(opened), dtype=torch.bool)
            mask[list(chosen)] = True
            yield mask, 1 / len(places) / math.comb(len(places), count)


def expected_loss(network, answer, opened=None):
    one = example(answer, opened=opened)
    masks, chances = zip(*every_mask(one.open.tolist()), strict=True)
    batch = collate([one] * len(masks), masks, MASK, END)
    return float(masked_losses(network, batch) @ torch.tensor(chances))


def test_a_uniform_model_loses_length_times_log_vocabulary_in_every_sample():
    generator = seeded(0)
    drawn = [example([1, 2, 3, 4, END, END], prompt=generator.randint(1, 5)) for _ in range(16)]
    masks = draw_masks([each.open for each in drawn], generator)
    per_sample = masked_losses(Uniform(), collate(drawn, masks, MASK, END))
    assert per_sample == pytest.approx([6 * math.log(VOCABULARY)] * 16, rel=1e-6)


PERMUTATIONS = list(itertools.permutations((1, 2, 3)))


@pytest.mark.parametrize(
    ("answers", "weights"),
    [
        (PERMUTATIONS, [1] * 6),
        ([(1, 2, END), (2, 1, END), (3, END, END)], [1, 1, 1]),
        ([(1, 2, 3, END), (4, 2, 5, END), (1, 5, 5, 5)], [1, 2, 5]),
    ],
)
def test_with_the_exact_conditionals_the_loss_is_the_information_of_the_answer(answers, weights):
    network = Exact(answers, weights)
    for answer, weight in zip(answers, weights, strict=True):
        expected = -math.log(weight / sum(weights))
        assert expected_loss(network, answer) == pytest.approx(expected, abs=1e-5)


def test_with_the_exact_law_the_mean_loss_is_the_logarithm_of_the_number_of_answers():
    network = Exact(PERMUTATIONS, [1] * 6)
    mean = sum(expected_loss(network, answer) for answer in PERMUTATIONS) / 6
    assert mean == pytest.approx(math.log(6), abs=1e-5)


def test_any_other_model_loses_more():
    network = Exact(PERMUTATIONS, [3, 1, 1, 1, 1, 1])
    mean = sum(expected_loss(network, answer) for answer in PERMUTATIONS) / 6
    assert mean > math.log(6) + 0.05


def test_only_the_open_positions_of_the_infilling_form_count():
    answers = [(1, 7, 2), (2, 7, 1)]
    opened = [True, False, True]
    loss = expected_loss(Exact(answers, [1, 1]), answers[0], opened)
    assert loss == pytest.approx(math.log(2), abs=1e-5)
    one = example(answers[0], opened=opened)
    for seed in range(20):
        (mask,) = draw_masks([one.open], seeded(seed))
        assert not mask[1]


def test_the_number_of_masks_is_uniform_and_so_are_their_places():
    generator = seeded(0)
    opened = torch.tensor([True, True, False, True, True])
    masks = [mask for _ in range(500) for mask in draw_masks([opened] * 6, generator)]
    sets = Counter(tuple(mask.nonzero().flatten().tolist()) for mask in masks)
    sizes = Counter(len(chosen) for chosen in sets.elements())
    assert stats.chisquare([sizes[size] for size in range(1, 5)]).pvalue > 1e-3
    for size in range(1, 5):
        same = [count for chosen, count in sets.items() if len(chosen) == size]
        assert len(same) == math.comb(4, size)
        assert size == 4 or stats.chisquare(same).pvalue > 1e-3


@pytest.mark.parametrize("rows", [1, 3, 8, 64])
def test_a_batch_takes_its_numbers_of_masks_from_equal_parts(rows):
    generator = seeded(1)
    for _ in range(50):
        counts = sorted(draw_counts([32] * rows, generator))
        assert counts[0] >= 1
        assert counts[-1] <= 32
        for part, count in enumerate(counts):
            assert abs(count - 32 * (part + 0.5) / rows) <= 16 / rows + 1


def test_a_row_has_every_number_of_masks_whatever_its_place():
    generator = seeded(2)
    drawn = Counter(draw_counts([4, 4], generator)[0] for _ in range(2000))
    assert sorted(drawn) == [1, 2, 3, 4]
    assert stats.chisquare(list(drawn.values())).pvalue > 1e-3


def test_rounding_masks_no_more_than_there_is():
    generator = seeded(0)
    generator.random = lambda: 1 - 2**-53
    assert max(draw_counts([32] * 64, generator)) == 32


def test_prompt_and_open_tokens_stay_and_masked_ones_are_hidden():
    drawn = [example([1, 2, 3], prompt=2), example([4, 5, 6, 7], prompt=4)]
    masks = [torch.tensor([True, False, True]), torch.tensor([False, True, False, False])]
    batch = collate(drawn, masks, MASK, END)
    assert batch.ids.tolist() == [
        [END, END, END, 0, 1, MASK, 2, MASK],
        [0, 1, 2, 3, 4, MASK, 6, 7],
    ]
    assert batch.real.tolist() == [[False] * 3 + [True] * 5, [True] * 8]
    assert batch.positions.tolist() == [[0, 0, 0, 0, 1, 2, 3, 4], list(range(8))]
    assert batch.targets.tolist() == [1, 3, 5]
    assert batch.weights.tolist() == [1.5, 1.5, 4.0]


@pytest.mark.parametrize("family", ["llada", "dream"])
def test_a_network_is_trained_on_what_its_adapter_predicts(family, tmp_path):
    folder = checkpoints.write_checkpoint(family, tmp_path / family)
    checkpoint = load_checkpoint(CheckpointRequest(path=str(folder), device="cpu"))
    codec = checkpoint.codec
    (plain,) = prompts(codec, 1, canvas_length=8)
    drawn, masks, rows = [], [], []
    for length, places in ((9, (0, 3)), (4, (5,)), (13, range(8))):
        prompt = replace(plain, ids=torch.arange(20, 20 + length))
        mask = torch.zeros(8, dtype=torch.bool)
        mask[list(places)] = True
        drawn.append(Example(0, prompt.ids, torch.arange(60, 68), torch.ones_like(mask)))
        masks.append(mask)
        canvas = torch.arange(60, 68).masked_fill(mask, codec.mask_id)
        rows.append(Row(prompt=prompt, canvas=canvas, wanted=mask))
    with torch.inference_mode():
        logits = MaskedModel(checkpoint).predict(rows).logits.log_softmax(dim=-1)
        batch = collate(drawn, masks, codec.mask_id, codec.end_id)
        ours = masked_losses(checkpoint.network, batch, checkpoint.family.shift)
    parts = logits[torch.arange(len(logits)), batch.targets].split([2, 1, 8])
    expected = [-8 / len(part) * float(part.sum()) for part in parts]
    assert ours.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_step_is_cut_into_batches_of_about_the_same_length():
    prompts_of = [22, 92, 33, 91, 35, 52, 23]
    answer, everywhere = torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.bool)
    drawn = [
        Example(0, torch.zeros(each, dtype=torch.int64), answer, everywhere) for each in prompts_of
    ]
    assert group_by_length(drawn) == [[0, 6, 2], [4, 5], [3, 1]]
    assert group_by_length(drawn[:1]) == [[0]]
