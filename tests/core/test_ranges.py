"""Ranges that are declared on fields: what they hold, what they say, and who inherits them."""

import math
from dataclasses import dataclass

import pytest

from parallelbench.decoder import DECODERS
from parallelbench.errors import FieldError
from parallelbench.ranges import (
    check_ranges,
    choice,
    fraction,
    nonnegative,
    positive,
    probability,
    ranges_of,
    whole,
)
from parallelbench.registry import Registry
from parallelbench.setting import build, parse_settings


@dataclass(frozen=True, kw_only=True)
class Ranged:
    """One field of every kind."""

    chance: float = probability(0.5)
    share: float = fraction(0.5)
    scale: float = positive(1.0, "nats")
    cap: float = positive(1.0, most=10.0)
    noise: float = nonnegative(0.0)
    limit: float = nonnegative(0.0, below=1.0)
    count: int = whole(2, 8, "rows")
    steps: int = whole(1, 8, most=1_000)
    rule: str = choice("ge", "gt")
    size: int = choice(4, 9, unit="digits")
    order: str = choice("a", "b", "c")
    longest: int | None = whole(1, None)

    def __post_init__(self) -> None:
        check_ranges(self)


@pytest.mark.parametrize(
    ("field", "within", "outside", "sentence"),
    [
        ("chance", [1e-9, 1.0], [0.0, 1.1, math.nan], "chance must lie in (0, 1], got "),
        ("share", [0.0, 1.0], [-0.1, 1.1, math.nan], "share must lie in [0, 1], got "),
        ("scale", [1e-9, 1e9], [0.0, math.inf], "scale must lie in (0, inf) nats, got "),
        ("cap", [10.0], [0.0, 10.1], "cap must lie in (0, 10], got "),
        ("noise", [0.0, 1e9], [-0.1, math.inf, math.nan], "noise must lie in [0, inf), got "),
        ("limit", [0.0, 0.99], [-0.1, 1.0], "limit must lie in [0, 1), got "),
        ("count", [2, 10**9], [1, -2], "count must be at least 2 rows, got "),
        ("steps", [1, 1_000], [0, 1_001], "steps must be 1 to 1,000, got "),
        ("rule", ["ge", "gt"], ["le", ""], "rule must be 'ge' or 'gt', got "),
        ("size", [4, 9], [5], "size must be 4 or 9 digits, got "),
        ("order", ["c"], ["d"], "order must be one of a, b, c, got "),
        ("longest", [None, 1], [0], "longest must be at least 1, got "),
    ],
)
def test_a_field_takes_the_values_of_its_range_and_names_it_for_others(
    field, within, outside, sentence
):
    for value in within:
        assert getattr(Ranged(**{field: value}), field) == value
    for value in outside:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011  compared below
            Ranged(**{field: value})
        assert str(refusal.value) == f"{sentence}{value!r}"


def test_a_subclass_with_another_default_keeps_the_range_and_may_declare_another():
    @dataclass(frozen=True, kw_only=True)
    class Narrower(Ranged):
        chance: float = 0.25
        count: int = whole(3, 4)

    assert ranges_of(Narrower)["chance"] == ranges_of(Ranged)["chance"]
    with pytest.raises(ValueError, match=r"chance must lie in \(0, 1\], got 2\.0"):
        Narrower(chance=2.0)
    with pytest.raises(ValueError, match="count must be at least 3, got 2"):
        Narrower(count=2)


def test_a_setting_checks_ranges_that_a_plugin_with_checks_of_its_own_declares():
    kinds = Registry("decoder")

    @kinds.register("plugin")
    @dataclass(frozen=True, kw_only=True)
    class Plugin:
        k: int = whole(1, 1, "token")
        even: int = 2

        def __post_init__(self) -> None:
            if self.even % 2:
                raise ValueError(f"even must be even, got {self.even}")

    assert build(*parse_settings("plugin:k=3,even=4", kinds), kinds) == Plugin(k=3, even=4)
    with pytest.raises(FieldError, match="decoder 'plugin': k must be at least 1 token, got 0"):
        parse_settings("plugin:k=0", kinds)
    with pytest.raises(FieldError, match="decoder 'plugin': even must be even, got 3"):
        parse_settings("plugin:even=3", kinds)


def test_every_default_of_a_strategy_lies_in_its_range():
    for name, kind in DECODERS.items():
        built = kind()
        for field, allowed in ranges_of(kind).items():
            value = getattr(built, field)
            assert value is None or value in allowed, (name, field)
