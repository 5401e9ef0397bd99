"""What traces cost, against exact values and against the adaptive frontier."""

import numpy as np
import pytest

from parallelbench import evaluate
from parallelbench.analysis.measures.trace_bits import TraceBits, expected_bits, trace_bits
from parallelbench.analysis.theory.adaptive import adaptive_frontier
from parallelbench.analysis.theory.dependence import token_law, total_correlation
from parallelbench.model import MODELS
from parallelbench.prompt import build_prompt
from parallelbench.prompt.distribution import answer_distribution
from parallelbench.run.recording import draw_sample
from parallelbench.setting import build
from parallelbench.task import TASKS

DECODERS = (
    "random:k=1|2|8,temperature=1,left_to_right:k=2,temperature=1,"
    "confidence:k=2,temperature=1,entropy:k=2,temperature=1,"
    "confidence_threshold:threshold=0.9|0.4,temperature=1,entropy_bound:bound=0|1.0,temperature=1"
)


@pytest.fixture(scope="module")
def stand():
    """Run decoders on a task; return the law of its first sample and each one's paths."""

    def run(task, decoders=DECODERS, samples=40):
        done = evaluate(model="ideal:noise=0", tasks=task, decoders=decoders, samples=samples)
        model = build(done.runfile.models[0], MODELS).open()
        made = build(done.runfile.tasks[0], TASKS)
        laws, listed = {}, None
        for index in range(samples):
            prompt = build_prompt(made, draw_sample(made, 0, index), model.codec)
            laws[index] = answer_distribution(prompt)
            listed = listed or token_law(prompt, prompt.answers)
        paths = {}
        for record in done.records:
            path = trace_bits(record, laws[record.index])
            paths.setdefault(record.decoder_label, []).append(path)
        return listed, paths

    return run


@pytest.mark.parametrize(
    "task",
    [
        "choices/city",
        "choices/roster:people=2",
        "list_operations/shuffle:length=4,form=infill",
        "list_operations/insert_random:length=4,form=infill",
        "list_operations/replace_random:length=4,form=infill",
    ],
)
def test_no_decoder_stands_below_the_adaptive_frontier(stand, task):
    law, paths = stand(task)
    frontier = adaptive_frontier(law)
    assert frontier.method == "exact"
    for label, own in paths.items():
        found = expected_bits(own)
        # Many comparisons, some of them of policies that stand on the frontier: twice the
        # half-widths of 95 % in the decoder's favour.
        steps = 2 * found.steps_interval.high - found.expected_steps
        bits = 2 * found.bits_interval.high - found.bits
        assert bits >= frontier.bits_at(steps) - 1e-9, label
        assert found.right <= found.traces == 40


def test_writing_everything_at_once_costs_the_total_correlation(stand):
    law, paths = stand(
        "list_operations/insert_random:length=4,form=infill", "random:k=8,temperature=1", 200
    )
    (own,) = paths.values()
    found = expected_bits(own)
    assert found.expected_steps == 1
    assert found.bits == pytest.approx(total_correlation(law))
    # Every right trace has the same bits, but the weights differ from answer to answer.
    assert np.mean([path.weight for path in own]) == pytest.approx(1, abs=0.3)


def test_writing_one_by_one_costs_nothing(stand):
    _, paths = stand("choices/city", "one_by_one:temperature=1", 20)
    (own,) = paths.values()
    assert {(trace.weight, trace.total, trace.calls) for trace in own} == {(1.0, 0.0, 32)}
    assert expected_bits(own).bits == 0


def test_two_of_a_shuffle_at_a_time_cost_the_closed_form(stand):
    _, paths = stand(
        "list_operations/shuffle:length=4,form=infill,allow_identity=true",
        "random:k=2,temperature=1",
        100,
    )
    (own,) = paths.values()
    # Two of 4 names: 2 log2 4 - log2 (4 * 3); then two of 2: 2 log2 2 - log2 2.
    bits = (4 - np.log2(12)) + 1
    assert expected_bits(own).bits == pytest.approx(bits)
    # Such a decoder is right with chance 2^-bits, so P / Q of a right trace is 2^bits.
    assert {round(path.weight, 6) for path in own} == {0.0, round(2**bits, 6)}


def test_greedy_decodes_have_bits_and_no_expectation(stand):
    _, paths = stand("choices/city", "random:k=32", 1)
    ((trace,),) = paths.values()
    assert trace.steps == (trace.total,)
    assert trace.total == pytest.approx(1)  # two cities that agree in two names
    with pytest.raises(ValueError, match="ideal model at temperature 1"):
        expected_bits([trace])


def test_a_decoder_that_was_never_right_tells_nothing():
    with pytest.raises(ValueError, match="none of 3 traces ended in a right answer"):
        expected_bits([TraceBits((0.0,), 0.0, 0.0, 1)] * 3)
