"""Settings of the decoders: names, declarations, ranges and refusals."""

import math
import re
from pathlib import Path

import jaxtyping
import pytest
import torch

from parallelbench import decoders
from parallelbench.decoder import DECODERS, STATISTICS, Chooser, Decoder, Progress, Statistics, Step
from parallelbench.errors import DecoderError, FieldError
from parallelbench.ranges import AllowedValues, WholeNumbers, ranges_of
from parallelbench.setting import build, parse_settings, split_settings

ROOT = Path(__file__).parents[2]
#: A strategy inside another is written with all of its fields.
INSIDE = "confidence_threshold(threshold=0.9;comparison=ge)"
#: The name that records use for good: the statistic it reads, its adaptivity, its own fields.
DECLARED = {
    "one_by_one": ("confidence", False, {}),
    "random": ("uniform", False, {"k": 1}),
    "left_to_right": (None, False, {"k": 1}),
    "confidence": ("confidence", False, {"k": 1}),
    "margin": ("margin", False, {"k": 1}),
    "entropy": ("entropy", False, {"k": 1}),
    "confidence_threshold": ("confidence", True, {"threshold": 0.9, "comparison": "ge"}),
    "margin_threshold": ("margin", True, {"threshold": 0.9, "comparison": "ge"}),
    "entropy_threshold": ("entropy", True, {"threshold": 0.5, "comparison": "le"}),
    "confidence_factor": ("confidence", True, {"factor": 1.0, "rule": "paper"}),
    "entropy_bound": ("entropy", True, {"bound": 0.1}),
    "pivot": ("entropy", True, {"certain": 0.05, "confidence": None, "plausible": 0.0}),
    "local_leap": (
        "confidence",
        True,
        {"threshold": 0.9, "comparison": "ge", "relaxed": 0.75, "radius": 4},
    ),
    "hierarchy": ("confidence", True, {"low": 0.4, "threshold": 0.9}),
    "dus": ("confidence", False, {"base": 2, "skip_below": 0.0}),
    "llada": ("confidence", False, {"score": "confidence", "steps": 32}),
    "eoser": ("confidence", False, {"floor": 0.4, "steps": 32}),
    "ass": ("confidence", False, {"floor": 0.01}),
    "sdar": ("confidence", True, {"threshold": 0.85, "steps": 4, "block_length": 4}),
    "multi_block": (
        "confidence",
        True,
        {"length": 32, "joins": 0.1, "forces": 0.95, "threshold": 0.9},
    ),
    "prophet_whole_canvas": (
        "confidence, logit_margin",
        True,
        {"early": 7.5, "middle": 5.0, "late": 2.5, "steps": 32},
    ),
    "dilated": ("confidence", True, {"strategy": INSIDE, "distance": 1}),
    "dsb": ("confidence", True, {"strategy": INSIDE, "length": 32, "longest": None}),
    "free_dave": ("confidence", True, {"drafts": 4}),
    "lopa": (
        "confidence, entropy",
        True,
        {"threshold": 0.9, "branches": 3, "score": "confidence", "lowest": 1.0},
    ),
    "punt": ("confidence, distribution", True, {"threshold": 0.05}),
    "info_gain": (
        "confidence, entropy, uniform",
        True,
        {
            "candidates": 8,
            "threshold": 0.8,
            "position_temperature": 0.2,
            "objective": "info_gain",
        },
    ),
    "mean_field": (
        "distribution, logit_margin",
        True,
        {"threshold": 0.5, "rounds": 2, "candidates": 8},
    ),
    "dapd": (
        "confidence, attention_late",
        True,
        {"edge": 0.01, "tail": 0.9, "tail_below": 0.5},
    ),
    "dawn": (
        "confidence, attention_last_four",
        True,
        {
            "block_length": 32,
            "threshold": 0.9,
            "induce": 0.7,
            "low": 0.75,
            "edge": 0.07,
            "sink": 0.01,
        },
    ),
    "demask": ("confidence, head:demask", True, {"budget": 0.0}),
    "learn2pd": ("confidence, head:learn2pd", True, {"block_length": 32, "threshold": 0.96}),
    "dream": (
        "uniform",
        False,
        {
            "algorithm": "origin",
            "steps": 32,
            "eps": 0.001,
            "alg_temp": 0.0,
            "schedule": "published",
        },
    ),
}
#: What some model gives, or a plugin's may.
GIVEN = {"attention", "attention_late", "attention_last_four", "head:demask", "head:learn2pd"}
CHOOSERS = [name for name in DECLARED if issubclass(DECODERS[name], Chooser)]


def test_every_strategy_is_registered_and_has_a_module_of_its_name():
    assert set(DECLARED) <= set(DECODERS)
    assert set(DECLARED) <= set(decoders.__all__)
    for name in DECLARED:
        assert DECODERS[name].__module__ == f"parallelbench.decoders.{name}"


