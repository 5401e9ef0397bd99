"""Lower bounds of structured answers, as the verb tells them."""

import itertools
import json
import math

import pytest

from parallelbench.cli.program import main


@pytest.fixture
def ask(capsys):
    def run(task, *more):
        assert main(["bounds", "--task", task, "--json", *more]) == 0
        return json.loads(capsys.readouterr().out)

    return run


def test_a_plan_of_shifts_has_the_figures_of_a_path(ask):
    limits = ask("plans/shifts", "--length", "9")
    people = 6
    assert limits["right_answers"] == people * (people - 1) ** 8
    assert limits["entropy_bits"] == pytest.approx(math.log2(people) + 8 * math.log2(people - 1))
    shared = 8 * math.log2(people / (people - 1))
    assert limits["total_correlation_bits"] == pytest.approx(shared)
    assert limits["treedepth"] == {"depth": 4, "exact": True, "method": "closed form"}
    assert (limits["zero_error_at_least"], limits["zero_error_steps"]) == (2, 4)
    assert [len(step) for step in limits["zero_error_schedule"]] == [1, 2, 4, 2]
    assert limits["zero_error_method"].startswith("a schedule built step by step, checked on 16")
    strided = next(
        each for each in limits["schedules"] if (each["kind"], each["steps"]) == ("strided", 2)
    )
    assert strided["bits"]["bits"] < shared


def test_a_walk_has_the_treedepth_of_a_path(ask):
    limits = ask("routes/walk", "--length", "15")
    assert limits["treedepth"] == {"depth": 4, "exact": True, "method": "closed form"}
    assert limits["zero_error_steps"] == 4
    assert 0 < limits["total_correlation_bits"] < 15 * 3


def test_card_numbers_share_the_bits_of_their_check_digits(ask):
    limits = ask("checks/luhn:length=16,numbers=2")
    assert limits["total_correlation_bits"] == pytest.approx(2 * math.log2(10))
    assert limits["entropy_bits"] == pytest.approx(2 * (math.log2(9) + 14 * math.log2(10)))
    # Given the 15 others each digit is settled: all are joined, yet two steps are enough.
    assert limits["treedepth"]["depth"] == 16
    assert (limits["zero_error_at_least"], limits["zero_error_steps"]) == (2, 2)
    assert limits["zero_error_method"].endswith("; one step has a cost")


def test_an_identifier_needs_two_steps_though_no_pair_is_joined(ask):
    limits = ask("agreement/identifier")
    places = len(limits["positions"])
    assert limits["total_correlation_bits"] == pytest.approx((places - 1) * limits["entropy_bits"])
    assert limits["dual_total_correlation"]["bits"] == pytest.approx(limits["entropy_bits"])
    assert (limits["treedepth"]["depth"], limits["zero_error_steps"]) == (1, 2)


def test_the_information_curve_falls_from_the_entropies_of_single_positions(ask):
    limits = ask("plans/shifts:length=8,people=4")
    curve = limits["information_curve"]
    assert curve[0]["written"] == 0
    assert curve[0]["bits"] == pytest.approx(2)
    assert all(one["bits"] > other["bits"] for one, other in itertools.pairwise(curve))


def test_the_sentences_say_for_which_distributions_the_treedepth_holds(capsys):
    assert main(["bounds", "--task", "plans/shifts:length=4,people=3"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "24 right answers" in told
    assert "treedepth 3 (closed form): as many steps are needed in general, if no token" in told
    assert "A schedule fixed in advance needs 2 to 3 steps to make no error" in told
    assert main(["bounds", "--task", "plans/shifts:length=1,people=3"]) == 0
    assert "no tokens depend on each other" in " ".join(capsys.readouterr().out.split())
