"""The command line as a whole: every verb and option, in every width of a terminal."""

import json

import click
import pytest

from parallelbench.cli import cli, main

SMALL = ("--tasks", "choices/city", "--decoders", "random:k=4", "--samples", "3")
SERVER = "api:http://127.0.0.1:9/v1:model=m"


def commands(group, path=()):
    """Yield every verb and action with the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        yield (*path, name), command


COMMANDS = dict(commands(cli))


@pytest.fixture
def call(capsys, tmp_path, monkeypatch):
    """Run a command in an empty folder; return its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def refused(call, tmp_path):
    """Run a command that must be refused in one line and write nothing; return the line."""

    def run(*arguments):
        before = set(tmp_path.rglob("*"))
        status, output, errors = call(*arguments)
        assert (status, output) == (2, ""), errors
        assert len(errors.splitlines()) == 1, errors
        assert set(tmp_path.rglob("*")) == before
        return errors.removeprefix("parallelbench: ").strip()

    return run


# Whole numbers have a largest one.


def test_every_whole_number_has_a_smallest_and_a_largest_one():
    open_ended = [
        f"{' '.join(words)} {parameter.opts[-1]}"
        for words, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter.type, click.types.IntParamType)
        if getattr(parameter.type, "max", None) is None
        or getattr(parameter.type, "min", None) is None
    ]
    assert open_ended == []


@pytest.mark.parametrize("option", ["--samples", "--seed", "--repeats", "--batch-size"])
def test_a_number_too_large_is_refused_with_the_range(refused, option):
    line = refused("run", *SMALL, option, "99999999999999999999")
    assert f"'{option}': 99999999999999999999 is not in the range " in line


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("samples", "1 to 10,000,000"),
        ("seed", "0 to 9,223,372,036,854,775,807"),
        ("repeats", "1 to 100,000"),
    ],
)
@pytest.mark.parametrize("value", [99999999999999999999, -1])
def test_a_number_of_a_run_file_out_of_range_is_refused(refused, tmp_path, key, allowed, value):
    (tmp_path / "mine.yaml").write_text(
        f"models: ideal\ntasks: choices/city\ndecoders: random\n{key}: {value}\n"
    )
    assert refused("run", "mine.yaml") == f"mine.yaml: {key} must be from {allowed}, got {value}"


def test_a_field_of_a_setting_too_large_is_refused(refused):
    line = refused("run", *SMALL, "--decoders", "random:k=99999999999999999999")
    assert "field 'k' must be at most 9,223,372,036,854,775,807 in amount, got 9999" in line


