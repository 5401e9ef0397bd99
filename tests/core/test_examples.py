"""Every example in a docstring or in the README runs as it stands."""

import doctest
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]


def modules():
    for package in PACKAGES:
        yield package
        # The wings stand beside the core, so each package is looked through by itself.
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            name = f"{package}.{found.name}"
            if name not in [*PACKAGES, "parallelbench.__main__"]:
                yield name


def readme_blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def examples():
    """Every doctest of the package, found by import name."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in modules():
        for test in finder.find(importlib.import_module(name), name):
            if test.examples:
                yield test


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.name)
def test_the_example_of_a_docstring_holds(example):
    runner = doctest.DocTestRunner()
    output = []
    runner.run(example, out=output.append)
    assert not runner.failures, "".join(output)


def test_every_wing_has_its_examples_run():
    found = {example.name for example in examples()}
    assert "parallelbench.setting.split_settings" in found
    assert "parallelbench.evaluation.evaluate" in found
    assert "parallelbench.analysis.measures.cells.percent" in found
    assert "parallelbench.tasks.operations.written" in found


@pytest.mark.parametrize("block", readme_blocks())
def test_a_python_block_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if ">>>" not in block:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102  our own README
        return
    output = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    test = doctest.DocTestParser().get_doctest(block, {}, "README.md", "README.md", 0)
    runner.run(test, out=output.append)
    assert not runner.failures, "".join(output)
