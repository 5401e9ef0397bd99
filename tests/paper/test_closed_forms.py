"""The closed forms of the paper, reproduced on the ideal model.

Source: Kang et al., ParallelBench (arXiv:2510.04767), section 4 and equation 5.  Each
figure is measured over 2,000 samples and must lie within its 99 % interval of the formula;
what a formula makes certain must be met by every sample of 500.
"""

import json
import math
import subprocess
import sys

import pytest
from scipy.stats import binomtest

SHUFFLE = "list_operations/shuffle:form=infill,length=5,allow_identity=true"
REPLACE = "list_operations/replace_random:form=infill,length=6"
#: Number of samples, and the settings of each task that decode so many.
RUNS = {
    2000: {
        SHUFFLE: "random:k=2|5,confidence:k=2|5,confidence:k=5,temperature=1",
        REPLACE: "random:k=6,temperature=1,confidence:k=2",
        "choices/city": "random:k=32,temperature=1",
    },
    500: {
        SHUFFLE: "random:k=1,confidence_threshold:threshold=0.6",
        REPLACE: "confidence:k=3,confidence_threshold:threshold=0.6|0.9",
        "choices/city": "one_by_one,one_by_one:temperature=1",
        "choices/dice": "one_by_one,random:k=3|32,confidence:k=32,temperature=1",
    },
}


#: Decodes and prints the results; in a process without the shape checks of the tests.
PROGRAM = """
import json, sys
from parallelbench import evaluate
found = [
    (task, result.as_dict())
    for samples, runs in json.loads(sys.argv[1]).items()
    for task, decoders in runs.items()
    for result in evaluate(
        model="ideal", tasks=task, decoders=decoders, samples=int(samples), progress=False
    ).results
]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def measured():
    """(right, count) of each (task, decoder setting)."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(RUNS)],
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        (task, result["decoder_label"]): (
            round(result["accuracy"] * result["count"]),
            result["count"],
        )
        for task, result in json.loads(done.stdout)
    }


def shuffle(n, k):
    """Equation 5: k of the m items left are named at once, each name equally likely."""
    chance = 1.0
    for left in range(n, 0, -k):
        width = min(k, left)
        chance *= math.perm(left, width) / left**width
    return chance


@pytest.mark.parametrize(
    ("task", "decoder", "formula"),
    [
        (SHUFFLE, "random:k=5", shuffle(5, 5)),
        (SHUFFLE, "random:k=2", shuffle(5, 2)),
        (SHUFFLE, "confidence:k=5", shuffle(5, 5)),
        (SHUFFLE, "confidence:k=2", shuffle(5, 2)),
        (SHUFFLE, "confidence:k=5,temperature=1.0", shuffle(5, 5)),
        (REPLACE, "random:k=6,temperature=1.0", (5 / 6) ** 5),
        (REPLACE, "confidence:k=2", 0.5),
        ("choices/city", "random:k=32,temperature=1.0", 0.5),
    ],
)
def test_the_measured_accuracy_is_the_papers(measured, task, decoder, formula):
    right, count = measured[task, decoder]
    assert count == 2000
    interval = binomtest(right, count).proportion_ci(0.99, "exact")
    assert interval.low <= formula <= interval.high, f"{right}/{count} against {formula:.4f}"


@pytest.mark.parametrize(
    ("task", "decoder", "certain"),
    [
        (SHUFFLE, "random:k=1", 1),
        (SHUFFLE, "confidence_threshold:threshold=0.6", 1),
        (REPLACE, "confidence:k=3", 0),
        (REPLACE, "confidence_threshold:threshold=0.6", 0),
        (REPLACE, "confidence_threshold:threshold=0.9", 1),
        ("choices/city", "one_by_one", 1),
        ("choices/city", "one_by_one:temperature=1.0", 1),
        ("choices/dice", "one_by_one", 1),
        ("choices/dice", "random:k=3", 1),
        ("choices/dice", "random:k=32", 1),
        ("choices/dice", "confidence:k=32,temperature=1.0", 1),
    ],
)
def test_what_a_formula_makes_certain_is_met_by_every_sample(measured, task, decoder, certain):
    right, count = measured[task, decoder]
    assert count == 500
    assert right == certain * count


def test_equation_5_at_its_ends_is_the_factorial_forms():
    assert shuffle(5, 5) == pytest.approx(math.factorial(5) / 5**5)
    assert shuffle(6, 2) == pytest.approx((5 * 3 * 1) / (6 * 4 * 2))
