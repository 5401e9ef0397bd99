"""The work of the verb ``list``: tasks, decoders and models with their facts.

Everything is derived: decoders declare what they need, families of models what they provide.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from parallelbench.console.tables import new_console
from parallelbench.console.tables import show as show_table
from parallelbench.console.terminal import tell
from parallelbench.decoder import DECODERS, Decoder
from parallelbench.model import MODELS
from parallelbench.ranges import ranges_of
from parallelbench.registry import load_plugins
from parallelbench.task import TASKS, Task

#: What is computed at every position for nearly every strategy, and too small to mention.
_PLAIN = frozenset({"token", "confidence", "margin", "logit_margin", "entropy", "uniform"})
#: Below this width, in characters, presets stand under the name of their strategy.
_WIDE = 110
#: Wide enough for any table, in characters, where there is no terminal that would cut it off.
_PIPED = 500


def list_registered(what: str | None, *, as_json: bool) -> None:
    """Print the tasks, decoders and models, or only those that ``what`` names."""
    load_plugins()
    makers = {"tasks": task_entries, "decoders": decoder_entries, "models": model_entries}
    entries = {kind: make() for kind, make in makers.items() if what in (None, kind)}
    if as_json:
        tell(json.dumps(entries[what] if what else entries, indent=1))
    elif what == "decoders":
        _show_decoders(entries[what])
    else:
        for kind, listed in entries.items():
            tell(f"{kind}:")
            for each in listed:
                _tell_entry(kind, each)


def _tell_entry(kind: str, each: Mapping[str, Any]) -> None:
    fields = ", ".join(f"{name}={value}" for name, value in each["fields"].items())
    tell(f"  {each['name']}\n      {_sentence(each)}\n      {fields}")
    if kind == "tasks":
        tell(f"      {task_sentence(each)}")


def _show_decoders(entries: Sequence[Mapping[str, Any]]) -> None:
    # What is piped goes to another program, which wants a decoder on a line.
    console = new_console(width=None if sys.stdout.isatty() else _PIPED)
    if console.width < _PIPED:
        show_table(decoder_sentences(entries), console)
    show_table(decoder_table(entries, console.width, sentences=console.width >= _PIPED), console)
    for sentence in below_table(entries):
        tell(sentence)


def entry(name: str, kind: type[Any]) -> dict[str, Any]:
    """Return name, summary, fields and ranges of a task, decoder or model, as JSON values."""
    own = (kind.__doc__ or "").strip().splitlines() if "__doc__" in vars(kind) else []
    # The docstring that dataclasses write is a signature.
    written = own and not own[0].startswith(f"{kind.__name__}(")
    summary = own[0] if written else getattr(kind, "summary", "")
    fields = {
        field.name: "(required)" if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
    }
    ranges = {field: str(allowed) for field, allowed in ranges_of(kind).items()}
    return {"name": name, "summary": summary, "fields": fields, "ranges": ranges}


def fields_with_ranges(facts: Mapping[str, Any], *, without: AbstractSet[str] = frozenset()) -> str:
    """Return the fields of an :func:`entry` with defaults and ranges, but for some of them."""
    return ", ".join(
        f"{field}={default}" + _in_range(facts["ranges"].get(field))
        for field, default in facts["fields"].items()
        if field not in without
    )


def task_entries() -> list[dict[str, Any]]:
    """Return the facts about every task at its defaults, as JSON values."""
    return [{**entry(name, kind), **_facts_of(kind)} for name, kind in TASKS.items()]


def model_entries() -> list[dict[str, Any]]:
    """Return the name, summary and fields of every model, as JSON values."""
    return [entry(name, kind) for name, kind in MODELS.items()]


def task_sentence(facts: Mapping[str, Any]) -> str:
    """Return the facts of one of :func:`task_entries` in a line, without its name and fields."""
    samples = "any number of" if facts["samples"] is None else facts["samples"]
    law = "known" if facts["law_known"] else "unknown"
    return (
        f"{samples} samples, canvas of {facts['canvas']} tokens, answer distribution {law}; "
        f"scores: {', '.join(facts['scores'])}; source: {facts['source']} ({facts['licence']})"
    )


def decoder_entries() -> list[dict[str, Any]]:
    """Return the facts about every decoder at its defaults, as JSON values."""
    families = _families()
    return [_decoder_entry(name, kind, families) for name, kind in DECODERS.items()]


def decoder_sentences(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return a table of what each strategy does, in a sentence."""
    drawn = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    drawn.add_column("strategy", no_wrap=True)
    drawn.add_column("what it does", overflow="fold")
    for each in entries:
        drawn.add_row(Text(each["name"]), Text(_sentence(each)))
    return drawn