def test_the_list_of_modules_is_sorted_and_complete():
    assert decoders.__all__ == sorted(decoders.__all__)
    assert all(hasattr(decoders, name) for name in decoders.__all__)


@pytest.mark.parametrize(("name", "declared"), DECLARED.items())
def test_a_strategy_declares_what_it_reads_and_whether_it_adapts(name, declared):
    statistic, adaptive, _ = declared
    kind = DECODERS[name]()
    assert kind.needs == {"token", *(statistic.split(", ") if statistic else ())}
    assert kind.needs <= STATISTICS | GIVEN
    # Who cannot serve it is told more than the name of what is missing.
    assert kind.hints.keys() == kind.needs - STATISTICS
    assert kind.adaptive is adaptive
    assert kind.remasks is False


def test_a_strategy_that_draws_positions_or_tokens_is_not_deterministic():
    assert DECODERS["confidence"]().deterministic
    assert not DECODERS["confidence"](temperature=0.5).deterministic
    assert not DECODERS["random"]().deterministic


def test_the_table_of_strategies_has_a_row_for_each_with_what_it_declares():
    rows = {}
    for line in (ROOT / "docs" / "decoders.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if cells[1:] and cells[1].startswith("`"):
            # What bounds a strategy stands behind it, in a table of its own.
            rows.setdefault(cells[1].strip("`"), cells[4:8])
    for name, (statistic, adaptive, fields) in DECLARED.items():
        told = {field: "none" if value is None else value for field, value in fields.items()}
        written = ", ".join(f"{field}={value}" for field, value in told.items())
        assert rows[name] == ["yes" if adaptive else "no", "no", statistic or "", written], name


def test_a_strategy_inside_another_keeps_its_fields_and_can_be_typed_again():
    text = "dilated:strategy=margin_threshold(threshold=0.8),distance=2,temperature=1"
    [setting] = parse_settings(text, DECODERS)
    assert setting.label == (
        "dilated:strategy=margin_threshold(threshold=0.8;comparison=ge),distance=2,temperature=1.0"
    )
    assert parse_settings(setting.label, DECODERS) == [setting]
    assert build(setting, DECODERS).needs == {"token", "margin", "confidence"}
    assert split_settings(f"{setting.label},dsb:strategy=dilated") == [
        setting.label,
        "dsb:strategy=dilated",
    ]


def test_a_grid_of_strategies_inside_is_several_settings():
    settings = parse_settings("dsb:strategy=confidence|entropy_bound,length=8", DECODERS)
    built = [build(setting, DECODERS) for setting in settings]
    assert [dsb.strategy for dsb in built] == ["confidence(k=1)", "entropy_bound(bound=0.1)"]
    assert [dsb.adaptive for dsb in built] == [False, True]
    assert [dsb.needs - {"token"} for dsb in built] == [{"confidence"}, {"entropy"}]


@pytest.mark.parametrize("name", list(DECODERS))
def test_presets_and_grids_are_settings_of_their_strategy(name):
    kind = DECODERS[name]
    for preset, fields in kind.presets.items():
        assert preset == preset.lower().replace("_", "-")
        assert len(parse_settings(f"{name}:{fields}", DECODERS)) == 1
    if kind.grid:
        assert len(parse_settings(f"{name}:{kind.grid}", DECODERS)) > 1


def test_needs_follow_the_score_and_the_algorithm():
    llada, dream = DECODERS["llada"], DECODERS["dream"]
    assert llada(score="random").needs == {"token", "uniform"}
    assert llada(score="margin").needs == {"token", "margin"}
    assert dream(algorithm="maskgit_plus").needs == {"token", "confidence"}
    assert dream(algorithm="topk_margin").needs == {"token", "margin"}
    assert dream(algorithm="entropy", alg_temp=0.1).needs == {"token", "entropy", "uniform"}


@pytest.mark.parametrize(("name", "declared"), DECLARED.items())
def test_the_defaults_are_the_published_ones(name, declared):
    *_, fields = declared
    base = {"block_length": None, "temperature": 0.0}
    [setting] = parse_settings(name, DECODERS)
    assert setting.fields == base | fields
    assert setting.label.partition(":")[0] == name


@pytest.mark.parametrize("name", [name for name in CHOOSERS if DECLARED[name][0]])
def test_a_statistic_that_a_strategy_reads_is_one_that_it_must_declare(name):
    open_ = torch.ones((1, 2), dtype=torch.bool)
    only_tokens = Statistics(token=torch.zeros((1, 2), dtype=torch.long))
    progress = Progress(step=torch.tensor([0]), initial=torch.tensor([2]))
    with pytest.raises(DecoderError, match="a statistic that its needs do not name"):
        DECODERS[name]().choose(Step(only_tokens, open_, progress))


def test_a_label_shows_the_strength_of_a_strategy_even_at_its_default():
    labels = [parse_settings(name, DECODERS)[0].label for name in ("random", "entropy_bound")]
    assert labels == ["random:k=1", "entropy_bound:bound=0.1"]
    assert parse_settings("random:temperature=1,k=2", DECODERS)[0].label == (
        "random:k=2,temperature=1.0"
    )


def test_a_grid_of_counts_is_as_many_settings():
    settings = parse_settings("confidence:k=1|2|4", DECODERS)
    assert [setting.label for setting in settings] == [
        "confidence:k=1",
        "confidence:k=2",
        "confidence:k=4",
    ]
    assert [build(setting, DECODERS).k for setting in settings] == [1, 2, 4]


def test_a_grid_of_thresholds_and_comparisons_is_their_product():
    text = "confidence_threshold:threshold=0.5|1,comparison=ge|gt,block_length=8"
    built = [build(setting, DECODERS) for setting in parse_settings(text, DECODERS)]
    assert [(decoder.threshold, decoder.comparison) for decoder in built] == [
        (0.5, "ge"),
        (0.5, "gt"),
        (1.0, "ge"),
        (1.0, "gt"),
    ]
    assert {decoder.block_length for decoder in built} == {8}


def test_a_setting_with_a_wrong_value_names_the_decoder_and_the_range():
    with pytest.raises(FieldError, match=r"'confidence_threshold': threshold .*\(0, 1\], got 1\.5"):
        parse_settings("confidence_threshold:threshold=1.5", DECODERS)


def outside(allowed):
    """Return values just outside of a declared range."""
    if isinstance(allowed, AllowedValues):
        return ["x"]
    if isinstance(allowed, WholeNumbers):
        return [allowed.least - 1, *([] if allowed.most is None else [allowed.most + 1])]
    low = allowed.low - 0.01 if allowed.low_included else allowed.low
    high = allowed.high + 0.01 if allowed.high_included else allowed.high
    return [low, high, math.nan]


OUTSIDE = [
    (name, field, allowed, value)
    for name, kind in DECODERS.items()
    for field, allowed in ranges_of(kind).items()
    for value in outside(allowed)
]


@pytest.mark.parametrize(("name", "field", "allowed", "value"), OUTSIDE)
def test_a_value_out_of_its_declared_range_is_refused(monkeypatch, name, field, allowed, value):
    # As in production: under pytest the enforced types would refuse a word first.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(
        ValueError, match=re.escape(f"{field} {allowed.requirement}, got {value!r}")
    ):
        DECODERS[name](**{field: value})


