"""The language of the code: what CONTRIBUTING.md asks of names, docstrings and functions.

Held by counting, because each rule was broken hundreds of times before it was counted.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ("parallelbench", "tasks", "decoders", "analysis", "leaderboards")
FOLDERS = (*PRODUCT, "benchmarks")

#: A docstring that opens so names nothing: "Return how many fit", "What a run costs".
EMPTY_OPENING = re.compile(
    r"(Return |Yield |Say |Tell |Give )?(what|how|which|whether|who|whose|where|when|why)\b",
    re.IGNORECASE,
)
#: A description that opens so needs the name in front of it: "seed: Of the draws".
BARE_OPENING = re.compile(
    r"(its|of|likewise|whose|which|what|how|whether|who|where|when|as|by|in|for|from|if|to|with|that)\b",
    re.IGNORECASE,
)
SECTION = re.compile(r"^(\w[\w ]*):$")
FIELD = re.compile(r"([\w.`*, ]+?)(?: \([^)]*\))?: (.*)")

#: Class names that stand in two modules with one meaning, and why.
SHARED_CLASS_NAMES = {
    **dict.fromkeys(
        (
            "Copy",
            "Reverse",
            "Sort",
            "Shuffle",
            "ReplaceIndex",
            "ReplaceRandom",
            "InsertIndex",
            "InsertRandom",
            "RemoveIndex",
            "RemoveRandom",
        ),
        "one operation, asked of a list and of a waiting line",
    ),
}


VERB = "a verb, and its work in a module of its own"
#: Public function names that stand in two modules with one meaning, and why.
SHARED_FUNCTION_NAMES = {
    **dict.fromkeys(
        (
            "add",
            "bounds",
            "check_decoder",
            "compare",
            "decoder_table",
            "dependence",
            "doctor",
            "estimate",
            "export",
            "judge",
            "merge",
            "pack",
            "published",
            "replay",
            "report",
            "run",
            "serve",
            "show",
            "train",
        ),
        VERB,
    ),
    "build": "a setting is built into its object, a board into its pages",
    "main": "an entry point of a program",
    "read_list": "a list in a reply, by our rule and by that of the original benchmark",
    "read_list_strictly": "the strict form of the same two rules",
    "to_json": "figures as the text of a JSON file",
    "write": "an export in one format",
}


def trees(*folders):
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def docstrings(*folders):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for file, tree in trees(*folders):
        for node in ast.walk(tree):
            if isinstance(node, kinds) and (text := ast.get_docstring(node)):
                yield f"{file}:{getattr(node, 'lineno', 1)}", text


def descriptions(text):
    """Yield name and description of the fields and arguments that a docstring lists."""
    inside = False
    indent = 0
    for line in text.splitlines():
        if section := SECTION.match(line):
            inside = section[1] in {"Attributes", "Args"}
            indent = 0
        elif inside and line.strip():
            depth = len(line) - len(line.lstrip())
            indent = indent or depth
            if depth == indent and (field := FIELD.match(line.strip())):
                yield field[1], field[2]


def test_a_docstring_names_its_thing_or_says_what_the_function_does():
    every = list(docstrings(*FOLDERS))
    empty = [
        f"{place}: {text.splitlines()[0]}" for place, text in every if EMPTY_OPENING.match(text)
    ]
    assert len(every) > 2000
    assert not empty, "\n".join(empty)


def test_a_description_stands_by_itself():
    every = [
        (f"{place} {name}", description)
        for place, text in docstrings(*FOLDERS)
        for name, description in descriptions(text)
    ]
    bare = [f"{place}: {words}" for place, words in every if BARE_OPENING.match(words)]
    assert len(every) > 2000
    assert not bare, "\n".join(bare)


def test_a_class_name_has_one_meaning():
    places = defaultdict(set)
    for file, tree in trees(*PRODUCT):
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(file)
    twice = {name: sorted(files) for name, files in places.items() if len(files) > 1}
    assert twice.keys() == SHARED_CLASS_NAMES.keys(), twice


def test_a_public_function_name_has_one_meaning():
    places = defaultdict(set)
    for file, tree in trees(*PRODUCT):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                places[node.name].add(file)
    twice = {name: sorted(files) for name, files in places.items() if len(files) > 1}
    assert twice.keys() == SHARED_FUNCTION_NAMES.keys(), twice


def test_a_function_fits_on_a_screen():
    long = []
    for file, tree in trees(*FOLDERS):
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            lines = node.end_lineno - node.lineno + 1
            if ast.get_docstring(node) is not None:
                lines -= node.body[0].end_lineno - node.body[0].lineno + 1
            if lines > 40:
                long.append(f"{file}:{node.lineno} {node.name}: {lines} lines")
    assert not long, "\n".join(long)


def test_lint_exceptions_stay_few():
    counts = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8").count("# noqa")
        for folder in PRODUCT
        for path in (ROOT / folder).rglob("*.py")
    }
    found = {file: count for file, count in counts.items() if count}
    assert sum(found.values()) < 60, found


def test_imports_inside_functions_stay_few():
    counts = defaultdict(int)
    for file, tree in trees(*PRODUCT):
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                counts[file] += sum(
                    isinstance(inner, ast.Import | ast.ImportFrom) for inner in ast.walk(node)
                )
    found = {file: count for file, count in counts.items() if count}
    assert sum(found.values()) < 80, found
