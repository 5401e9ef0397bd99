"""Declarations and refusals of the decoders that keep a state, revise or edit."""

import pytest

from parallelbench import evaluate
from parallelbench.decoder import DECODERS, STATISTICS
from parallelbench.errors import RunFileError
from parallelbench.setting import parse_settings

SURE = {"token", "confidence"}
SPREAD = SURE | {"distribution"}
SHADOW = SPREAD | {"attention_mask", "positions", "unshifted"}
#: Whether it adapts, whether it may open or overwrite, what it needs, its own fields.
DECLARED = {
    "klass": (True, False, SPREAD, ("threshold=0.9", "divergence=0.01", "history=2")),
    "klass_dream": (True, False, SPREAD, ("threshold=0.9", "divergence=0.001", "history=2")),
    "slow_fast": (
        True,
        False,
        SURE | {"shorter_rows"},
        ("exploration=6", "reach=0.3", "window=2", "spread=1.0", "threshold=0.9"),
    ),
    "credit": (
        True,
        False,
        SPREAD,
        ("strength=0.7", "exponent=0.2", "decay=0.8", "threshold=0.9"),
    ),
    "persistence": (True, False, SURE, ("history=2", "threshold=0.9")),
    "rcr": (False, True, SURE, ("k=1",)),
    "saber": (True, True, SURE, ("least=2",)),
    "wino": (True, True, SHADOW, ("draft=0.6", "verify=0.9", "block_length=128")),
    "joint_threshold": (True, True, SURE, ("threshold=0.5", "edit=0.0", "after=16")),
    "t2m": (True, True, SPREAD, ("threshold=0.5", "trigger=low_prob")),
    "remdm_llada": (False, True, SURE, ("k=1", "reopened=1", "revisions=1")),
    "remdm": (False, True, SURE | {"uniform"}, ("schedule=cap", "temperature=1.0")),
}


@pytest.mark.parametrize(("name", "declared"), DECLARED.items())
def test_a_strategy_declares_what_it_does_and_needs_and_its_published_defaults(name, declared):
    adaptive, remasks, needs, fields = declared
    kind = DECODERS[name]()
    assert (kind.adaptive, kind.remasks, kind.needs) == (adaptive, remasks, needs)
    [setting] = parse_settings(name, DECODERS)
    written = {f"{field}={value}" for field, value in setting.fields.items()}
    assert written >= set(fields)
    [same] = parse_settings(setting.label, DECODERS)
    assert same == setting


def test_a_strategy_is_deterministic_unless_it_or_its_temperature_draws():
    deterministic = {name for name in DECODERS if DECODERS[name]().deterministic}
    assert set(DECLARED) - deterministic == {"remdm"}
    assert "random" not in deterministic
    assert not DECODERS["klass"](temperature=0.5).deterministic


def test_a_temperature_where_credit_decides_the_token_is_refused():
    with pytest.raises(ValueError, match=r"temperature must be 0 where credit .*, got 0\.5"):
        DECODERS["credit"](temperature=0.5)


def test_a_strength_that_a_schedule_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"schedule conf takes no eta, got 0\.5: leave it out"):
        DECODERS["remdm"](schedule="conf", eta=0.5)


def test_a_model_that_cannot_serve_a_strategy_is_refused_before_the_run_starts():
    sentence = r"decoder 'wino:.*' needs attention_mask, positions, unshifted, which model 'ideal'"
    with pytest.raises(RunFileError, match=sentence):
        evaluate(tasks="choices/city", decoders="wino", model="ideal", samples=1)


def test_every_strategy_needs_only_what_some_model_gives():
    given = {"attention_mask", "positions", "unshifted", "shorter_rows"}
    assert all(DECODERS[name].needs <= STATISTICS | given for name in DECLARED)
