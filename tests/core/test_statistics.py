"""What decoders are told of a position, from the logits of the whole vocabulary."""

import math

import pytest
import torch

from parallelbench.decode import statistics
from parallelbench.decode.statistics import Drawing, statistics_of
from parallelbench.errors import ModelError
from parallelbench.model import Prediction

ALL = frozenset({"token", "confidence", "margin", "logit_margin", "entropy", "distribution"})


def logits_of(lines, columns, seed=0):
    return 3 * torch.randn(lines, columns, generator=torch.Generator().manual_seed(seed))


def told(logits, needs=ALL, drawing=None, lines=None):
    said = statistics_of(Prediction(logits=logits), needs, drawing, logits.shape[1], lines)
    return {name: getattr(said, name) for name in ALL}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in ALL)


def test_statistics_are_those_of_the_definition():
    chances = torch.tensor([[0.5, 0.25, 0.125, 0.125], [0.0, 0.0, 1.0, 0.0]])
    said = told(chances.log())
    assert said["token"].tolist() == [0, 2]
    assert said["confidence"].tolist() == pytest.approx([0.5, 1.0])
    assert said["margin"].tolist() == pytest.approx([0.25, 1.0])
    assert said["entropy"].tolist() == pytest.approx([1.75 * math.log(2), 0.0])
    assert torch.allclose(said["distribution"], chances)


def test_ties_go_to_the_lowest_id_and_have_no_margin():
    said = told(torch.tensor([[0.0, 2.0, 2.0]]))
    assert said["token"].tolist() == [1]
    assert said["margin"].tolist() == [0.0]


@pytest.mark.parametrize("held", [1, 50, 120])
def test_how_many_positions_are_computed_at_a_time_changes_nothing(held, monkeypatch):
    logits = logits_of(23, 20)
    drawing = Drawing(torch.tensor([0.0, 0.7] * 11 + [2.0]), torch.linspace(0, 0.99, 23))
    lines = torch.arange(22, -1, -1)
    whole = told(logits.clone(), drawing=drawing, lines=lines)
    monkeypatch.setattr(statistics, "_CACHED", held)
    assert same(told(logits, drawing=drawing, lines=lines), whole)


def test_a_position_alone_is_told_the_same_as_among_others():
    # Of a single long row, torch adds up parts in several threads.
    logits = logits_of(9, 126_464)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = told(logits)
        for line in range(9):
            alone = told(logits[line : line + 1])
            assert same(alone, {name: value[line : line + 1] for name, value in together.items()})
    finally:
        torch.set_num_threads(before)


def test_a_drawn_token_has_its_own_confidence():
    chances = torch.tensor([0.5, 0.3, 0.2]).expand(3, 3)
    drawing = Drawing(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.6, 0.9, 0.9]))
    said = told(chances.log().contiguous(), drawing=drawing)
    assert said["token"].tolist() == [1, 2, 0]
    assert said["confidence"].tolist() == pytest.approx([0.3, 0.2, 0.5])
    assert said["margin"].tolist() == pytest.approx([0.2] * 3)


@pytest.mark.parametrize("needs", [{"token"}, {"token", "margin"}, {"token", "distribution"}])
def test_nobody_is_told_what_nobody_needs(needs):
    said = told(logits_of(3, 5), needs=frozenset(needs))
    assert {name for name, value in said.items() if value is not None} == needs


def test_the_distribution_is_whole_beside_a_margin():
    said = told(logits_of(4, 6))
    assert torch.allclose(said["distribution"].sum(dim=1), torch.ones(4))


@pytest.mark.parametrize("bad", [[-math.inf, -math.inf], [0.0, math.nan], [math.inf, 0.0]])
def test_logits_that_are_no_numbers_are_refused(bad):
    with pytest.raises(ModelError, match="all -inf, or not numbers"):
        told(torch.tensor([[0.0, 1.0], bad]))


def test_no_position_at_all_is_no_fault():
    assert told(torch.empty(0, 5))["token"].tolist() == []