def test_the_documented_ranges_are_those_that_the_fields_declare():
    text = (ROOT / "docs" / "decoders.md").read_text()
    table = text.partition("| name | ranges |\n")[2].partition("\n\n")[0]
    documented = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", table, flags=re.MULTILINE))
    common = ranges_of(Decoder)
    declared = {
        name: ", ".join(
            f"`{field}` {allowed}"
            for field, allowed in ranges_of(DECODERS[name]).items()
            if field not in common
        )
        for name in DECODERS
        if DECODERS[name].__module__.startswith(decoders.__name__)
    }
    assert documented == {name: ranges for name, ranges in declared.items() if ranges}


RELAXED = r"relaxed must lie in \(0, threshold=0\.9\], got "
LOW = r"low must lie in \[0, threshold=0\.9\], got "
REFUSED = [
    *(("local_leap", {"relaxed": value}, RELAXED) for value in (0.0, 0.95, math.nan)),
    *(("hierarchy", {"low": v}, LOW) for v in (-0.1, 0.95, math.nan)),
    ("dsb", {"longest": 31}, "longest must be none or at least length=32, got 31"),
    *(
        (name, {"strategy": value}, sentence)
        for name in ("dilated", "dsb")
        for value, sentence in (
            ("confidense", "no decoder is called 'confidense'; did you mean 'confidence'"),
            ("confidence(n=2)", "decoder 'confidence': no field is called 'n'"),
            ("confidence(k=0)", "decoder 'confidence': k must be at least 1 token per step"),
            ("confidence(k=2", r"must be written as name or name\(field=value;field=value\)"),
            ("confidence(k)", "decoder 'confidence': field 'k' must be a whole number, got ''"),
            ("dus", "strategy must be one that only chooses among open positions, got 'dus'"),
            ("confidence(temperature=1)", "temperature belongs to the strategy around"),
            ("confidence(block_length=4)", "block_length belongs to the strategy around"),
        )
    ),
    ("dream", {"alg_temp": 0.5}, r"alg_temp needs an algorithm that ranks positions, got 0\.5"),
]


@pytest.mark.parametrize(("name", "fields", "sentence"), REFUSED)
def test_a_value_that_another_field_rules_out_is_refused(name, fields, sentence):
    with pytest.raises(ValueError, match=sentence) as refusal:
        DECODERS[name](**fields)
    assert str(*fields.values()) in str(refusal.value)
