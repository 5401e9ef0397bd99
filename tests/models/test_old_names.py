"""Plugins written for the former names of a model's attributes still work, and are warned."""

from dataclasses import dataclass
from typing import ClassVar

import pytest

from parallelbench.model import ComputeCost, Model, ModelSource
from support.landscapes import Landscape


def test_a_model_may_use_the_former_names_for_one_release():
    with pytest.warns(DeprecationWarning, match="is now called") as warned:

        class Former(Model):
            provides = frozenset({"hidden"})
            remembers = True

            def predict(self, rows):
                raise NotImplementedError

            def load(self, row):
                return ComputeCost(tokens=row, stored=1)

            def facts(self):
                return {"family": "former"}

    assert {str(each.message).partition(";")[0] for each in warned} == {
        "Former.provides is now called capabilities",
        "Former.remembers is now called uses_window_snapshot",
        "Former.load is now called compute_cost",
        "Former.facts is now called provenance",
    }
    model = Former()
    assert (model.capabilities, model.uses_window_snapshot) == ({"hidden"}, True)
    assert model.compute_cost(5) == (5, 1)
    assert model.provenance() == {"family": "former"}


def test_a_former_name_can_be_read_and_set_on_a_model():
    with pytest.warns(DeprecationWarning, match="Landscape.provides is now called capabilities"):
        given = Landscape.provides
    assert given == Landscape.capabilities
    model = object.__new__(Landscape)
    with pytest.warns(DeprecationWarning, match="the old name will be removed"):
        model.provides = frozenset({"more"})
    assert model.capabilities == {"more"}


def test_a_source_may_say_under_the_former_name_what_its_model_can_do():
    with pytest.warns(DeprecationWarning, match="Former.gives is now called capabilities"):

        @dataclass(frozen=True, kw_only=True)
        class Former(ModelSource):
            summary: ClassVar[str] = "a plugin"

            def open(self):
                raise NotImplementedError

            def gives(self):
                return frozenset({"hidden"})

    assert Former().capabilities() == {"hidden"}
