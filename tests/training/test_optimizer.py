"""Optimizers, the learning rate over time, and the average of the weights."""

import pytest
import torch

from parallelbench.errors import FieldError
from parallelbench.training import AdamW, Muon, Plan
from parallelbench.training.optimizer import Average, make_optimizers, rate, set_rate


def parameters():
    torch.manual_seed(0)
    return {
        name: torch.nn.Parameter(torch.randn(shape))
        for name, shape in {
            "model.embed_tokens.weight": (10, 4),
            "model.layers.0.mlp.up_proj.weight": (8, 4),
            "model.layers.0.input_layernorm.weight": (4,),
            "model.layers.0.mlp.experts.up_proj": (3, 8, 4),
            "lm_head.weight": (10, 4),
        }.items()
    }


def shapes(optimizer):
    return {tuple(each.shape) for group in optimizer.param_groups for each in group["params"]}


def test_muon_has_the_matrices_of_the_layers_and_adamw_the_rest():
    weights = parameters()
    muon, adamw = make_optimizers(Muon(), weights)
    assert isinstance(muon, torch.optim.Muon)
    assert shapes(muon) == {(8, 4)}
    assert shapes(adamw) == {(10, 4), (4,), (3, 8, 4)}
    held = [each for one in (muon, adamw) for group in one.param_groups for each in group["params"]]
    assert len(held) == len(weights)


def test_a_step_of_muon_is_as_long_as_one_of_adamw():
    weights = parameters()
    muon, _ = make_optimizers(Muon(learning_rate=0.1, weight_decay=0.0), weights)
    matrix = weights["model.layers.0.mlp.up_proj.weight"]
    before = matrix.detach().clone()
    matrix.grad = torch.randn_like(matrix)
    muon.step()
    # 0.2 learning rates is the size of AdamW's steps (arXiv:2502.16982, section 2.2).
    size = float((matrix - before).detach().square().mean().sqrt())
    assert size == pytest.approx(0.02, rel=0.35)


def test_vectors_do_not_decay():
    (adamw,) = make_optimizers(AdamW(weight_decay=0.5), parameters())
    decays = {
        each.ndim: group["weight_decay"] for group in adamw.param_groups for each in group["params"]
    }
    assert decays == {1: 0.0, 2: 0.5, 3: 0.5}


def test_a_torch_without_muon_is_told(monkeypatch):
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(FieldError, match="adamw"):
        make_optimizers(Muon(), parameters())


def test_the_rate_rises_in_a_line_and_falls_along_a_cosine():
    plan = Plan(tasks="choices/dice", steps=101, warm_up=10, final_rate=0.1)
    rates = [rate(plan, step) for step in range(101)]
    assert rates[:10] == pytest.approx([(step + 1) / 11 for step in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.55)
    assert rates[100] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize(("steps", "warm_up"), [(1, 0), (1, None), (2, 1), (5, 50), (3, None)])
def test_short_trainings_have_a_rate_too(steps, warm_up):
    plan = Plan(tasks="choices/dice", steps=steps, warm_up=warm_up)
    assert all(0 < rate(plan, step) <= 1 for step in range(steps))


def test_a_new_rate_is_every_groups():
    optimizers = make_optimizers(Muon(), parameters())
    set_rate(optimizers, 0.25)
    assert {group["lr"] for each in optimizers for group in each.param_groups} == {0.25}


def test_the_average_forgets_the_start_and_then_decays():
    weight = torch.nn.Parameter(torch.zeros(2))
    average = Average({"w": weight}, decay=0.5)
    with torch.no_grad():
        weight.fill_(1.0)
    average.update({"w": weight}, 0)
    assert average.tensors["w"].tolist() == pytest.approx([0.9, 0.9])  # 1 - 1/10
    average.update({"w": weight}, 1000)
    assert average.tensors["w"].tolist() == pytest.approx([0.95, 0.95])
