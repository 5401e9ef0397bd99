"""Whatever somebody wrote, a terminal only shows it."""

import ast
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from parallelbench.cli import program as cli
from parallelbench.cli.program import main
from parallelbench.console import progress
from parallelbench.console.tables import new_console, show
from parallelbench.console.terminal import plain, tell, tell_line
from parallelbench.errors import RequestError

ROOT = Path(__file__).parents[2]
#: Colour, title of the window, clipboard, C1 form, backspaces, carriage return, turned text.
HOSTILE = "\x1b[31m\x1b]0;title\x07\x1b]52;c;QQ==\x07\x9b31m\b\b\rok\x7f\u202etxt\u2066\u2028"
COMMANDS = set("\x1b\x07\x9b\b\r\x7f\u202e\u2066\u2028")


def test_what_a_terminal_would_obey_is_shown_as_a_symbol():
    shown = plain(HOSTILE)
    assert not COMMANDS & set(shown)
    assert len(shown) == len(HOSTILE)
    assert "\N{SYMBOL FOR ESCAPE}[31m" in shown


@pytest.mark.parametrize("text", ["a\tb\nc", "é 日本語 👩\u200d🔬 ␛", ""])
def test_ordinary_text_stays(text):
    assert plain(text) == text


def test_all_ways_to_print_only_show(capsys):
    tell(HOSTILE)
    tell(HOSTILE, err=True)
    tell(HOSTILE, bold=True)
    tell_line(f"one\n{HOSTILE}\nparallelbench: forged", err=True)
    table = Table(title=HOSTILE, caption=HOSTILE)
    for cell in (HOSTILE, Text(HOSTILE)):
        table.add_column(cell)
    table.add_row(HOSTILE, Text(HOSTILE))
    table.add_row("[red]not red[/red]", ":smile:")
    show(table)
    show(table, new_console(width=20))
    new_console().print(Text(HOSTILE))
    told = capsys.readouterr()
    assert not COMMANDS & set(told.out + told.err)
    assert "[red]not red[/red]" in told.out
    assert ":smile:" in told.out
    assert len(told.err.strip().splitlines()) == 2, "a line of its own cannot be forged"


def test_colours_of_our_own_reach_a_terminal():
    import io

    stream = io.StringIO()
    console = new_console(file=stream, force_terminal=True, color_system="standard")
    console.print(Text("ours", style="red"), Text("\x1b[32mtheirs"))
    assert "\x1b[31mours" in stream.getvalue()
    assert "\x1b[32m" not in stream.getvalue()


def test_a_refusal_shows_what_was_typed_and_obeys_nothing(capsys):
    for arguments in (
        ["run", "--tasks", HOSTILE],
        ["run", HOSTILE],
        ["run", "--model", HOSTILE],
        [HOSTILE],
        ["run", f"--{HOSTILE}"],
        ["show", HOSTILE],
        ["leaderboard", "verify", f"/nowhere/{HOSTILE}"],
        ["leaderboard", "add", f"/nowhere/{HOSTILE}"],
        ["leaderboard", HOSTILE],
        ["report", f"/nowhere/{HOSTILE}"],
    ):
        assert main(arguments) == 2
        told = capsys.readouterr()
        assert not COMMANDS & set(told.out + told.err), arguments


def test_an_error_of_another_library_is_cleaned_where_it_is_printed(monkeypatch, capsys):
    def fails(*_, **__):
        raise RequestError(HOSTILE)

    monkeypatch.setattr(cli.cli, "main", fails)
    assert main(["list"]) == 2
    assert not COMMANDS & set(capsys.readouterr().err)


def test_progress_only_shows(monkeypatch, capsys):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    with progress.shown(HOSTILE):
        pass
    assert not COMMANDS & set(capsys.readouterr().err)


def test_there_is_one_place_that_prints():
    for folder in ("parallelbench", "tasks", "decoders", "analysis", "leaderboards"):
        for path in (ROOT / folder).rglob("*.py"):
            if path.parent == ROOT / "parallelbench" / "console":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
                assert called not in {"click.echo", "click.secho", "Console"}, (
                    f"{path.relative_to(ROOT)} line {node.lineno} prints by {called}: take tell, "
                    "warn, show or new_console of parallelbench.console"
                )
