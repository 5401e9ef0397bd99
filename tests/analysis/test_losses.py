"""Where accuracy was lost: parts that are never negative and add up to the whole."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelbench.analysis.measures.losses import Loss, losses


@pytest.fixture
def divided(make_result):
    """Divide the loss of one decoder of a network; None leaves a result out of the run."""

    def divide(reached, ideal, label):
        shown = [
            ("mini", "confidence:k=2", reached),
            ("ideal:noise=0.0", "confidence:k=2", ideal),
            ("mini", "label", label),
        ]
        results = [
            make_result(decoder, model=model, accuracy=accuracy)
            for model, decoder, accuracy in shown
            if accuracy is not None
        ]
        return losses(results)["mini", "choices/city", "confidence:k=2"]

    return divide


def test_the_parts_of_a_worked_example(divided):
    # 40 points lost: 25 by the ideal model too, 10 more are won back by the label oracle.
    loss = divided(0.60, 0.75, 0.95)
    assert loss == pytest.approx(Loss(law=0.25, scheduler=0.10, model=0.05))


def test_the_law_takes_no_more_than_was_lost(divided):
    assert divided(0.9, 0.5, 1.0) == pytest.approx(Loss(0.1, 0.0, 0.0))


def test_an_oracle_that_does_worse_leaves_the_rest_to_the_model(divided):
    assert divided(0.6, 1.0, 0.5) == pytest.approx(Loss(0.0, 0.0, 0.4))


def test_what_the_run_cannot_tell_is_absent(divided):
    assert divided(0.6, None, 0.9) == Loss(None, None, None)
    law, *rest = divided(0.6, 0.75, None)
    assert law == pytest.approx(0.25)
    assert rest == [None, None]


def test_the_ideal_model_loses_to_the_law_alone(make_result):
    result = make_result("confidence:k=2", right=60)
    key = ("ideal", "choices/city", "confidence:k=2")
    assert losses([result])[key] == pytest.approx(Loss(0.4, 0.0, 0.0))


share = st.floats(0, 1)


@given(share, share, share)
@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_parts_are_never_negative_and_add_up(divided, reached, ideal, label):
    loss = divided(reached, ideal, label)
    assert min(loss) >= 0
    assert sum(loss) == pytest.approx(1 - reached)
