"""The command line as a whole: every verb and option, in every width of a terminal."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from rich.console import Console
from rich.table import Table

from parallelbench.cli.actions import listing
from parallelbench.cli.actions.runs import summary_of
from parallelbench.cli.groups import PluginGroup
from parallelbench.cli.program import cli
from parallelbench.console import tables
from parallelbench.decoder import DECODERS
from parallelbench.errors import FieldError
from parallelbench.model import MODELS
from parallelbench.run.rundir import RunDirectory
from parallelbench.run.runfile import make_runfile
from parallelbench.run.runner import run
from parallelbench.run.shard import Shard
from parallelbench.setting import parse_settings
from parallelbench.task import TASKS

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


def test_every_option_says_what_it_is_for():
    silent = [
        f"{' '.join(words)} {parameter.opts[-1]}"
        for words, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        if not (parameter.help or "").partition("[default")[0].strip()
    ]
    assert silent == []


def test_ranges_are_written_for_people():
    raw = [
        f"{' '.join(words)} {parameter.opts[-1]}"
        for words, command in COMMANDS.items()
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and isinstance(parameter.type, click.IntRange | click.FloatRange)
        and "<" in parameter.get_help_extra(click.Context(command)).get("range", "")
    ]
    assert raw == []


@pytest.mark.parametrize("option", ["--samples", "--seed", "--repeats", "--batch-size"])
def test_a_number_too_large_is_refused_with_the_range(refused, option):
    line = refused("run", *SMALL, option, "9" * 40)
    assert re.search(rf"'{option}': it must be [01] to [0-9,^ -]+, got {'9' * 40}$", line)


@pytest.mark.parametrize(
    ("key", "allowed"),
    [
        ("samples", "1 to 10,000,000"),
        ("seed", "0 to 340,282,366,920,938,463,463,374,607,431,768,211,455"),
        ("repeats", "1 to 100,000"),
    ],
)
@pytest.mark.parametrize("value", [10**40, -1])
def test_a_number_of_a_run_file_out_of_range_is_refused(refused, tmp_path, key, allowed, value):
    (tmp_path / "mine.yaml").write_text(
        f"models: ideal\ntasks: choices/city\ndecoders: random\n{key}: {value}\n"
    )
    assert refused("run", "mine.yaml") == f"mine.yaml: {key} must be from {allowed}, got {value}"


def test_a_field_of_a_setting_too_large_is_refused(refused):
    line = refused("run", *SMALL, "--decoders", "random:k=99999999999999999999")
    assert "field 'k' must lie between -1,000,000,000 and 1,000,000,000, got 9999" in line


@pytest.mark.parametrize(
    ("setting", "registry", "sentence"),
    [
        ("choices/city:shots=1001", TASKS, "shots must be 0 to 1,000 examples, got 1001"),
        ("choices/city:canvas_length=100001", TASKS, "must be 1 to 100,000 tokens, got 100001"),
        ("mean_field:rounds=1001", DECODERS, "rounds must be 0 to 1,000, got 1001"),
        ("remdm:steps=100001", DECODERS, "steps must be 1 to 100,000, got 100001"),
        ("dream:steps=100001", DECODERS, "steps must be 1 to 100,000 per block, got 100001"),
        ("slow_fast:exploration=10001", DECODERS, "exploration must be 1 to 10,000, got 10001"),
        ("slow_fast:window=10001", DECODERS, "window must be 1 to 10,000, got 10001"),
        ("info_gain:candidates=1001", DECODERS, "must be 2 to 1,000 rows, got 1001"),
        (f"ideal:seed={2**128}", MODELS, "'seed' must lie between -340,282,366,"),
    ],
)
def test_a_field_that_would_take_for_ever_is_refused(setting, registry, sentence):
    with pytest.raises(FieldError, match=re.escape(sentence)):
        parse_settings(setting, registry)


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
        ("leaderboard verify e --reproduce --spot-check 20", "--spot-check would do nothing"),
        ("train --out o --tasks choices/city --lora 2", "name it with --from"),
        ("train --out o --tasks choices/city --from hf:x --hidden 2", "--hidden: the network is"),
    ],
    ids=lambda value: value[:50],
)
def test_an_option_that_would_do_nothing_is_refused(refused, arguments, sentence):
    assert sentence in refused(*arguments.split())


def test_a_single_run_has_no_separate_pages(refused, tmp_path):
    plan = {"models": "ideal", "tasks": "choices/city", "decoders": "random", "samples": 1}
    run(make_runfile(plan), tmp_path / "run")
    line = refused("report", "run", "--separate")
    assert line == "--separate would do nothing: a single run has a single page"


def test_what_is_set_by_default_is_not_refused(call):
    assert call("bounds", "--task", "choices/city:options=2", "--json")[0] == 0


def test_a_template_without_a_model_is_refused(refused, tmp_path):
    (tmp_path / "chat.jinja").write_text("{{ messages }}")
    (tmp_path / "mine.yaml").write_text("tasks: choices/city\ndecoders: random\n")
    line = refused("run", "mine.yaml", "--template", "chat.jinja")
    assert line == "--template is for a model: name it with --model"


# A run with a name, and one that grows.


@pytest.fixture
def unreported(monkeypatch):
    """Runs without the report at their end, which takes seconds."""
    monkeypatch.setattr("parallelbench.cli.actions.run.report_run", lambda *_, **__: None)


def test_a_named_run_grows_by_what_is_asked_for(call, refused, unreported, tmp_path):
    small = {"models": "ideal", "tasks": "choices/city", "decoders": "random:k=4", "samples": 3}
    run(make_runfile(small), tmp_path / "runs" / "cities")
    assert refused("run", "--extend", "runs/cities").startswith(
        "--extend runs/cities needs what to add: --samples or --repeats with a larger number"
    )
    assert "--shard would do nothing: --extend runs/cities adds" in refused(
        "run", "--extend", "runs/cities", "--samples", 9, "--shard", "1/2"
    )
    assert "cannot be extended: now asked for samples 2 instead of 3; " in refused(
        "run", "--extend", "runs/cities", "--samples", 2
    )
    assert "is not a run directory" in refused("run", "--extend", "runs", "--samples", 9)
    (tmp_path / "more.yaml").write_text("decoders: one_by_one\nsamples: 5\n")
    more = ("--extend", "runs/cities", "--samples", 4, "--tasks", "choices/dice")
    status, _, errors = call("run", "more.yaml", *more)
    assert (status, errors.splitlines()[0]) == (0, "16 decodes into runs/cities, 3 recorded before")
    grown = RunDirectory.open(tmp_path / "runs" / "cities")
    assert [task.label for task in grown.runfile.tasks] == ["choices/city", "choices/dice"]
    assert [each.label for each in grown.runfile.decoders] == ["random:k=4", "one_by_one"]
    assert len({record.key for record in grown.records()}) == grown.decodes == 16


def test_the_list_of_runs_has_their_names_dates_and_states(call, refused, unreported, tmp_path):
    small = {"models": "ideal", "tasks": "choices/city", "decoders": "random:k=4", "samples": 3}
    assert call("runs")[1].startswith("no run in runs; parallelbench run makes one, --name NAME")
    assert "does not exist" in refused("runs", "elsewhere")
    assert call("run", *SMALL, "--name", "whole")[0] == 0
    plan, larger = make_runfile(small), make_runfile({**small, "samples": 5})
    part = run(plan, tmp_path / "runs" / "deep" / "part", shard=Shard(2, 3))
    cut = run(plan, tmp_path / "runs" / "cut")
    lines = (cut.path / "records-0.jsonl").read_text().splitlines(keepends=True)
    (cut.path / "records-0.jsonl").write_text(lines[0] + lines[1][:-9])
    run(larger, run(plan, tmp_path / "runs" / "grown").path, extend=True)
    (tmp_path / "runs" / "broken").mkdir()
    (tmp_path / "runs" / "broken" / "run.yaml").write_text("tasks: [")
    status, output, _ = call("runs", "--json")
    listed = {each["folder"]: each for each in json.loads(output)}
    found = {name: (each["state"], each["done"], each["decodes"]) for name, each in listed.items()}
    assert status == 0
    assert found == {
        "runs/broken": ("unreadable", None, None),
        "runs/whole": ("complete", 3, 3),
        "runs/deep/part": ("complete", 1, 1),
        "runs/cut": ("interrupted", 1, 3),
        "runs/grown": ("complete", 5, 5),
    }
    assert list(listed) == sorted(listed, key=lambda name: listed[name]["started"] or "")
    assert (listed["runs/deep/part"]["shard"], listed["runs/grown"]["extended"]) == ("2/3", 1)
    assert (listed["runs/cut"]["models"], listed["runs/cut"]["tasks"]) == (
        ["ideal"],
        ["choices/city"],
    )
    with part.appending():
        assert summary_of(part.path).state == "running"
    _, output, _ = call("runs", "runs/grown", "runs")
    assert output.count("runs/grown") == 1
    assert "runs/broken is unreadable: the run file runs/broken/run.yaml cannot be read" in output


def test_a_run_whose_errors_remain_is_listed_so_until_they_are_made_good(tmp_path, monkeypatch):
    plan = make_runfile(
        {"models": "ideal", "tasks": "choices/city", "decoders": "random:k=4", "samples": 2}
    )

    def fail(*_):
        raise ZeroDivisionError

    with monkeypatch.context() as broken:
        broken.setattr(DECODERS["random"], "choose", fail)
        run(plan, tmp_path / "run")
    failed = summary_of(tmp_path / "run")
    assert (failed.state, failed.done, failed.errors) == ("errors", 0, 2)
    run(plan, tmp_path / "run")
    mended = summary_of(tmp_path / "run")
    assert (mended.state, mended.done, mended.errors) == ("complete", 2, 0)


# Help.


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_a_short_sentence_and_an_example(words):
    command = COMMANDS[words]
    assert re.fullmatch(r"[A-Z].*\.", command.short_help or "")
    assert "\b" in (command.help or "")
    assert f"parallelbench {' '.join(words)}" in command.help.partition("\b")[2]


@pytest.mark.parametrize("group", [(), ("import",), ("leaderboard",)], ids=" ".join)
@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_help_of_a_group_cuts_no_sentence(call, monkeypatch, group, width):
    monkeypatch.setenv("COLUMNS", str(width))
    status, output, _ = call(*group, "--help")
    listed = output.partition("Commands:\n")[2]
    assert status == 0
    assert "..." not in listed
    within = {words: COMMANDS[words] for words in COMMANDS if words[:-1] == group}
    assert len(within) > 1
    for words, command in within.items():
        assert command.short_help in " ".join(listed.split())
        if width == 80:
            assert re.search(
                rf"^  {words[-1]} +{re.escape(command.short_help)}$", listed, re.MULTILINE
            )


def test_a_sentence_of_another_package_is_wrapped_and_not_cut():
    sentence = f"Say {'a great many words, ' * 12}and stop."
    group = PluginGroup(
        "group",
        commands=[click.Command("long", help=sentence)],
        entry_point_group="parallelbench.nothing",
        noun="verb",
    )
    shown = group.get_help(click.Context(group, terminal_width=80))
    assert sentence in " ".join(shown.split())


# Tables.


def printed(table, width):
    stream = io.StringIO()
    tables.show(table, Console(file=stream, width=width))
    return stream.getvalue()


def sample_table():
    table = Table(title="a title", padding=0)
    table.add_column("what", min_width=31)
    for number in range(7):
        table.add_column(f"head{number}\nunit", justify="right", no_wrap=True)
    table.add_column("names", overflow="fold")
    for row in ("first", "a/long/label:with=fields,and=others"):
        table.add_row(row, *(f"{row[0]}{n}x{n}xxxxx" for n in range(7)), "alpha, beta, gamma")
    return table


@pytest.mark.parametrize("width", [20, 40, 60, 80, 120, 200])
def test_a_table_is_whole_in_a_terminal_of_any_width(width):
    shown = printed(sample_table(), width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    words = shown.split()
    for number in range(7):
        assert f"head{number}" in shown
        for letter in "fa":
            assert f"{letter}{number}x{number}xxxxx" in shown
    assert words.count("title") == 1
    assert all(name in shown for name in ("alpha", "beta", "gamma"))


def test_a_table_that_fits_is_printed_as_it_is():
    table = sample_table()
    assert list(tables.blocks(table, Console(width=200))) == [table]
    assert len(list(tables.blocks(table, Console(width=120)))) == 1
    assert len(list(tables.blocks(table, Console(width=60)))) > 1


def test_every_table_is_printed_by_what_divides_it():
    root = Path(__file__).parents[2]
    for folder in ("parallelbench", "analysis", "leaderboards", "decoders", "tasks"):
        for path in (root / folder).rglob("*.py"):
            # A replay's panels wrap by themselves.
            if path.name not in ("tables.py", "terminal.py") and "rich.table" in path.read_text():
                assert ".print(" not in path.read_text(), f"{path} prints a table by itself"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_tables_of_decoders_lose_no_column(width):
    entries = listing.decoder_entries()
    for table in (listing.decoder_sentences(entries), listing.decoder_table(entries, width)):
        shown = printed(table, width)
        assert "\N{HORIZONTAL ELLIPSIS}" not in shown
        assert all(len(line) <= width for line in shown.splitlines())
        letters = re.sub(r"\s", "", shown)
        for column in table.columns:
            for part in str(column.header).split():
                assert part in letters
    if width >= 80:
        assert shown.count("strategy") == 1


@pytest.mark.parametrize("columns", ["40", "60", "80", "120"])
def test_the_tables_of_a_report_lose_no_column(call, monkeypatch, columns, reported):
    from parallelbench.analysis.report.table import table

    (of_model,) = table(reported, reported).renderables
    shown = printed(of_model, int(columns))
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown
    for word in ("accuracy", "interval", "tokens", "answer", "calls", "decodes", "95 %"):
        assert word in shown
    for result in reported:
        assert f"{100 * result.accuracy:.1f}" in shown
        assert f"{result.nfe:.1f}" in shown


@pytest.fixture(scope="module")
def reported():
    from parallelbench.evaluation import evaluate

    return evaluate(tasks="choices/city", decoders="random:k=4|8", samples=4).results


# Names and sentences of strategies.


def folded(name):
    return re.sub("[-_]", "", name).lower()


def test_no_preset_is_told_from_a_strategy_by_a_hyphen_alone():
    strategies = {folded(name): name for name in DECODERS}
    alike = {preset for preset in DECODERS.presets if folded(preset) in strategies}
    assert alike == set(DECODERS.former_presets)
    assert "local-leap" in alike
    for old, new in DECODERS.former_presets.items():
        assert DECODERS.presets[old] == DECODERS.presets[new]
    shown = {preset for each in listing.decoder_entries() for preset in each["presets"]}
    assert shown == DECODERS.presets.keys() - DECODERS.former_presets.keys()


def test_a_former_name_of_a_preset_means_what_it_meant_and_says_so():
    asked = {"models": "ideal", "tasks": "choices/city", "decoders": "local-leap"}
    former, now = make_runfile(asked), make_runfile({**asked, "decoders": "local-leap-paper"})
    assert former.frozen() == now.frozen()
    assert former.decoders[0].fields["block_length"] == 32
    assert now.remarks == ()
    (remark,) = former.remarks
    assert remark == (
        "'local-leap' is a former name of the preset 'local-leap-paper', local_leap with "
        "threshold=0.9,relaxed=0.75,radius=4,block_length=32; the strategy at its defaults is "
        "'local_leap'"
    )


@pytest.mark.parametrize("registry", [DECODERS, TASKS, MODELS], ids=lambda each: each.kind)
def test_what_is_listed_is_described_in_a_sentence(registry):
    ours = [kind for kind in registry.values() if kind.__module__.startswith("parallelbench.")]
    assert ours
    for kind in ours:
        first = kind.__doc__.strip().splitlines()[0]
        assert re.fullmatch(r"[A-Z][^;]*(; [^;]+)?\.", first), first
        assert len(first) <= 90


def test_the_list_of_decoders_says_what_each_does(call):
    status, output, _ = call("list", "decoders")
    assert status == 0
    for each in listing.decoder_entries():
        sentence = each["summary"].replace("``", "")
        lines = [line for line in output.splitlines() if line.startswith(f"{each['name']} ")]
        assert sum(sentence in line for line in lines) == 1


# Completion of words by a shell.


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_actions_and_options_at_once():
    def completions(*words):
        began = time.process_time(), os.times().children_user
        shown = subprocess.run(
            [sys.executable, "-m", "parallelbench"],
            env={
                **os.environ,
                "_PARALLELBENCH_COMPLETE": "bash_complete",
                "COMP_WORDS": " ".join(("parallelbench", *words)),
                "COMP_CWORD": str(len(words)),
            },
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stderr == ""
        assert os.times().children_user - began[1] < 2  # nothing heavy is loaded
        return [line.partition(",")[2] for line in shown.stdout.splitlines()]

    assert completions("ru") == ["run", "runs"]
    assert completions("leaderboard", "ver") == ["verify"]
    assert completions("run", "--ext") == ["--extend"]
