"""The house rules that the tree must keep, read from its source."""

import ast
import graphlib
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "parallelbench": {"parallelbench"},
    "tasks": {"parallelbench", "tasks"},
    "decoders": {"parallelbench", "decoders"},
    "analysis": {"parallelbench", "analysis"},
    "leaderboards": {"parallelbench", "analysis", "leaderboards"},
}

#: Rooms of a wing, lowest first: each imports only from itself and from those before it.
ROOMS = {
    "analysis": (
        "theory",
        "measures",
        "judging",
        "figures",
        "replay",
        "report",
        "exports",
        "commands",
    ),
    "leaderboards": ("entry", "verify", "board", "commands"),
}


def modules_imported(source):
    """The dotted names that one file takes from elsewhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def folders_imported(source):
    """The top-level folders that one file of ours takes names from."""
    for name in modules_imported(source):
        package, _, rest = name.partition(".")
        if package == "parallelbench":
            wing = rest.partition(".")[0]
            yield wing if wing in MAY_IMPORT else "parallelbench"


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_stands_below_it(folder):
    for path in (ROOT / folder).rglob("*.py"):
        above = set(folders_imported(path.read_text())) - MAY_IMPORT[folder]
        assert not above, f"{path.relative_to(ROOT)} imports from {sorted(above)}"


@pytest.mark.parametrize("wing", ROOMS)
def test_a_room_imports_only_from_the_rooms_before_it(wing):
    rooms = ROOMS[wing]
    assert {path.parent.name for path in (ROOT / wing).glob("*/__init__.py")} == set(rooms)
    assert [path.name for path in (ROOT / wing).glob("*.py")] == ["__init__.py"]
    for number, room in enumerate(rooms):
        for path in (ROOT / wing / room).rglob("*.py"):
            imported = set(modules_imported(path.read_text()))
            above = {
                name
                for name in imported
                for other in rooms[number + 1 :]
                if f"{name}.".startswith(f"parallelbench.{wing}.{other}.")
            }
            assert not above, f"{path.relative_to(ROOT)} imports {sorted(above)}"


def test_the_rooms_of_the_core_import_in_no_circle():
    core = ROOT / "parallelbench"
    rooms = {path.name.removesuffix(".py") for path in core.iterdir() if path.name[0] != "_"}
    imports = {room: set() for room in rooms}
    for path in core.rglob("*.py"):
        room = path.relative_to(core).parts[0].removesuffix(".py")
        # What a function imports is there by the time that it is called.
        source = ast.Module(ast.parse(path.read_text()).body[:], [])
        source.body = [n for n in source.body if isinstance(n, ast.Import | ast.ImportFrom)]
        named = {
            name.split(".")[1] for name in modules_imported(ast.unparse(source)) if "." in name
        }
        imports.setdefault(room, set()).update((named & rooms) - {room})
    order = list(graphlib.TopologicalSorter(imports).static_order())
    road = ["score", "task", "prompt", "model", "decoder", "decode", "run"]
    assert sorted(road, key=order.index) == road


def test_the_top_of_the_core_stays_short_enough_to_read():
    entries = [
        path.name for path in (ROOT / "parallelbench").iterdir() if path.name != "__pycache__"
    ]
    assert len(entries) <= 26, sorted(entries)


def test_verification_imports_no_runner_and_no_packer():
    """Neither directly, within functions too, nor through a module that it imports."""
    files = {
        ".".join(
            ("parallelbench", *wing, *path.relative_to(ROOT / folder).with_suffix("").parts)
        ).removesuffix(".__init__"): path
        for folder, wing in {
            name: (name,) * (name != "parallelbench") for name in MAY_IMPORT
        }.items()
        for path in (ROOT / folder).rglob("*.py")
    }
    rooms = tuple(f"parallelbench.leaderboards.{room}." for room in ("entry", "verify"))
    waiting = [name for name in files if name.startswith(rooms)]
    reached = set(waiting)
    while waiting:
        name = waiting.pop()
        tree = ast.parse(files[name].read_text())
        if not name.startswith(rooms):
            tree.body = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        for imported in modules_imported(ast.unparse(tree)):
            module = imported if imported in files else imported.rpartition(".")[0]
            if module in files and module not in reached:
                reached.add(module)
                waiting.append(module)
    assert "parallelbench.run.recording" in reached
    assert "parallelbench.run.runner" not in reached
    assert not [name for name in reached if name.startswith("parallelbench.leaderboards.commands")]


def test_every_package_reaches_the_wheel():
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = set(tool["package-dir"].values())
    packages = {
        ".".join((name, *init.parent.relative_to(ROOT / folder).parts))
        for name, folder in tool["package-dir"].items()
        for init in (ROOT / folder).rglob("__init__.py")
    }
    assert folders == set(MAY_IMPORT)
    assert packages == set(tool["packages"])


def test_nothing_but_the_command_line_prints():
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            printing = [c for c in calls if getattr(c.func, "id", "") == "print"]
            assert not printing, f"{path.relative_to(ROOT)} prints"


def test_every_error_is_raised_by_the_package_and_expected_by_a_test():
    tree = ast.parse((ROOT / "parallelbench/errors.py").read_text())
    errors = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    errors.remove("ParallelBenchError")  # what all have in common
    package = [p.read_text() for folder in MAY_IMPORT for p in (ROOT / folder).rglob("*.py")]
    tests = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    for error in errors:
        assert any(re.search(rf"(?<!class ){error}\(", text) for text in package), error
        assert any(re.search(rf"\b{error}\b", text) for text in tests), error


def test_every_file_can_be_imported_on_every_system():
    elsewhere = {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "winreg"}
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            imported = set()
            for node in ast.parse(path.read_text()).body:
                if isinstance(node, ast.Import):
                    imported |= {alias.name.partition(".")[0] for alias in node.names}
                if isinstance(node, ast.ImportFrom):
                    imported.add((node.module or "").partition(".")[0])
            assert not imported & elsewhere, f"{path.relative_to(ROOT)} imports {imported}"


def test_only_the_loop_calls_a_model():
    for folder in MAY_IMPORT:
        for path in (ROOT / folder).rglob("*.py"):
            if path.name == "loop.py":
                continue
            nodes = list(ast.walk(ast.parse(path.read_text())))
            # A model may be made of another one.
            within = {n for f in nodes if getattr(f, "name", "") == "predict" for n in ast.walk(f)}
            calls = [n for n in nodes if isinstance(n, ast.Call) and n not in within]
            predicting = [c for c in calls if getattr(c.func, "attr", "") == "predict"]
            assert not predicting, f"{path.relative_to(ROOT)} runs a model"


def test_the_supported_versions_of_python_are_the_same_everywhere_and_can_be_installed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: 3."
    classified = [f"3.{c.removeprefix(prefix)}" for c in project["classifiers"] if prefix in c]
    first, *between, last = classified
    assert project["requires-python"] == f">={first}"
    readme = (ROOT / "README.md").read_text()
    assert f"Python {', '.join((first, *between))} or {last}" in readme
    assert not re.findall(r"Python 3\.(?:10|9)\b", readme)
    for dependency in map(Requirement, project["dependencies"]):
        needed = importlib.metadata.metadata(dependency.name)["Requires-Python"] or ""
        refused = [each for each in classified if f"{each}.99" not in SpecifierSet(needed)]
        assert not refused, f"{dependency.name} needs Python {needed}, so not {refused}"
