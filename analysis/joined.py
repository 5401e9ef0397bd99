"""Several runs side by side: which may be looked at together, and which may not.

Runs are comparable where they asked the same: a task in the same version and, with the same
seed, the same samples.  Everything else is refused in a sentence that names both.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from parallelbench.errors import RunFileError
from parallelbench.rundir import RunDirectory

#: What makes runs comparable: the seed, and the version of every task by its name.
Question = tuple[int, Mapping[str, int]]


def open_runs(paths: Sequence[Path], advice: str) -> list[RunDirectory]:
    """Return the runs in ``paths``, which ask the same of their models.

    Args:
        paths: Run directories.
        advice: What to do where they do not: the end of the error's sentence.

    Raises:
        RunFileError: A folder holds no run, or two have another seed or another version of a
            task.
    """
    # Before they are opened: a version that is not the installed one is refused there.
    asked = {path: question_of(path) for path in dict.fromkeys(paths)}
    for (path, question), (other, another) in itertools.combinations(asked.items(), 2):
        told = difference_of(str(path), question, str(other), another)
        if told is not None:
            raise RunFileError(f"{told}; {advice}")
    return [RunDirectory.open(path) for path in paths]


def question_of(path: Path) -> Question:
    """Return the seed and the task versions of the run in ``path``.

    Raises:
        RunFileError: The folder holds no run, or its run file is malformed.
    """
    content = RunDirectory.content(path)
    tasks: list[Any] = content.get("tasks", [])
    frozen = [task for task in tasks if isinstance(task, dict) and "version" in task]
    return content.get("seed", 0), {task["name"]: task["version"] for task in frozen}


def difference_of(first: str, before: Question, second: str, after: Question) -> str | None:
    """Return in words why two runs met different samples or marks; None if they did not.

    Args:
        first: What to call the first run.
        before: What it asked.
        second: What to call the other.
        after: What that asked.
    """
    for task in sorted(before[1].keys() & after[1].keys()):
        if before[1][task] != after[1][task]:
            return (
                f"{first} has version {before[1][task]} of task {task!r} and {second} has version "
                f"{after[1][task]}: their samples or marks are not the same"
            )
    if before[0] != after[0]:
        return (
            f"{first} has seed {before[0]} and {second} has seed {after[0]}: they met different "
            "samples"
        )
    return None
