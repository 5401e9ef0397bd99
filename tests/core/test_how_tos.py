"""docs/writing-a-task.md and docs/writing-a-model.md: their packages are installed and run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("writing-a-task.md", "writing-a-model.md")


def files_of(page):
    """The files that a page shows, by name."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def code_lines(text):
    """The lines of a module but for blank lines, imports and its docstring."""
    beginnings = ('"""', "from ", "import ")
    return [line for line in text.splitlines() if line and not line.startswith(beginnings)]


#: The commands of the pages, but for ``pip``; all run in one process, which starts once.
COMMANDS = {
    "show": ["show", "coins/odd_heads", "--count", "1"],
    "bounds": ["bounds", "--task", "coins/odd_heads", "--json"],
    "doctor": ["doctor", "--model", "bigrams", "--json"],
    "task": [
        *("run", "--tasks", "coins/odd_heads", "--json"),
        *("--decoders", "one_by_one,random:k=32"),
    ],
    "model": [
        *("run", "--model", "bigrams", "--tasks", "choices/city", "--json"),
        *("--decoders", "left_to_right:k=1|2", "--samples", "9"),
    ],
}
SCRIPT = """
import contextlib, io, json, sys
from parallelbench.cli.program import cli
outputs = {}
for name, arguments in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        cli.main(arguments, standalone_mode=False)
    outputs[name] = printed.getvalue()
print(json.dumps(outputs))
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """What each command prints once the packages of both pages are installed."""
    target = tmp_path_factory.mktemp("installed")
    sources = []
    for page in PAGES:
        sources.append(tmp_path_factory.mktemp("package"))
        for name, text in files_of(page).items():
            (sources[-1] / name).write_text(text, encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--no-deps", "--no-index", "--no-build-isolation", "--target", target, *sources]
    subprocess.run(pip, check=True, capture_output=True)
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(COMMANDS)],
        cwd=target,
        env={**os.environ, "PYTHONPATH": str(target), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def accuracies(output):
    return {each["decoder_label"]: each["accuracy"] for each in json.loads(output)}


def test_the_task_of_the_page_costs_one_bit(outputs):
    assert "right answers: 8" in outputs["show"]
    assert json.loads(outputs["bounds"])["optimal_bits_by_steps"][:2] == [1.0, 0.0]
    assert accuracies(outputs["task"]) == {
        "one_by_one": 1.0,
        "random:k=32": pytest.approx(0.5, abs=0.15),
    }


def test_the_model_of_the_page_is_right_from_left_to_right_one_by_one(outputs):
    assert json.loads(outputs["doctor"])["counts"] == "bigrams of 200 samples of choices/city"
    assert accuracies(outputs["model"]) == {"left_to_right:k=1": 1.0, "left_to_right:k=2": 0.0}


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_has_at_most_thirty_lines(page):
    (module,) = (text for name, text in files_of(page).items() if name.endswith(".py"))
    assert len(code_lines(module)) <= 30