# Options that would do nothing.


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("run --workers 2", "--workers 2 is for --executor ray"),
        ("run --ray-address auto", "--ray-address auto is for --executor ray"),
        ("run --out a --name b", "--name would do nothing: the run goes into --out a"),
        ("run --name a/b", "--name 'a/b': a name has up to 100 letters, digits"),
        ("run --name ..", "--name '..': a name has up to 100 letters, digits"),
        (f"run --model {SERVER} --decoders random", "--decoders would do nothing: api:"),
        (f"run --model {SERVER} --batch-size 2", "--batch-size would do nothing: api:"),
        (f"estimate --model {SERVER} --seconds 2", "--seconds would do nothing: api:"),
        ("bounds --task choices/city --out a", "--out would do nothing: --task prints"),
        ("bounds --task choices/city:options=4,size=2 --size 3", "--size would do nothing: "),
        ("bounds --paper table1 --seed 3", "--seed would do nothing: --paper table1 says"),
        ("bounds --paper table1 --length 3 --size 2", "--length and --size would do nothing"),
        ("bounds --figure map --frontier", "--frontier would do nothing: --figure map says"),
        ("bounds --figure map --level token --index 2", "--level and --index would do nothing"),
        ("bounds --figure map --max-answers 9", "--max-answers would do nothing"),
        ("bounds --figure map --max-positions 9", "--max-positions would do nothing"),
        ("bounds --figure map --max-choices 9", "--max-choices would do nothing"),
        ("report r --separate", "--separate would do nothing: a single run has a single page"),
        ("replay r --all --delay 2", "--delay would do nothing: only what moves"),
        ("replay r --step 1 --delay 2", "--delay would do nothing: only what moves"),
        ("replay r --json --delay 2", "--delay would do nothing: only what moves"),
        ("replay r --json --all", "replay takes one of --step, --all, --out and --json"),
        ("compare r s --json --changed 2", "--changed would do nothing: --json has all"),
        ("export r --to lm-eval --out o --dataset a/b", "--dataset would do nothing: it is for"),
        ("export r --to parquet --out o --source x", "it is for --to hf and --to every-eval-ever"),
        ("export r --to hf --out o --organization x", "--organization would do nothing"),
        ("export r --to hf --out o --relationship other", "--relationship would do nothing"),
        ("judge --figure f --width 1", "--width would do nothing: --figure f draws, and judges"),
        ("judge --figure f --sentences s.csv", "--sentences would do nothing: --figure f"),
        ("judge --sentences s.csv --calibration shipped", "--calibration would do nothing"),
        ("judge --sentences s.csv --json", "--json would do nothing: --sentences s.csv writes"),
        ("judge --calibration shipped --out o.jsonl", "--out would do nothing: it is for --judge"),
        ("judge --calibration shipped --against-calibration shipped", "is for --against FILE"),
        ("leaderboard verify e --weights hf:x", "--weights would do nothing: it is for --spot"),
        ("leaderboard verify e --reproduce --spot-check 2", "--spot-check would do nothing"),
        ("train --out o --tasks choices/city --lora 2", "say which by --from"),
        ("train --out o --tasks choices/city --from hf:x --hidden 2", "--hidden: the network is"),
    ],
    ids=lambda value: value[:50],
)
def test_an_option_that_would_do_nothing_is_refused(refused, arguments, sentence):
    assert sentence in refused(*arguments.split())


def test_what_is_set_by_default_is_not_refused(call):
    assert call("bounds", "--task", "choices/city:options=2", "--json")[0] == 0


def test_a_template_without_a_model_is_refused(refused, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "mine.yaml").write_text("tasks: choices/city\ndecoders: random\n")
    line = refused("run", "mine.yaml", "--template", "chat.jinja")
    assert line == "--template is for a model: name it with --model"


# A run with a name, and one that grows.


def test_a_named_run_grows_by_what_is_asked_for(call, refused, tmp_path):
    status, _, errors = call("run", *SMALL, "--name", "cities")
    assert status == 0, errors
    more = ("--samples", 4, "--decoders", "random:k=2", "--tasks", "choices/dice")
    status, output, errors = call("run", "--extend", "runs/cities", *more, "--json")
    assert (status, errors.splitlines()[0]) == (0, "16 decodes into runs/cities, 3 recorded before")
    assert {result["count"] for result in json.loads(output)} == {4}
    assert refused("run", "--extend", "runs/cities").startswith(
        "--extend runs/cities needs what to add: --samples or --repeats with a larger number"
    )
    assert "--shard would do nothing: --extend runs/cities adds" in refused(
        "run", "--extend", "runs/cities", "--samples", 9, "--shard", "1/2"
    )
    assert "cannot be extended: now asked for samples 3 instead of 4; " in refused(
        "run", "--extend", "runs/cities", "--samples", 3
    )
    assert "is not a run directory" in refused("run", "--extend", "runs", "--samples", 9)
    (tmp_path / "more.yaml").write_text("decoders: one_by_one\nsamples: 5\n")
    status, output, _ = call("run", "more.yaml", "--extend", "runs/cities", "--json")
    assert (status, len(json.loads(output))) == (0, 6)
    assert {result["count"] for result in json.loads(output)} == {5}
