"""Spoil files at random, so that it can be seen what reads them.

A spoilt file is the same for a seed on every machine.  Structure is spoilt where the file has one:
a value of JSON or YAML is replaced, removed, doubled or renamed, so that everything around it still
holds.  Any file is also cut, flipped, emptied or replaced by a folder.
"""

import collections
import contextlib
import json
import lzma
import os
import random
import shutil
import signal
import traceback
from pathlib import Path

import yaml

from parallelbench.errors import ParallelBenchError
from support.entries import digested

_ROOT = Path(__file__).parents[2]

#: Texts of JSON that a reader may not expect.
ODD = (
    "null",
    "true",
    "0",
    "-1",
    "1",
    "0.5",
    "-0.0",
    "1e308",
    "1e999",
    "NaN",
    "-Infinity",
    "4294967296",
    "9223372036854775808",
    "1" + "0" * 400,
    "1" * 5000,
    '""',
    '"1"',
    '"none"',
    '"../../x"',
    '"/dev/zero"',
    r'"\u0000"',
    r'"\ud800"',
    r'"\u001b[31m\u202e"',
    r'"{{ 1 // 0 }}{% for %}"',
    '"' + "x" * 100_000 + '"',
    '"' + "9" * 5000 + '"',
    "[]",
    "[null]",
    "[[[]]]",
    '["a", 1]',
    "{}",
    '{"": null}',
    '{"a": {"b": []}}',
    "[" * 3000 + "]" * 3000,
    '{"a":' * 500 + "1" + "}" * 500,
)
_PLACE = "@@odd@@"
#: Seconds after which a reader counts as hanging, on whatever machine.
_LONGEST = 60


class Hanging(Exception):  # noqa: N818  says what the reader does
    """A reader is not done after a long time."""


@contextlib.contextmanager
def in_time():
    """Interrupt what takes longer than any reader may."""

    def interrupt(*_):
        raise Hanging(f"not done after {_LONGEST} seconds")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _LONGEST)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def spoil(file, rng):
    """Spoil one file."""
    content = file.read_bytes()
    how = rng.random()
    if how < 0.02:
        file.unlink()
        if rng.random() < 0.5:
            file.mkdir()
    elif how < 0.25:
        file.write_bytes(_bytes(content, rng))
    else:
        # What was spoilt before may have no structure left.
        try:
            content = _structure(file.name, content, rng)
        except (lzma.LZMAError, ValueError, RecursionError, LookupError, yaml.YAMLError):
            content = _bytes(content, rng)
        file.write_bytes(content)


def _bytes(content, rng):
    """Cut, flip, double or replace some bytes."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    middle = content[first:last]
    return rng.choice(
        (
            content[:first],
            content[:first] + content[last:],
            content[:last] + middle + content[last:],
            content[:first] + rng.randbytes(rng.randrange(1, 9)) + content[first:],
            content[:first] + rng.choice(_ODD_BYTES) + content[first:],
            b"".join(_flipped(content, first)),
            b"",
        )
    )


_ODD_BYTES = (b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n", b'"', b"{", b"]", b"," * 1000)


def _flipped(content, place):
    if place < len(content):
        yield content[:place]
        yield bytes([content[place] ^ 16])
        yield content[place + 1 :]


def _structure(name, content, rng):
    if name.endswith(".xz"):
        return lzma.compress(_structure(name.removesuffix(".xz"), lzma.decompress(content), rng))
    text = content.decode()
    if name.endswith(".jsonl"):
        lines = text.splitlines(keepends=True)
        place = rng.randrange(len(lines))
        lines[place] = _line(lines[place], rng)
        return "".join(lines).encode(errors="surrogatepass")
    if name.endswith((".yaml", ".json")):
        # JSON is YAML as well.
        held = yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
        return _changed(held, rng).encode(errors="surrogatepass")
    return _bytes(content, rng)


def _line(line, rng):
    """Spoil a line of JSON; a digest that it has is right again in every second case."""
    held = json.loads(line)
    changed = _changed(held, rng)
    if isinstance(held, dict) and "digest" in held and rng.random() < 0.5:
        with contextlib.suppress(ValueError, RecursionError, AttributeError, UnicodeError):
            return digested(json.loads(changed))
    return rng.choice((changed + "\n", changed + "\n" + line, changed, "\n"))


def _changed(held, rng):
    """Return the text of ``held`` with one value of it changed."""
    whole = [held]
    parent, key = rng.choice(list(_places(whole)))
    value = parent[key]
    change = rng.randrange(8)
    if change == 0 and parent is not whole:
        del parent[key]
    elif change == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent.pop(key)
    elif change == 2:
        parent[key] = rng.choice(([value], {"a": value}, [value] * 300, str(value)))
    elif change == 3 and isinstance(value, int | float):
        parent[key] = value + rng.choice((1, -1, 0.5, 10**6))
    elif change == 4:
        other, of_other = rng.choice(list(_places(whole)))
        parent[key] = json.loads(json.dumps(other[of_other]))
    elif change == 5 and isinstance(value, str) and value.startswith("{"):
        parent[key] = _changed(json.loads(value), rng)  # JSON within JSON
    else:
        parent[key] = _PLACE
    text = json.dumps(whole[0] if whole else None, ensure_ascii=False, default=str)
    return text.replace(f'"{_PLACE}"', rng.choice(ODD))


def _places(held):
    """Yield every place within ``held``, as what holds it and its key there."""
    keys = range(len(held)) if isinstance(held, list) else list(held)
    for key in keys:
        yield held, key
        if isinstance(held[key], list | dict):
            yield from _places(held[key])


def faults(name, good, place, read, *, cases, seal=None):  # noqa: PLR0913  a reader and its files
    """Read spoilt copies of a folder; return what went wrong other than as it should.

    Args:
        name: Of the reader; decides together with the number of a case how that is spoilt.
        good: A folder whose files can be read.
        place: A folder to work in.
        read: Reads such a folder.
        cases: How many copies; PARALLELBENCH_FUZZ in the environment says another number.
        seal: Makes digests of a spoilt folder right again; used in every second case.

    Returns:
        A line for each kind of fault, with its first case; empty if every copy was read, or was
        refused with an error of ours.
    """
    read(shutil.copytree(good, place / "good"))
    found = collections.defaultdict(list)
    for case in range(int(os.environ.get("PARALLELBENCH_FUZZ", cases))):
        rng = random.Random(f"{name}/{case}")  # noqa: S311  not for secrets
        copy = shutil.copytree(good, place / str(case))
        for _ in range(rng.choice((1, 1, 1, 2))):
            files = sorted(file for file in copy.rglob("*") if file.is_file())
            if files:
                spoil(rng.choice(files), rng)
        if seal is not None and rng.random() < 0.8:
            with contextlib.suppress(OSError):
                seal(copy)
        try:
            with in_time():
                read(copy)
        except ParallelBenchError:
            pass
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with its case
            kind, told = _told(error)
            found[kind].append(f"case {case}: {told}")
        shutil.rmtree(copy)
    return "".join(f"{kind}, {len(seen)} times, {seen[0]}\n" for kind, seen in found.items())


def _told(error):
    """Return the kind of an error and the last line of ours that it came through; its message."""
    frames = traceback.extract_tb(error.__traceback__)
    paths = [(Path(frame.filename), frame.lineno) for frame in frames]
    ours = [each for each in paths if _ROOT in each[0].parents and "tests" not in each[0].parts]
    where = f"{ours[-1][0].relative_to(_ROOT)}:{ours[-1][1]}" if ours else "?"
    return f"{type(error).__name__} at {where}", str(error)[:200]
