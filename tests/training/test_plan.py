"""A plan: complete when frozen, and nothing in it that means nothing."""

import json

import pytest

from parallelbench.errors import FieldError, UnknownNameError
from parallelbench.training import AdamW, Base, Muon, Plan, Scratch


def test_grids_are_spelled_out_and_overlaps_are_trained_once():
    plan = Plan(
        tasks=(
            "list_operations/copy:length=3|4,form=infill",
            "list_operations/copy:length=3,form=infill",
        )
    )
    assert [setting.fields["length"] for setting in plan.settings] == [3, 4]
    assert {setting.fields["form"] for setting in plan.settings} == {"infill"}


def test_shares_follow_the_weights_and_the_last_match_counts():
    plan = Plan(
        tasks="choices/city,choices/dice,choices/sum",
        weights={"choices/*": 2.0, "choices/dice:rolls=5": 1.0, "choices/sum": 5.0},
    )
    assert plan.shares == (2 / 8, 1 / 8, 5 / 8)


def test_a_label_of_one_setting_can_have_a_weight():
    plan = Plan(tasks="choices/city:options=2|3", weights={"choices/city:options=3": 3.0})
    assert plan.shares == (0.25, 0.75)


def test_a_frozen_plan_is_json_and_the_same_for_the_same_plan():
    frozen = Plan(tasks="choices/*").frozen()
    assert json.loads(json.dumps(frozen)) == frozen
    assert frozen == Plan(tasks="choices/*", warm_up=150).frozen()
    assert frozen != Plan(tasks="choices/*", optimizer=AdamW(learning_rate=2.5e-3)).frozen()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"warm_up": -1}, "warm_up must be at least 0"),
        ({"final_rate": 1.5}, "final_rate must be from 0 to 1"),
        ({"average": float("nan")}, "average must be from 0 to 1"),
        ({"clip": 0.0}, "clip must be more than 0"),
        ({"tasks": ()}, "at least one task"),
        ({"weights": {"choices/nothing": 2.0}}, "none of the tasks"),
        ({"weights": {"choices/dice": 0.0}}, "more than 0"),
        ({"weights": {"choices/dice": float("inf")}}, "more than 0"),
    ],
)
def test_a_value_out_of_range_is_refused(changes, sentence):
    with pytest.raises(FieldError, match=sentence):
        Plan(**{"tasks": "choices/dice", **changes})


def test_an_unknown_task_is_told_with_near_names():
    with pytest.raises(UnknownNameError, match="waiting_line/shuffle"):
        Plan(tasks="waiting_line/shufle")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Scratch(hidden=0), "hidden must be at least 1"),
        (lambda: Scratch(hidden=36, heads=4), "multiple of twice the heads"),
        (lambda: Base(model="hf:somewhere", lora=0), "lora must be at least 1"),
        (lambda: Base(model="ideal"), "hf:PATH"),
        (lambda: Base(model="hf:a:dtype=float32|bfloat16"), "one checkpoint"),
        (lambda: Base(model="hf:a:cache=dual"), "cache does not apply to training"),
        (lambda: Base(model="hf:a:peft=b", lora=4), "on top of another"),
        (lambda: Muon(learning_rate=0.0), "learning_rate must be more than 0"),
        (lambda: AdamW(weight_decay=2.0), "weight_decay must be from 0 to 1"),
    ],
)
def test_what_means_nothing_is_refused(make, sentence):
    with pytest.raises(FieldError, match=sentence):
        make()
