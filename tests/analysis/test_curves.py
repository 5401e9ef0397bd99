"""Which settings are points of one curve."""

import dataclasses

import pytest

from parallelbench.analysis.measures.curves import curves_of
from support.contrast import PAGES, contrast


@pytest.fixture
def labels(make_result):
    """The legend's label of each setting, given as (name, label, fields)."""

    def of(*settings):
        results = [
            dataclasses.replace(make_result(label), decoder=name, fields=fields)
            for name, label, fields in settings
        ]
        return {label: curve.label for label, curve in curves_of(results).items()}

    return of


def test_settings_that_differ_in_one_number_are_one_curve(labels):
    found = labels(
        ("confidence", "confidence", {"block_length": None, "k": 1}),
        ("confidence", "confidence:k=2", {"block_length": None, "k": 2}),
    )
    assert set(found.values()) == {"confidence, varying k"}


def test_other_fields_are_held_along_a_curve(labels):
    found = labels(
        *(
            ("t", f"t:block_length={length},bar={bar}", {"block_length": length, "bar": bar})
            for length in (4, 8, 16)
            for bar in (0.5, 0.9)
        )
    )
    assert set(found.values()) == {f"t:block_length={n}, varying bar" for n in (4, 8, 16)}


def test_a_curve_runs_along_the_block_length_if_nothing_else_varies(labels):
    found = labels(
        ("one_by_one", "one_by_one", {"block_length": None}),
        ("one_by_one", "one_by_one:block_length=8", {"block_length": 8}),
    )
    assert set(found.values()) == {"one_by_one, varying block_length"}


def test_words_and_switches_are_no_dial(labels):
    found = labels(
        ("t", "t:rule=a", {"rule": "a", "inclusive": True}),
        ("t", "t:rule=b,inclusive=false", {"rule": "b", "inclusive": False}),
    )
    assert found == {label: label for label in found}


def test_a_setting_alone_keeps_its_whole_label(labels):
    assert labels(("t", "t:bar=0.9", {"bar": 0.9})) == {"t:bar=0.9": "t:bar=0.9"}


def test_fifty_curves_are_all_told_apart(make_result):
    results = [make_result(f"strategy_{number}") for number in range(50)]
    looks = {(curve.colour, curve.marker) for curve in curves_of(results).values()}
    assert len(looks) == 50


def test_no_colour_comes_twice_and_each_shows_on_both_pages(make_result):
    results = [make_result(f"strategy_{number}") for number in range(60)]
    colours = [curve.colour.lower() for curve in curves_of(results).values()]
    assert len(set(colours)) == 60
    for colour in colours[7:]:  # behind Okabe and Ito's: 3 is WCAG 2's least for what is no text
        assert min(contrast(colour, page) for pages in PAGES.values() for page in pages) >= 2.9
