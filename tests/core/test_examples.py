"""Every example in a docstring or in the README runs as it stands."""

import doctest
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
PACKAGES = SETUPTOOLS["packages"]
WINGS = SETUPTOOLS["package-dir"].values()


def modules():
    for package in PACKAGES:
        yield package
        # The wings stand beside the core, so each package is looked through by itself.
        for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
            name = f"{package}.{found.name}"
            if name not in [*PACKAGES, "parallelbench.__main__"]:
                yield name


def modules_with_examples():
    """Names of the modules whose doctests are run."""
    return {example.globs["__name__"] for example in examples()}


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


def test_every_file_with_examples_has_them_run():
    run = {inspect.getfile(importlib.import_module(module)) for module in modules_with_examples()}
    written = {
        str(file)
        for folder in WINGS
        for file in (ROOT / folder).rglob("*.py")
        if re.search(r"^ *>>> ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    }
    assert len(written) > 10
    assert written <= run


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
