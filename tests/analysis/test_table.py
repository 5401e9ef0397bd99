"""The table that a terminal shows."""

import io

from rich.console import Console

from parallelbench.analysis.report.table import table
from parallelbench.results.result import average_over_tasks

DASH = "\N{EN DASH}"


def printed(results, width=80):
    out = io.StringIO()
    Console(file=out, width=width).print(table(results, average_over_tasks(results)))
    return out.getvalue()


def row_of(label, text):
    return next(line.split() for line in text.splitlines() if line.split()[:1] == [label])


def test_a_row_has_accuracy_with_its_interval_and_its_price(make_result):
    row = row_of("confidence:k=2", printed([make_result("confidence:k=2", right=60, speed=2.0)]))
    assert row == ["confidence:k=2", "60.0", f"50.2{DASH}69.1", "2.00", "1.00", "16.0", "100", "ok"]


def test_what_was_not_measured_is_a_dash_and_never_zero(make_result):
    row = row_of("confidence:k=2", printed([make_result("confidence:k=2", right=None)]))
    assert row == ["confidence:k=2", DASH, DASH, DASH, DASH, DASH, "100", "error"]


def test_decodes_that_did_not_end_well_are_counted_beside_the_others(make_result):
    text = printed([make_result(statuses={"stalled": 2, "ok": 98})], width=100)
    assert "98 ok, 2 stalled" in text


def test_a_task_is_named_once_and_the_average_comes_last(sweep):
    text = printed(sweep)
    lines = [line.strip() for line in text.splitlines()]
    tasks = ["choices/city", "waiting_line/sort:length=4", "average over 2 tasks"]
    assert [line for line in lines if line in tasks] == tasks
    assert row_of("confidence:k=4", text[text.index("average") :])[1] == "66.0"


def test_a_single_task_is_not_repeated_as_an_average(make_result):
    assert "average" not in printed([make_result()])


def test_every_model_has_a_table_of_its_own(make_result):
    results = [make_result(model=model) for model in ("ideal", "ideal:noise=0.1")]
    lines = [line.strip() for line in printed(results).splitlines()]
    assert [line for line in lines if line.startswith("ideal")] == ["ideal", "ideal:noise=0.1"]


def test_long_settings_fit_a_terminal_of_80_columns(make_result):
    long = "confidence_threshold:block_length=8,threshold=0.95"
    text = printed([make_result(long, fields={"threshold": 0.95}, right=100)])
    assert max(map(len, text.splitlines())) <= 80
    assert "confidence_threshold:" in text
    assert "95.0" not in text
    assert f"96.3{DASH}100.0" in text


def test_a_label_with_markup_is_shown_as_it_stands(make_result):
    assert "[red]x[/red]" in printed([make_result("[red]x[/red]", fields={})])


def test_an_oracle_is_marked(make_result):
    assert "confidence:k=2 (oracle)" in printed([make_result(oracle=True)])


def test_a_run_without_records_gives_an_empty_table():
    assert printed([]).strip() == ""