def decoder_table(
    entries: Sequence[Mapping[str, Any]], width: int, *, sentences: bool = False
) -> Table:
    """Return ``entries`` as a table.

    Args:
        entries: Entries of :func:`decoder_entries`.
        width: Width of the terminal, in characters.
        sentences: True for a last column with what each decoder does.
    """
    wide = width >= _WIDE
    names = [
        each["name"] if wide else "\n  ".join((each["name"], *each["presets"])) for each in entries
    ]
    drawn = Table(box=box.SIMPLE_HEAD, padding=0, show_edge=False)
    drawn.add_column("strategy" if wide else "strategy\n  presets", no_wrap=True)
    for heading in ("adap-\ntive", "re-\nmasks", "deter-\nmin.", "calls\na step", "rows\na call"):
        drawn.add_column(heading, overflow="fold", max_width=6)
    drawn.add_column("needs", overflow="fold")
    drawn.add_column("fami-\nlies", justify="right", no_wrap=True)
    if wide:
        drawn.add_column("presets", overflow="fold")
    if sentences:
        drawn.add_column("what it does", overflow="fold")
    for name, each in zip(names, entries, strict=True):
        flags = ["yes" if each[fact] else "no" for fact in ("adaptive", "remasks", "deterministic")]
        needs = ", ".join(need for need in each["needs"] if need not in _PLAIN)
        served = f"{len(each['families'])}/{len(each['families']) + len(each['not_served_by'])}"
        cells = [name, *flags, each["calls"], each["rows"], needs, served]
        cells += [", ".join(each["presets"])] * wide + [_sentence(each)] * sentences
        drawn.add_row(*map(Text, cells))
    return drawn


def below_table(entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the sentences below the table: which families lack what, and how to read it."""
    of_needs: dict[tuple[str, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for each in entries:
        if each["not_served_by"]:
            of_needs[tuple(each["model_needs"])].append(each)
    sentences = [
        "needs: beside token, confidence, margins, entropy and random numbers, which cost little",
        "families: of models, how many of all can serve it; all of them where nothing is said here",
    ]
    for needs, same in of_needs.items():
        names = ", ".join(each["name"] for each in same)
        served = ", ".join(same[0]["families"]) or "no family known here"
        sentences.append(f"{names} ({', '.join(needs)}): {served}")
    common = entry("", Decoder)
    sentences.append(f"fields of every strategy: {fields_with_ranges(common)}")
    for each in entries:
        own = fields_with_ranges(each, without=common["fields"].keys())
        if own:
            sentences.append(f"fields of {each['name']}: {own}")
    return sentences


def _facts_of(kind: type[Task]) -> dict[str, Any]:
    canvas = next(field for field in dataclasses.fields(kind) if field.name == "canvas_length")
    return {
        "samples": kind.samples,
        "canvas": canvas.default,
        "law_known": kind.law_known,
        "scores": list(kind.scores),
        "source": kind.origin,
        "licence": kind.licence,
    }


def _decoder_entry(
    name: str, kind: type[Decoder], families: Mapping[str, frozenset[str]]
) -> dict[str, Any]:
    decoder = kind()
    served = [
        family for family, given in families.items() if not decoder.missing_capabilities(given)
    ]
    return {
        **entry(name, kind),
        "adaptive": decoder.adaptive,
        "remasks": decoder.remasks,
        "deterministic": decoder.deterministic,
        "calls": decoder.calls,
        "rows": decoder.rows,
        "needs": sorted(decoder.needs),
        "model_needs": decoder.missing_capabilities(frozenset()),
        "families": served,
        "not_served_by": [family for family in families if family not in served],
        "presets": {
            preset: fields
            for preset, (of, fields) in DECODERS.presets.items()
            if of == name and preset not in DECODERS.former_presets
        },
        "grid": kind.grid,
    }


def _families() -> dict[str, frozenset[str]]:
    """Return the capabilities of every family of models, by its name."""
    return {
        family: given for source in MODELS.values() for family, given in source.families().items()
    }


def _sentence(facts: Mapping[str, Any]) -> str:
    return str(facts["summary"]).replace("``", "")


def _in_range(allowed: str | None) -> str:
    if allowed is None:
        return ""
    return f" in {allowed}" if allowed[0] in "([" else f" ({allowed})"


def _yes(fact: bool) -> str:  # noqa: FBT001  the fact is all it is told
    return "yes" if fact else "no"
