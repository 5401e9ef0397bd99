"""The run that ``make bench`` makes, with fewer samples, gives the same records as ever.

Its records, traces and results are compared by digests that are stored here.  A digest changes
when a decoder, a task, a model or the form of a record changes: that is for the CHANGELOG, and
runs that were begun before it cannot be continued.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict
from typing import TYPE_CHECKING

import pytest

from parallelbench.evaluation import Evaluation, evaluate
from parallelbench.record_line import to_line
from parallelbench.results.result import average_over_tasks, to_csv, to_json
from parallelbench.run.runfile import read_content
from support.fabricated import line_of_schema_1

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parallelbench.record import Record

#: Samples per task with each model; ``mini`` is a network, and slower.
SAMPLES = {"ideal": 3, "mini": 1}
RECORDS = {"ideal": "a1c8ff6f9e8240f9", "mini": "49ffe7d2f8f7d366"}
#: The same records as earlier releases wrote them, in schema 1.
FLAT_RECORDS = {"ideal": "17922e4ee82b247d", "mini": "d51538edfd56e986"}
TRACES = {"ideal": "45b5d6dd8d881bf2", "mini": "232ed81e54a6bc47"}
RESULTS = {"ideal": "44972ff9a88fbc66", "mini": "47f7c6a7379218ce"}


@pytest.fixture(scope="module", params=list(SAMPLES))
def evaluation(request: pytest.FixtureRequest) -> Evaluation:
    model: str = request.param
    default = read_content("default")
    tasks = default["tasks"] if model == "ideal" else default["tasks"][:2]
    return evaluate(
        model=model,
        tasks=tasks,
        decoders=default["decoders"],
        samples=SAMPLES[model],
        progress=False,
    )


def test_the_records_of_the_default_run_are_those_stored(evaluation: Evaluation) -> None:
    (model,) = evaluation.runfile.models
    assert _digest(map(_timeless, evaluation.records)) == RECORDS[model.label]


def test_the_default_run_in_schema_1_is_the_one_that_earlier_releases_wrote(
    evaluation: Evaluation,
) -> None:
    (model,) = evaluation.runfile.models
    assert _digest(map(_flat, evaluation.records)) == FLAT_RECORDS[model.label]


def test_the_traces_of_the_default_run_are_those_stored(evaluation: Evaluation) -> None:
    (model,) = evaluation.runfile.models
    traces = (json.dumps(asdict(record.decoding.trace)) for record in evaluation.records)
    assert _digest(traces) == TRACES[model.label]


def test_the_results_of_the_default_run_are_those_stored(evaluation: Evaluation) -> None:
    (model,) = evaluation.runfile.models
    results = [*evaluation.results, *average_over_tasks(evaluation.results)]
    assert _digest(map(_rounded, (to_json(results), to_csv(results)))) == RESULTS[model.label]


def _without_clock(record: Record) -> Record:
    return record.model_copy(update={"seconds": 0.0, "library_version": ""})


def _timeless(record: Record) -> str:
    """The line of a record without what depends on the clock and the installed release."""
    return to_line(_without_clock(record))


def _flat(record: Record) -> str:
    return line_of_schema_1(_without_clock(record))


def _rounded(text: str) -> str:
    """Round every number to 12 digits: another SciPy may give another last one."""
    return re.sub(r"\d+\.\d+(e-\d+)?", lambda number: f"{float(number[0]):.12g}", text)


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]
